//! The laws of the crate over every built-in protocol and every captured opening.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in tests; this is about their helpers"
)]

#[path = "common/check.rs"]
mod check;
#[path = "common/openings.rs"]
mod openings;

use openings::Captured;
use refractium_protocol::{
    BUILTIN, Fact, Opening, RefractiumProtocol, Scratch, Transport, Verdict, define_protocol,
};

/// Every built-in protocol with its openings.
fn protocols() -> Vec<(&'static dyn RefractiumProtocol, Vec<Captured>)> {
    BUILTIN.iter().map(|&protocol| (protocol, openings::of(protocol))).collect()
}

fn carried_by(protocol: &dyn RefractiumProtocol, transport: Transport) -> bool {
    protocol.transports().contains(&transport)
}

fn datagram<'a>(bytes: &'a [u8], ends: &'a [usize]) -> Opening<'a> {
    Opening { bytes, ends, ended: false }
}

/// What a table of all the protocols decides, in their order: an earlier one that still may be is waited for.
fn first_of_all(bytes: &[u8]) -> Option<&'static str> {
    BUILTIN
        .iter()
        .filter(|protocol| carried_by(*protocol, Transport::Tcp))
        .find_map(|protocol| match protocol.identify(&Opening::stream(bytes)) {
            Verdict::Match => Some(Some(protocol.name())),
            Verdict::NeedMore => Some(None),
            Verdict::NoMatch => None,
        })
        .flatten()
}

#[test]
fn a_stream_opening_needs_more_until_it_matches_and_then_stays() {
    for (protocol, captured) in protocols() {
        for opening in captured.iter().filter(|_| carried_by(protocol, Transport::Tcp)) {
            let verdicts: Vec<_> = (0..=opening.bytes.len())
                .map(|end| protocol.identify(&Opening::stream(&opening.bytes[..end])))
                .collect();
            let pending = verdicts.iter().take_while(|&&one| one == Verdict::NeedMore).count();
            assert!(pending > 0, "{}: no byte at all decides", opening.name);
            assert!(pending < verdicts.len(), "{}: never decided", opening.name);
            for (end, &verdict) in verdicts.iter().enumerate().skip(pending) {
                assert_eq!(verdict, Verdict::Match, "{}, {end} bytes", opening.name);
            }
        }
    }
}

#[test]
fn a_datagram_matches_whatever_follows_it() {
    for (protocol, captured) in protocols() {
        for opening in captured.iter().filter(|_| carried_by(protocol, Transport::Udp)) {
            let length = opening.bytes.len();
            let one = protocol.identify(&datagram(&opening.bytes, &[length]));
            assert_eq!(one, Verdict::Match, "{}", opening.name);
            for next in captured.iter().map(|next| &next.bytes[..]).chain([&b""[..], b"\xff"]) {
                let both = [&opening.bytes, next].concat();
                let two = protocol.identify(&datagram(&both, &[length, both.len()]));
                assert_eq!(two, Verdict::Match, "{}", opening.name);
            }
        }
    }
}

#[test]
fn verdicts_and_facts_are_final_for_every_protocol_and_every_opening() {
    for (_, captured) in protocols() {
        for opening in captured {
            let bytes = &opening.bytes[..];
            for &protocol in BUILTIN {
                if carried_by(protocol, Transport::Tcp) {
                    check::check_stream(protocol, bytes, 0..=bytes.len());
                }
                if carried_by(protocol, Transport::Udp) {
                    for end in 0..bytes.len() {
                        check::check_datagrams(protocol, bytes, &[end, bytes.len()]);
                    }
                }
            }
        }
    }
}

#[test]
fn only_what_has_datagrams_counts_answers() {
    for protocol in BUILTIN {
        let counts = protocol.responses();
        assert_ne!(counts, Some(0), "{}: nothing would be answered", protocol.name());
        assert!(counts.is_none() || carried_by(*protocol, Transport::Udp), "{}", protocol.name());
    }
}

define_protocol! {
    /// A handshake of two: the second datagram tells whether the first was meant so.
    struct Handshake;
    name: "handshake",
    transports: [Udp],
    identify: |opening| {
        let mut datagrams = opening.datagrams();
        match (datagrams.next(), datagrams.next()) {
            (Some(b"hello"), None) => Verdict::NeedMore,
            (Some(b"hello"), Some(b"again")) => Verdict::Match,
            _ => Verdict::NoMatch,
        }
    },
}

