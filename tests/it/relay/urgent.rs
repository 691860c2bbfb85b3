//! An urgent byte among bytes in bulk: splice(2) stops before it, as if nothing came, or as if that were the end.

use std::io::{Read, Write};
use std::net::Shutdown;

use socket2::SockRef;

use super::engine::Engine;
use super::stream::{backend, block, open, result};
use crate::harness::read_once;

on_both_engines! {
    an_urgent_byte_and_a_tail_arrive_though_the_end_is_there_already,
}

const SIZE: usize = 24 << 20;

/// The tail behind the last whole block, the urgent byte in it.
const TAIL: &[u8] = b"Utail";

fn an_urgent_byte_and_a_tail_arrive_though_the_end_is_there_already(engine: Engine) {
    let (backend, at_backend) = backend(|mut stream| {
        // Slower than the client: the end is there before the bytes have passed.
        let (mut received, mut buffer) = (Vec::new(), vec![0; 64 * 1024]);
        loop {
            match read_once(&mut stream, &mut buffer).expect("no reset") {
                0 => return received,
                count => received.extend_from_slice(&buffer[..count]),
            }
        }
    });
    let proxy = engine.proxy(&backend, "");
    let mut client = open(&proxy);
    let sent: Vec<_> = block().into_iter().cycle().take(SIZE).collect();
    client.write_all(&sent).expect("a way");
    SockRef::from(&client).send_out_of_band(&TAIL[..1]).expect("room");
    client.write_all(&TAIL[1..]).expect("room");
    client.shutdown(Shutdown::Write).expect("an open socket");
    let received = result(&at_backend);
    assert_eq!(received.len(), SIZE + TAIL.len());
    assert!(received.starts_with(&sent) && received.ends_with(TAIL));
    engine.carried(&proxy, 1, SIZE);
}

/// Only where splice stopped before it: a read that stopped there is followed by another at once only for protocols
/// whose clients mark bytes as urgent.
#[test]
fn an_urgent_byte_after_bulk_arrives_though_nothing_follows() {
    let engine = Engine::Splice;
    let (backend, _at_backend) = backend(|mut stream| {
        let mut all = vec![0; SIZE + 1];
        stream.read_exact(&mut all).expect("all of it");
        stream.write_all(&all[SIZE..]).expect("a client");
    });
    let proxy = engine.proxy(&backend, "");
    let mut client = open(&proxy);
    let sent: Vec<_> = block().into_iter().cycle().take(SIZE).collect();
    client.write_all(&sent).expect("a way");
    SockRef::from(&client).send_out_of_band(b"!").expect("room");
    let mut answer = [0];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"!");
    client.shutdown(Shutdown::Write).expect("an open socket");
    engine.carried(&proxy, 1, SIZE);
}
