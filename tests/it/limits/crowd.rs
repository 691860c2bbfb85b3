//! Clients that say nothing, or never enough: they do not crowd out those who do.

use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use super::{call, open, served};
use crate::harness::{Backend, Proxy, descriptors, many, read_once, route, until};

/// Longer than any of these tests: nobody leaves because of it.
const PATIENT: &str = "peek_timeout_ms = 600000\nworkers = 2\n";

/// Begins, and says no more. If it is sent away at once, there is nothing to hold.
pub(super) fn begin(from: Ipv4Addr, to: SocketAddr, bytes: &[u8]) -> Option<TcpStream> {
    let mut client = open(Some(from.into()), to).ok()?;
    client.write_all(bytes).is_ok().then_some(client)
}

/// One of 500 addresses.
pub(super) fn source(at: usize) -> Ipv4Addr {
    let [high, low] = u16::try_from(at % 500).expect("small").to_be_bytes();
    Ipv4Addr::new(127, 1, high, low)
}

fn is_sent_away(client: &mut TcpStream) -> bool {
    client.set_nonblocking(true).expect("an open socket");
    let got = read_once(client, &mut [0]).map_err(|error| error.kind());
    let is_reset = got == Err(ErrorKind::ConnectionReset);
    assert!(is_reset || got == Err(ErrorKind::WouldBlock), "{got:?}");
    is_reset
}

/// How long clients had to wait that follow each other.
fn waits(to: SocketAddr, calls: usize) -> impl Iterator<Item = Duration> {
    (0..calls).map(move |_| {
        let start = Instant::now();
        assert!(call(None, to).is_served());
        start.elapsed()
    })
}

/// The median, the 99th of a hundred, and the longest.
fn spread(mut waits: Vec<Duration>) -> String {
    waits.sort_unstable();
    let at = |part: usize| waits[(waits.len() * part / 100).min(waits.len() - 1)];
    let (half, p99, most, count) = (at(50), at(99), at(100), waits.len());
    format!("{half:?}, p99 {p99:?}, at most {most:?} of {count}")
}

/// Row D16: five thousand that begin and wait, from 500 addresses, come while others are served. The oldest leave.
#[test]
fn five_thousand_that_never_decide_crowd_nobody_out() {
    const MOST: usize = 1000;
    let _alone = many();
    let crowd = 5000.min(descriptors() - 2000);
    let backend = Backend::echo("ssh");
    let server = format!("{PATIENT}max_undecided = {MOST}");
    let proxy = Proxy::start_with(&server, &route("ssh", "", backend.address()), &[]);
    let to = proxy.address();
    let alone = waits(to, 300).collect();
    let (open, memory) = (proxy.descriptors(), proxy.memory());
    let (mut held, beside, most) = thread::scope(|scope| {
        let attack = scope.spawn(|| {
            let held = (0..crowd).filter_map(|at| begin(source(at), to, b"SSH"));
            held.collect::<Vec<_>>()
        });
        let (mut beside, mut most) = (Vec::new(), 0);
        while !attack.is_finished() {
            beside.extend(waits(to, 10));
            most = most.max(proxy.descriptors());
        }
        (attack.join().expect("a crowd"), beside, most)
    });
    until("the oldest to leave", || (proxy.descriptors() <= open + MOST + 8).then_some(()));
    let each = proxy.memory().saturating_sub(memory) / u64::try_from(MOST).expect("a number");
    let (alone, beside) = (spread(alone), spread(beside));
    println!("alone {alone}; beside {crowd} {beside}; {most} descriptors; {each} bytes each");
    // Those who leave are on their way for a moment, in which others are accepted.
    assert!(most <= open + 2 * MOST, "{most} descriptors");
    let allowed = if cfg!(debug_assertions) { 8 * 1024 } else { 4 * 1024 };
    assert!(each <= allowed, "{each} bytes each");
    let gone = held.iter_mut().filter_map(|it| is_sent_away(it).then_some(())).count();
    assert!((crowd - MOST..=crowd - MOST + 200).contains(&gone), "{gone} of {crowd} had to leave");
    let youngest = held.last_mut().expect("a crowd");
    assert!(!is_sent_away(youngest), "the oldest leave first");
    drop(held);
    until("all to be gone", || (proxy.descriptors() <= open + 8).then_some(()));
}

