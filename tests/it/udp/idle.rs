//! How long a session lives: as long as anything moves, either way.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use super::{magic, proxy, told};
use crate::harness::udp::{Backend, Client, Datagram};
use crate::harness::{Proxy, pause, until};

/// Row U15. Several of these pass while only one side sends.
const IDLE: Duration = Duration::from_millis(1500);
const PACE: Duration = Duration::from_millis(150);

fn with_idle() -> String {
    format!("udp_idle_timeout_ms = {}", IDLE.as_millis())
}

fn ports(datagrams: &[Datagram]) -> BTreeSet<u16> {
    datagrams.iter().map(|it| it.peer.port()).collect()
}

/// Row U15.
#[test]
fn a_client_that_is_never_answered_keeps_its_session() {
    let backend = Backend::silent();
    let proxy = proxy(&backend, &with_idle());
    let client = Client::of(proxy.address());
    let start = Instant::now();
    let mut sent = 0;
    while start.elapsed() < 3 * IDLE {
        client.send(b"?");
        sent += 1;
        pause(PACE);
    }
    assert_eq!(ports(&backend.take(sent)).len(), 1);
}

/// Row U15.
#[test]
fn a_client_that_only_listens_keeps_its_session() {
    let backend = Backend::silent();
    let proxy = proxy(&backend, &with_idle());
    let client = Client::of(proxy.address());
    client.send(b"subscribe");
    let peer = backend.next().peer;
    let start = Instant::now();
    let mut round = 0_u32;
    while start.elapsed() < 3 * IDLE {
        round += 1;
        backend.send(peer, &round.to_be_bytes());
        assert_eq!(client.receive(), round.to_be_bytes());
        pause(PACE);
    }
    client.send(b"still there");
    assert_eq!(backend.next(), Datagram { peer, bytes: b"still there".to_vec() });
}

/// Row U15: who is silent goes, and not before its time; who is not stays.
#[test]
fn a_silent_session_ends_and_leaves_nothing() {
    const SILENT: usize = 100;
    let backend = Backend::mirror();
    let proxy = proxy(&backend, &with_idle());
    let stays = Client::of(proxy.address());
    assert_eq!(stays.ask(b"first"), b"first");
    let before = proxy.descriptors();
    let start = Instant::now();
    let silent: Vec<_> = (0..SILENT).map(|_| Client::of(proxy.address())).collect();
    for client in &silent {
        assert_eq!(client.ask(b"once"), b"once");
    }
    let held = proxy.descriptors();
    if start.elapsed() < IDLE {
        assert_eq!(held, before + SILENT, "a socket for each");
    }
    until("the silent ones to go", || {
        assert_eq!(stays.ask(b"again"), b"again");
        (proxy.descriptors() <= before).then_some(())
    });
    assert!(start.elapsed() >= IDLE, "not before their time: {:?}", start.elapsed());
    assert_eq!(told(&proxy, " end=idle", SILENT).len(), SILENT);
    // They may come back.
    for client in &silent {
        assert_eq!(client.ask(b"back"), b"back");
    }
    let recorded = backend.rest();
    let of_word = |word: &[u8]| {
        ports(&recorded.iter().filter(|it| it.bytes == word).cloned().collect::<Vec<_>>())
    };
    assert_eq!(of_word(b"again").len(), 1, "one session");
    assert_eq!((of_word(b"once").len(), of_word(b"back").len()), (SILENT, SILENT));
}

/// A route's own time goes before the general one.
#[test]
fn a_route_may_have_a_time_of_its_own() {
    let [short, long] = ["short", "long"].map(Backend::echo);
    let routes = magic("short", "SHORT", "idle_timeout_ms = 300", short.address())
        + &magic("long", "LONG", "idle_timeout_ms = 3600000", long.address());
    let server = "udp_idle_timeout_ms = 3600000\nworkers = 1";
    let proxy = Proxy::start_with(server, &routes, &["--debug"]);
    let before = proxy.descriptors();
    let client = Client::of(proxy.address());
    client.reaches("long", b"LONG");
    Client::of(proxy.address()).reaches("short", b"SHORT");
    told(&proxy, " end=idle", 1);
    until("its socket to be freed", || (proxy.descriptors() == before + 1).then_some(()));
    client.reaches("long", b"LONG still");
    assert_eq!(ports(&long.take(2)).len(), 1);
    assert_eq!(short.take(1)[0].bytes, b"SHORT");
}

/// Row U15, shortened: clients come and go all the time, and nothing is left of them.
#[test]
fn clients_that_come_and_go_leave_nothing() {
    come_and_go(Duration::from_secs(4));
}

/// Row U15 in full.
#[test]
#[ignore = "deep: an hour of clients that come and go"]
fn clients_that_come_and_go_for_an_hour_leave_nothing() {
    come_and_go(Duration::from_secs(3600));
}

fn come_and_go(length: Duration) {
    const IDLE_MS: u64 = 500;
    let backend = Backend::mirror();
    let proxy = proxy(&backend, &format!("udp_idle_timeout_ms = {IDLE_MS}"));
    let stays = Client::of(proxy.address());
    assert_eq!(stays.ask(b"stays"), b"stays");
    let first = proxy.descriptors();
    let (start, mut most, mut memory) = (Instant::now(), 0, 0);
    let mut port = BTreeSet::new();
    while start.elapsed() < length {
        for _ in 0..20 {
            Client::of(proxy.address()).send(b"in passing");
        }
        assert_eq!(stays.ask(b"stays"), b"stays");
        most = most.max(proxy.descriptors());
        if start.elapsed() < length / 2 {
            memory = memory.max(proxy.memory());
        }
        let recorded = backend.rest();
        port.extend(recorded.iter().filter(|it| it.bytes == b"stays").map(|it| it.peer.port()));
        thread::park_timeout(Duration::from_millis(20));
    }
    // A thousand a second at most, and each for half a second and what the wheel takes.
    assert!(most < first + 4000, "{most} descriptors");
    assert!(proxy.memory() < memory + (2 << 20), "{} bytes, {memory} before", proxy.memory());
    assert_eq!(port.len(), 1, "who stays was never ended");
    until("all to be gone", || (proxy.descriptors() < first).then_some(()));
}
