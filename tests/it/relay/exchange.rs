//! Both sides of a connection send, and end, while they read; what each got is what the other sent.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::Receiver;
use std::thread;

use ring::digest::{Context, Digest, SHA256};

use super::stream::{backend, block};
use crate::harness::{Backend, read_once};

/// What both sides are to send.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) size: usize,
    /// In every block, so that no two calls are alike.
    pub(super) seed: u64,
}

/// What one side sent and took.
pub(super) struct Exchanged {
    pub(super) call: Call,
    sent: Summed,
    taken: Summed,
}

struct Summed {
    size: usize,
    hash: Digest,
}

impl Exchanged {
    pub(super) fn is_mirrored_by(&self, other: &Self) {
        let Call { size, seed } = self.call;
        assert!(self.sent.is(&other.taken), "one way: {size} bytes of {seed}");
        assert!(other.sent.is(&self.taken), "the other way: {size} bytes of {seed}");
        assert_eq!((self.sent.size, other.sent.size), (size, size));
    }
}

impl Summed {
    fn is(&self, other: &Self) -> bool {
        self.size == other.size && self.hash.as_ref() == other.hash.as_ref()
    }
}

/// A backend for [`call`]s.
pub(super) fn exchanging() -> (Backend, Receiver<Exchanged>) {
    backend(|mut stream| {
        let mut number = [0; 8];
        stream.read_exact(&mut number).expect("the size");
        let size = usize::from_be_bytes(number);
        stream.read_exact(&mut number).expect("the seed");
        send_and_take(&stream, Call { size, seed: u64::from_be_bytes(number) }, b'b')
    })
}

/// Makes a call over a connection that has said its opening.
pub(super) fn call(mut client: TcpStream, call: Call) -> Exchanged {
    announce(&mut client, call);
    send_and_take(&client, call, b'c')
}

/// The same, but it takes nothing before it has sent all: what comes meanwhile gets stuck on the way.
pub(super) fn call_slowly(mut client: TcpStream, call: Call) -> Exchanged {
    announce(&mut client, call);
    Exchanged { call, sent: send(&client, call, b'c'), taken: take(&client) }
}

fn announce(client: &mut TcpStream, call: Call) {
    client.write_all(&call.size.to_be_bytes()).expect("room");
    client.write_all(&call.seed.to_be_bytes()).expect("room");
}

fn send_and_take(stream: &TcpStream, call: Call, side: u8) -> Exchanged {
    thread::scope(|scope| {
        let sending = scope.spawn(move || send(stream, call, side));
        let taken = take(stream);
        Exchanged { call, sent: sending.join().expect("a writer"), taken }
    })
}

/// Sends blocks of which no two are alike, then the end.
fn send(mut stream: &TcpStream, Call { size, seed }: Call, side: u8) -> Summed {
    let (mut block, mut hash, mut left) = (block(), Context::new(&SHA256), size);
    block[8..16].copy_from_slice(&seed.to_be_bytes());
    block[16] = side;
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
