//! ClientHellos: captured, cut, re-framed, rearranged and hostile.
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
#[path = "common/hello.rs"]
mod hello;
#[path = "common/openings.rs"]
mod openings;
#[path = "common/words.rs"]
mod words;

use std::collections::BTreeSet;

use check::Told;
use hello::{Hello, KEY_SHARE, alpn, handshake, record, records, server_name, vector8, vector16};
use openings::Captured;
use refractium_protocol::{Fact, Https, Opening, RefractiumProtocol, Scratch, Verdict};
use words::Words;

/// A post-quantum key share: X25519MLKEM768, 1,184 bytes of ML-KEM and 32 of X25519.
const ML_KEM: u16 = 0x11ec;
const ML_KEM_SHARE: usize = 1216;

fn captured() -> Vec<Captured> {
    openings::of(&Https)
}

fn named(name: &[u8]) -> Hello {
    Hello::with(vec![server_name(name)])
}

/// What is told of a stream that has to be recognised as TLS.
fn told(stream: &[u8]) -> Told {
    let answer = check::ask(&Https, &Opening::stream(stream), &mut Scratch::new());
    assert_eq!(answer.verdict, Verdict::Match, "{}", stream.escape_ascii());
    answer.told.expect("a match has facts")
}

fn known(name: &[u8]) -> Fact<Vec<u8>> {
    Fact::Known(name.to_vec())
}

fn assert_host(stream: &[u8], name: &[u8], what: &str) {
    let told = told(stream);
    assert_eq!((told.host, told.malformed), (known(name), false), "{what}");
}

fn assert_no_host(stream: &[u8], what: &str) {
    let told = told(stream);
    assert_eq!((told.host, told.malformed), (Fact::Absent, false), "{what}");
}

fn assert_malformed(stream: &[u8], what: &str) {
    let expected = Told { host: Fact::Absent, alpn: Fact::Absent, ech: false, malformed: true };
    assert_eq!(told(stream), expected, "{what}");
}

fn assert_needs_more(stream: &[u8], what: &str) {
    let told = told(stream);
    assert_eq!((told.host, told.malformed), (Fact::NeedMore, false), "{what}");
}

mod captures {
    use super::*;

    /// How each client was called says what its hello has to name.
    fn expected_host(file: &str) -> Fact<Vec<u8>> {
        match file {
            "https/openssl-address-in-sni" => Fact::Absent,
            "https/openssl-upper" => known(b"A.EXAMPLE"),
            _ if file.ends_with("-nosni") => Fact::Absent,
            _ if file.ends_with("-localhost") => known(b"localhost"),
            _ => known(b"a.example"),
        }
    }

    #[test]
    fn tell_the_name_they_were_made_with() {
        for Captured { name, bytes } in captured() {
            let told = told(&bytes);
            assert_eq!(told.host, expected_host(&name), "{name}");
            assert_eq!(told.malformed, name == "https/openssl-address-in-sni", "{name}");
            assert_eq!(told.ech, name == "https/chromium-post-quantum", "{name}");
        }
    }

    #[test]
    fn tell_the_protocols_they_offer() {
        let table: [(&str, &[&[u8]]); 8] = [
            ("chromium-post-quantum", &[b"h2", b"http/1.1"]),
            ("curl-default", &[b"h2", b"http/1.1"]),
            ("curl-http11", &[b"http/1.1"]),
            ("nghttp-localhost", &[b"h2", b"h2-16", b"h2-14"]),
            ("openssl-alpn-acme", &[b"acme-tls/1"]),
            (
                "openssl-alpn-many",
                &[b"postgresql", b"imap", b"mqtt", b"dot", b"xmpp-client", b"ntske/1"],
            ),
            ("openssl-alpn-nosni", &[b"h2"]),
            ("python-alpn-nosni", &[b"http/1.1"]),
        ];
        for (file, expected) in table {
            let name = format!("https/{file}");
            let found = captured().into_iter().find(|one| one.name == name).expect(file);
            let expected = expected.iter().map(|name| name.to_vec()).collect();
            assert_eq!(told(&found.bytes).alpn, Fact::Known(expected), "{file}");
        }
        for file in ["curl-no-alpn", "openssl-default", "python-default", "gnutls-default"] {
            let name = format!("https/{file}");
            let found = captured().into_iter().find(|one| one.name == name).expect(file);
            assert_eq!(told(&found.bytes).alpn, Fact::Absent, "{file}");
        }
    }