define_protocol! {
    /// Breaks law 1: it refuses the first datagram and takes the second.
    struct Fickle;
    name: "fickle",
    transports: [Udp],
    identify: |opening| match opening.datagrams().last() {
        Some(b"again") => Verdict::Match,
        _ => Verdict::NoMatch,
    },
}

#[test]
fn a_protocol_may_need_several_datagrams() {
    let verdicts = |bytes: &[u8], ends: &[usize]| {
        check::check_datagrams(&Handshake, bytes, ends);
        let so_far = (1..=ends.len()).map(|count| {
            let ends = &ends[..count];
            Handshake.identify(&datagram(&bytes[..ends[count - 1]], ends))
        });
        so_far.collect::<Vec<_>>()
    };
    let (open, yes, no) = (Verdict::NeedMore, Verdict::Match, Verdict::NoMatch);
    assert_eq!(verdicts(b"helloagainmore", &[5, 10, 14]), [open, yes, yes]);
    assert_eq!(verdicts(b"helloagain", &[5, 5, 10]), [open, no, no], "an empty one is one");
    assert_eq!(verdicts(b"helloagain", &[10]), [no], "two in one are not two");
}

#[test]
#[should_panic(expected = "fickle")]
fn a_protocol_that_changes_its_mind_at_the_next_datagram_breaks_the_first_law() {
    check::check_datagrams(&Fickle, b"helloagain", &[5, 10]);
}

#[test]
fn facts_of_a_whole_opening_are_settled() {
    let mut scratch = Scratch::new();
    for (protocol, captured) in protocols() {
        for opening in captured.iter().filter(|_| protocol.host_key().is_some()) {
            let whole = Opening::stream(&opening.bytes);
            let told = check::ask(protocol, &whole, &mut scratch).told.expect("a match");
            let ended = check::ask(protocol, &whole.ended(), &mut scratch).told.expect("a match");
            assert_eq!(told, ended, "{}", opening.name);
            assert_ne!(told.host, Fact::NeedMore, "{}", opening.name);
        }
    }
}

#[test]
fn how_a_stream_is_cut_does_not_change_what_is_chosen() {
    for (protocol, captured) in protocols() {
        for opening in captured.iter().filter(|_| carried_by(protocol, Transport::Tcp)) {
            let chosen = first_of_all(&opening.bytes);
            assert_eq!(chosen, Some(protocol.name()), "{}", opening.name);
            for end in 0..opening.bytes.len() {
                let early = first_of_all(&opening.bytes[..end]);
                assert!(early.is_none() || early == chosen, "{}, {end} bytes", opening.name);
            }
        }
    }
}

/// Prints how many openings of each protocol (down) each protocol of the same transport (across) takes.
#[test]
fn an_opening_matches_its_own_protocol_and_no_other() {
    println!(
        "{:8}{}",
        "",
        BUILTIN.iter().map(|one| format!("{:>7}", one.name())).collect::<String>()
    );
    for (own, captured) in protocols() {
        let mut row = format!("{:8}", own.name());
        for &other in BUILTIN {
            let comparable = own.transports().iter().any(|&one| carried_by(other, one));
            let mut taken = 0;
            for opening in captured.iter().filter(|_| comparable) {
                let whole = Opening::stream(&opening.bytes);
                let expected =
                    if own.name() == other.name() { Verdict::Match } else { Verdict::NoMatch };
                let verdict = other.identify(&whole);
                assert_eq!(verdict, expected, "{}: {}", other.name(), opening.name);
                assert_eq!(other.identify(&whole.ended()), expected, "{}", opening.name);
                taken += usize::from(verdict == Verdict::Match);
            }
            row += &if comparable { format!("{taken:>7}") } else { format!("{:>7}", "") };
        }
        println!("{row}");
    }
}

#[cfg(all(feature = "http", feature = "https", feature = "ssh", feature = "dns", feature = "ftp"))]
#[test]
fn every_folder_of_openings_is_named_for_a_protocol() {
    for entry in std::fs::read_dir(openings::root()).expect("the folder of openings") {
        let path = entry.expect("a readable folder").path();
        let known = BUILTIN.iter().any(|protocol| path.ends_with(protocol.name()));
        assert!(known || !path.is_dir(), "{}", path.display());
    }
}
