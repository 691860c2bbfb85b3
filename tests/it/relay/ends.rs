//! Ends are passed on as ends, one way at a time.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::stream::{OPENING, backend, open, read_blocks, result, write_blocks};
use crate::harness::{Backend, ask, connect, pause, read_once, until};

on_both_engines! {
    a_gibibyte_uploaded_and_half_closed_gets_its_answer,
    a_server_that_ends_first_still_gets_the_upload,
    a_half_closed_connection_that_is_silent_is_ended,
    a_half_closed_connection_whose_client_is_silent_is_ended,
    a_half_closed_connection_lives_while_bytes_flow,
    an_open_connection_may_be_quiet,
    connections_leave_nothing_behind,
}

/// Row T1.
fn a_gibibyte_uploaded_and_half_closed_gets_its_answer(engine: Engine) {
    const GIB: usize = 1 << 30;
    let (backend, at_backend) = backend(|mut stream| {
        let (count, end) = read_blocks(&mut stream);
        let _ = stream.write_all(format!("{count:016}").as_bytes());
        (count, end.is_ok())
    });
    let proxy = engine.proxy(&backend, "");
    let mut client = open(&proxy);
    write_blocks(&mut client, GIB).expect("an upload");
    client.shutdown(Shutdown::Write).expect("an open socket");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, format!("{GIB:016}"));
    assert_eq!(result(&at_backend), (GIB, true));
}

/// Row T2.
fn a_server_that_ends_first_still_gets_the_upload(engine: Engine) {
    const SIZE: usize = 8 << 20;
    let (backend, at_backend) = backend(|mut stream| {
        stream.write_all(b"done").expect("room");
        stream.shutdown(Shutdown::Write).expect("an open socket");
        let (count, end) = read_blocks(&mut stream);
        (count, end.is_ok())
    });
    let proxy = engine.proxy(&backend, "");
    let mut client = open(&proxy);
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the end of the server's side");
    assert_eq!(answer, "done");
    write_blocks(&mut client, SIZE).expect("an upload");
    client.shutdown(Shutdown::Write).expect("an open socket");
    assert_eq!(result(&at_backend), (SIZE, true));
}

/// Row T9, where the client ends and the backend says nothing more.
fn a_half_closed_connection_that_is_silent_is_ended(engine: Engine) {
    let over = &*Box::leak(Box::new(Barrier::new(2)));
    let (backend, at_backend) = backend(|mut stream| {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the client's end");
        over.wait();
        // Nobody is there any more.
        until("writes to fail", || stream.write(b"too late").err()).kind()
    });
    // Without keepalive no other timer is due that would have this one looked at.
    let server = "half_close_timeout_ms = 400\nkeepalive_ms = 0";
    let proxy = engine.proxy(&backend, server);
    let before = proxy.descriptors();
    let start = Instant::now();
    let mut client = open(&proxy);
    client.shutdown(Shutdown::Write).expect("an open socket");
    let error = read_once(&mut client, &mut [0; 1]).expect_err("a reset: the answer never came");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(start.elapsed() >= Duration::from_millis(390), "{:?}", start.elapsed());
    until("the sockets to be freed", || (proxy.descriptors() <= before).then_some(()));
    until("the end to be told", || proxy.stderr().contains("half-closed too long").then_some(()));
    over.wait();
    let error = result(&at_backend);
    assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error:?}");
}

/// Row T9, where the backend ends and the client says nothing more.
fn a_half_closed_connection_whose_client_is_silent_is_ended(engine: Engine) {
    let (backend, at_backend) = backend(|mut stream| {
        stream.shutdown(Shutdown::Write).expect("an open socket");
        read_once(&mut stream, &mut [0; 1]).map_err(|error| error.kind())
    });
    let proxy = engine.proxy(&backend, "half_close_timeout_ms = 400");
    let before = proxy.descriptors();
    let mut client = open(&proxy);
    assert_eq!(read_once(&mut client, &mut [0; 1]).expect("the end of the server's side"), 0);
    assert_eq!(result(&at_backend), Err(ErrorKind::ConnectionReset));
    until("the sockets to be freed", || (proxy.descriptors() <= before).then_some(()));
    until("the end to be told", || proxy.stderr().contains("half-closed too long").then_some(()));
}

/// Row T9, the other half: bytes that flow keep a half-closed connection.
fn a_half_closed_connection_lives_while_bytes_flow(engine: Engine) {
    let (backend, _at_backend) = backend(|mut stream| {
        for _ in 0..15 {
            pause(Duration::from_millis(100));
            stream.write_all(b"x").expect("an open connection");
        }
    });
    let proxy = engine.proxy(&backend, "half_close_timeout_ms = 400");
    let mut client = open(&proxy);
    client.shutdown(Shutdown::Write).expect("an open socket");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "x".repeat(15));
}

/// A connection that nobody half-closed may be as quiet as it likes.
fn an_open_connection_may_be_quiet(engine: Engine) {
    let (backend, _at_backend) = backend(|mut stream| {
        let mut one = [0; 1];
        while stream.read_exact(&mut one).is_ok() {
            stream.write_all(&one).expect("an open connection");
        }
    });
    let proxy = engine.proxy(&backend, "half_close_timeout_ms = 100\npeek_timeout_ms = 100");
    let mut client = open(&proxy);
    for _ in 0..3 {
        pause(Duration::from_millis(400));
        client.write_all(b"?").expect("an open connection");
        client.read_exact(&mut [0; 1]).expect("an answer");
    }
}

/// A thousand connections, one after the other, leave nothing behind.
fn connections_leave_nothing_behind(engine: Engine) {
    let backend = Backend::echo("ssh");
    let proxy = engine.proxy(&backend, "");
    assert_eq!(ask(proxy.address(), OPENING), [b"ssh: ", OPENING].concat());
    let before = proxy.descriptors();
    for _ in 0..1000 {
        assert_eq!(ask(proxy.address(), OPENING), [b"ssh: ", OPENING].concat());
    }
    until("the sockets to be freed", || (proxy.descriptors() <= before).then_some(()));
    drop(connect(proxy.address()));
}
