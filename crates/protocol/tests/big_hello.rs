//! ClientHellos of many sizes: up to 16 KiB they tell what they ask for, beyond that they are malformed.

#![cfg(feature = "https")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in tests; this is about their helpers"
)]

#[allow(dead_code, reason = "no datagrams here")]
#[path = "common/check.rs"]
mod check;
#[allow(dead_code, reason = "nothing is taken apart here")]
#[path = "common/hello.rs"]
mod hello;

use hello::{Hello, alpn, records, server_name};
use refractium_protocol::{Fact, Facts, Https, Opening, RefractiumProtocol, Scratch, Verdict};

const KIB: usize = 1024;
/// Of a browser with a post-quantum key share; larger ones, the largest taken, the first too large, and one more.
const KNOWN: [usize; 4] = [1800, 8 * KIB, 16 * KIB - 1, 16 * KIB];
const TOO_LARGE: [usize; 3] = [16 * KIB + 1, 20 * KIB, 64 * KIB];

/// The largest record (RFC 8446, section 5.1), one segment, and cuts that fall within every header.
const RECORDS: [usize; 5] = [16 * KIB, 1400, 100, 7, 1];

const PADDING: u16 = 21;

/// A hello message of this size; the padding stands before the name or behind it.
fn hello(size: usize, name_last: bool) -> Vec<u8> {
    let mut hello = Hello::with(vec![server_name(b"a.example"), alpn(&[b"h2"]), (PADDING, vec![])]);
    let padding = size - hello.message().len();
    hello.extensions()[2].1 = vec![0; padding];
    if name_last {
        hello.extensions().reverse();
    }
    assert_eq!(hello.message().len(), size);
    hello.message()
}

fn every_stream(sizes: &[usize], check: impl Fn(&[u8], &str)) {
    for &size in sizes {
        for record in RECORDS {
            for name_last in [false, true] {
                let stream = records(&hello(size, name_last), std::iter::repeat(record));
                check(&stream, &format!("{size} bytes in records of {record}"));
            }
        }
    }
}

fn with_facts(stream: &[u8], check: impl FnOnce(Facts<'_>)) {
    let opening = Opening::stream(stream);
    assert_eq!(Https.identify(&opening), Verdict::Match);
    check(Https.facts(&opening, &mut Scratch::new()));
}

#[test]
fn up_to_16_kib_the_name_is_known_with_the_last_byte() {
    every_stream(&KNOWN, |stream, what| {
        with_facts(stream, |facts| {
            assert_eq!(facts.host, Fact::Known(&b"a.example"[..]), "{what}");
            let offers = facts.alpn.known().expect("a list");
            assert!(offers.iter().eq([b"h2"]), "{what}");
            assert!(!facts.malformed, "{what}");
        });
        for end in [6, stream.len() / 2, stream.len() - 1] {
            with_facts(&stream[..end], |facts| assert_eq!(facts, Facts::NEED_MORE, "{what}"));
        }
    });
}

/// And not only when it is there: nobody has to keep what is not going to be read.
#[test]
fn beyond_16_kib_it_is_malformed_as_soon_as_it_says_so() {
    every_stream(&TOO_LARGE, |stream, what| {
        let header = stream.len().min(4 * 6); // four bytes in up to four records
        for end in [header, 8 * KIB, stream.len() - 1, stream.len()] {
            with_facts(&stream[..end], |facts| assert_eq!(facts, Facts::MALFORMED, "{what}"));
        }
    });
}

#[test]
fn what_was_told_of_it_stays() {
    every_stream(&[KNOWN[0], KNOWN[3], TOO_LARGE[0], TOO_LARGE[1]], |stream, _| {
        let cuts = (0..=stream.len()).step_by(1 + stream.len() / 24);
        check::check_stream(&Https, stream, cuts.chain([stream.len()]));
    });
}
