//! Who gets which backend, and what happens when they fail.

mod policies;
mod queue;
mod rounds;
pub(crate) mod web;

use std::collections::HashMap;
use std::io::{ErrorKind, Read};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::harness::{Backend, DEADLINE, Proxy, ask, connect_from, read_once, refusing, until};

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

/// A port whose listener's queue is full: what is sent to it is dropped, and a connect hangs.
fn swallowing() -> (socket2::Socket, SocketAddr, Vec<std::net::TcpStream>) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("a port");
    socket.listen(0).expect("a listener");
    let address = socket.local_addr().expect("an address").as_socket().expect("an IP address");
    let wait = Duration::from_millis(200);
    let queued = std::iter::from_fn(|| std::net::TcpStream::connect_timeout(&address, wait).ok());
    let queued = queued.take(16).collect::<Vec<_>>();
    assert!(queued.len() < 16, "its queue is never full");
    (socket, address, queued)
}

/// Row H2's part: a backend that swallows packets costs its first client the connect time-out, and no client an error.
#[test]
fn a_backend_that_does_not_answer_is_left_after_the_connect_time_out() {
    let good = Backend::echo("good");
    let (_socket, black_hole, _queued) = swallowing();
    let routes = routes(&[black_hole, good.address()]);
    let proxy = Proxy::start_with("connect_timeout_ms = 300", &routes, &["--debug"]);
    let start = Instant::now();
    assert_eq!(answers(&proxy, 10), HashMap::from([("good".to_owned(), 10)]));
    assert!(start.elapsed() >= Duration::from_millis(290), "{:?}", start.elapsed());
    until("it to be told", || {
        let said = proxy.stderr();
        (said.contains("timed out") && said.contains(&black_hole.to_string())).then_some(())
    });
}

/// Row H2: the first client is served soon after that time-out. Of five, because a busy machine keeps some waiting.
#[test]
fn a_backend_that_does_not_answer_costs_its_first_client_one_time_out() {
    let good = Backend::echo("good");
    let (_socket, black_hole, _queued) = swallowing();
    let routes = routes(&[black_hole, good.address()]);
    let firsts = (0..5).map(|_| {
        let proxy = Proxy::start_with("connect_timeout_ms = 300", &routes, &[]);
        let start = Instant::now();
        assert_eq!(answer(&proxy), "good");
        start.elapsed()
    });
    let quickest = firsts.min().expect("five");
    let expected = Duration::from_millis(290)..=Duration::from_millis(500);
    assert!(expected.contains(&quickest), "{quickest:?}");
}

/// All down: one connect time-out bounds the whole.
#[test]
fn with_all_backends_silent_one_time_out_bounds_the_whole() {
    let (_one, first, _queued) = swallowing();
    let (_two, second, _also_queued) = swallowing();
    let proxy = Proxy::start_with("connect_timeout_ms = 400", &routes(&[first, second]), &[]);
    assert_eq!(ask(proxy.address(), OPENING), b"", "both are set aside");
    let start = Instant::now();
    assert_eq!(ask(proxy.address(), OPENING), b"");
    // Not a time-out for each; the bound is 20 times the figure.
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
}

#[test]
fn one_address_is_limited_and_another_is_not() {
    let backend = Backend::echo("a");
    let routes = routes(&[backend.address()]);
    let proxy = Proxy::start_with("max_connections_per_ip = 2", &routes, &["--debug"]);
    let _held = [proxy.connect(), proxy.connect()];
    until_accepted(&proxy, 2);
    assert_is_reset(&proxy);
    let mut other = connect_from(Ipv4Addr::new(127, 0, 0, 2), proxy.address());
    std::io::Write::write_all(&mut other, OPENING).expect("room");
    let mut name = [0; 3];
    other.read_exact(&mut name).expect("an answer");
    assert_eq!(&name, b"a: ");
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
    until("it to be told", || {
        let said = proxy.stderr();
        (said.contains("cannot resolve") && said.contains("no-such-name.invalid:1")).then_some(())
    });
}

#[test]
fn who_comes_when_all_places_are_taken_is_refused_and_a_place_freed_is_taken() {
    let backend = Backend::echo("a");
    let proxy =
        Proxy::start_with("max_connections = 3", &routes(&[backend.address()]), &["--debug"]);
    // Who is undecided for a second would give its place.
    let held: Vec<_> = (0..3).map(|_| is_served(&proxy).expect("a place")).collect();
    assert_is_reset(&proxy);
    drop(held);
    until("a place", || is_served(&proxy));
}

/// A client that its backend has answered, if it came so far.
fn is_served(proxy: &Proxy) -> Option<TcpStream> {
    let mut client = proxy.connect();
    let sent = std::io::Write::write_all(&mut client, OPENING);
    let mut name = [0; 3];
    let answered = sent.and_then(|()| client.read_exact(&mut name));
    answered.ok().filter(|()| &name == b"a: ").map(|()| client)
}

/// Workers accept at the same time: who connects last may be accepted first.
fn until_accepted(proxy: &Proxy, count: usize) {
    let accepted = || proxy.stderr().matches(" accepted ").count();
    until("the clients to be accepted", || (accepted() >= count).then_some(()));
}

/// The reset may come before connect(2) has returned.
fn assert_is_reset(proxy: &Proxy) {
    let read = |mut client| read_once(&mut client, &mut [0]);
    let told = TcpStream::connect(proxy.address()).and_then(|client| {
        client.set_read_timeout(Some(DEADLINE))?;
        read(client)
    });
    assert_eq!(told.expect_err("a reset").kind(), ErrorKind::ConnectionReset);
}
