//! Real ways of packets: a cable that carries 1,500 bytes or fewer, devices that do less for us, and slow ones.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::process::Command;

use super::{fallback, magic, proxy_on, said, told};
use crate::harness::udp::{Backend, Batch, Client, Sent, here};
use crate::harness::{Elsewhere, Family, Proxy, ip, need, run_command, until};

fn mirror(socket: UdpSocket) -> Backend {
    Backend::on(socket, |got, answer| answer(&got.bytes))
}

fn at(ip: IpAddr) -> UdpSocket {
    UdpSocket::bind((ip, 0)).expect("a port")
}

/// A socket at the other end of the cable.
fn there(elsewhere: &Elsewhere, family: Family) -> UdpSocket {
    elsewhere.inside(|| at(elsewhere.there(family)))
}

const fn any(family: Family) -> &'static str {
    match family {
        Family::V4 => "0.0.0.0",
        Family::V6 => "::",
    }
}

/// Changes something about a device, here or there.
fn run(words: &str) {
    let mut command = Command::new(words.split(' ').next().expect("a program"));
    command.args(words.split(' ').skip(1));
    let (code, stdout, stderr) = run_command(command);
    assert_eq!(code, 0, "{words}: {stdout}{stderr}");
}

fn bytes(length: usize) -> Vec<u8> {
    (0..length).map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
}

/// Row U11: what does not fit into one packet goes in several, as it would without us.
#[test]
fn datagrams_larger_than_the_path_carries_arrive_both_ways() {
    let Some(elsewhere) = Elsewhere::new() else { return };
    for family in [Family::V4, Family::V6] {
        let backend = mirror(there(&elsewhere, family));
        let proxy = proxy_on(any(family), &backend, "");
        let to = SocketAddr::new(elsewhere.here(family), proxy.port());
        let client = Client::on(there(&elsewhere, family), to);
        let direct = Client::from(elsewhere.here(family), backend.address());
        for size in [1000, 1452, 1453, 1472, 1473, 4000, 30_000, 65_507] {
            let sent = bytes(size);
            // Without us it arrives.
            assert!(direct.ask(&sent) == sent, "{size} bytes, {family:?}, without the program");
            assert!(client.ask(&sent) == sent, "{size} bytes, {family:?}");
            let recorded = backend.take(2);
            assert!(recorded.iter().all(|it| it.bytes == sent), "{size} bytes, {family:?}");
            assert_ne!(recorded[0].peer, recorded[1].peer);
        }
    }
}

/// What a path is to do with batches: as many datagrams of this size as one system call takes, several times.
struct Load {
    size: usize,
    rounds: usize,
}

impl Load {
    fn count(&self) -> usize {
        (65_000 / self.size).min(20)
    }

    fn batch(&self, round: usize) -> Vec<u8> {
        let mut batch = bytes(self.count() * self.size);
        for (at, datagram) in batch.chunks_mut(self.size).enumerate() {
            datagram[..8].copy_from_slice(&(round * 1000 + at).to_be_bytes());
        }
        batch
    }

    /// Every datagram arrives at the backend, which sends it back, and in its order.
    fn passes(&self, mut client: Batch, to: SocketAddr, backend: &Backend) {
        for round in 0..self.rounds {
            let batch = self.batch(round);
            client.send(Sent::many(to, &batch, self.size));
            let seen = backend.take(self.count()).into_iter().flat_map(|it| it.bytes);
            assert!(seen.eq(batch.iter().copied()), "round {round}");
            let back = client.take_all(self.count()).into_iter().flat_map(|it| it.bytes);
            assert!(back.eq(batch), "round {round}");
        }
    }
}

/// Row U10: a batch whose datagrams the path does not carry is refused as a whole, and must not be lost for it.
#[test]
fn batches_of_datagrams_larger_than_the_path_carries_arrive() {
    let Some(elsewhere) = Elsewhere::new() else { return };
    let name = elsewhere.name();
    for device in
        [format!("link set {name}a mtu 1280"), format!("-n {name} link set {name}b mtu 1280")]
    {
        ip(&device).expect("a device");
    }
    let load = Load { size: 1400, rounds: 30 };
    for family in [Family::V4, Family::V6] {
        // To a backend there.
        let backend = mirror(there(&elsewhere, family));
        let proxy = proxy_on("127.0.0.1", &backend, "");
        load.passes(Batch::on(here()), proxy.address(), &backend);
        told(&proxy, "datagrams are sent one by one", 1);
    }
}

/// Row U10, towards the client.
#[test]
fn batches_of_answers_larger_than_the_path_carries_arrive() {
    let Some(elsewhere) = Elsewhere::new() else { return };
    let name = elsewhere.name();
    ip(&format!("link set {name}a mtu 1280")).expect("a device");
    ip(&format!("-n {name} link set {name}b mtu 1280")).expect("a device");
    for family in [Family::V4, Family::V6] {
        let mut backend = Batch::on(here());
        let server = format!("fallback_udp = \"{}\"", backend.address());
        let proxy = Proxy::start_with(&server, "", &["--debug", "-b", any(family)]);
        let client = Client::on(
            there(&elsewhere, family),
            SocketAddr::new(elsewhere.here(family), proxy.port()),
        );
        client.send(b"begin");
        let peer = backend.take()[0].peer;
        let load = Load { size: 1400, rounds: 30 };
        for round in 0..load.rounds {
            let batch = load.batch(round);
            backend.send(Sent::many(peer, &batch, load.size));
            for datagram in batch.chunks(load.size) {
                assert!(client.receive() == datagram, "round {round}");
            }
        }
        told(&proxy, "datagrams are sent one by one", 1);
    }
}

