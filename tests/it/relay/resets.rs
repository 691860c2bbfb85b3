//! Failures are passed on as failures.

use std::io::{ErrorKind, Read, Write};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::stream::{backend, open, read_blocks, result, write_blocks, write_until_stuck};
use crate::harness::{pause, read_once, reset, until};

on_both_engines! {
    a_reset_by_the_backend_reaches_the_client_as_a_reset,
    bytes_sent_before_a_reset_arrive_before_it,
    a_reset_by_the_client_reaches_the_backend_as_a_reset,
    a_client_that_resets_mid_download_resets_the_backend,
}

/// Row T5, with a client that reads along.
fn a_reset_by_the_backend_reaches_the_client_as_a_reset(engine: Engine) {
    const SIZE: usize = 1 << 20;
    let read = &*Box::leak(Box::new(Barrier::new(2)));
    let (backend, _at_backend) = backend(move |mut stream| {
        write_blocks(&mut stream, SIZE).expect("a download");
        read.wait();
        reset(stream);
    });
    let proxy = engine.proxy(&backend, "");
    let mut client = open(&proxy);
    let (count, _) = read_blocks(&mut (&mut client).take(SIZE as u64));
    assert_eq!(count, SIZE);
    read.wait();
    let error = read_once(&mut client, &mut [0; 1]).expect_err("a reset, not an end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Row T5, with a client that has read nothing yet: what was sent before the reset still comes first.
fn bytes_sent_before_a_reset_arrive_before_it(engine: Engine) {
    let (backend, at_backend) = backend(|mut stream| {
        let sent = write_until_stuck(&mut stream, 1 << 20);
        pause(Duration::from_millis(100)); // what is in the send buffer would die with the reset
        reset(stream);
        sent
    });
    let proxy = engine.proxy(&backend, "");
    let mut client = open(&proxy);
    let sent = result(&at_backend);
    let (count, end) = read_blocks(&mut client);
    let error = end.expect_err("a reset, not an end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(count <= sent && count + 8192 >= sent, "{count} of {sent} bytes");
    assert!(count > 100_000, "{count} bytes are no test");
}

/// Row T6.
fn a_reset_by_the_client_reaches_the_backend_as_a_reset(engine: Engine) {
    let (backend, at_backend) = backend(|mut stream| {
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest).map_err(|error| error.kind());
        (rest, end, Instant::now())
    });
    let proxy = engine.proxy(&backend, "");
    let mut client = open(&proxy);
    client.write_all(b"the last words").expect("room");
    until("the weld", || proxy.stderr().contains("welded").then_some(()));
    pause(Duration::from_millis(50)); // a reset may overtake what the proxy has not read yet
    let at = Instant::now();
    reset(client);
    let (rest, end, noticed) = result(&at_backend);
    assert_eq!(rest, b"the last words");
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    assert!(noticed - at < Duration::from_secs(2), "{:?}", noticed - at);
    until("the end to be told", || proxy.stderr().contains("reset by client").then_some(()));
}

/// Row T6 while the backend is sending.
fn a_client_that_resets_mid_download_resets_the_backend(engine: Engine) {
    let (backend, at_backend) =
        backend(|mut stream| write_blocks(&mut stream, 1 << 30).map_err(|error| error.kind()));
    let proxy = engine.proxy(&backend, "");
    let mut client = open(&proxy);
    client.read_exact(&mut vec![0; 1 << 20]).expect("a download");
    reset(client);
    let error = result(&at_backend).expect_err("a failed write");
    assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error:?}");
}
