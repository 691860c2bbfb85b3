//! Datagrams of any size, alone and in batches, whole and in order.

use super::{proxy, proxy_on, told};
use crate::harness::udp::{Backend, Batch, Client, Sent, here};
use crate::harness::{DEADLINE, Proxy};
use std::net::{Ipv6Addr, UdpSocket};
use std::sync::mpsc::channel;
use std::thread;

/// Bytes that tell where they are from, so that none can be in another's place unnoticed.
fn bytes(length: usize, seed: usize) -> Vec<u8> {
    let byte = |at: usize| (at + seed).wrapping_mul(2_654_435_761).to_le_bytes()[3];
    (0..length).map(byte).collect()
}

/// Rows U7 and U8: from nothing to the most that IPv4 carries, both ways.
#[test]
fn every_size_arrives_whole_both_ways() {
    let backend = Backend::mirror();
    let proxy = proxy(&backend, "");
    let client = Client::of(proxy.address());
    let sizes = [0, 1, 511, 512, 1200, 1472, 1473, 2047, 2048, 2049, 4096, 9000, 16_384, 32_768];
    for size in sizes.into_iter().chain([65_506, 65_507, 0]) {
        let sent = bytes(size, size);
        let answer = client.ask(&sent);
        assert!(answer == sent, "{size} bytes came back as {}", answer.len());
        let recorded = backend.next().bytes;
        assert!(recorded == sent, "{size} bytes arrived as {}", recorded.len());
    }
}

/// Row U7: IPv6 carries twenty bytes more.
#[test]
fn the_largest_datagrams_of_ipv6_arrive_whole_both_ways() {
    let Ok(socket) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else {
        crate::harness::skipped("no IPv6 on loopback");
        return;
    };
    let backend = Backend::on(socket, |got, answer| answer(&got.bytes));
    let proxy = proxy_on("::1", &backend, "");
    let client = Client::of(proxy.address());
    for size in [0, 1, 65_507, 65_527] {
        let sent = bytes(size, size);
        assert!(client.ask(&sent) == sent, "{size} bytes");
        assert!(backend.next().bytes == sent, "{size} bytes");
    }
}

/// Row U8: one that says nothing may be the first, and an answer may say nothing.
#[test]
fn an_empty_datagram_is_one() {
    let backend = Backend::mirror();
    let proxy = proxy(&backend, "");
    let client = Client::of(proxy.address());
    client.send(b"");
    client.send(b"between");
    client.send(b"");
    assert_eq!([(); 3].map(|()| client.receive()), [&b""[..], b"between", b""]);
    let recorded: Vec<_> = backend.take(3).into_iter().map(|it| it.bytes).collect();
    assert_eq!(recorded, [&b""[..], b"between", b""]);
}

/// Row U9: what was sent at once and is taken at once is still many datagrams, of which the last is shorter.
#[test]
fn a_batch_keeps_its_boundaries_both_ways() {
    const SIZES: [(usize, usize); 5] = [(1200, 700), (1200, 1200), (1, 1), (500, 1), (9000, 40)];
    let (record, recorded) = channel();
    let mut backend = Batch::on(here());
    let to = backend.address();
    let serving = thread::spawn(move || {
        for (size, last) in SIZES {
            let taken = backend.take_all(count(size));
            let whole = batch(size, last, 7);
            backend.send(Sent::many(taken[0].peer, &whole, size));
            record.send(taken).expect("a test");
        }
    });
    let proxy = Proxy::start_with(&format!("fallback_udp = \"{to}\""), "", &[]);
    let mut client = Batch::on(here());
    for (size, last) in SIZES {
        let sent = batch(size, last, 1);
        client.send(Sent::many(proxy.address(), &sent, size));
        let taken = recorded.recv_timeout(DEADLINE).expect("the batch");
        let taken: Vec<_> = taken.into_iter().map(|it| it.bytes).collect();
        assert!(taken == datagrams(&sent, size), "{:?}", lengths(&taken));
        let answers = client.take_all(count(size));
        assert!(answers.iter().all(|it| it.peer == proxy.address()));
        let answers: Vec<_> = answers.into_iter().map(|it| it.bytes).collect();
        assert!(answers == datagrams(&batch(size, last, 7), size), "{:?}", lengths(&answers));
    }
    serving.join().expect("a backend");
}

