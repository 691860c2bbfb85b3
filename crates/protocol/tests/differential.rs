//! A second opinion on every ClientHello: where rustls finds a name, no other name may be found here.
#![cfg(feature = "https")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in tests; this is about their helpers"
)]

#[path = "common/edit.rs"]
mod edit;
#[allow(dead_code, reason = "every hello here is a captured one")]
#[path = "common/hello.rs"]
mod hello;
#[path = "common/openings.rs"]
mod openings;

use std::cell::Cell;

use hello::{ALPN, Hello, SERVER_NAME, alpn, message, records, server_name};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use refractium_protocol::{Https, Opening, RefractiumProtocol, Scratch, Verdict};
use rustls::server::Acceptor;

/// What a hello says, by one of the two readers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Said {
    /// Lower case, without a trailing dot.
    host: Option<Vec<u8>>,
    alpn: Option<Vec<Vec<u8>>>,
}

fn same_form(name: &[u8]) -> Vec<u8> {
    name.strip_suffix(b".").unwrap_or(name).to_ascii_lowercase()
}

fn refractium(stream: &[u8]) -> Said {
    let opening = Opening::stream(stream);
    if Https.identify(&opening) != Verdict::Match {
        return Said::default();
    }
    let mut scratch = Scratch::new();
    let facts = Https.facts(&opening, &mut scratch);
    Said {
        host: facts.host.known().map(same_form),
        alpn: facts.alpn.known().map(|list| list.iter().map(<[u8]>::to_vec).collect()),
    }
}

/// What rustls accepts; `None` if it refuses the hello or waits for more of it.
fn rustls(mut stream: &[u8]) -> Option<Said> {
    let mut acceptor = Acceptor::default();
    while !stream.is_empty() {
        acceptor.read_tls(&mut stream).ok()?;
        if let Some(accepted) = acceptor.accept().ok()? {
            let hello = accepted.client_hello();
            return Some(Said {
                host: hello.server_name().map(|name| same_form(name.as_bytes())),
                alpn: hello.alpn().map(|names| names.map(<[u8]>::to_vec).collect()),
            });
        }
    }
    None
}

/// How often the two had something to disagree about.
#[derive(Default)]
struct Tally {
    neither: Cell<u32>,
    both: Cell<u32>,
    only_rustls: Cell<u32>,
    only_refractium: Cell<u32>,
}

impl Tally {
    /// Where both find something, it is the same.
    fn compare(&self, stream: &[u8]) {
        let ours = refractium(stream);
        let theirs = rustls(stream).unwrap_or_default();
        let count = match (&ours.host, &theirs.host) {
            (Some(_), Some(_)) => &self.both,
            (None, Some(_)) => &self.only_rustls,
            (Some(_), None) => &self.only_refractium,
            (None, None) => &self.neither,
        };
        count.set(count.get() + 1);
        let agree = ours.host.is_none() || theirs.host.is_none() || ours.host == theirs.host;
        assert!(agree, "{ours:?}, rustls {theirs:?}: {}", stream.escape_ascii());
        let agree = ours.alpn.is_none() || theirs.alpn.is_none() || ours.alpn == theirs.alpn;
        assert!(agree, "{ours:?}, rustls {theirs:?}: {}", stream.escape_ascii());
    }

    /// A comparison that never had two names to compare proves nothing.
    fn assert_meaningful(&self, least: u32) {
        let [neither, both, theirs, ours] =
            [&self.neither, &self.both, &self.only_rustls, &self.only_refractium].map(Cell::get);
        println!("both {both}, neither {neither}, only rustls {theirs}, only refractium {ours}");
        assert!(both >= least, "only {both} hellos had two names to compare");
    }
}

fn captured() -> Vec<Vec<u8>> {
    openings::of(&Https).into_iter().map(|one| one.bytes).collect()
}

fn run<S: Strategy>(cases: u32, strategy: &S, check: impl Fn(S::Value)) {
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    TestRunner::new(config)
        .run(strategy, |value| {
            check(value);
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
}

fn sizes() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![Just(vec![1 << 14]), vec(1usize..40, 1..8), vec(1usize..700, 1..8)]
}

/// Names as a hostile or confused client may spell them.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-cA-C_.*0-9-]{0,12}".prop_map(String::into_bytes),
        "([a-c]{1,3}\\.){1,3}example\\.?".prop_map(String::into_bytes),
        "[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}\\.[0-9]{1,3}".prop_map(String::into_bytes),
        vec(any::<u8>(), 0..12),
    ]
}

/// One change to the parts of a hello, the lengths around it kept right.
#[derive(Clone, Debug)]
enum Change {
    Name(Vec<u8>),
    SecondName(Vec<u8>),
    Protocols(Vec<Vec<u8>>),
    Swap(usize, usize),
    Remove(usize),
    Double(usize),
    Damage(usize, u64),
    Kind(usize, u16),
    Unknown(u16, Vec<u8>),
}

