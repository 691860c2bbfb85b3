//! Many bytes, both ways at once.

use std::io::{Read, Write};

use super::engine::Engine;
use super::exchange::{Call, call, exchanging};
use super::stream::{backend, block, open, result};

on_both_engines! {
    two_gibibytes_both_ways_at_once_arrive_whole,
    both_directions_are_carried_at_once,
    answers_that_come_one_by_one_are_bulk_if_they_are_long,
}

/// Row T3: every byte, by SHA-256 at both ends.
fn two_gibibytes_both_ways_at_once_arrive_whole(engine: Engine) {
    exchange(engine, &[1 << 30]);
}

/// The same for sizes around those of the buffers on the way.
fn both_directions_are_carried_at_once(engine: Engine) {
    let sizes = [1, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 64 << 20];
    let around: Vec<_> = sizes.into_iter().flat_map(|size| [size - 1, size, size + 1]).collect();
    exchange(engine, &around);
}

/// Each is there when it is read, and nothing more: no second read in a row is full.
fn answers_that_come_one_by_one_are_bulk_if_they_are_long(engine: Engine) {
    const ANSWER: usize = 64 << 10;
    const ANSWERS: usize = 200;
    let (backend, _at_backend) = backend(|mut stream| {
        let answer = &block()[..ANSWER];
        let mut question = [0];
        while stream.read_exact(&mut question).is_ok() {
            stream.write_all(answer).expect("a client");
        }
    });
    let proxy = engine.proxy(&backend, "");
    let (mut client, mut answer) = (open(&proxy), vec![0; ANSWER]);
    for _ in 0..ANSWERS {
        client.write_all(b"?").expect("an open connection");
        client.read_exact(&mut answer).expect("an answer");
        assert!(answer == block()[..ANSWER]);
    }
    drop(client);
    engine.carried(&proxy, 1, ANSWERS * ANSWER);
}

/// For each size a connection on which both sides send that much.
fn exchange(engine: Engine, sizes: &[usize]) {
    let (backend, at_backend) = exchanging();
    let proxy = engine.proxy(&backend, "");
    for &size in sizes {
        call(open(&proxy), Call { size, seed: 0 }).is_mirrored_by(&result(&at_backend));
    }
    engine.carried(&proxy, sizes.len(), 2 * sizes.iter().sum::<usize>());
}