    #[test]
    fn have_thirty_shapes_at_least() {
        let shapes: BTreeSet<_> = captured()
            .iter()
            .map(|one| {
                let hello = Hello::parse(&one.bytes);
                let extensions = hello.extensions.unwrap_or_default();
                let lengths: Vec<_> =
                    extensions.iter().map(|(kind, data)| (*kind, data.len())).collect();
                (hello.ciphers, lengths)
            })
            .collect();
        println!("{} hellos, {} shapes", captured().len(), shapes.len());
        assert!(shapes.len() >= 30, "{}", shapes.len());
    }

    #[test]
    fn hold_a_post_quantum_hello_of_a_browser() {
        let chromium = captured().into_iter().find(|one| one.name.contains("chromium")).unwrap();
        assert!(chromium.bytes.len() > 1500, "{}", chromium.bytes.len());
        let mut hello = Hello::parse(&chromium.bytes);
        let (_, shares) =
            hello.extensions().iter().find(|(kind, _)| *kind == KEY_SHARE).expect("key shares");
        let [size_high, size_low] = u16::try_from(ML_KEM_SHARE).unwrap().to_be_bytes();
        let [group_high, group_low] = ML_KEM.to_be_bytes();
        let head = [group_high, group_low, size_high, size_low];
        assert!(shares.windows(4).any(|window| window == head), "no X25519MLKEM768");
        assert!(hello.extensions().iter().any(|(kind, _)| kind & 0x0f0f == 0x0a0a), "no GREASE");
    }

    #[test]
    fn survive_being_taken_apart_and_put_together() {
        for Captured { name, bytes } in captured() {
            assert_eq!(Hello::parse(&bytes).message(), hello::message(&bytes), "{name}");
        }
    }
}

mod arrival {
    use super::*;

    #[test]
    fn every_prefix_needs_more_and_then_tells_the_same() {
        for Captured { name, bytes } in captured() {
            let whole = told(&bytes);
            for end in 0..6 {
                let verdict = Https.identify(&Opening::stream(&bytes[..end]));
                assert_eq!(verdict, Verdict::NeedMore, "{name}, {end} bytes");
            }
            for end in 6..bytes.len() {
                assert_needs_more(&bytes[..end], &name);
            }
            for tail in [&b"x"[..], &bytes, &[0; 20_000]] {
                assert_eq!(told(&[&bytes, tail].concat()), whole, "{name}");
            }
        }
    }

    #[test]
    fn records_of_any_one_size_tell_the_same() {
        for Captured { name, bytes } in captured() {
            let (whole, message) = (told(&bytes), hello::message(&bytes));
            for size in 1..=message.len() {
                let stream = records(&message, std::iter::repeat(size));
                assert_eq!(told(&stream), whole, "{name} in records of {size}");
            }
        }
    }

    #[test]
    fn records_of_random_sizes_tell_the_same() {
        let mut words = Words::new(1);
        for Captured { name, bytes } in captured() {
            let (whole, message) = (told(&bytes), hello::message(&bytes));
            for most in [2, 5, 40, 600].repeat(8) {
                let sizes: Vec<_> = (0..message.len()).map(|_| 1 + words.below(most)).collect();
                let stream = records(&message, sizes.iter().copied());
                assert_eq!(told(&stream), whole, "{name} in records of {sizes:?}");
            }
        }
    }

    #[test]
    fn every_prefix_of_small_records_needs_more_and_then_tells_the_same() {
        let hello = named(b"a.example");
        let whole = told(&hello.stream());
        for size in 1..=hello.message().len() {
            let stream = records(&hello.message(), std::iter::repeat(size));
            check::check_stream(&Https, &stream, 0..=stream.len());
            for end in 6..stream.len() {
                assert_needs_more(&stream[..end], &format!("{end} bytes, records of {size}"));
            }
            assert_eq!(told(&stream), whole, "records of {size}");
        }
    }

    #[test]
    fn what_follows_changes_nothing() {
        let ccs = [0x14, 3, 3, 0, 1, 1];
        let early_data = [&[0x17, 3, 3, 0, 40][..], &[0x5a; 40]].concat();
        let hello = named(b"a.example");
        let whole = told(&hello.stream());
        let stream = [&hello.stream(), &ccs[..], &early_data].concat();
        check::check_stream(&Https, &stream, 0..=stream.len());
        assert_eq!(told(&stream), whole);
        // A second message in the record of the first.
        let coalesced = record(&[hello.message(), vec![0; 9]].concat());
        assert_eq!(told(&coalesced), whole);
    }

