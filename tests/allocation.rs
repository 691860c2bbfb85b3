//! A decision allocates nothing, whatever the opening, wherever it is cut, in any table.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in tests; this is about their helpers"
)]

#[allow(dead_code, reason = "the protocols' tests change more of a hello")]
#[path = "../crates/protocol/tests/common/hello.rs"]
mod hello;

use std::path::Path;

use allocation_counter::measure;
use refractium::protocol::{Opening, Scratch, Transport};
use refractium::{Decision, Forward, Magic, Protocols, Routes, Table};

/// One table of each kind: no names, some names, only names, what is offered, many names.
fn tables() -> Vec<Table> {
    let plain = ["http", "https", "ssh", "ftp", "game", "dns"];
    let named =
        ["http", "https:a.example", "https:*.b.example", "https", "ssh", "ftp", "game", "dns"];
    let only_named = ["http:a.example", "http:*.example", "https:localhost", "https:*.example"];
    let many: Vec<_> = (0..10_000).map(|nth| format!("https:{nth}.example")).collect();
    let mut offers = Forward::new("https");
    offers.alpn.push("h2".into());
    let endpoint: refractium::Endpoint = "127.0.0.1:1".parse().expect("an endpoint");
    offers.to.push(endpoint.into());
    let forwards = |lefts: &[&str]| {
        let forward = |left| format!("{left}=127.0.0.1:1").parse().expect("a forward");
        lefts.iter().map(forward).collect()
    };
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    [forwards(&plain), forwards(&named), forwards(&only_named), vec![offers], forwards(&many)]
        .map(|forwards| {
            let mut protocols = Protocols::default();
            let game = Magic::new("game", &[Transport::Tcp, Transport::Udp], ["\x01GAME".into()]);
            protocols.add(game.expect("a pattern"));
            Table::new(&Routes { forwards, ..Routes::default() }, &protocols).expect("a table")
        })
        .into()
}

/// Every captured opening; whose, means nothing here.
fn openings() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/protocol/tests/openings");
    let files = |folder: &Path| {
        let entries = folder.read_dir().expect("a folder");
        entries.map(|entry| entry.expect("an entry").path()).collect::<Vec<_>>()
    };
    let folders = files(&root).into_iter().filter(|path| path.is_dir());
    let openings: Vec<_> =
        folders.flat_map(|it| files(&it)).map(|it| std::fs::read(it).expect("bytes")).collect();
    assert!(openings.len() > 100, "{}", openings.len());
    openings
}

/// Captured hellos cut into records: the header of the message over two, a name over several, all but the end in one;
/// every byte in one of its own where that is no long test.
fn hellos_over_several_records() -> Vec<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/protocol/tests/openings/https");
    let read = |name: &str| std::fs::read(root.join(name)).expect("a hello");
    let captured = ["curl-default.bin", "gnutls-tls12.bin", "chromium-post-quantum.bin"].map(read);
    let cut = |stream: &Vec<u8>| {
        let message = hello::message(stream);
        let shortest = if message.len() < 300 { 1 } else { 20 };
        let sizes = [&[shortest][..], &[2, 60], &[100, 7, 1_000], &[message.len() - 1]];
        sizes.map(|sizes| hello::records(&message, sizes.iter().copied().cycle()))
    };
    captured.iter().flat_map(cut).collect()
}

/// How often memory was asked for while `bytes`, whole and in every beginning, were decided.
fn allocations(table: &Table, bytes: &[u8], scratch: &mut Scratch) -> u64 {
    let info = measure(|| {
        for end in 0..=bytes.len() {
            for ends in [&[][..], &[end]] {
                let opening = Opening { bytes: &bytes[..end], ends, ended: false };
                std::hint::black_box(table.decide(&opening, scratch));
                std::hint::black_box(table.decide(&opening.ended(), scratch));
            }
        }
    });
    info.count_total
}

#[test]
fn a_decision_allocates_nothing() {
    let mut scratch = Box::new(Scratch::new());
    for table in tables() {
        for bytes in openings() {
            let count = allocations(&table, &bytes, &mut scratch);
            assert_eq!(count, 0, "{}", bytes.escape_ascii());
        }
    }
}

/// They are put together in the scratch, which the caller owns.
#[test]
fn a_hello_over_several_records_allocates_nothing() {
    let mut scratch = Box::new(Scratch::new());
    // The first names nothing: it reads no hello.
    for table in tables().into_iter().skip(1) {
        for bytes in hellos_over_several_records() {
            let whole = table.decide(&Opening::stream(&bytes), &mut scratch);
            assert!(!matches!(whole, Decision::NeedMore { .. }), "{}", bytes.escape_ascii());
            assert_eq!(scratch.bytes(), hello::message(&bytes), "put together");
            let count = allocations(&table, &bytes, &mut scratch);
            assert_eq!(count, 0, "{}", bytes.escape_ascii());
        }
    }
}

#[test]
fn allocations_are_seen() {
    assert!(measure(|| drop(std::hint::black_box(vec![0u8; 9]))).count_total > 0);
}
