//! Row U3: more senders than there are clients in the world, from one socket.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::udp::{Backend, Batch, Client, Sent};
use crate::harness::{DEADLINE, Proxy, until};

/// Sessions that there may be.
const MOST: usize = 1000;
const LIVE: usize = 100;
const THREADS: usize = 4;

/// How a flood comes.
#[derive(Clone, Copy)]
enum Pace {
    /// As fast as the program takes it: what is lost is not lost by the kernel.
    Taken,
    /// So many a second, whatever becomes of them.
    Each(Duration),
}

#[test]
fn a_flood_of_senders_leaves_live_sessions_alone() {
    flood(100_000, Pace::Taken);
}

#[test]
#[ignore = "deep: a million senders, at 100,000 a second; to be run in release"]
fn a_flood_of_a_million_senders_leaves_live_sessions_alone() {
    flood(1_000_000, Pace::Each(Duration::from_micros(10)));
}

/// Exchanges of the live clients.
#[derive(Default)]
struct Exchanges {
    made: AtomicUsize,
    lost: AtomicUsize,
    over: AtomicBool,
}

fn flood(senders: u32, pace: Pace) {
    let backend = Backend::mirror();
    let proxy = proxy_quiet(&backend);
    let before = proxy.descriptors();
    let to = (Ipv4Addr::LOCALHOST, proxy.port()).into();
    let clients: Vec<_> = (0..LIVE).map(|_| Client::of(to)).collect();
    for (at, client) in clients.iter().enumerate() {
        for round in 0..2 {
            assert_eq!(client.ask(&live(at, round)), live(at, round));
        }
    }
    let (memory, exchanges) = (proxy.memory(), Exchanges::default());
    let (mut most_sessions, mut most_memory) = (0, 0);
    thread::scope(|scope| {
        for (number, some) in clients.chunks(LIVE / THREADS).enumerate() {
            let exchanges = &exchanges;
            scope.spawn(move || go_on(some, number * (LIVE / THREADS), exchanges));
        }
        let over = Over(&exchanges.over);
        let flooding = scope.spawn(|| send(&proxy, senders, pace));
        while !flooding.is_finished() {
            most_sessions = most_sessions.max(proxy.descriptors() - before);
            most_memory = most_memory.max(proxy.memory());
            thread::park_timeout(Duration::from_millis(20));
        }
        flooding.join().expect("a flood");
        drop(over);
    });
    let [made, lost] = [&exchanges.made, &exchanges.lost].map(|it| it.load(Ordering::Relaxed));
    assert!(lost * 100 < made, "{lost} of {made} exchanges were lost");
    assert!(made >= 10 * LIVE, "{made} exchanges are too few to tell");
    // A descriptor or two are of no session.
    assert!(most_sessions <= MOST + 2, "{most_sessions} sessions");
    assert!(most_sessions >= MOST * 9 / 10, "{most_sessions} sessions: was there a flood?");
    let grown = most_memory.saturating_sub(memory);
    // A session's share is 1.5 KiB; the rest is room for batches.
    assert!(grown < 8 << 20, "{grown} bytes");
    at_backend(&backend, senders);
    let (status, ..) = proxy.terminate();
    assert!(status.success());
}

/// Without a log, which a flood would fill.
fn proxy_quiet(backend: &Backend) -> Proxy {
    let server = format!("{}workers = 1\nmax_udp_sessions = {MOST}", super::fallback(backend));
    Proxy::start_with(&server, "", &["-b", "0.0.0.0"])
}

/// What the backend got: enough of the flood to have thrown out everybody, and of each live client one session from its first datagram to its last.
fn at_backend(backend: &Backend, senders: u32) {
    let (mut flooded, mut ports) = (0_usize, BTreeMap::new());
    for got in backend.rest() {
        match got.bytes.strip_prefix(b"live") {
            Some(whose) => {
                let first = *ports.entry(whose[..8].to_vec()).or_insert_with(|| got.peer.port());
                assert_eq!(first, got.peer.port(), "a live session was ended");
            }
            None => flooded += 1,
        }
    }
    assert_eq!(ports.len(), LIVE);
    // Once all places are taken, only so many newcomers in a tick get one.
    assert!(flooded > 2 * MOST, "{flooded} of {senders} came through: was there a flood?");
}

fn live(at: usize, round: usize) -> Vec<u8> {
    [b"live", &at.to_be_bytes()[..], &round.to_be_bytes()].concat()
}

/// One exchange after another, until the flood is over.
fn go_on(clients: &[Client], first: usize, exchanges: &Exchanges) {
    for round in 2.. {
        for (at, client) in (first..).zip(clients) {
            let says = live(at, round);
            client.send(&says);
            let is_it = exchange(client, &says);
            exchanges.made.fetch_add(1, Ordering::Relaxed);
            exchanges.lost.fetch_add(usize::from(!is_it), Ordering::Relaxed);
        }
        if exchanges.over.load(Ordering::Relaxed) {
            return;
        }
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// Whether this is answered. A late answer to what was given up before is passed over.
fn exchange(client: &Client, says: &[u8]) -> bool {
    let end = Instant::now() + Duration::from_secs(2);
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        if client.receive_within(left).is_ok_and(|answer| answer == says) {
            return true;
        }
    }
    false
}

/// Sends one datagram from each of so many addresses.
fn send(proxy: &Proxy, senders: u32, pace: Pace) {
    const AT_ONCE: u32 = 256;
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port");
    let (batch, start) = (Batch::on(socket), Instant::now());
    let first = u32::from(Ipv4Addr::new(127, 16, 0, 0));
    let to = (Ipv4Addr::LOCALHOST, proxy.port()).into();
    for number in 0..senders {
        let from = Some(Ipv4Addr::from(first + number).into());
        batch.send(Sent { from, ..Sent::one(to, &number.to_be_bytes()) });
        match pace {
            Pace::Taken if number % AT_ONCE == 0 => {
                until("the flood to be taken", || (queued(proxy.port()) < 1 << 20).then_some(()));
            }
            Pace::Each(time) => while start.elapsed() < time * number {},
            Pace::Taken => {}
        }
    }
    assert!(start.elapsed() < 10 * DEADLINE);
}

/// Bytes that wait to be taken at a port, by the kernel's reckoning (proc(5): rx_queue of /proc/net/udp).
fn queued(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/net/udp").expect("a table");
    let port = format!(":{port:04X}");
    let of_port = table.lines().filter_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let queue = fields.get(4)?.split(':').nth(1)?;
        fields[1].ends_with(&port).then(|| u64::from_str_radix(queue, 16).expect("a number"))
    });
    // A table that changes while it is read may leave out a row.
    of_port.max().unwrap_or(u64::MAX)
}

/// Lets the clients end, also where the test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