/// Twenty-one datagrams, or as many as one system call takes.
fn count(size: usize) -> usize {
    (65_000 / size).min(21)
}

fn batch(size: usize, last: usize, seed: usize) -> Vec<u8> {
    bytes((count(size) - 1) * size + last, seed)
}

fn datagrams(batch: &[u8], size: usize) -> Vec<Vec<u8>> {
    batch.chunks(size).map(<[u8]>::to_vec).collect()
}

fn lengths(datagrams: &[Vec<u8>]) -> Vec<usize> {
    datagrams.iter().map(Vec::len).collect()
}

/// Sizes that follow each other as they do nowhere: runs of one size, shorter and longer ones, empty ones.
#[test]
fn sizes_in_any_order_arrive_in_that_order_both_ways() {
    const ROUNDS: usize = 40;
    let backend = Backend::mirror();
    let proxy = proxy(&backend, "");
    let client = Client::of(proxy.address());
    let sizes = [1200, 1200, 1200, 700, 700, 1200, 0, 0, 1200, 3, 1472, 1472, 1, 5000, 1200, 0];
    for round in 0..ROUNDS {
        let sent: Vec<_> = sizes.iter().zip(round..).map(|(&size, at)| bytes(size, at)).collect();
        sent.iter().for_each(|it| client.send(it));
        let answers: Vec<_> = sent.iter().map(|_| client.receive()).collect();
        assert!(answers == sent, "round {round}: {:?}", lengths(&answers));
        let recorded: Vec<_> = backend.take(sizes.len()).into_iter().map(|it| it.bytes).collect();
        assert!(recorded == sent, "round {round}: {:?}", lengths(&recorded));
    }
}

/// Row U13: what comes while the program has no time waits for it. The default buffer of a socket holds 277 of these.
#[test]
fn a_burst_waits_for_a_busy_program() {
    const BURST: usize = 5000;
    let backend = Backend::silent();
    let proxy = proxy(&backend, "workers = 1");
    let client = Client::of(proxy.address());
    client.send(b"opening");
    backend.next();
    proxy.signal("STOP");
    for at in 0..BURST {
        client.send(&at.to_be_bytes());
    }
    proxy.signal("CONT");
    let recorded = backend.take(BURST);
    let right = (0..BURST).zip(&recorded).all(|(at, got)| got.bytes == at.to_be_bytes());
    assert!(right, "all of them, in their order");
}

/// Row U13, for what a backend says all at once: a picture, say, of a camera.
#[test]
fn a_burst_of_answers_waits_for_a_busy_program() {
    const BURST: usize = 1000;
    let backend = Backend::silent();
    let proxy = proxy(&backend, "workers = 1");
    let client = Client::of(proxy.address());
    client.send(b"opening");
    let peer = backend.next().peer;
    proxy.signal("STOP");
    for at in 0..BURST {
        backend.send(peer, &at.to_be_bytes());
    }
    proxy.signal("CONT");
    for at in 0..BURST {
        assert_eq!(client.receive(), at.to_be_bytes());
    }
}

/// Row U13: what does not fit is lost, and that is told.
#[test]
fn a_burst_that_no_buffer_holds_is_told() {
    let backend = Backend::silent();
    let proxy = proxy(&backend, "workers = 1");
    let client = Client::of(proxy.address());
    client.send(b"opening");
    backend.next();
    proxy.signal("STOP");
    let datagram = vec![b'x'; 8000];
    for _ in 0..4000 {
        client.send(&datagram);
    }
    proxy.signal("CONT");
    told(&proxy, "datagrams came faster than they were read", 1);
    client.send(b"and on it goes");
    crate::harness::until("the last", || {
        backend.rest().iter().any(|it| it.bytes == b"and on it goes").then_some(())
    });
}
