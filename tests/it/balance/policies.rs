//! Which of several backends a client gets.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};

use super::{OPENING, answer, answers};
use crate::harness::{Backend, Proxy, connect_from, until};

/// One `ssh` route, with these backends and more keys.
fn route(to: &[String], more: &str) -> String {
    format!("[[protocols]]\nname = \"ssh\"\nforward_to = [{}]\n{more}\n", to.join(", "))
}

fn plain(backend: &Backend) -> String {
    format!("\"{}\"", backend.address())
}

fn with(backend: &Backend, more: &str) -> String {
    format!("{{ address = \"{}\", {more} }}", backend.address())
}

fn counts<const N: usize>(expected: [(&str, usize); N]) -> HashMap<String, usize> {
    expected.into_iter().map(|(name, count)| (name.to_owned(), count)).collect()
}

/// A client that stays; the name of its backend.
fn stays(mut client: TcpStream) -> (TcpStream, String) {
    client.write_all(OPENING).expect("room");
    let mut name = [0; 1];
    client.read_exact(&mut name).expect("an answer");
    (client, String::from_utf8(name.to_vec()).expect("text"))
}

#[test]
fn who_weighs_more_gets_more() {
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let proxy = Proxy::start(&route(&[with(&a, "weight = 3"), plain(&b)], ""));
    assert_eq!(answers(&proxy, 40), counts([("a", 30), ("b", 10)]));
}

#[test]
fn the_fewest_connections_win() {
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let more = "balance = \"least_connections\"";
    let proxy = Proxy::start(&route(&[plain(&a), plain(&b)], more));
    let (mut held, mut names) = (Vec::new(), Vec::new());
    for _ in 0..10 {
        let (client, name) = stays(proxy.connect());
        held.push(client);
        names.push(name);
    }
    let of = |name: &str| names.iter().filter(|it| *it == name).count();
    assert_eq!((of("a"), of("b")), (5, 5));
    // All of `a` leave: the next five go there.
    let mut nth = names.iter();
    held.retain(|_| nth.next().is_some_and(|name| name == "b"));
    until("five that are on one backend only", || {
        let (_client, name) = stays(proxy.connect());
        (name == "a").then_some(())
    });
    let next: Vec<_> = (0..4).map(|_| stays(proxy.connect())).collect();
    assert!(next.iter().all(|(_, name)| name == "a"));
}

#[test]
fn two_drawn_spread_who_stays() {
    let backends = [Backend::echo("a"), Backend::echo("b"), Backend::echo("c")];
    let to: Vec<_> = backends.iter().map(plain).collect();
    let proxy = Proxy::start(&route(&to, "balance = \"random_two\""));
    let held: Vec<_> = (0..60).map(|_| stays(proxy.connect())).collect();
    for name in ["a", "b", "c"] {
        let count = held.iter().filter(|(_, it)| it == name).count();
        assert!((17..=23).contains(&count), "{name} has {count}");
    }
}

#[test]
fn one_address_always_gets_the_same_backend_from_any_instance() {
    let backends = [Backend::echo("a"), Backend::echo("b"), Backend::echo("c")];
    let more = "balance = \"source_hash\"";
    let to: Vec<_> = backends.iter().map(plain).collect();
    let turned: Vec<_> = backends.iter().rev().map(plain).collect();
    let one = Proxy::start(&route(&to, more));
    let other = Proxy::start(&route(&turned, more));
    let mut seen = HashMap::new();
    for number in 1..=60 {
        let from = Ipv4Addr::new(127, 0, 1, number);
        let name = |proxy: &Proxy| stays(connect_from(from, proxy.address())).1;
        let first = name(&one);
        assert_eq!([name(&one), name(&other)], [first.clone(), first.clone()], "{from}");
        *seen.entry(first).or_insert(0) += 1;
    }
    assert!(seen.len() == 3 && seen.values().all(|count| *count >= 8), "{seen:?}");
}

#[test]
fn a_backup_serves_while_no_other_lives() {
    let (a, spare) = (Backend::echo("a"), Backend::echo("s"));
    let to = [with(&spare, "backup = true"), plain(&a)];
    let proxy = Proxy::start(&route(&to, ""));
    assert_eq!(answers(&proxy, 6), counts([("a", 6)]));
    drop(a);
    assert_eq!(answers(&proxy, 6), counts([("s", 6)]));
}

#[test]
fn who_comes_to_a_full_backend_waits_for_a_place() {
    let a = Backend::echo("a");
    let to = [with(&a, "max_connections = 2")];
    let proxy = Proxy::start_with("connect_timeout_ms = 20000", &route(&to, ""), &[]);
    let (first, second) = (stays(proxy.connect()), stays(proxy.connect()));
    let mut third = proxy.connect();
    third.write_all(OPENING).expect("room");
    third.set_read_timeout(Some(std::time::Duration::from_millis(300))).expect("an open socket");
    let early = third.read(&mut [0; 1]).expect_err("there is no place");
    assert_eq!(early.kind(), std::io::ErrorKind::WouldBlock);
    drop(first);
    assert_eq!(stays_on(third), "a");
    drop(second);
}

fn stays_on(mut client: TcpStream) -> String {
    client.set_read_timeout(Some(crate::harness::DEADLINE)).expect("an open socket");
    let mut name = [0; 1];
    client.read_exact(&mut name).expect("an answer");
    String::from_utf8(name.to_vec()).expect("text")
}

#[test]
fn who_waits_too_long_for_a_place_is_refused_and_the_rest_goes_on() {
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let to = [with(&a, "max_connections = 1"), with(&b, "max_connections = 1")];
    let server = "connect_timeout_ms = 200";
    let proxy = Proxy::start_with(server, &route(&to, ""), &["--debug"]);
    let held = [stays(proxy.connect()), stays(proxy.connect())];
    assert_ne!(held[0].1, held[1].1);
    assert_eq!(answer(&proxy), "");
    let told = "every backend has as many connections as it may";
    until("it to be told", || proxy.stderr().contains(told).then_some(()));
    drop(held);
    until("a place", || (!answer(&proxy).is_empty()).then_some(()));
}

#[test]
fn connections_are_counted_for_each_backend_however_many_routes_lead_to_it() {
    let a = Backend::echo("a");
    let to = [with(&a, "max_connections = 1")];
    let other = route(&to, "").replace("\"ssh\"", "\"http\"");
    let proxy = Proxy::start_with("connect_timeout_ms = 200", &(route(&to, "") + &other), &[]);
    let _held = stays(proxy.connect());
    let answer = crate::harness::ask(proxy.address(), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    assert_eq!(answer, b"");
}