/// Row D16: what they hold in memory is bounded as well.
#[test]
fn what_undecided_clients_have_said_is_bounded() {
    const EACH: usize = 15_000;
    const BUDGET: usize = 16 * 1024 * 1024;
    let _alone = many();
    let crowd = 2500.min(descriptors() - 2000);
    let backend = Backend::echo("http");
    let server = format!("{PATIENT}max_undecided = 5000");
    let routes = route("http", "host = \"a.example\"", backend.address());
    let proxy = Proxy::start_with(&server, &routes, &[]);
    let memory = proxy.memory();
    let opening = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; EACH]].concat();
    let mut held: Vec<_> =
        (0..crowd).filter_map(|at| begin(source(at), proxy.address(), &opening)).collect();
    let youngest = held.last().and_then(|it| it.local_addr().ok());
    let stay = BUDGET / EACH;
    until("the oldest to leave", || is_sent_away(&mut held[0]).then_some(()));
    held.remove(0);
    // Each worker sends its own oldest away, and one that was held up has few: who else leaves is chance.
    until("as many to leave as it takes", || {
        held.retain_mut(|it| !is_sent_away(it));
        (held.len() <= stay).then_some(())
    });
    until("their ends", || (proxy.descriptors() <= stay + 40).then_some(()));
    let grown = proxy.memory().saturating_sub(memory);
    println!("{} descriptors, {grown} bytes", proxy.descriptors());
    assert!(grown < 40 << 20, "{grown} bytes");
    assert_eq!(held.last().and_then(|it| it.local_addr().ok()), youngest, "who comes stays");
    let request = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let mut client = proxy.connect();
    client.write_all(request).expect("room");
    assert!(read_once(&mut client, &mut [0]).is_ok_and(|count| count > 0), "it is served");
}

/// Where all places are taken, those who have had time enough to say something give theirs.
#[test]
fn who_says_nothing_gives_its_place_to_a_newcomer() {
    const PLACES: usize = 100;
    let backend = Backend::echo("ssh");
    let server = format!("{PATIENT}max_connections = {PLACES}\nmax_undecided = {PLACES}");
    let proxy = Proxy::start_with(&server, &route("ssh", "", backend.address()), &["--debug"]);
    let to = proxy.address();
    let mut silent: Vec<_> = (0..PLACES).filter_map(|at| begin(source(at), to, b"")).collect();
    assert_eq!(silent.len(), PLACES);
    // Of two workers one may accept a newcomer before the other has accepted all of them.
    let accepted = || proxy.stderr().matches(" accepted ").count();
    until("all to be accepted", || (accepted() == PLACES).then_some(()));
    let newcomers = until("all to have had their time", || {
        let first = served([call(None, to)].into_iter());
        (!first.is_empty()).then_some(first)
    });
    // Each worker has about half of them, and gives what it has, once it has had its time as well.
    let mut more = Vec::new();
    until("many to be served", || {
        more.extend(served([call(None, to)].into_iter()));
        (more.len() >= PLACES / 4).then_some(())
    });
    let gone = silent.iter_mut().filter_map(|it| is_sent_away(it).then_some(())).count();
    assert_eq!(gone, newcomers.len() + more.len(), "one leaves for each");
}

/// Row A3.
#[test]
fn as_many_are_served_as_may_be_and_the_rest_is_reset() {
    const CAP: usize = 100;
    let backend = Backend::echo("ssh");
    let server = format!("max_connections = {CAP}");
    let proxy = Proxy::start_with(&server, &route("ssh", "", backend.address()), &[]);
    let to = proxy.address();
    let before = proxy.descriptors();
    let held = served((0..CAP).map(|_| call(None, to)));
    assert_eq!(held.len(), CAP);
    let start = Instant::now();
    let refused = (0..50).filter(|_| !call(None, to).is_served()).count();
    println!("{:?} each", start.elapsed() / 50);
    assert_eq!(refused, 50);
    assert!(proxy.descriptors() <= before + 2 * CAP, "a refused one keeps nothing");
    drop(held);
    until("room", || call(None, to).is_served().then_some(()));
}

/// Row D18, in part: whatever comes, it is closed, nothing is said of it and nothing is kept.
#[test]
fn a_flood_of_garbage_leaves_nothing() {
    flood_with_garbage(3_000);
}

/// Row D18.
#[test]
#[ignore = "50,000 connections take half a minute"]
fn a_flood_of_garbage_leaves_nothing_for_long() {
    flood_with_garbage(50_000);
}

fn flood_with_garbage(count: usize) {
    let backend = Backend::echo("ssh");
    let routes = route("ssh", "", backend.address()) + &route("http", "", backend.address());
    let proxy = Proxy::start_with("workers = 2", &routes, &[]);
    let to = proxy.address();
    let garbage = |count: usize, seed: u64| {
        let mut state = seed;
        for _ in 0..count {
            let mut bytes = [0; 64];
            for chunk in bytes.chunks_mut(8) {
                // xorshift64: any noise will do.
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                chunk.copy_from_slice(&state.to_ne_bytes());
            }
            let mut client = open(None, to).expect("a connection");
            client.write_all(&bytes).expect("room");
            // It ends, in whatever way.
            let _: io::Result<usize> = read_once(&mut client, &mut [0; 64]);
        }
    };
    let twice = |count: usize| {
        thread::scope(|scope| {
            for seed in [1, 2] {
                scope.spawn(move || garbage(count / 2, seed));
            }
        });
    };
    twice(count / 4);
    let (memory, open, said) = (proxy.memory(), proxy.descriptors(), proxy.stderr().len());
    twice(count);
    until("all to be gone", || (proxy.descriptors() <= open + 2).then_some(()));
    let grown = proxy.memory().saturating_sub(memory);
    println!("{memory} bytes, and {grown} more after {count}");
    assert!(grown < memory / 20, "{grown} bytes more than {memory}");
    assert_eq!(proxy.stderr().len(), said, "{}", proxy.stderr());
    assert!(call(None::<IpAddr>, to).is_served());
}