/// Row U10: a device that does nothing for us.
#[test]
fn batches_arrive_through_a_device_without_offloads() {
    if !need(&["ethtool"]) {
        return;
    }
    let Some(elsewhere) = Elsewhere::new() else { return };
    let name = elsewhere.name();
    for feature in ["gso", "gro", "tx-udp-segmentation", "sg", "tx"] {
        run(&format!("ethtool -K {name}a {feature} off"));
        run(&format!("ip netns exec {name} ethtool -K {name}b {feature} off"));
    }
    for family in [Family::V4, Family::V6] {
        let backend = mirror(there(&elsewhere, family));
        let proxy = proxy_on(any(family), &backend, "");
        let to = SocketAddr::new(elsewhere.here(family), proxy.port());
        let client = Batch::on(there(&elsewhere, family));
        Load { size: 1200, rounds: 30 }.passes(client, to, &backend);
    }
}

/// A path to the other end that takes 500 kbit/s, and holds what waits.
fn slow(elsewhere: &Elsewhere, holds: &str) {
    let device = elsewhere.name();
    run(&format!("tc qdisc add dev {device}a root tbf rate 500kbit burst 5kb limit {holds}"));
}

const BLOCK: [u8; 1200] = [b's'; 1200];

/// Row U22: what waits to be sent to one backend holds up nobody else.
#[test]
fn a_backend_that_is_slow_to_reach_is_nothing_to_other_sessions() {
    const MOST: usize = 100_000;
    if !need(&["tc"]) {
        return;
    }
    let Some(elsewhere) = Elsewhere::new() else { return };
    slow(&elsewhere, "100mb");
    let far = Backend::on(there(&elsewhere, Family::V4), |_, _| {});
    let near = Backend::echo("near");
    let routes = magic("far", "s", "", far.address()) + &magic("near", "n", "", near.address());
    let proxy = Proxy::start_with("workers = 1", &routes, &["--debug"]);
    let (to_far, to_near) = (Client::of(proxy.address()), Client::of(proxy.address()));
    let is_full = || !said(&proxy, "the send buffer is full").is_empty();
    let mut sent = 0;
    while !is_full() {
        for _ in 0..50 {
            to_far.send(&BLOCK);
        }
        sent += 50;
        to_near.reaches("near", format!("n {sent}").as_bytes());
        assert!(sent < MOST, "a buffer without end");
    }
    for round in 0..500 {
        to_far.send(&BLOCK);
        to_near.reaches("near", format!("n {round} when full").as_bytes());
    }
    let recorded = near.rest();
    assert_eq!(recorded.len(), sent / 50 + 500);
    assert!(recorded.iter().all(|it| it.peer == recorded[0].peer), "one session");
    // It goes on, too: what was not dropped arrives at its pace.
    let first = far.next();
    assert!(far.take(20).iter().all(|it| it.bytes == BLOCK && it.peer == first.peer));
    assert!(said(&proxy, " end=").is_empty(), "no session has ended");
}

/// The same, where it is a client whom answers reach slowly: all clients' answers leave by one socket.
#[test]
fn a_client_that_is_slow_to_reach_is_nothing_to_other_sessions() {
    if !need(&["tc"]) {
        return;
    }
    let Some(elsewhere) = Elsewhere::new() else { return };
    // As many packets as the queue of a device holds by default.
    slow(&elsewhere, "1mb");
    let backend = Backend::on(here(), |got, answer| match got.bytes.first() {
        Some(b's') => (0..200).for_each(|_| answer(&BLOCK)),
        _ => answer(&got.bytes),
    });
    let server = format!("workers = 1\n{}", fallback(&backend));
    let proxy = Proxy::start_with(&server, "", &["--debug", "-b", "0.0.0.0"]);
    let near = Client::of((Ipv4Addr::LOCALHOST, proxy.port()).into());
    let to = SocketAddr::new(elsewhere.here(Family::V4), proxy.port());
    let far = Client::on(there(&elsewhere, Family::V4), to);
    assert_eq!(near.ask(b"near"), b"near");
    for round in 0..100_u32 {
        far.send(b"s");
        assert_eq!(near.ask(&round.to_be_bytes()), round.to_be_bytes());
    }
    assert_eq!(far.receive(), BLOCK, "it gets what its path carries");
    let recorded = backend.rest();
    assert_eq!(recorded.len(), 201, "all of it came through");
    until("both sessions", || (said(&proxy, " session ").len() >= 2).then_some(()));
    assert!(said(&proxy, " end=").is_empty(), "no session has ended");
}
