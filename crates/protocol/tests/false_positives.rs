//! Bytes that were meant for nobody match next to nothing. `cargo test --test false_positives -- --nocapture` prints
//! how many do.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in tests; this is about their helpers"
)]

#[path = "common/words.rs"]
mod words;

use std::ops::RangeInclusive;

use refractium_protocol::{BUILTIN, Opening, Transport, Verdict};
use words::Words;

const SEED: u64 = 6;
const OPENINGS: u32 = 1_000_000;

/// How much noise there is to cut openings from: at any byte, so that most are cut once.
const NOISE: usize = 4 << 20;

/// What may be believed of DNS, the only protocol here that has no magic: one datagram in 10,000.
const DATAGRAMS_TAKEN: u32 = OPENINGS / 10_000;

#[test]
fn random_datagrams_hardly_ever_match() {
    for counted in count(Transport::Udp, "random datagrams", 12..=600, random) {
        assert!(counted.matched <= DATAGRAMS_TAKEN, "{}", counted.protocol);
    }
}

/// Short, because only what ends where its last record ends can match.
#[test]
fn datagrams_of_zeros_and_small_numbers_hardly_ever_match() {
    for counted in count(Transport::Udp, "sparse datagrams", 12..=40, sparse) {
        assert!(counted.matched <= DATAGRAMS_TAKEN, "{}", counted.protocol);
    }
}

#[test]
fn random_streams_never_match() {
    for counted in count(Transport::Tcp, "random streams", 1..=600, random) {
        assert_eq!(counted.matched, 0, "{}", counted.protocol);
    }
}

#[test]
fn streams_of_zeros_and_small_numbers_never_match() {
    for counted in count(Transport::Tcp, "sparse streams", 1..=600, sparse) {
        assert_eq!(counted.matched, 0, "{}", counted.protocol);
    }
}

#[test]
fn random_printable_lines_never_match() {
    for counted in count(Transport::Tcp, "printable lines", 1..=600, printable) {
        assert_eq!(counted.matched, 0, "{}", counted.protocol);
    }
}

struct Counted {
    protocol: &'static str,
    /// Matched, at once or when nothing followed.
    matched: u32,
    /// Not told from the protocol by all these bytes, as long as more may follow.
    waiting: u32,
}

/// Asks every protocol of a transport about a million pieces of the same noise, and prints what came of it.
fn count(
    transport: Transport,
    what: &str,
    sizes: RangeInclusive<usize>,
    noise: fn(&mut Words) -> [u8; 8],
) -> Vec<Counted> {
    let mut words = Words::new(SEED);
    let noise: Vec<_> = (0..NOISE / 8).flat_map(|_| noise(&mut words)).collect();
    let asked = BUILTIN.iter().filter(|one| one.transports().contains(&transport));
    let mut counts: Vec<_> =
        asked.map(|one| (one, Counted { protocol: one.name(), matched: 0, waiting: 0 })).collect();
    for _ in 0..OPENINGS {
        let length = sizes.start() + words.below(sizes.end() - sizes.start() + 1);
        let start = words.below(NOISE - length);
        let opening = Opening::stream(&noise[start..start + length]);
        for (protocol, counted) in &mut counts {
            let mut verdict = protocol.identify(&opening);
            if verdict == Verdict::NeedMore {
                counted.waiting += 1;
                verdict = protocol.identify(&opening.ended());
            }
            counted.matched += u32::from(verdict == Verdict::Match);
        }
    }
    let mut table = format!("{OPENINGS} {what}, seed {SEED}:   matched   waiting\n");
    let counts: Vec<_> = counts.into_iter().map(|(_, counted)| counted).collect();
    for Counted { protocol, matched, waiting } in &counts {
        table += &format!("{protocol:>40}{matched:>10}{waiting:>10}\n");
    }
    println!("{table}");
    counts
}

fn random(words: &mut Words) -> [u8; 8] {
    words.next().to_le_bytes()
}

/// As binary protocols look: three bytes in four are zero, the others below eight.
fn sparse(words: &mut Words) -> [u8; 8] {
    words.next().to_le_bytes().map(|byte| if byte % 4 == 0 { byte >> 5 } else { 0 })
}

/// Every printable character alike, and CRLF about every 40.
fn printable(words: &mut Words) -> [u8; 8] {
    let mut text = words.next().to_le_bytes().map(|byte| b' ' + byte % 95);
    if words.below(5) == 0 {
        text[6..].copy_from_slice(b"\r\n");
    }
    text
}
