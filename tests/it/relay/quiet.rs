//! Connections on which nothing moves: ended where that means that nobody is there, kept where it does not.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::stream::{OPENING, backend, open, result};
use crate::harness::{Backend, Proxy, pause, read_once, route, until};

on_both_engines! {
    a_connection_on_which_nothing_moves_is_ended,
    a_half_closed_connection_on_which_nothing_moves_is_ended,
    bytes_either_way_keep_a_connection,
    an_ssh_session_may_be_quiet,
    what_a_route_says_holds_before_the_server,
    an_ssh_session_is_ended_where_its_route_says_so,
    a_route_without_a_limit_may_be_quiet,
    without_a_limit_a_connection_may_be_quiet,
}

/// The program before a backend of a protocol that is not expected to be quiet.
fn tunnel(engine: Engine, backend: &Backend, server: &str) -> Proxy {
    tunnel_with(engine, backend, server, "")
}

/// The same, with more keys of the route.
fn tunnel_with(engine: Engine, backend: &Backend, server: &str, keys: &str) -> Proxy {
    let opening = OPENING.strip_suffix(b"\r\n").expect("a line");
    let patterns = format!("patterns = [\"{}\"]\n{keys}", String::from_utf8_lossy(opening));
    let routes = route("tunnel", &patterns, backend.address());
    Proxy::start_with(&engine.server(server), &routes, &["--debug"])
}

/// A backend that tells how its connection ended, and when.
fn listening() -> (Backend, Receiver<Ended>) {
    backend(|mut stream| {
        let end = read_once(&mut stream, &mut [0]).map_err(|error| error.kind());
        Ended { end, at: Instant::now() }
    })
}

struct Ended {
    end: Result<usize, ErrorKind>,
    at: Instant,
}

/// Row T11.
fn a_connection_on_which_nothing_moves_is_ended(engine: Engine) {
    let (backend, at_backend) = listening();
    let proxy = tunnel(engine, &backend, "idle_timeout_ms = 500");
    is_ended(&proxy, &at_backend);
}

/// A connection on which nothing moves is reset at both ends after half a second, and not before.
fn is_ended(proxy: &Proxy, at_backend: &Receiver<Ended>) {
    let before = proxy.descriptors();
    let start = Instant::now();
    let mut client = open(proxy);
    let error = read_once(&mut client, &mut [0]).expect_err("a reset: nobody ended it");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(start.elapsed() >= Duration::from_millis(490), "{:?}", start.elapsed());
    let Ended { end, at } = result(at_backend);
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    assert!(at - start >= Duration::from_millis(490), "{:?}", at - start);
    until("the end to be told", || proxy.stderr().contains("idle too long").then_some(()));
    until("the sockets to be freed", || (proxy.descriptors() <= before).then_some(()));
}

/// Row T11, where the client has ended and may wait for its answer for ever.
fn a_half_closed_connection_on_which_nothing_moves_is_ended(engine: Engine) {
    let (backend, at_backend) = backend(|mut stream| {
        stream.read_to_end(&mut Vec::new()).expect("the client's end");
        stream
    });
    let server = "idle_timeout_ms = 500\nhalf_close_timeout_ms = 0";
    let proxy = tunnel(engine, &backend, server);
    let before = proxy.descriptors();
    let start = Instant::now();
    let mut client = open(&proxy);
    client.shutdown(Shutdown::Write).expect("an open socket");
    let mut stream = result(&at_backend);
    let error = read_once(&mut client, &mut [0]).expect_err("a reset: the answer never came");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(start.elapsed() >= Duration::from_millis(490), "{:?}", start.elapsed());
    until("the end to be told", || proxy.stderr().contains("idle too long").then_some(()));
    until("the sockets to be freed", || (proxy.descriptors() <= before).then_some(()));
    until("writes to fail", || stream.write(b"too late").err());
}

/// Row T11, the other half.
fn bytes_either_way_keep_a_connection(engine: Engine) {
    let (backend, at_backend) = backend(|stream| {
        take_beats(&stream);
        send_beats(&stream);
    });
    let proxy = tunnel(engine, &backend, "idle_timeout_ms = 700");
    let client = open(&proxy);
    send_beats(&client);
    take_beats(&client);
    result(&at_backend);
}

/// Ten bytes over two seconds; the other way it is silent meanwhile.
fn send_beats(mut stream: &TcpStream) {
    for _ in 0..10 {
        stream.write_all(b"x").expect("an open connection");
        pause(Duration::from_millis(200));
    }
}

fn take_beats(mut stream: &TcpStream) {
    let mut beats = [0; 10];
    stream.read_exact(&mut beats).expect("an open connection");
    assert_eq!(&beats, b"xxxxxxxxxx");
}

/// Row T11: people leave a shell open overnight.
fn an_ssh_session_may_be_quiet(engine: Engine) {
    let backend = Backend::echo("ssh");
    let proxy = engine.proxy(&backend, "idle_timeout_ms = 200");
    is_kept(&proxy, b"ssh: ");
}

/// Row T11: a route's own time-out goes before that of the server, shorter or longer, for both transports of a route.
fn what_a_route_says_holds_before_the_server(engine: Engine) {
    let (backend, at_backend) = listening();
    let keys = "idle_timeout_ms = 500\ntransport = \"both\"";
    is_ended(&tunnel_with(engine, &backend, "", keys), &at_backend);
    let backend = Backend::echo("any");
    let longer = tunnel_with(engine, &backend, "idle_timeout_ms = 200", "idle_timeout_ms = 60000");
    is_kept(&longer, b"any: ");
}

/// Row T11: who says it of `ssh` itself means it.
fn an_ssh_session_is_ended_where_its_route_says_so(engine: Engine) {
    let (backend, at_backend) = listening();
    let routes = route("ssh", "idle_timeout_ms = 500", backend.address());
    is_ended(&Proxy::start_with(&engine.server(""), &routes, &["--debug"]), &at_backend);
}

fn a_route_without_a_limit_may_be_quiet(engine: Engine) {
    let backend = Backend::echo("any");
    let server = "idle_timeout_ms = 200";
    is_kept(&tunnel_with(engine, &backend, server, "idle_timeout_ms = 0"), b"any: ");
}

fn without_a_limit_a_connection_may_be_quiet(engine: Engine) {
    let backend = Backend::echo("any");
    let server = "idle_timeout_ms = 0\nwrite_stall_timeout_ms = 0\nkeepalive_ms = 0";
    is_kept(&tunnel(engine, &backend, server), b"any: ");
}

/// A connection to an echo that is silent for a second is there afterwards.
fn is_kept(proxy: &Proxy, greeting: &[u8]) {
    let mut client = open(proxy);
    let mut answer = vec![0; greeting.len() + OPENING.len()];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, [greeting, OPENING].concat());
    pause(Duration::from_secs(1));
    client.write_all(b"still here?").expect("an open connection");
    let mut answer = [0; 11];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"still here?");
}
