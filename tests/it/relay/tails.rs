//! What was sent before an end arrives, however slowly it is read.

use std::io::{Read, Write};
use std::sync::Barrier;
use std::time::Duration;

use super::engine::Engine;
use super::stream::{
    backend, block, open_slow, read_blocks, result, unsent, write_blocks, write_until_stuck,
};
use crate::harness::{pause, read_once, until};

on_both_engines! {
    a_slow_reader_that_goes_on_sending_loses_no_tail,
    an_answer_that_waits_for_a_slow_client_survives_a_failed_upload,
    a_slow_reader_keeps_its_tail_when_the_half_close_time_out_fires,
}

/// Row T4: the server has closed, the client goes on sending while it slowly reads. A close with its bytes unread
/// would reset it, and most of the tail would be lost.
fn a_slow_reader_that_goes_on_sending_loses_no_tail(engine: Engine) {
    const SIZE: usize = 2 << 20;
    let (backend, at_backend) = backend(|mut stream| write_blocks(&mut stream, SIZE).is_ok());
    let proxy = engine.proxy(&backend, "");
    let mut client = open_slow(&proxy);
    assert!(result(&at_backend), "the server wrote all and closed");
    let (block, mut right, mut buffer) = (block(), 0, vec![0; 32 * 1024]);
    loop {
        // Nobody will read these; that must not cost us the answer.
        client.write_all(b"more and more").expect("an open connection");
        pause(Duration::from_millis(20));
        let count = read_once(&mut client, &mut buffer).expect("no reset");
        if count == 0 {
            break;
        }
        for (at, byte) in buffer[..count].iter().enumerate() {
            assert!(*byte == block[(right + at) % block.len()], "wrong byte after {right}");
        }
        right += count;
    }
    assert_eq!(right, SIZE);
}

/// Row T4 while the answer still waits in the proxy: the client is slow, the server has closed, and a write to it fails
/// before its bytes and its end have been read.
fn an_answer_that_waits_for_a_slow_client_survives_a_failed_upload(engine: Engine) {
    let full = &*Box::leak(Box::new(Barrier::new(2)));
    let (backend, at_backend) = backend(move |mut stream| {
        let sent = write_until_stuck(&mut stream, usize::MAX);
        full.wait();
        // A close with bytes of our own unsent would lose them here, not in the proxy.
        until("what was sent to be taken", || (unsent(&stream) == 0).then_some(()));
        sent
    });
    let proxy = engine.proxy(&backend, "");
    let mut client = open_slow(&proxy);
    full.wait();
    let mut first = 0;
    let sent = until("the server to close", || {
        // As little as it takes: the rest is to wait in the proxy.
        first += read_once(&mut client, &mut [0; 16 * 1024]).expect("a download");
        at_backend.recv_timeout(Duration::from_millis(1)).ok()
    });
    client.write_all(b"nobody reads this").expect("an open connection");
    pause(Duration::from_millis(200));
    client.write_all(b"and the proxy knows it now").expect("an open connection");
    pause(Duration::from_millis(200));
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("an end, not a reset");
    assert_eq!(first + rest.len(), sent);
}

/// Rows T4 and T9: the time-out is for a client that says nothing, not for one that still reads what it was sent.
fn a_slow_reader_keeps_its_tail_when_the_half_close_time_out_fires(engine: Engine) {
    const SIZE: usize = 2 << 20;
    let (backend, at_backend) = backend(|mut stream| write_blocks(&mut stream, SIZE).is_ok());
    let proxy = engine.proxy(&backend, "half_close_timeout_ms = 200");
    let mut client = open_slow(&proxy);
    assert!(result(&at_backend), "the server wrote all and closed");
    until("the time-out", || proxy.stderr().contains("half-closed too long").then_some(()));
    let (count, end) = read_blocks(&mut client);
    assert_eq!((count, end.is_ok()), (SIZE, true));
}