fn change() -> impl Strategy<Value = Change> {
    use Change::{Damage, Double, Kind, Name, Protocols, Remove, SecondName, Swap, Unknown};
    let place = 0..20usize;
    prop_oneof![
        4 => name().prop_map(Name),
        1 => name().prop_map(SecondName),
        1 => vec(vec(any::<u8>(), 0..9), 0..4).prop_map(Protocols),
        2 => (place.clone(), place.clone()).prop_map(|(a, b)| Swap(a, b)),
        2 => place.clone().prop_map(Remove),
        1 => place.clone().prop_map(Double),
        2 => (place.clone(), any::<u64>()).prop_map(|(place, word)| Damage(place, word)),
        1 => (place, 0u16..60).prop_map(|(place, kind)| Kind(place, kind)),
        2 => (any::<u16>(), vec(any::<u8>(), 0..40)).prop_map(|(kind, data)| Unknown(kind, data)),
    ]
}

fn apply(hello: &mut Hello, change: Change) {
    let extensions = hello.extensions();
    let length = extensions.len().max(1);
    match change {
        Change::Name(name) => {
            extensions.retain(|(kind, _)| *kind != SERVER_NAME);
            extensions.insert(0, server_name(&name));
        }
        Change::SecondName(name) => extensions.push(server_name(&name)),
        Change::Protocols(names) => {
            extensions.retain(|(kind, _)| *kind != ALPN);
            extensions.push(alpn(&names.iter().map(Vec::as_slice).collect::<Vec<_>>()));
        }
        Change::Unknown(kind, data) => extensions.push((kind, data)),
        _ if extensions.is_empty() => {}
        Change::Swap(a, b) => extensions.swap(a % length, b % length),
        Change::Remove(place) => drop(extensions.remove(place % length)),
        Change::Double(place) => extensions.push(extensions[place % length].clone()),
        Change::Damage(place, word) => edit::edit(&mut extensions[place % length].1, word),
        Change::Kind(place, kind) => extensions[place % length].0 = kind,
    }
}

/// Where the lengths of a hello in one record are: of the record, the message, its lists and every extension.
fn lengths(stream: &[u8]) -> Vec<usize> {
    let hello = Hello::parse(stream);
    let session = 9 + 34;
    let ciphers = session + 1 + hello.session.len();
    let compressions = ciphers + 2 + hello.ciphers.len();
    let mut at = compressions + 1 + hello.compressions.len();
    let mut places = vec![3, 7, session, ciphers, compressions - 1];
    for (index, (_, data)) in hello.extensions.iter().flatten().enumerate() {
        at += if index == 0 { 2 } else { 0 };
        places.extend([at + 2, at + 4]);
        at += 4 + data.len();
    }
    places.retain(|place| place + 2 <= stream.len());
    places
}

#[test]
fn captured_hellos_say_the_same_to_both() {
    let tally = Tally::default();
    for stream in captured() {
        tally.compare(&stream);
        for size in [1, 2, 3, 4, 5, 9, 64, 100] {
            tally.compare(&records(&message(&stream), std::iter::repeat(size)));
        }
    }
    tally.assert_meaningful(300);
}

#[test]
fn damaged_hellos_never_say_another_name() {
    let (captured, tally) = (captured(), Tally::default());
    let damage = (0..captured.len(), vec(any::<u64>(), 1..5));
    run(6_000, &damage, |(place, words)| {
        let mut stream = captured[place].clone();
        words.into_iter().for_each(|word| edit::edit(&mut stream, word));
        tally.compare(&stream);
    });
    tally.assert_meaningful(300);
}

#[test]
fn wrong_lengths_never_say_another_name() {
    let (captured, tally) = (captured(), Tally::default());
    let wrong = (0..captured.len(), vec((any::<usize>(), -40i16..40), 1..4));
    run(5_000, &wrong, |(place, changes)| {
        let mut stream = captured[place].clone();
        let places = lengths(&stream);
        for (which, amount) in changes {
            edit::add(&mut stream[places[which % places.len()]..], amount);
        }
        tally.compare(&stream);
    });
    tally.assert_meaningful(50);
}

#[test]
fn rearranged_hellos_in_any_records_never_say_another_name() {
    let (captured, tally) = (captured(), Tally::default());
    let rearranged = (0..captured.len(), vec(change(), 0..4), sizes());
    run(9_000, &rearranged, |(place, changes, sizes)| {
        let mut hello = Hello::parse(&captured[place]);
        changes.into_iter().for_each(|change| apply(&mut hello, change));
        tally.compare(&records(&hello.message(), sizes.into_iter().cycle()));
    });
    tally.assert_meaningful(2_000);
}
