//! What would go round in circles, and what would make us send to somebody who never asked.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

use super::{magic, proxy, proxy_on, told};
use crate::harness::udp::{Backend, Client, here};
use crate::harness::{Proxy, need_root};
use crate::relay::figure;

/// A datagram whose sender is whoever is named.
pub(super) fn forge(from: SocketAddrV4, to: SocketAddrV4, bytes: &[u8]) {
    const UDP: u8 = 17;
    let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).expect("root");
    let length = u16::try_from(8 + bytes.len()).expect("a datagram");
    let whole = (20 + length).to_be_bytes();
    let packet = [
        // RFC 791; the system fills in the checksum. That of UDP may be left out (RFC 768).
        &[0x45, 0, whole[0], whole[1], 0, 0, 0, 0, 64, UDP, 0, 0][..],
        &from.ip().octets(),
        &to.ip().octets(),
        &from.port().to_be_bytes(),
        &to.port().to_be_bytes(),
        &length.to_be_bytes(),
        &[0, 0],
        bytes,
    ];
    raw.send_to(&packet.concat(), &SocketAddr::from(to).into()).expect("room");
}

const LOOP: &str = "the sender is this port or a backend";

/// Row U6. Each answer would be the next question, for ever.
#[test]
fn a_datagram_from_our_own_port_is_dropped() {
    if !need_root() {
        return;
    }
    for (bind, senders) in [
        ("127.0.0.1", &[Ipv4Addr::LOCALHOST][..]),
        ("0.0.0.0", &[Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)]),
        ("::", &[Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)]),
    ] {
        let backend = Backend::mirror();
        let proxy = proxy_on(bind, &backend, "workers = 1");
        let to = SocketAddrV4::new(Ipv4Addr::LOCALHOST, proxy.port());
        for sender in senders {
            forge(SocketAddrV4::new(*sender, proxy.port()), to, b"forged");
        }
        told(&proxy, LOOP, senders.len());
        // What comes after it is served, and nothing goes round meanwhile.
        let client = Client::of(to.into());
        assert_eq!(client.ask(b"good"), b"good");
        let recorded: Vec<_> = backend.rest().into_iter().map(|it| it.bytes).collect();
        assert_eq!(recorded, [b"good"], "on {bind}");
    }
}

/// A forged datagram of anybody else is taken: that the forging works is not for the test above to assume.
#[test]
fn a_datagram_from_another_port_is_taken() {
    if !need_root() {
        return;
    }
    let backend = Backend::silent();
    let proxy = proxy(&backend, "");
    let client = here();
    let SocketAddr::V4(from) = client.local_addr().expect("an address") else { panic!("IPv6") };
    forge(from, SocketAddrV4::new(Ipv4Addr::LOCALHOST, proxy.port()), b"forged");
    let peer = {
        let got = backend.next();
        assert_eq!(got.bytes, b"forged");
        got.peer
    };
    backend.send(peer, b"answer");
    let mut buffer = [0; 10];
    client.set_read_timeout(Some(crate::harness::DEADLINE)).expect("an open socket");
    let (length, sender) = client.recv_from(&mut buffer).expect("an answer");
    assert_eq!((&buffer[..length], sender), (&b"answer"[..], proxy.address()));
}

/// Row U6. A backend that sends to our port of its own accord would be answered by itself, or by another.
#[test]
fn a_datagram_from_a_backends_address_is_dropped() {
    let [one, two] = ["one", "two"].map(Backend::echo);
    let routes = magic("one", "ONE", "", one.address()) + &magic("two", "TWO", "", two.address());
    let proxy = Proxy::start_with("workers = 1", &routes, &["--debug"]);
    for (at, backend) in (1..).zip([&one, &two, &one]) {
        backend.send(proxy.address(), b"ONE from a backend");
        backend.send(proxy.address(), b"TWO from a backend");
        told(&proxy, LOOP, 2 * at);
    }
    let client = Client::of(proxy.address());
    client.reaches("one", b"ONE of a client");
    assert_eq!(one.rest().len(), 1);
    assert_eq!(two.rest(), []);
}

/// Row U5: answers of 100 bytes, of which a question of 60 bytes may bring three times as much.
#[test]
fn an_unconfirmed_client_is_answered_no_more_than_the_limit() {
    const ANSWERS: u8 = 10;
    let backend = Backend::on(here(), |got, answer| {
        (0..ANSWERS).for_each(|at| answer(&[at, got.bytes[3]].repeat(50)));
    });
    let routes = magic("app", "APP", "amplification_limit = 3", backend.address());
    let proxy = Proxy::start_with("workers = 1", &routes, &["--debug"]);
    let says = |word: u8| [b"APP", &[word; 57][..]].concat();
    for round in 1..=5 {
        let client = Client::of(proxy.address());
        client.send(&says(b'1'));
        assert_eq!(client.receive(), [0, b'1'].repeat(50));
        dropped(&proxy, round * 9);
        // It has heard an answer and sends again: it is who it says.
        client.send(&says(b'2'));
        for at in 0..ANSWERS {
            assert_eq!(client.receive(), [at, b'2'].repeat(50), "nothing of the first is left");
        }
        client.send(&says(b'3'));
        for at in 0..ANSWERS {
            assert_eq!(client.receive(), [at, b'3'].repeat(50));
        }
    }
    assert_eq!(backend.rest().len(), 15);
    dropped(&proxy, 45);
}

/// Row U5, where one answer alone is too much: nothing is sent, however often it is asked.
#[test]
fn an_answer_beyond_the_limit_is_not_sent_at_all() {
    let backend = Backend::on(here(), |_, answer| answer(&[b'x'; 4000]));
    let routes = magic("app", "APP", "amplification_limit = 3", backend.address());
    let proxy = Proxy::start_with("workers = 1", &routes, &["--debug"]);
    // A victim that others name as the sender.
    let victim = Client::from(IpAddr::from([127, 0, 4, 1]), proxy.address());
    for round in 1..=10 {
        victim.send(&[b"APP", &[b'.'; 57][..]].concat());
        dropped(&proxy, round);
    }
    assert_eq!(backend.take(10).len(), 10);
    let heard = victim.receive_within(Duration::from_millis(1));
    assert!(heard.is_err(), "{heard:?}");
    // Off unless a route asks for it.
    let free = Proxy::start(&magic("app", "APP", "", backend.address()));
    assert_eq!(Client::of(free.address()).ask(b"APP").len(), 4000);
}

/// So many datagrams are told to be dropped by the limit, and no more.
fn dropped(proxy: &Proxy, count: u64) {
    let sum = || {
        let lines = super::said(proxy, "the amplification limit");
        lines.iter().map(|line| figure(line, "datagrams")).sum::<u64>()
    };
    crate::harness::until("them to be dropped", || (sum() >= count).then_some(()));
    assert_eq!(sum(), count);
}
