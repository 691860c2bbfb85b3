//! As much as can be sent, one way and the other: every byte, in its place.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use ring::digest::{Context, Digest, SHA256};

use crate::harness::udp::{Batch, Sent, here};
use crate::harness::{DEADLINE, Proxy};

/// As QUIC and WireGuard send.
const SIZE: usize = 1200;
/// Datagrams for each system call.
const AT_ONCE: usize = 32;
/// Datagrams on their way: what a congestion window would allow.
const WINDOW: usize = 128;
const ALL: usize = 24 << 20;

/// What one side sends and the other has taken of it.
#[derive(Default)]
pub(super) struct Flow {
    taken: AtomicUsize,
}

impl Flow {
    /// Sends bulk with GSO, and waits while too much is on its way.
    pub(super) fn send(&self, from: &Batch, to: SocketAddr) -> Digest {
        let mut sum = Context::new(&SHA256);
        let mut block: Vec<u8> = (0..SIZE * AT_ONCE).map(|at| at.to_le_bytes()[0]).collect();
        let mut sent = 0;
        while sent * SIZE < ALL {
            for (at, datagram) in block.chunks_mut(SIZE).enumerate() {
                // No datagram is like another.
                datagram[..8].copy_from_slice(&(sent + at).to_be_bytes());
            }
            sum.update(&block);
            // It begins with little, as whoever asks the path what it carries.
            let window = WINDOW.min(AT_ONCE + sent / 2);
            self.wait((sent + AT_ONCE).saturating_sub(window));
            from.send(Sent::many(to, &block, SIZE));
            sent += AT_ONCE;
        }
        sum.finish()
    }

    /// Takes it; gives what it was and who sent it, as of the last.
    pub(super) fn take(&self, at: &mut Batch) -> (Digest, SocketAddr) {
        let (mut sum, mut peer) = (Context::new(&SHA256), at.address());
        while self.taken.load(Ordering::Acquire) * SIZE < ALL {
            for datagram in at.take() {
                assert_eq!(datagram.bytes.len(), SIZE);
                sum.update(&datagram.bytes);
                peer = datagram.peer;
                self.taken.fetch_add(1, Ordering::Release);
            }
        }
        (sum.finish(), peer)
    }

    fn wait(&self, least: usize) {
        let end = Instant::now() + DEADLINE;
        while self.taken.load(Ordering::Acquire) < least {
            assert!(Instant::now() < end, "a datagram was lost");
            thread::yield_now();
        }
    }
}

fn behind(to: SocketAddr) -> Proxy {
    Proxy::start_with(&format!("fallback_udp = \"{to}\""), "", &[])
}

fn same(sent: Digest, taken: Digest) {
    assert_eq!(sent.as_ref(), taken.as_ref(), "other bytes, or in another order");
}

#[test]
fn bulk_to_the_backend_arrives_whole_and_in_order() {
    let (mut backend, client) = (Batch::on(here()), Batch::on(here()));
    let proxy = behind(backend.address());
    let flow = Flow::default();
    thread::scope(|scope| {
        let taking = scope.spawn(|| flow.take(&mut backend));
        let sent = flow.send(&client, proxy.address());
        same(sent, taking.join().expect("a backend").0);
    });
}

#[test]
fn bulk_to_the_client_arrives_whole_and_in_order() {
    let (mut backend, mut client) = (Batch::on(here()), Batch::on(here()));
    let proxy = behind(backend.address());
    client.send(Sent::one(proxy.address(), b"begin"));
    let asking = backend.take();
    assert_eq!((asking.len(), &*asking[0].bytes), (1, &b"begin"[..]));
    let flow = Flow::default();
    thread::scope(|scope| {
        let taking = scope.spawn(|| flow.take(&mut client));
        let sent = flow.send(&backend, asking[0].peer);
        let (taken, from) = taking.join().expect("a client");
        same(sent, taken);
        assert_eq!(from, proxy.address());
    });
}

/// Both ways at once, on one session.
#[test]
fn bulk_both_ways_arrives_whole_and_in_order() {
    let (mut backend, mut client) = (Batch::on(here()), Batch::on(here()));
    let proxy = behind(backend.address());
    client.send(Sent::one(proxy.address(), b"begin"));
    let peer = backend.take()[0].peer;
    let (uploading, downloading) = (client.twin(), backend.twin());
    let (up, down) = (Flow::default(), Flow::default());
    thread::scope(|scope| {
        let at_backend = scope.spawn(|| up.take(&mut backend));
        let at_client = scope.spawn(|| down.take(&mut client));
        let upload = scope.spawn(|| up.send(&uploading, proxy.address()));
        let download = down.send(&downloading, peer);
        same(upload.join().expect("a client"), at_backend.join().expect("a backend").0);
        same(download, at_client.join().expect("a client").0);
    });
}
