//! What a UDP backend is told: the first datagram of a session has the client in front of it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::thread;

use super::binary;
use crate::harness::udp::{Backend, Client, here, refusing};
use crate::harness::{Proxy, route, until};

const DGRAM: u8 = 2;

fn routes(to: &str, more: &str) -> String {
    format!(
        "[[protocols]]\nname = \"game\"\npatterns = \"GAME\"\ntransport = \"udp\"\n\
         proxy_protocol = \"v2\"\nforward_to = {to}\n{more}\n"
    )
}

/// Answers with what it got, without the header.
fn server() -> Backend {
    Backend::on(here(), |got, answer| answer(without_header(&got.bytes)))
}

/// A header between IPv4 ends without more has 28 bytes.
fn without_header(bytes: &[u8]) -> &[u8] {
    if bytes.starts_with(b"\r\n\r\n\0") { &bytes[28..] } else { bytes }
}

#[test]
fn the_first_datagram_of_a_session_has_the_client_in_front() {
    let backend = server();
    let proxy = Proxy::start(&routes(&format!("\"{}\"", backend.address()), ""));
    let clients: Vec<_> = (0..3).map(|_| Client::of(proxy.address())).collect();
    for client in &clients {
        // As long as may be with the header, and empty.
        for says in [&b"GAME on"[..], b"", b"more", &[b'x'; 9000]] {
            assert_eq!(client.ask(says), says);
        }
        let header = binary(DGRAM, client.address(), proxy.address(), b"");
        assert_eq!(backend.next().bytes, [&header[..], b"GAME on"].concat());
        assert_eq!(backend.next().bytes, b"");
        assert_eq!(backend.next().bytes, b"more");
        assert_eq!(backend.next().bytes, [b'x'; 9000]);
    }
}

/// Those that come before it is known where they go, and those that come together with the first.
#[test]
fn of_many_at_once_the_first_has_it() {
    let backend = Backend::silent();
    let proxy = Proxy::start(&routes(&format!("\"{}\"", backend.address()), ""));
    let client = Client::of(proxy.address());
    // All of one size: they may travel together from the second on.
    let says: Vec<_> = (0..200_u32).map(|it| format!("GAME {it:03}").into_bytes()).collect();
    says.iter().for_each(|it| client.send(it));
    let header = binary(DGRAM, client.address(), proxy.address(), b"");
    let got = backend.take(says.len());
    assert_eq!(got[0].bytes, [&header, &says[0][..]].concat());
    let rest: Vec<_> = got[1..].iter().map(|it| it.bytes.clone()).collect();
    assert_eq!(rest, says[1..]);
}

/// The backend that a session begins with refuses; the one that it goes on with is told who the client is.
#[test]
fn the_next_backend_is_told_too() {
    let backend = server();
    let dead = refusing();
    let to = format!("[\"{dead}\", {{ address = \"{}\", backup = true }}]", backend.address());
    let proxy = Proxy::start(&routes(&to, ""));
    let client = Client::of(proxy.address());
    client.send(b"GAME lost");
    // The refusal of the first is told by the time that one of the next is sent.
    let header = binary(DGRAM, client.address(), proxy.address(), b"");
    let mut round = 0;
    let first = loop {
        round += 1;
        client.send(format!("GAME {round}").as_bytes());
        if client.receive_within(std::time::Duration::from_millis(100)).is_ok() {
            break backend.next().bytes;
        }
        assert!(round < 100, "nobody answers");
    };
    assert!(first.starts_with(&header), "{}", first.escape_ascii());
    assert!(first[header.len()..].starts_with(b"GAME "), "{}", first.escape_ascii());
}

/// Row U24: 10,000 questions, 16 at a time, each a session of its own.
#[test]
fn no_session_of_ten_thousand_is_without_it() {
    const EACH: u16 = 625;
    let backend = server();
    let proxy = Proxy::start(&routes(&format!("\"{}\"", backend.address()), "responses = 1"));
    let to = proxy.address();
    let asked: HashMap<Vec<u8>, SocketAddr> = thread::scope(|scope| {
        let threads: Vec<_> =
            (0..16_u16).map(|number| scope.spawn(move || ask_many(to, number, EACH))).collect();
        threads.into_iter().flat_map(|it| it.join().expect("answers")).collect()
    });
    assert_eq!(asked.len(), 16 * usize::from(EACH));
    let mut missing = asked.clone();
    for got in backend.rest() {
        let question = without_header(&got.bytes);
        let client = asked[question];
        assert_eq!(got.bytes, [&binary(DGRAM, client, to, b""), question].concat());
        missing.remove(question);
    }
    assert!(missing.is_empty(), "{} are missing", missing.len());
}

/// Asks so many questions, each from a port of its own and until it is answered; who asked what.
fn ask_many(to: SocketAddr, number: u16, count: u16) -> Vec<(Vec<u8>, SocketAddr)> {
    (0..count)
        .map(|at| {
            let client = Client::from(Ipv4Addr::LOCALHOST.into(), to);
            let question = format!("GAME {number} {at}").into_bytes();
            assert_eq!(client.ask(&question), question);
            (question, client.address())
        })
        .collect()
}

/// A name that a datagram asks for is told with it.
#[test]
fn a_route_that_both_transports_take_tells_both() {
    let backend = server();
    let keys = "patterns = \"GAME\"\ntransport = \"both\"\nproxy_protocol = \"v2\"";
    let proxy = Proxy::start(&route("game", keys, backend.address()));
    let client = Client::of(proxy.address());
    assert_eq!(client.ask(b"GAME"), b"GAME");
    let header = binary(DGRAM, client.address(), proxy.address(), b"");
    assert_eq!(backend.next().bytes, [&header[..], b"GAME"].concat());
}

/// A backend that refused and is there again may have forgotten whom it was told of.
#[test]
fn a_backend_that_is_there_again_is_told_again() {
    let address = refusing();
    let proxy = Proxy::start(&routes(&format!("\"{address}\""), ""));
    let client = Client::of(proxy.address());
    client.send(b"GAME lost");
    until("a refusal", || {
        client.send(b"GAME lost too");
        proxy.stderr().contains("does not take").then_some(())
    });
    let socket = UdpSocket::bind(address).expect("its port");
    let backend = Backend::on(socket, |_, _| {});
    client.send(b"GAME on");
    let header = binary(DGRAM, client.address(), proxy.address(), b"");
    // This one, or one that was on its way.
    let first = backend.next().bytes;
    assert!(first.starts_with(&header), "{}", first.escape_ascii());
}