    #[test]
    fn a_full_record_behind_the_start_of_the_hello_does_not_overflow() {
        let message = named(b"a.example").message();
        for first in [1, 3, 4, 50, message.len() - 1] {
            let (start, rest) = message.split_at(first);
            let mut filled = rest.to_vec();
            filled.resize(1 << 14, 0);
            let stream = [record(start), record(&filled)].concat();
            check::check_stream(&Https, &stream, (0..=stream.len()).step_by(61));
            assert_host(&stream, b"a.example", &format!("{first} bytes before"));
        }
    }
}

mod arrangement {
    use super::*;

    fn shuffle<T>(list: &mut [T], words: &mut Words) {
        for last in (1..list.len()).rev() {
            list.swap(last, words.below(last + 1));
        }
    }

    /// GREASE in every list that has room for it (RFC 8701).
    fn greased() -> Hello {
        let share =
            [&[0xda, 0xda, 0, 1, 0][..], &[0x11, 0xec, 4, 0xc0], &[1; ML_KEM_SHARE]].concat();
        let mut hello = Hello::with(vec![
            (0x1a1a, vec![]),
            (10, vector16(&[0xda, 0xda, 0x11, 0xec, 0, 29])),
            (13, vector16(&[0x4a, 0x4a, 4, 3])),
            (43, vector8(&[0x5a, 0x5a, 3, 4])),
            (KEY_SHARE, vector16(&share)),
            alpn(&[b"\x8a\x8a", b"h2"]),
            server_name(b"a.example"),
            (0xfafa, vec![0]),
        ]);
        hello.ciphers.splice(0..0, [0x3a, 0x3a]);
        hello
    }

    #[test]
    fn extensions_in_any_order_tell_the_same() {
        let mut words = Words::new(2);
        for Captured { name, bytes } in captured() {
            let whole = told(&bytes);
            let mut hello = Hello::parse(&bytes);
            for _ in 0..if hello.extensions.is_some() { 20 } else { 0 } {
                shuffle(hello.extensions(), &mut words);
                assert_eq!(told(&hello.stream()), whole, "{name}: {:?}", hello.extensions);
            }
        }
    }

    #[test]
    fn a_name_behind_a_post_quantum_share_is_waited_for() {
        let mut hello = Hello::with(vec![
            (KEY_SHARE, vector16(&[&[0x11, 0xec, 4, 0xc0][..], &[5; ML_KEM_SHARE]].concat())),
            server_name(b"a.example"),
        ]);
        let stream = hello.stream();
        assert_needs_more(&stream[..ML_KEM_SHARE], "before the name");
        assert_needs_more(&stream[..stream.len() - 1], "within the name");
        assert_host(&stream, b"a.example", "behind the share");
        hello.extensions().reverse();
        assert_host(&hello.stream(), b"a.example", "before the share");
    }

    #[test]
    fn grease_everywhere_is_looked_past() {
        let told = told(&greased().stream());
        assert_eq!(told.host, known(b"a.example"));
        assert_eq!(told.alpn, Fact::Known(vec![b"\x8a\x8a".to_vec(), b"h2".to_vec()]));
        assert!(!told.ech && !told.malformed);
    }

    #[test]
    fn ech_is_told_beside_the_outer_name() {
        let mut hello = named(b"public.example");
        hello.extensions().push((0xfe0d, vec![0; 186]));
        assert!(told(&hello.stream()).ech);
        assert_host(&hello.stream(), b"public.example", "outer");
    }

    #[test]
    fn no_extensions_is_no_name() {
        let mut hello = Hello::with(vec![]);
        assert_no_host(&hello.stream(), "an empty list");
        hello.extensions = None;
        assert_no_host(&hello.stream(), "no list");
    }

    #[test]
    fn a_hello_may_be_as_large_as_the_scratch_and_no_larger() {
        let mut hello = named(b"a.example");
        hello.extensions().push((21, vec![]));
        let padding = Scratch::SIZE - hello.message().len();
        hello.extensions()[1].1 = vec![0; padding];
        assert_eq!(hello.message().len(), Scratch::SIZE);
        assert_host(&hello.stream(), b"a.example", "one record");
        for size in [1, 100, 16_000] {
            let stream = records(&hello.message(), std::iter::repeat(size));
            assert_host(&stream, b"a.example", &format!("records of {size}"));
        }
        hello.extensions()[1].1.push(0);
        for size in [1, 100, 16_000] {
            let stream = records(&hello.message(), std::iter::repeat(size));
            assert_malformed(&stream, &format!("one byte more, records of {size}"));
        }
    }
}

