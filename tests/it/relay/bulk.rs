//! Many bytes, both ways at once.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use ring::digest::{Context, Digest, SHA256};

use super::engine::Engine;
use super::stream::{backend, block, open, result};
use crate::harness::read_once;

on_both_engines! {
    two_gibibytes_both_ways_at_once_arrive_whole,
    both_directions_are_carried_at_once,
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

/// For each size a connection on which client and backend both send that much, and end, while they read; what each got
/// is what the other sent.
fn exchange(engine: Engine, sizes: &[usize]) {
    let (backend, at_backend) = backend(|mut stream| {
        let mut size = [0; size_of::<usize>()];
        stream.read_exact(&mut size).expect("the size");
        send_and_take(&stream, usize::from_be_bytes(size), b'b')
    });
    let proxy = engine.proxy(&backend, "");
    for &size in sizes {
        let mut client = open(&proxy);
        client.write_all(&size.to_be_bytes()).expect("room");
        let at_client = send_and_take(&client, size, b'c');
        let at_backend = result(&at_backend);
        assert!(at_client.sent.is(&at_backend.taken), "up: {size} bytes");
        assert!(at_backend.sent.is(&at_client.taken), "down: {size} bytes");
        assert_eq!(at_client.sent.size, size);
    }
    engine.carried(&proxy, sizes.len(), 2 * sizes.iter().sum::<usize>());
}

/// What one end of a connection sent and took.
struct Exchanged {
    sent: Summed,
    taken: Summed,
}

struct Summed {
    size: usize,
    hash: Digest,
}

impl Summed {
    fn is(&self, other: &Self) -> bool {
        self.size == other.size && self.hash.as_ref() == other.hash.as_ref()
    }
}

fn send_and_take(stream: &TcpStream, size: usize, by: u8) -> Exchanged {
    thread::scope(|scope| {
        let sending = scope.spawn(move || send(stream, size, by));
        let taken = take(stream);
        Exchanged { sent: sending.join().expect("a writer"), taken }
    })
}

/// Sends blocks of which no two are alike, then the end.
fn send(mut stream: &TcpStream, size: usize, by: u8) -> Summed {
    let (mut block, mut hash, mut left) = (block(), Context::new(&SHA256), size);
    block[8] = by;
    while left > 0 {
        block[..8].copy_from_slice(&left.to_be_bytes());
        let part = &block[..left.min(block.len())];
        stream.write_all(part).expect("a peer that takes all");
        hash.update(part);
        left -= part.len();
    }
    stream.shutdown(Shutdown::Write).expect("an open socket");
    Summed { size, hash: hash.finish() }
}

/// Takes all until the end.
fn take(mut stream: &TcpStream) -> Summed {
    let (mut buffer, mut hash, mut size) = (vec![0; 256 * 1024], Context::new(&SHA256), 0);
    loop {
        match read_once(&mut stream, &mut buffer).expect("an end, not a failure") {
            0 => return Summed { size, hash: hash.finish() },
            count => {
                hash.update(&buffer[..count]);
                size += count;
            }
        }
    }
}
