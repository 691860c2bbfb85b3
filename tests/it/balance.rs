//! Backends taken in turn, and what happens when they fail.

use std::collections::HashMap;
use std::io::Read;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::harness::{Backend, Proxy, ask, refusing, until};

const OPENING: &[u8] = b"SSH-2.0-test\r\n";

fn routes(backends: &[SocketAddr]) -> String {
    let list: Vec<_> = backends.iter().map(|address| format!("\"{address}\"")).collect();
    format!("[[protocols]]\nname = \"ssh\"\nforward_to = [{}]\n", list.join(", "))
}

fn answer(proxy: &Proxy) -> String {
    let answer = String::from_utf8(ask(proxy.address(), OPENING)).expect("text");
    answer.split(": ").next().expect("a name").to_owned()
}

fn answers(proxy: &Proxy, count: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for _ in 0..count {
        *counts.entry(answer(proxy)).or_insert(0) += 1;
    }
    counts
}

#[test]
fn clients_are_spread_evenly() {
    let (a, b, c) = (Backend::echo("a"), Backend::echo("b"), Backend::echo("c"));
    let proxy = Proxy::start(&routes(&[a.address(), b.address(), c.address()]));
    let even = ["a", "b", "c"].map(|name| (name.to_owned(), 10));
    assert_eq!(answers(&proxy, 30), HashMap::from(even));
}

/// Row H1's part: one of three backends is refused, and no client sees an error.
#[test]
fn a_backend_that_refuses_costs_no_client_anything() {
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let proxy = Proxy::start(&routes(&[a.address(), refusing(), b.address()]));
    let counts = answers(&proxy, 40);
    assert_eq!(counts["a"] + counts["b"], 40, "{counts:?}");
    // Set aside after the first refusal: the others share evenly.
    assert!(counts["a"] >= 18 && counts["b"] >= 18, "{counts:?}");
}

#[test]
fn a_backend_that_dies_is_replaced_by_the_next() {
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let proxy = Proxy::start(&routes(&[a.address(), b.address()]));
    assert_eq!(answers(&proxy, 4), HashMap::from([("a".to_owned(), 2), ("b".to_owned(), 2)]));
    drop(a);
    assert_eq!(answers(&proxy, 10), HashMap::from([("b".to_owned(), 10)]));
}

#[test]
fn with_all_backends_down_the_client_is_closed_and_the_next_one_tries_again() {
    let proxy = Proxy::start_with("", &routes(&[refusing(), refusing()]), &["--debug"]);
    for _ in 0..3 {
        let mut rest = Vec::new();
        let start = Instant::now();
        let mut client = proxy.connect();
        std::io::Write::write_all(&mut client, OPENING).expect("room");
        client.read_to_end(&mut rest).expect("a clean close");
        assert!(rest.is_empty());
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    }
    until("three refusals", || {
        (proxy.stderr().matches("no backend takes the connection").count() == 3).then_some(())
    });
}

#[test]
fn a_host_name_is_resolved_and_one_that_cannot_be_is_only_a_warning() {
    let backend = Backend::echo("a");
    let routes = format!(
        "[[protocols]]\nname = \"ssh\"\nforward_to = [\"no-such-name.invalid:1\", \"localhost:{}\"]\n",
        backend.address().port()
    );
    let proxy = Proxy::start(&routes);
    assert_eq!(answers(&proxy, 6), HashMap::from([("a".to_owned(), 6)]));
    let said = proxy.stderr();
    assert!(said.contains("cannot resolve") && said.contains("no-such-name.invalid:1"), "{said}");
}

#[test]
fn who_comes_when_all_places_are_taken_is_refused_and_a_place_freed_is_taken() {
    let backend = Backend::echo("a");
    let proxy = Proxy::start_with("max_connections = 3", &routes(&[backend.address()]), &[]);
    let held: Vec<_> = (0..3).map(|_| proxy.connect()).collect();
    let mut refused = proxy.connect();
    let mut rest = Vec::new();
    let error = refused.read_to_end(&mut rest).expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    drop(held);
    until("a place", || {
        let mut client = proxy.connect();
        let sent = std::io::Write::write_all(&mut client, OPENING);
        let mut name = [0; 3];
        sent.and_then(|()| client.read_exact(&mut name)).ok().filter(|()| &name == b"a: ")
    });
}