mod names {
    use super::*;

    #[test]
    fn are_told_as_sent_without_the_trailing_dot() {
        let labels = [b'a'; 63];
        let longest = [&labels[..], &labels, &labels, &labels[..61]].join(&b'.');
        assert_eq!(longest.len(), 253);
        for (sent, expected) in [
            (&b"a.example"[..], &b"a.example"[..]),
            (b"A.eXaMpLe", b"A.eXaMpLe"),
            (b"a.example.", b"a.example"),
            (b"A.EXAMPLE.", b"A.EXAMPLE"),
            (b"_dmarc.a.example", b"_dmarc.a.example"),
            (b"xn--bcher-kva.example", b"xn--bcher-kva.example"),
            (b"localhost", b"localhost"),
            (b"1.2.3.4.example", b"1.2.3.4.example"),
            (&longest, &longest),
        ] {
            assert_host(&named(sent).stream(), expected, &sent.escape_ascii().to_string());
        }
    }

    #[test]
    fn that_cannot_be_are_malformed() {
        let labels = [b'a'; 63];
        let too_long = [&labels[..], &labels, &labels, &labels[..62]].join(&b'.');
        let full = [&labels[..], &labels, &labels, &labels, b""].join(&b'.');
        assert_eq!((too_long.len(), full.len()), (254, 256));
        for sent in [
            &b""[..],
            b".",
            b"a.example..",
            b".a.example",
            b"a..example",
            b"a.example\0",
            b"a.example\0.b.example",
            b"a.example%00",
            b"\xff\xfe.example",
            "\u{e4}.example".as_bytes(),
            b"*.a.example",
            b"a.example:443",
            b"a.example ",
            b"a.example\r\n",
            b"127.0.0.1",
            b"127.0.0.1.",
            b"::1",
            b"[::1]",
            b"2001:db8::1",
            &[b'a'; 64],
            &[b'a'; 256],
            &too_long,
            &full,
        ] {
            assert_malformed(&named(sent).stream(), &sent.escape_ascii().to_string());
        }
    }

    #[test]
    fn more_than_one_are_malformed() {
        let entry = |name: &[u8]| [&[0], &vector16(name)[..]].concat();
        let two = vector16(&[entry(b"a.example"), entry(b"b.example")].concat());
        assert_malformed(&Hello::with(vec![(0, two)]).stream(), "in one extension");
        let twice = vec![server_name(b"a.example"), server_name(b"b.example")];
        assert_malformed(&Hello::with(twice).stream(), "in two extensions");
        let same = vec![server_name(b"a.example"), server_name(b"a.example")];
        assert_malformed(&Hello::with(same).stream(), "the same in two extensions");
        let offers = vec![server_name(b"a.example"), alpn(&[b"h2"]), alpn(&[b"h2"])];
        assert_malformed(&Hello::with(offers).stream(), "protocols in two extensions");
    }
}

mod hostile {
    use super::*;

    #[test]
    fn lengths_in_the_name_are_malformed() {
        let name = b"a.example";
        for (data, what) in [
            (vec![], "nothing"),
            (vec![0], "half a length"),
            (vec![0, 0], "an empty list"),
            (vec![0, 1, 0], "a type and no name"),
            (vec![0, 3, 0, 0, 0], "an empty name"),
            (vector16(&[&[0, 0xff, 0xff][..], name].concat()), "a name of 0xffff"),
            (vector16(&[&[0, 0, 10][..], name].concat()), "a name one too long"),
            (vector16(&[&[0, 0, 8][..], name].concat()), "a name one too short"),
            ([&[0xff, 0xff, 0, 0, 9][..], name].concat(), "a list of 0xffff"),
            ([&[0, 11, 0, 0, 9][..], name].concat(), "a list one too short"),
            ([&[0, 13, 0, 0, 9][..], name].concat(), "a list one too long"),
            ([vector16(&[&[0, 0, 9][..], name].concat()), vec![0]].concat(), "a byte behind"),
            (vector16(&[&[1, 0, 9][..], name].concat()), "a name of another type"),
        ] {
            assert_malformed(&Hello::with(vec![(0, data)]).stream(), what);
        }
    }

