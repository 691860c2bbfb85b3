//! What clients of other protocols send first is not taken for a built-in one. `openings-of-others/SOURCES.md` says
//! where each opening came from.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in tests; this is about their helpers"
)]

#[allow(dead_code, reason = "nothing is asked one by one here")]
#[path = "common/check.rs"]
mod check;

use std::collections::BTreeSet;
use std::path::PathBuf;

use refractium_protocol::{BUILTIN, Opening, RefractiumProtocol, Transport, Verdict};

/// Openings that match by what they are, and why.
const RIGHTLY_TAKEN: [(&str, &str, &str); 9] = [
    ("dns", "udp/llmnr-query", "LLMNR queries are DNS queries (RFC 4795, section 2.1)"),
    ("dns", "udp/mdns-query", "a one-shot question is a DNS query (RFC 6762, section 5.1)"),
    ("dns", "udp/netbios-nmblookup", "NetBIOS queries are DNS queries (RFC 1002, section 4.2)"),
    ("dns", "udp/netbios-registration", "as DNS it is an UPDATE (RFC 1002, section 4.2.2)"),
    ("ftp", "tcp/pop3-python-user", "`USER name` is POP3 and FTP; a POP3 client waits for `+OK`"),
    ("http", "tcp/rpc-over-http", "HTTP with a method of its own (MS-RPCH)"),
    ("http", "tcp/ssdp-search", "HTTP with a method of its own, should it come over TCP"),
    ("http", "tcp/sstp-connect", "HTTP with a method of its own (MS-SSTP)"),
    ("http", "udp/ssdp-search", "the same on a stream"),
];

/// Whole openings that may still become a built-in protocol when more comes: one word, as HTTP's method is.
const UNDECIDED: [(&str, &str); 2] =
    [("http", "tcp/distcc-version"), ("http", "tcp/zookeeper-four-letters")];

struct Other {
    /// Its transport and file, such as `udp/quic-chromium`.
    name: String,
    bytes: Vec<u8>,
}

fn root() -> PathBuf {
    [env!("CARGO_MANIFEST_DIR"), "tests", "openings-of-others"].iter().collect()
}

fn others() -> Vec<Other> {
    let mut others = Vec::new();
    for transport in [Transport::Tcp, Transport::Udp] {
        let folder = root().join(transport.to_string());
        for entry in std::fs::read_dir(&folder).expect("the folder of openings") {
            let path = entry.expect("a readable folder").path();
            others.push(Other {
                name: format!("{transport}/{}", path.file_stem().unwrap().display()),
                bytes: std::fs::read(&path).expect("a readable opening"),
            });
        }
    }
    others.sort_by(|a, b| a.name.cmp(&b.name));
    others
}

fn carried_by(transport: Transport) -> impl Iterator<Item = &'static dyn RefractiumProtocol> {
    BUILTIN.iter().copied().filter(move |one| one.transports().contains(&transport))
}

fn built_in(protocol: &str) -> bool {
    BUILTIN.iter().any(|one| one.name() == protocol)
}

/// Whether the bytes, the first of them or nothing but the first of them match.
fn taken(protocol: &dyn RefractiumProtocol, bytes: &[u8]) -> bool {
    (0..=bytes.len()).any(|end| {
        let opening = Opening::stream(&bytes[..end]);
        [opening, opening.ended()].iter().any(|one| protocol.identify(one) == Verdict::Match)
    })
}

/// Every opening is shown to the protocols of both transports: a port may carry the same protocol on either.
#[test]
fn no_protocol_takes_openings_of_others() {
    let expected: BTreeSet<_> = RIGHTLY_TAKEN
        .iter()
        .filter(|(protocol, ..)| built_in(protocol))
        .map(|&(protocol, name, _)| (protocol, name.to_owned()))
        .collect();
    let mut found = BTreeSet::new();
    for Other { name, bytes } in others() {
        for &protocol in BUILTIN {
            if taken(protocol, &bytes) {
                found.insert((protocol.name(), name.clone()));
            }
        }
    }
    let wrong: Vec<_> = found.difference(&expected).collect();
    assert!(wrong.is_empty(), "taken: {wrong:?}");
    let stale: Vec<_> = expected.difference(&found).collect();
    assert!(stale.is_empty(), "in the table, but not taken: {stale:?}");
}

#[test]
fn what_follows_does_not_make_a_datagram_of_others_match() {
    let taken: BTreeSet<_> = RIGHTLY_TAKEN.iter().map(|&(_, name, _)| name).collect();
    let others = others();
    let datagrams = others.iter().filter(|one| one.name.starts_with("udp/"));
    for first in datagrams.filter(|one| !taken.contains(&*one.name)) {
        for next in &others {
            let both = [&first.bytes[..], &next.bytes].concat();
            let ends = [first.bytes.len(), both.len()];
            for protocol in carried_by(Transport::Udp) {
                let opening = Opening { bytes: &both, ends: &ends, ended: true };
                assert_eq!(protocol.identify(&opening), Verdict::NoMatch, "{}", first.name);
            }
        }
    }
}

#[test]
fn a_whole_opening_of_others_is_not_waited_on() {
    let expected: BTreeSet<_> = UNDECIDED
        .iter()
        .filter(|(protocol, _)| built_in(protocol))
        .map(|&(protocol, name)| (protocol, name.to_owned()))
        .collect();
    let mut found = BTreeSet::new();
    for Other { name, bytes } in others() {
        for protocol in carried_by(Transport::Tcp) {
            if protocol.identify(&Opening::stream(&bytes)) == Verdict::NeedMore {
                found.insert((protocol.name(), name.clone()));
            }
        }
    }
    assert_eq!(found, expected);
}

#[test]
fn verdicts_on_openings_of_others_are_final() {
    for Other { bytes, .. } in others() {
        for &protocol in BUILTIN {
            for &transport in protocol.transports() {
                match transport {
                    Transport::Tcp => check::check_stream(protocol, &bytes, 0..=bytes.len()),
                    Transport::Udp => check::check_datagrams(protocol, &bytes, &[bytes.len()]),
                }
            }
        }
    }
}

#[test]
fn every_opening_of_others_has_its_source() {
    let sources = std::fs::read_to_string(root().join("SOURCES.md")).expect("SOURCES.md");
    let told: BTreeSet<_> = sources
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once(".bin`")?.0.to_owned()))
        .collect();
    let there: BTreeSet<_> = others().into_iter().map(|other| other.name).collect();
    assert_eq!(told, there);
}
