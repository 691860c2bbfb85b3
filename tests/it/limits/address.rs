//! Limits of one address: how many, and how fast.

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::{Fate, Over, SSH, call, open, served};
use crate::harness::{Backend, Elsewhere, Proxy, ip, pause, reset, route, until};

pub(super) fn loopback(last: u8) -> Option<IpAddr> {
    Some(Ipv4Addr::new(127, 0, 0, last).into())
}

/// Row A7. A second's worth may come at once, and then as many in each second.
#[test]
fn who_comes_too_fast_is_held_to_the_rate_and_others_are_served() {
    const RATE: u32 = 50;
    let backend = Backend::echo("ssh");
    let routes = route("ssh", "", backend.address());
    let server = format!("max_connection_rate_per_ip = {RATE}");
    let proxy = Proxy::start_with(&server, &routes, &[]);
    let to = proxy.address();
    let is_over = AtomicBool::new(false);
    let calls = thread::scope(|scope| {
        let other = scope.spawn(|| {
            while !is_over.load(Ordering::Relaxed) {
                assert!(call(loopback(3), to).is_served(), "it comes slowly");
                pause(Duration::from_millis(40));
            }
        });
        let over = Over(&is_over);
        let calls = Calls::of(loopback(2), to, Duration::from_secs(4));
        drop(over);
        other.join().expect("all of them served");
        calls
    });
    println!("{calls:?}");
    let allowed = f64::from(RATE) * (calls.took.as_secs_f64() + 1.0);
    assert!(f64::from(calls.served) <= allowed + 1.0, "{allowed} may be");
    assert!(calls.refused > 0, "it came no faster than it may");
    let due = f64::from(RATE) * (calls.last_refusal.as_secs_f64() + 1.0 - calls.idle.as_secs_f64());
    assert!(f64::from(calls.served) >= due - 1.0, "{due} are due");
}

/// What became of one that calls without a pause.
#[derive(Debug)]
struct Calls {
    served: u32,
    refused: u32,
    took: Duration,
    /// From the first call to the last that was refused.
    last_refusal: Duration,
    /// For how long at most it came more slowly than it might, of which it gets nothing back: until it is refused first, and
    /// whatever is more than a second from one refusal to the next. On a machine that is busy that may be much.
    idle: Duration,
}

impl Calls {
    fn of(from: Option<IpAddr>, to: SocketAddr, length: Duration) -> Self {
        // What one call is worth may come on top.
        const AHEAD: Duration = Duration::from_millis(980);
        let start = Instant::now();
        let mut calls = Self {
            served: 0,
            refused: 0,
            took: Duration::ZERO,
            last_refusal: Duration::ZERO,
            idle: Duration::ZERO,
        };
        while calls.took < length {
            let before = start.elapsed();
            let fate = call(from, to);
            calls.took = start.elapsed();
            match fate {
                Fate::Served(_) => calls.served += 1,
                Fate::Reset => {
                    let since = calls.took - calls.last_refusal;
                    let first = calls.refused == 0;
                    calls.idle += if first { since } else { since.saturating_sub(AHEAD) };
                    calls.last_refusal = before;
                    calls.refused += 1;
                }
            }
        }
        calls
    }
}

/// A trusted sender says who the client is, and comes as fast as it likes itself.
#[test]
fn the_rate_is_that_of_the_client_that_a_trusted_sender_names() {
    let backend = Backend::echo("ssh");
    let server = "max_connection_rate_per_ip = 1\nproxy_protocol_from = [\"127.0.0.1\"]";
    let proxy = Proxy::start_with(server, &route("ssh", "", backend.address()), &[]);
    let named = |client: &str| {
        let mut stream = proxy.connect();
        let said = format!("PROXY TCP4 {client} 127.0.0.1 1 2\r\nSSH-2.0-x\r\n");
        stream.write_all(said.as_bytes()).expect("room");
        stream.read_exact(&mut [0; 5]).is_ok()
    };
    let start = Instant::now();
    let first: Vec<_> = (1..=9).map(|at| named(&format!("192.0.2.{at}"))).collect();
    let again = named("192.0.2.9");
    assert!(first.iter().all(|served| *served), "each is another client: {first:?}");
    assert!(!again || start.elapsed() > Duration::from_secs(1), "it was here a moment ago");
    until("a second to pass", || named("192.0.2.9").then_some(()));
}

