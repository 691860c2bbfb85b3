//! As many sessions as there may be: who goes, who stays, and who is not taken.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{proxy, said, told};
use crate::harness::Proxy;
use crate::harness::udp::{Backend, Client};

/// Answered, and sends again: it hears the answers, so that its address is its own.
fn confirmed(proxy: &Proxy) -> Client {
    let client = Client::of(proxy.address());
    go_on(&client);
    client
}

fn go_on(client: &Client) {
    for word in [b"one", b"two"] {
        assert_eq!(client.ask(word), word);
    }
}

fn conn(line: &str) -> &str {
    let (_, rest) = line.split_once("conn=").expect("a number");
    rest.split_whitespace().next().expect("a number")
}

/// Which session is a client's, by its number in the log.
fn session(proxy: &Proxy, client: &Client) -> String {
    let whose = format!("client={} ", client.address());
    let lines = told(proxy, &whose, 1);
    conn(&lines[0]).to_owned()
}

#[test]
fn when_full_the_oldest_that_never_confirmed_goes_first() {
    let backend = Backend::mirror();
    let proxy = proxy(&backend, "workers = 1\nmax_udp_sessions = 4");
    let before = proxy.descriptors();
    let first = confirmed(&proxy);
    let unconfirmed = [(); 2].map(|()| {
        let client = Client::of(proxy.address());
        assert_eq!(client.ask(b"once"), b"once");
        client
    });
    let last = confirmed(&proxy);
    assert_eq!(proxy.descriptors(), before + 4);
    // Two newcomers take the places of those two, in their order.
    for (at, oldest) in (1..).zip(&unconfirmed) {
        assert_eq!(Client::of(proxy.address()).ask(b"new"), b"new");
        let ended = told(&proxy, " end=evicted", at);
        assert_eq!(conn(&ended[at - 1]), session(&proxy, oldest));
        assert_eq!(proxy.descriptors(), before + 4);
    }
    go_on(&first);
    go_on(&last);
    let recorded = backend.rest();
    let confirmed = recorded.iter().filter(|it| it.bytes == b"one" || it.bytes == b"two");
    let ports: BTreeSet<_> = confirmed.map(|it| it.peer.port()).collect();
    assert_eq!(ports.len(), 2, "those two were never ended");
    assert_eq!(recorded.iter().filter(|it| it.bytes == b"new").count(), 2);
}

#[test]
fn when_full_of_confirmed_sessions_a_newcomer_is_not_taken() {
    let backend = Backend::mirror();
    let proxy = proxy(&backend, "workers = 1\nmax_udp_sessions = 3\nudp_idle_timeout_ms = 1500");
    let clients = [(); 3].map(|()| confirmed(&proxy));
    let newcomer = Client::of(proxy.address());
    newcomer.send(b"no room");
    newcomer.send(b"no room");
    told(&proxy, "too many connections", 2);
    clients.iter().for_each(go_on);
    let recorded = backend.rest();
    assert_eq!(recorded.iter().filter(|it| it.bytes == b"no room").count(), 0);
    let ports: BTreeSet<_> = recorded.iter().map(|it| it.peer.port()).collect();
    assert_eq!(ports.len(), 3, "nobody was ended for it");
    // There is room once somebody has gone.
    told(&proxy, " end=idle", 1);
    assert_eq!(newcomer.ask(b"room"), b"room");
    assert!(said(&proxy, " end=evicted").is_empty());
}

#[test]
fn one_address_may_have_so_many_sessions_and_others_have_theirs() {
    let backend = Backend::mirror();
    let proxy = proxy(&backend, "workers = 1\nmax_udp_sessions_per_ip = 2");
    let [one, other] = [[127, 0, 3, 1], [127, 0, 3, 2]].map(IpAddr::from);
    let at = |ip| Client::from(ip, proxy.address());
    let clients = [at(one), at(one), at(other), at(other)];
    clients.iter().for_each(go_on);
    let third = at(one);
    third.send(b"no room");
    told(&proxy, "too many connections from this address", 1);
    clients.iter().for_each(go_on);
    let recorded = backend.rest();
    assert_eq!(recorded.len(), 16, "two rounds of four clients");
    assert!(recorded.iter().all(|it| it.bytes != b"no room"));
}

/// The place is given back with the session.
#[test]
fn a_place_is_free_again_when_its_session_has_ended() {
    let backend = Backend::mirror();
    let server = "workers = 1\nmax_udp_sessions_per_ip = 1\nudp_idle_timeout_ms = 300";
    let proxy = proxy(&backend, server);
    for round in 1..=4 {
        go_on(&Client::of(proxy.address()));
        told(&proxy, " end=idle", round);
    }
    assert_eq!(backend.rest().len(), 8);
}
