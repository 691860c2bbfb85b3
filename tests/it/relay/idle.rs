//! What a connection costs on which nothing moves.

use std::io::{Read, Write};

use super::engine::Engine;
use super::stream::{backend, open, result};
use crate::harness::{descriptors, many, until};

on_both_engines! {
    a_connection_that_rests_after_bulk_holds_two_descriptors,
}

/// Row A9. Either way of moving bytes waits in the same way.
#[test]
fn five_thousand_idle_connections_cost_little_memory() {
    let _alone = many();
    let most = 5000.min((descriptors() - 2000) / 2);
    let (backend, at_backend) = backend(|mut stream| {
        stream.write_all(b"!").expect("a client");
        stream
    });
    let proxy = Engine::Splice.proxy(&backend, "max_connections = 6000\nworkers = 2");
    let connect = |count: usize| {
        let joined = |_| {
            let mut client = open(&proxy);
            client.read_exact(&mut [0]).expect("a byte");
            (client, result(&at_backend))
        };
        (0..count).map(joined).collect::<Vec<_>>()
    };
    let _first = connect(100);
    let before = proxy.memory();
    let _idle = connect(most);
    let each = (proxy.memory() - before) / u64::try_from(most).expect("a number");
    // What a task keeps is not packed in a debug build.
    let allowed = if cfg!(debug_assertions) { 6 * 1024 } else { 4 * 1024 };
    assert!(each <= allowed, "{each} bytes for each of {most}");
}

/// Row A9, and what row T12 fears: pipes are for those who move bytes.
fn a_connection_that_rests_after_bulk_holds_two_descriptors(engine: Engine) {
    const CONNECTIONS: usize = 100;
    const SIZE: usize = 1 << 20;
    let (backend, at_backend) = backend(|mut stream| {
        stream.write_all(&vec![b'x'; SIZE]).expect("a client");
        stream
    });
    let proxy = engine.proxy(&backend, "workers = 2");
    let before = proxy.descriptors();
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = open(&proxy);
        client.read_exact(&mut vec![0; SIZE]).expect("a download");
        clients.push((client, result(&at_backend)));
    }
    // Beside those of the connections: the spare pipes of two threads.
    let most = before + 2 * CONNECTIONS + 2 * 2 * 32;
    until("the pipes to be given back", || (proxy.descriptors() <= most).then_some(()));
    let few = before + 2 * CONNECTIONS + 2 * 4;
    assert!(proxy.descriptors() <= few, "one after the other they need one pipe");
    drop(clients);
    engine.carried(&proxy, CONNECTIONS, CONNECTIONS * SIZE);
}
