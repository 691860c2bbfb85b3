//! Where a client's datagrams go, and that they stay together.

use std::collections::{BTreeMap, BTreeSet};

use super::{fallback, magic, told};
use crate::harness::udp::{Backend, Client, Datagram};
use crate::harness::{Proxy, until};

#[test]
fn each_protocol_goes_to_its_backend_and_the_rest_to_the_fallback() {
    let [one, two, rest] = ["one", "two", "rest"].map(Backend::echo);
    let routes =
        magic("one", r"\xa1\x00", "", one.address()) + &magic("two", "TWO/1", "", two.address());
    let proxy = Proxy::start_with(&fallback(&rest), &routes, &[]);
    let openings: [(&[u8], &str, &Backend); 7] = [
        (b"\xa1\x00 and more", "one", &one),
        (b"TWO/1", "two", &two),
        (b"\xa1\x01", "rest", &rest),
        (b"TWO/", "rest", &rest),
        // The two bytes of U+00A1 in UTF-8 are not the byte 0xa1.
        ("\u{a1}\0".as_bytes(), "rest", &rest),
        (b"", "rest", &rest),
        (b"before TWO/1", "rest", &rest),
    ];
    for (opening, name, backend) in openings {
        Client::of(proxy.address()).reaches(name, opening);
        assert_eq!(backend.next().bytes, opening);
    }
    assert_eq!([one, two, rest].map(|it| it.rest().len()), [0; 3], "nothing comes twice");
}

/// The opening decides, and nothing after it.
#[test]
fn what_follows_goes_where_the_opening_went() {
    let [one, two] = ["one", "two"].map(Backend::echo);
    let routes = magic("one", "ONE", "", one.address()) + &magic("two", "TWO", "", two.address());
    let proxy = Proxy::start(&routes);
    let client = Client::of(proxy.address());
    for bytes in [&b"ONE first"[..], b"TWO second", b"nobody's", b"", b"ONE last"] {
        client.reaches("one", bytes);
    }
    let peers: BTreeSet<_> = one.take(5).into_iter().map(|it| it.peer).collect();
    assert_eq!(peers.len(), 1, "{peers:?}");
    Client::of(proxy.address()).reaches("two", b"TWO of another");
    assert_eq!(two.take(1)[0].bytes, b"TWO of another");
    assert_eq!(two.rest(), []);
}

/// Row U17.
#[test]
fn datagrams_without_a_route_are_dropped_and_a_good_one_after_them_is_not() {
    let one = Backend::echo("one");
    let routes = magic("one", "ONE", "", one.address());
    let proxy = Proxy::start_with("workers = 1", &routes, &["--debug"]);
    for round in 1..=3 {
        let client = Client::of(proxy.address());
        client.send(b"nobody's");
        client.send(b"");
        client.send(b"ON");
        client.reaches("one", b"ONE is good");
        client.reaches("one", b"nobody's, of a session");
        let recorded: Vec<_> = one.take(2).into_iter().map(|it| it.bytes).collect();
        assert_eq!(recorded, [&b"ONE is good"[..], b"nobody's, of a session"]);
        told(&proxy, "no route after", 3 * round);
    }
    assert_eq!(one.rest(), []);
}

/// Each has its own socket towards the backend, and gets the answers to it.
#[test]
fn clients_are_kept_apart() {
    const CLIENTS: usize = 50;
    let one = Backend::echo("one");
    let proxy = Proxy::start(&magic("one", "ONE", "", one.address()));
    let clients: Vec<_> = (0..CLIENTS).map(|_| Client::of(proxy.address())).collect();
    for round in 0..3 {
        let says = |at: usize| format!("ONE {at} in round {round}").into_bytes();
        for (at, client) in clients.iter().enumerate() {
            client.send(&says(at));
        }
        for (at, client) in clients.iter().enumerate() {
            assert_eq!(client.receive(), [b"one: ", &says(at)[..]].concat());
        }
    }
    assert_eq!(ports(&one.take(3 * CLIENTS)).len(), CLIENTS);
}

/// Row U14: the second datagram is there before the first has made a session.
#[test]
fn two_datagrams_at_once_make_one_session() {
    const CLIENTS: usize = 1000;
    let one = Backend::silent();
    let routes = magic("one", "ONE", "", one.address());
    let proxy = Proxy::start_with("workers = 2", &routes, &[]);
    let send = |at: usize| {
        let client = Client::of(proxy.address());
        client.send(format!("ONE {at} first").as_bytes());
        client.send(format!("ONE {at} second").as_bytes());
        client
    };
    let _clients: Vec<_> = (0..CLIENTS).map(send).collect();
    let ports = ports(&one.take(2 * CLIENTS));
    assert_eq!(ports.len(), CLIENTS);
    for (client, said) in ports.values() {
        assert_eq!(*said, ["first", "second"], "client {client}");
    }
}

/// By the port that the backend sees: which client that is, and what it said. None may be shared.
fn ports(datagrams: &[Datagram]) -> BTreeMap<u16, (String, Vec<String>)> {
    let mut ports = BTreeMap::new();
    for datagram in datagrams {
        let text = String::from_utf8(datagram.bytes.clone()).expect("text");
        let (client, said) =
            text["ONE ".len()..].split_once(' ').expect("a number, and what it says");
        let (whose, all) =
            ports.entry(datagram.peer.port()).or_insert_with(|| (client.to_owned(), Vec::new()));
        assert_eq!(whose, client, "one port for two clients");
        all.push(said.to_owned());
    }
    let clients: BTreeSet<_> = ports.values().map(|(client, _)| client).collect();
    assert_eq!(clients.len(), ports.len(), "two ports for one client");
    ports
}

/// Row U20: the socket towards the backend is connected, so nobody else can answer.
#[test]
fn what_comes_from_another_port_than_the_backends_reaches_nobody() {
    let forger = crate::harness::udp::here();
    let one = Backend::on(crate::harness::udp::here(), move |got, answer| {
        forger.send_to(b"forged", got.peer).expect("room");
        answer(&[b"one: ", &got.bytes[..]].concat());
    });
    let proxy = Proxy::start(&magic("one", "ONE", "", one.address()));
    let clients = [(); 3].map(|()| Client::of(proxy.address()));
    for round in 0..20 {
        for client in &clients {
            client.reaches("one", format!("ONE {round}").as_bytes());
        }
    }
    until("all of it at the backend", || (one.rest().len() == 60).then_some(()));
}
