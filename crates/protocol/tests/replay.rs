//! The fuzz target `identify` as a plain test: what it kept, and the captured openings, damaged by a seeded generator.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in tests; this is about their helpers"
)]

#[path = "common/any_bytes.rs"]
mod any_bytes;
#[allow(dead_code, reason = "nothing is asked one by one here")]
#[path = "common/check.rs"]
mod check;
#[path = "common/edit.rs"]
mod edit;
#[path = "common/openings.rs"]
mod openings;
#[path = "common/words.rs"]
mod words;

use std::path::Path;

use refractium_protocol::BUILTIN;
use words::Words;

/// About three seconds in a debug build.
const ROUNDS: usize = 15_000;

/// What coverage-guided fuzzing kept, each for a way through the code that no other takes.
fn kept_by_the_fuzzer() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/seeds/identify");
    let files = std::fs::read_dir(folder).expect("seeds");
    let kept: Vec<_> = files
        .map(|file| std::fs::read(file.expect("a file").path()).expect("a readable seed"))
        .collect();
    assert!(kept.len() > 100, "{}", kept.len());
    kept
}

#[test]
fn what_the_fuzzer_kept_keeps_the_laws() {
    for bytes in kept_by_the_fuzzer() {
        any_bytes::check_every_protocol(&bytes);
    }
}

fn inputs() -> Vec<Vec<u8>> {
    BUILTIN.iter().flat_map(|protocol| openings::of(*protocol)).map(|one| one.bytes).collect()
}

#[test]
fn damaged_openings_keep_the_laws() {
    let inputs = inputs();
    let mut words = Words::new(3);
    for _ in 0..if inputs.is_empty() { 0 } else { ROUNDS } {
        let mut bytes = inputs[words.below(inputs.len())].clone();
        for _ in 0..words.below(4) {
            edit::edit(&mut bytes, words.next());
        }
        any_bytes::check_every_protocol(&bytes);
    }
}

#[test]
fn one_opening_behind_the_start_of_another_keeps_the_laws() {
    let inputs = inputs();
    let mut words = Words::new(4);
    for start in &inputs {
        for _ in 0..20 {
            let end = &inputs[words.below(inputs.len())];
            let kept = &start[..words.below(start.len().min(64))];
            any_bytes::check_every_protocol(&[kept, end].concat());
        }
    }
}

#[test]
fn noise_keeps_the_laws() {
    let mut words = Words::new(5);
    for length in (0..64).chain([1_000, 16_384, 40_000]) {
        let noise: Vec<_> = (0..length).map(|_| words.next().to_le_bytes()[0]).collect();
        any_bytes::check_every_protocol(&noise);
    }
}