    #[test]
    fn lengths_in_the_protocols_are_malformed() {
        for (data, what) in [
            (vec![], "nothing"),
            (vec![0, 0], "an empty list"),
            (vec![0, 1, 0], "an empty name"),
            (vec![0, 3, 3, b'h', b'2'], "a name one too long"),
            (vec![0, 3, 1, b'h', b'2'], "a name that is one too short"),
            (vec![0, 4, 2, b'h', b'2'], "a list one too long"),
            (vec![0, 2, 2, b'h', b'2'], "a list one too short"),
            (vec![0, 3, 2, b'h', b'2', 0], "a byte behind"),
            (vec![0xff, 0xff, 2, b'h', b'2'], "a list of 0xffff"),
        ] {
            let hello = Hello::with(vec![server_name(b"a.example"), (16, data)]);
            assert_malformed(&hello.stream(), what);
        }
    }

    #[test]
    fn lengths_in_the_body_are_malformed() {
        let sound = named(b"a.example");
        let body = sound.message()[4..].to_vec();
        for end in 0..body.len() {
            let legacy = end == 34 + 33 + 6 + 2; // up to the compressions: a hello without extensions
            let cut = record(&handshake(&body[..end]));
            if legacy {
                assert_no_host(&cut, "no extensions");
            } else {
                assert_malformed(&cut, &format!("a body of {end}"));
            }
        }
        assert_malformed(&record(&handshake(&[&body[..], &[0]].concat())), "a byte behind");
        for change in [
            |hello: &mut Hello| hello.session = vec![1; 33],
            |hello: &mut Hello| hello.ciphers = vec![],
            |hello: &mut Hello| hello.ciphers = vec![0x13, 1, 0x13],
            |hello: &mut Hello| hello.compressions = vec![],
        ] {
            let mut hello = sound.clone();
            change(&mut hello);
            assert_malformed(&hello.stream(), &format!("{hello:?}"));
        }
    }

    #[test]
    fn a_huge_message_is_malformed_at_once() {
        for length in [[0xff, 0xff, 0xff], [1, 0, 0], [0, 0x40, 0]] {
            let start = [&[1], &length[..]].concat();
            assert_malformed(&record(&[&start[..], &[0; 40]].concat()), "in one record");
            assert_malformed(&record(&start), "in a record of its own");
            let cut = &records(&start, [1, 1, 1, 1])[..];
            assert_malformed(cut, "byte by byte");
        }
    }

    #[test]
    fn other_records_within_the_message_are_malformed() {
        let message = named(b"a.example").message();
        let (start, rest) = message.split_at(20);
        for (header, what) in [
            ([0x15, 3, 1], "an alert"),
            ([0x14, 3, 3], "a change of cipher"),
            ([0x17, 3, 3], "application data"),
            ([0x16, 2, 0], "an older version"),
            ([0x16, 3, 5], "a version to come"),
        ] {
            // The rest of the hello is there, but not as a handshake.
            let stream = [record(start), header.to_vec(), vector16(rest)].concat();
            assert_malformed(&stream, what);
            check::check_stream(&Https, &stream, 0..=stream.len());
        }
        for (between, what) in [
            (vec![0x16, 3, 1, 0, 0], "an empty record"),
            (vec![0x16, 3, 1, 0x40, 1], "a record too long"),
            (b"GET /".to_vec(), "no record at all"),
        ] {
            let stream = [record(start), between, record(rest)].concat();
            assert_malformed(&stream, what);
            check::check_stream(&Https, &stream, 0..=stream.len());
        }
    }

    /// Any two bytes may be a length; whatever is done to them, no other name may come out.
    #[test]
    fn a_wrong_number_anywhere_never_makes_another_name() {
        let mut hello = named(b"a.example");
        hello.extensions().splice(0..0, [(10, vector16(&[0, 29])), alpn(&[b"h2", b"http/1.1"])]);
        let sound = hello.stream();
        let name = sound.windows(9).position(|window| window == b"a.example").unwrap();
        for at in (5..sound.len() - 1).filter(|at| !(name - 1..name + 9).contains(at)) {
            let number = u16::from_be_bytes([sound[at], sound[at + 1]]);
            for wrong in [0, 1, 0x7f, 0xff, 0x100, 0x4000, 0xffff, number ^ 1, number ^ 0x100] {
                let mut bytes = sound.clone();
                bytes[at..at + 2].copy_from_slice(&wrong.to_be_bytes());
                let answer = check::ask(&Https, &Opening::stream(&bytes), &mut Scratch::new()).told;
                let host = answer.map_or(Fact::Absent, |told| told.host);
                assert!(
                    matches!(host, Fact::Absent | Fact::NeedMore) || host == known(b"a.example"),
                    "{wrong:#06x} at {at}: {host:?}"
                );
            }
        }
    }
}