/// Row A4: whoever has a /64 has 2^64 addresses, and is one client.
#[test]
fn a_thousand_addresses_of_one_network_are_one_client() {
    const CAP: usize = 10;
    let Some(network) = AnyAddress::new() else { return };
    let proxy = network.proxy(&format!("max_connections_per_ip = {CAP}"));
    let v6 = SocketAddr::from((Ipv6Addr::LOCALHOST, proxy.port()));
    let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, proxy.port()));
    let held = network.there.inside(|| {
        let mut held = served((0..1000).map(|host| call(Some(AnyAddress::of(1, host)), v6)));
        assert_eq!(held.len(), CAP, "of one /64");
        held.extend(served((0..CAP).map(|_| call(Some(AnyAddress::of(2, 1)), v6))));
        assert_eq!(held.len(), 2 * CAP, "those of another /64 are another client");
        // On this socket IPv4 is mapped into IPv6, and all of it is one /64.
        let mapped = |last| served((0..CAP + 1).map(|_| call(loopback(last), v4)));
        let (one, other) = (mapped(2), mapped(3));
        assert_eq!((one.len(), other.len()), (CAP, CAP));
        held.extend(one.into_iter().chain(other));
        held
    });
    drop(held);
    let free = || network.there.inside(|| call(Some(AnyAddress::of(1, 1)), v6).is_served());
    until("a place of that /64", || free().then_some(()));
}

/// Row A5, in part; the rest is in `churn`: whatever a client does, its place is given back, and no place is given back twice.
#[test]
fn places_of_an_address_are_given_back_however_clients_leave() {
    const CAP: usize = 8;
    let backend = Backend::echo("ssh");
    let server = format!("max_connections_per_ip = {CAP}\npeek_timeout_ms = 100");
    let proxy = Proxy::start_with(&server, &route("ssh", "", backend.address()), &[]);
    let to = proxy.address();
    thread::scope(|scope| {
        for last in 2..6 {
            scope.spawn(move || (0..500).for_each(|at| leave(at, loopback(last), to)));
        }
    });
    for last in 2..6 {
        let held = until("all its places", || {
            let held = served((0..CAP).map(|_| call(loopback(last), to)));
            (held.len() == CAP).then_some(held)
        });
        assert!(!call(loopback(last), to).is_served(), "and none more");
        drop(held);
    }
}

/// One way to leave: before a word, within the opening, by an end, by a reset, once joined.
pub(super) fn leave(at: usize, from: Option<IpAddr>, to: SocketAddr) {
    let Ok(mut client) = open(from, to) else { return };
    // Whether it is let in at all is chance.
    let _ = match at % 5 {
        0 => Ok(()),
        1 => client.write_all(b"SS"),
        2 => client.write_all(b"SS").and_then(|()| client.shutdown(Shutdown::Write)),
        3 => client.write_all(SSH),
        _ => client.write_all(SSH).and_then(|()| client.read(&mut [0; 64]).map(drop)),
    };
    if at.is_multiple_of(3) {
        reset(client);
    }
}

/// A network of its own in which every address of 2001:db8::/32 leads back to it (AnyIP), and a backend there.
struct AnyAddress {
    there: Elsewhere,
    backend: Option<Backend>,
}

impl AnyAddress {
    fn new() -> Option<Self> {
        let there = Elsewhere::new()?;
        ip(&format!("-n {} -6 route add local 2001:db8::/32 dev lo", there.name())).expect("root");
        let backend = Some(there.inside(|| Backend::echo("ssh")));
        Some(Self { there, backend })
    }

    fn of(network: u16, host: u16) -> IpAddr {
        Ipv6Addr::new(0x2001, 0xdb8, 0, network, host, 0, 0, 1).into()
    }

    /// The program in that network, on every address.
    fn proxy(&self, server: &str) -> Proxy {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.there.name(), env!("CARGO_BIN_EXE_refractium")]);
        command.args(["-c", "refractium.toml", "-b", "::"]);
        let folder = tempfile::tempdir().expect("a folder");
        let backend = self.backend.as_ref().expect("one").address();
        Proxy::spawn_command(command, folder, server, &route("ssh", "", backend))
    }
}

impl Drop for AnyAddress {
    /// A backend ends only for who can reach it.
    fn drop(&mut self) {
        self.there.inside(|| drop(self.backend.take()));
    }
}
