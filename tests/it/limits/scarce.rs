//! Nothing left to accept with, clients that are gone before they are accepted, and more at once than fit.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{SSH, call, open, served};
use crate::admin::{ADMIN, admin_of, get, status};
use crate::harness::{
    Backend, DEADLINE, Elsewhere, Proxy, ask, descriptors, many, need, pause, read_once, reset,
    route, until,
};

fn allow(proxy: &Proxy, descriptors: u64) {
    let id = i32::try_from(proxy.id()).ok().and_then(Pid::from_raw);
    let limit = Some(descriptors);
    prlimit(id, Resource::Nofile, Rlimit { current: limit, maximum: Some(10_000) }).expect("ours");
}

/// Row A1: descriptors run out, which nobody reckoned with at start.
#[test]
fn without_descriptors_it_waits_and_recovers_alone() {
    const CLIENTS: usize = 200;
    const TIME: Duration = Duration::from_secs(3);
    let backend = Backend::echo("ssh");
    let proxy = Proxy::start_with("workers = 2", &route("ssh", "", backend.address()), &[]);
    let to = proxy.address();
    let mut old = proxy.connect();
    old.write_all(SSH).expect("room");
    old.read_exact(&mut [0; b"ssh: ".len() + SSH.len()]).expect("an answer");
    // Those that are open stay so, and there is no number left for another.
    allow(&proxy, 3);
    let mut waiting: Vec<_> =
        (0..CLIENTS).map(|_| open(None, to).expect("a place in the queue")).collect();
    for client in &mut waiting {
        client.write_all(SSH).expect("room");
    }
    until("it to be told", || proxy.stderr().contains("cannot accept").then_some(()));
    let (used, told, start) = (proxy.processor_time(), tellings(&proxy), Instant::now());
    while start.elapsed() < TIME {
        old.write_all(b"?").expect("an open connection");
        old.read_exact(&mut [0]).expect("an echo: who is here is carried on");
        pause(Duration::from_millis(100));
    }
    let (used, told) = (proxy.processor_time() - used, tellings(&proxy) - told);
    println!("{used:?} of {TIME:?}, told {told} times");
    assert!(used < TIME / 20, "{used:?} of {TIME:?}");
    assert!((1..=30).contains(&told), "told {told} times in {TIME:?}");
    allow(&proxy, 10_000);
    let start = Instant::now();
    for client in &mut waiting {
        client.read_exact(&mut [0; 5]).expect("an answer");
    }
    println!("all {CLIENTS} served after {:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

/// Row A1: a pipe that nobody needs is closed for a client.
#[test]
fn a_spare_pipe_is_given_up_for_whoever_comes() {
    const BULK: usize = 16 << 20;
    let backend = Backend::serving(|mut stream| {
        let _ = stream.read(&mut [0; 64]).and_then(|_| stream.write_all(&vec![b'!'; BULK]));
        let _ = stream.read_to_end(&mut Vec::new());
    });
    // Nothing else is to use a number for a moment.
    let routes = route("ssh", "health = { kind = \"none\" }", backend.address());
    let proxy = Proxy::start_with("workers = 1\nhot_reload = false", &routes, &[]);
    let before = pipes(&proxy);
    let bulk = || {
        let mut client = proxy.connect();
        client.write_all(SSH).expect("room");
        client.read_exact(&mut vec![0; BULK]).expect("all of it");
        client
    };
    let _resting = bulk();
    // One has as many ends as a connection.
    until("a spare pipe", || (pipes(&proxy) > before).then_some(()));
    allow(&proxy, free_number(&proxy));
    assert!(call(None, proxy.address()).is_served());
    assert_eq!(tellings(&proxy), 0, "{}", proxy.stderr());
}

/// How many ends of pipes the program has.
fn pipes(proxy: &Proxy) -> usize {
    let all = fs::read_dir(format!("/proc/{}/fd", proxy.id())).expect("alive");
    let targets = all.filter_map(|it| fs::read_link(it.ok()?.path()).ok());
    targets.filter(|it| it.to_string_lossy().starts_with("pipe:")).count()
}

/// The lowest number that no descriptor has: with so many allowed there is none for another.
fn free_number(proxy: &Proxy) -> u64 {
    let is_used =
        |number: &u64| fs::symlink_metadata(format!("/proc/{}/fd/{number}", proxy.id())).is_ok();
    (0..).find(|it| !is_used(it)).expect("one")
}

/// Row A1: whoever looks after the program is answered when it has no descriptor left, again and again.
#[test]
fn the_admin_answers_without_descriptors() {
    const CLIENTS: usize = 200;
    let backend = Backend::echo("ssh");
    let routes = ADMIN.to_owned() + &route("ssh", "", backend.address());
    let proxy = Proxy::start_with("workers = 2", &routes, &[]);
    let (to, admin) = (proxy.address(), admin_of(&proxy));
    assert_eq!(get(admin, "/live").code, 200);
    // They take the numbers that are free between others.
    let held = served((0..20).map(|_| call(None, to)));
    assert_eq!(held.len(), 20);
    allow(&proxy, free_number(&proxy));
    let mut waiting: Vec<_> =
        (0..CLIENTS).map(|_| open(None, to).expect("a place in the queue")).collect();
    for client in &mut waiting {
        client.write_all(SSH).expect("room");
    }
    until("it to be told", || proxy.stderr().contains("cannot accept").then_some(()));
    for _ in 0..10 {
        assert_eq!(get(admin, "/live").code, 200);
        assert!(status(admin).accept_failures > 0);
    }
    let told = tellings(&proxy);
    until("it to be told again", || (tellings(&proxy) > told).then_some(()));
    allow(&proxy, 10_000);
    // Some may be quick enough to get the number that was kept, and have none for their backend then.
    let is_served = |client: &mut TcpStream| client.read_exact(&mut [0; 5]).is_ok();
    let served = waiting.iter_mut().filter_map(|it| is_served(it).then_some(())).count();
    println!("{served} of {CLIENTS} served");
    assert!(served >= CLIENTS * 3 / 4, "{served} of {CLIENTS}");
    assert_eq!(get(admin, "/ready").code, 200);
}

fn tellings(proxy: &Proxy) -> usize {
    proxy.stderr().matches("cannot accept").count()
}

/// Row A2: clients reset before they are accepted, for which the program is stopped.
#[test]
fn clients_that_are_gone_before_they_are_accepted_are_nothing() {
    let backend = Backend::echo("ssh");
    let proxy = Proxy::start_with("workers = 2", &route("ssh", "", backend.address()), &[]);
    let to = proxy.address();
    assert!(call(None, to).is_served());
    let open_before = proxy.descriptors();
    for _ in 0..5 {
        proxy.signal("STOP");
        (0..2000).for_each(|_| reset(open(None, to).expect("a place in the queue")));
        proxy.signal("CONT");
        assert!(call(None, to).is_served());
    }
    until("all to be gone", || (proxy.descriptors() <= open_before).then_some(()));
}

/// Row A2: accept(2) itself fails, with what strace puts in its place.
#[test]
fn an_accept_that_fails_is_followed_by_another() {
    if !need(&["strace"]) {
        return;
    }
    for error in ["ECONNABORTED", "EPERM", "EMFILE", "ENFILE", "ENOBUFS", "ENOMEM"] {
        let backend = Backend::echo("ssh");
        let fault = format!("inject=accept4:error={error}:when=1+2");
        // It stands beside the program (-D), which so is our child and ends with the test.
        let strace = ["strace", "-D", "-f", "-o", "/dev/null", "-e", "trace=accept4", "-e", &fault];
        let routes = route("ssh", "", backend.address());
        let proxy = Proxy::start_under(&strace, "workers = 1", &routes);
        for _ in 0..10 {
            assert!(call(None, proxy.address()).is_served(), "{error}");
        }
        until(error, || (tellings(&proxy) > 0).then_some(()));
    }
}

/// Row A2: what forbids every accept, as seccomp and security modules do, leaves the client in the queue. It is tried ever
/// more seldom.
#[test]
fn an_accept_that_is_forbidden_again_and_again_is_waited_for() {
    if !need(&["strace"]) {
        return;
    }
    let backend = Backend::echo("ssh");
    // Eight times at once, and eight times after pauses: of 5 ms, 10 ms and so on, up to 500 ms.
    let fault = "inject=accept4:error=EPERM:when=1..16";
    let strace = ["strace", "-D", "-f", "-o", "/dev/null", "-e", "trace=accept4", "-e", fault];
    let routes = route("ssh", "", backend.address());
    let proxy = Proxy::start_under(&strace, "workers = 1", &routes);
    let start = Instant::now();
    assert!(call(None, proxy.address()).is_served());
    assert!(start.elapsed() > Duration::from_secs(1), "after {:?}", start.elapsed());
}

/// Row A6.
#[test]
fn five_thousand_at_once_are_served() {
    let _alone = many();
    let crowd = 5000.min(descriptors() - 2000);
    let backend = Backend::serving(|mut stream| {
        let _ = stream.read(&mut [0; 64]).and_then(|_| stream.write_all(b"!"));
    });
    // Clients and backend are parts of this process, and on a busy machine three seconds are not enough for either.
    let server =
        "workers = 2\nmax_undecided = 10000\npeek_timeout_ms = 20000\nconnect_timeout_ms = 20000";
    let proxy = Proxy::start_with(server, &route("ssh", "", backend.address()), &[]);
    let to = proxy.address();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let start = Instant::now();
    let answered = runtime.expect("a runtime").block_on(async {
        let all: Vec<_> = (0..crowd).map(|_| tokio::spawn(one_within(one_of(to)))).collect();
        let mut answered = 0;
        for one in all {
            answered += usize::from(one.await.expect("no panic"));
        }
        answered
    });
    println!("{answered} of {crowd} in {:?}", start.elapsed());
    assert!(answered * 1000 >= crowd * 999, "{answered} of {crowd}");
}

async fn one_of(to: SocketAddr) -> std::io::Result<u8> {
    let mut client = tokio::net::TcpStream::connect(to).await?;
    client.write_all(SSH).await?;
    client.read_u8().await
}

async fn one_within(one: impl Future<Output = std::io::Result<u8>>) -> bool {
    tokio::time::timeout(DEADLINE, one).await.is_ok_and(|it| it.is_ok())
}

/// Row A6: what the queue does not hold comes again, and the log says so.
#[test]
fn clients_that_the_queue_does_not_hold_are_told_and_come_again() {
    const CLIENTS: usize = 60;
    let Some(network) = Elsewhere::new() else { return };
    if !need(&["sysctl"]) {
        return;
    }
    let name = network.name().to_owned();
    let inside = |words: &[&str]| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &name]).args(words);
        command
    };
    let few = inside(&["sysctl", "-qw", "net.core.somaxconn=8"]).status().expect("sysctl");
    assert!(few.success());
    let mut command = inside(&[env!("CARGO_BIN_EXE_refractium")]);
    command.args(["-c", "refractium.toml"]);
    let folder = tempfile::tempdir().expect("a folder");
    // Nobody listens there: a client that is accepted is let go.
    let nowhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 9));
    let proxy = Proxy::spawn_command(command, folder, "workers = 1", &route("ssh", "", nowhere));
    let to = proxy.address();
    proxy.signal("STOP");
    let clients: Vec<TcpStream> = network.inside(|| {
        let one = |_| {
            let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
            let socket = socket.expect("a socket");
            socket.set_nonblocking(true).expect("an open socket");
            let _ = socket.connect(&to.into()); // in progress
            socket.into()
        };
        (0..CLIENTS).map(one).collect()
    });
    pause(Duration::from_millis(50));
    proxy.signal("CONT");
    let told = "clients came faster than they were accepted";
    until("the log", || proxy.stderr().contains(told).then_some(()));
    let reading = clients.into_iter().map(|mut client| {
        thread::spawn(move || {
            until("a connection", || client.peer_addr().ok());
            client.set_nonblocking(false).expect("an open socket");
            client.set_read_timeout(Some(DEADLINE)).expect("an open socket");
            client.write_all(SSH).and_then(|()| read_once(&mut client, &mut [0]))
        })
    });
    for one in reading.collect::<Vec<_>>() {
        let end = one.join().expect("no panic").map_err(|error| error.kind());
        let gone = Err(std::io::ErrorKind::ConnectionReset);
        assert!(end == Ok(0) || end == gone, "it is accepted, and let go: {end:?}");
    }
}

/// Row A8: what cannot fit is said, and what is left is kept.
#[test]
fn more_connections_than_descriptors_allow_are_never_taken() {
    if !need(&["prlimit"]) {
        return;
    }
    let backend = Backend::echo("ssh");
    let routes = route("ssh", "", backend.address());
    let server = "max_connections = 50000\nworkers = 2";
    let proxy = Proxy::start_under(&["prlimit", "--nofile=128"], server, &routes);
    let said = until("the note", || {
        let said = proxy.stdout();
        said.contains("is lowered from 50000 to").then_some(said)
    });
    let (_, most) = said.split_once("from 50000 to ").expect("a number");
    let most: usize = most.split(':').next().expect("a number").parse().expect("a number");
    let held = served((0..60).map(|_| call(None, proxy.address())));
    assert_eq!(held.len(), most, "{said}");
    assert!(!proxy.stderr().contains("cannot accept"), "{}", proxy.stderr());
    drop(held);
    until("room", || call(None, proxy.address()).is_served().then_some(()));
    assert_eq!(ask(proxy.address(), SSH), [b"ssh: ", SSH].concat());
}
