//! The engine inside another program.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use refractium::protocol::{
    Opening, RefractiumProtocol, Transport, Verdict, define_protocol, prefix,
};
use refractium::{Builder, By, Ending, Error, Event, Limits, Listeners, Refractium};
use tokio::runtime::Runtime;
use tokio::sync::Notify;

use crate::harness::{
    Backend, DEADLINE, Running, ask, connect, loopback, read_once, refusing, run_command, until,
};

/// A message of two bytes of length, as many bytes of text, and a check byte: known when it is whole.
struct Framed {
    check: u8,
}

impl RefractiumProtocol for Framed {
    fn name(&self) -> &str {
        "framed"
    }

    fn transports(&self) -> &[Transport] {
        &[refractium::protocol::Transport::Tcp]
    }

    fn identify(&self, opening: &Opening<'_>) -> Verdict {
        let [first, second, rest @ ..] = opening.bytes else { return Verdict::NeedMore };
        let length = usize::from(u16::from_be_bytes([*first, *second]));
        match rest.get(length) {
            _ if length > 64 => Verdict::NoMatch,
            None => Verdict::NeedMore,
            Some(check) if *check == self.check => Verdict::Match,
            Some(_) => Verdict::NoMatch,
        }
    }
}

define_protocol! {
    /// Four magic bytes, two of them above ASCII.
    struct Game;
    name: "game",
    transports: [Tcp],
    identify: |opening| prefix(opening.bytes, b"\xff\xfeGO"),
}

define_protocol! {
    struct Fragile;
    name: "fragile",
    transports: [Tcp],
    identify: |opening| match prefix(opening.bytes, b"boom") {
        Verdict::Match => panic!("on purpose: a test of what a panic ends"),
        undecided => undecided,
    },
}

/// A builder with these routes.
fn routes(routes: &[(&str, &Backend)]) -> Builder {
    let mut builder = Refractium::builder();
    for (left, to) in routes {
        let forward = format!("{left}={}", to.address());
        builder = builder.forward(forward.parse().expect("a forward"));
    }
    builder
}

/// A client that is joined to the echo of this name.
fn joined(address: SocketAddr, name: &str) -> TcpStream {
    let mut client = connect(address);
    client.write_all(SSH).expect("room");
    let expected = [name.as_bytes(), b": ", SSH].concat();
    let mut answer = vec![0; expected.len()];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(answer, expected);
    client
}

/// The connection ends, by a reset or not.
fn is_let_go(client: &mut TcpStream) {
    let end = read_once(client, &mut [0]).map_err(|error| error.kind());
    assert!(matches!(end, Ok(0) | Err(ErrorKind::ConnectionReset)), "{end:?}");
}

const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const SSH: &[u8] = b"SSH-2.0-x\r\n";

#[test]
fn protocols_of_ones_own_stand_beside_the_built_in_ones() {
    let [framed, game, http, ssh, rest] =
        ["framed", "game", "http", "ssh", "rest"].map(Backend::echo);
    let builder = routes(&[("framed", &framed), ("game", &game), ("http", &http), ("ssh", &ssh)])
        .protocol(Framed { check: 0x99 })
        .protocol(Game)
        .fallback_tcp(rest.address().to_string().parse().expect("an endpoint"));
    let running = Running::start(builder);
    let mut long = b"\x00\x40".to_vec();
    long.extend([b'x'; 64]);
    for (opening, name) in [
        (&[&long[..], b"\x99 and more"].concat()[..], "framed"),
        (&[&long[..], b"\x98 and more"].concat(), "rest"),
        (b"\x00\x00\x99", "framed"),
        (b"\xff\xfeGO left", "game"),
        (b"\xff\xfeGA", "rest"),
        (HTTP, "http"),
        (SSH, "ssh"),
    ] {
        let expected = [name.as_bytes(), b": ", opening].concat();
        assert_eq!(ask(running.address, opening), expected);
        // Byte by byte it goes the same way.
        let mut client = connect(running.address);
        for byte in opening {
            client.write_all(&[*byte]).expect("room");
        }
        client.shutdown(std::net::Shutdown::Write).expect("an open socket");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("an answer");
        assert_eq!(answer, expected);
    }
    running.stop();
}

#[test]
fn a_protocol_of_ones_own_stands_before_the_built_in_one_of_its_name() {
    define_protocol! {
        /// Not what RFC 4253 means.
        struct Ssh;
        name: "ssh",
        transports: [Tcp],
        identify: |opening| prefix(opening.bytes, b"ssh!"),
    }
    let [ssh, rest] = ["ssh", "rest"].map(Backend::echo);
    let fallback = rest.address().to_string().parse().expect("an endpoint");
    let builder = routes(&[("ssh", &ssh)]).protocol(Ssh).fallback_tcp(fallback);
    let running = Running::start(builder);
    assert_eq!(ask(running.address, b"ssh!"), b"ssh: ssh!");
    assert_eq!(ask(running.address, SSH), [b"rest: ", SSH].concat());
}

/// What an observer saw of one connection.
#[derive(Debug, PartialEq)]
enum Seen {
    Accepted { id: u64, client: SocketAddr },
    Decided { id: u64, route: String, opening: Vec<u8>, by: By },
    Welded { id: u64, route: String, backend: String, address: SocketAddr },
    Closed { id: u64, backend: (String, SocketAddr), up: u64, down: u64, ending: Ending },
    Refused { id: u64, reason: String },
}

/// A builder that is observed, and what is seen of single connections.
fn observed(builder: Builder) -> (Builder, Receiver<Seen>) {
    let (sender, seen) = channel();
    let builder = builder.observer(move |event: &Event<'_>| {
        let seen = match event {
            Event::Accepted { conn } => Seen::Accepted { id: conn.id, client: conn.client },
            Event::Decided { conn, route, opening, by, .. } => {
                let (route, opening) = (route.name().to_owned(), opening.bytes.to_vec());
                Seen::Decided { id: conn.id, route, opening, by: *by }
            }
            Event::Welded { conn, route, backend, .. } => Seen::Welded {
                id: conn.id,
                route: route.name().to_owned(),
                backend: backend.endpoint().to_string(),
                address: backend.address(),
            },
            Event::Closed { conn, route, backend, moved, ending } => {
                let (up, down) = (moved.up, moved.down);
                let backend = (route.name().to_owned(), backend.address());
                Seen::Closed { id: conn.id, backend, up, down, ending: *ending }
            }
            Event::Refused { conn, refusal } => {
                Seen::Refused { id: conn.id, reason: refusal.to_string() }
            }
            _ => return,
        };
        sender.send(seen).expect("somebody who listens");
    });
    (builder, seen)
}

#[test]
fn an_observer_sees_each_step_with_route_and_bytes() {
    let [game, http] = ["game", "http"].map(Backend::echo);
    let (builder, seen) = observed(routes(&[("game", &game), ("http", &http)]).protocol(Game));
    let running = Running::start(builder);
    let next = || seen.recv_timeout(DEADLINE).expect("an event");
    for (id, route, backend, opening) in
        [(0, "game", &game, &b"\xff\xfeGO left"[..]), (1, "http", &http, HTTP)]
    {
        let mut client = connect(running.address);
        client.write_all(opening).expect("room");
        let own = client.local_addr().expect("an address");
        assert_eq!(next(), Seen::Accepted { id, client: own });
        let (name, by) = (route.to_owned(), By::Verdict);
        assert_eq!(next(), Seen::Decided { id, route: name, opening: opening.to_vec(), by });
        let address = backend.address();
        let (name, backend) = (route.to_owned(), address.to_string());
        assert_eq!(next(), Seen::Welded { id, route: name, backend, address });
        client.write_all(b"more").expect("room");
        client.shutdown(std::net::Shutdown::Write).expect("an open socket");
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).expect("an answer");
        assert_eq!(answer, [route.as_bytes(), b": ", opening, b"more"].concat());
        let up = u64::try_from(opening.len() + 4).expect("a number");
        let down = u64::try_from(answer.len()).expect("a number");
        let (backend, ending) = ((route.to_owned(), address), Ending::Closed);
        assert_eq!(next(), Seen::Closed { id, backend, up, down, ending });
    }
    let mut client = connect(running.address);
    client.write_all(b"nobody's\r\n").expect("room");
    assert!(matches!(next(), Seen::Accepted { id: 2, .. }));
    let reason = "no route after 10 bytes, decided by verdict".to_owned();
    assert_eq!(next(), Seen::Refused { id: 2, reason });
}

#[test]
fn building_has_no_effects() {
    // Other tests open files and start threads meanwhile: this one runs again, alone in a process.
    const ALONE: &str = "REFRACTIUM_TEST_ALONE";
    if std::env::var_os(ALONE).is_none() {
        let mut command = Command::new(std::env::current_exe().expect("a path"));
        command.args(["--exact", "library::building_has_no_effects", "--test-threads=1"]);
        let (code, stdout, stderr) = run_command({
            command.env(ALONE, "1");
            command
        });
        assert_eq!(code, 0, "{stdout}\n{stderr}");
        assert!(stdout.contains("1 passed"), "{stdout}");
        return;
    }
    assert!(tokio::runtime::Handle::try_current().is_err());
    let count = |of: &str| fs::read_dir(format!("/proc/self/{of}")).expect("proc").count();
    let before = (count("task"), count("fd"));
    let engine = Refractium::builder()
        .protocol(Framed { check: 1 })
        .forward("framed=127.0.0.1:1".parse().expect("a forward"))
        .forward("http=backend.example:80".parse().expect("a forward"))
        .forward("https:a.example=backend.example:443".parse().expect("a forward"))
        .forward("ftp=127.0.0.1:21".parse().expect("a forward"))
        .fallback_tcp("rest.example:1".parse().expect("an endpoint"))
        .observer(|event: &Event<'_>| panic!("nothing is to be told: {event:?}"))
        .build()
        .expect("sound routes");
    assert_eq!((count("task"), count("fd")), before);
    assert_eq!(engine.open(), 0);
    let again = engine.clone();
    drop((engine, again));
    assert_eq!((count("task"), count("fd")), before);
}

#[test]
fn building_says_every_mistake_in_the_routes() {
    let builder = ["nonsense=a:1", "http=a:1", "ssh:a.example=a:1", "smtp=a:1", "ftp=a:1"]
        .map(|text| text.parse().expect("a forward"))
        .into_iter()
        .fold(Refractium::builder(), Builder::forward);
    let Err(Error::Routes(mistakes)) = builder.build() else { panic!("no mistakes") };
    let forwards: Vec<_> = mistakes.iter().map(|mistake| mistake.forward).collect();
    assert_eq!(forwards, [0, 2, 4], "{mistakes:?}");
}

#[test]
fn every_address_is_bound_or_none() {
    let taken = TcpListener::bind(loopback()).expect("a port");
    let taken = (taken.local_addr().expect("an address"), taken);
    let free = refusing();
    let error = Listeners::bind(&[free, taken.0], &[refractium::protocol::Transport::Tcp])
        .expect_err("a taken port");
    assert!(matches!(&error, Error::Bind { address, .. } if *address == taken.0), "{error:?}");
    assert!(error.to_string().contains(&taken.0.to_string()), "{error}");
    let error = TcpStream::connect_timeout(&free, DEADLINE).expect_err("nobody there");
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn two_engines_share_nothing() {
    let [one, two] = ["one", "two"].map(Backend::echo);
    let limits = Limits { max_connections: 1, ..Limits::default() };
    let first = Running::start(routes(&[("ssh", &one)]).limits(limits));
    let second = Running::start(routes(&[("ssh", &two), ("http", &one)]).limits(limits));
    let held = joined(first.address, "one");
    assert_eq!((first.engine.open(), second.engine.open()), (1, 0));
    // The first is full, which is nothing to the second.
    let refused = TcpStream::connect(first.address).and_then(|mut client| {
        client.set_read_timeout(Some(DEADLINE))?;
        read_once(&mut client, &mut [0])
    });
    let error = refused.expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert_eq!(ask(second.address, SSH), [b"two: ", SSH].concat());
    until("the end of that connection", || (second.engine.open() == 0).then_some(()));
    assert_eq!(ask(second.address, HTTP), [b"one: ", HTTP].concat());
    // The end of the second is nothing to the first.
    second.stop();
    drop(held);
    until("the end of the first connection", || (first.engine.open() == 0).then_some(()));
    assert_eq!(ask(first.address, SSH), [b"one: ", SSH].concat());
}

/// A backend that takes the opening, says so, and then tells how its connection ended.
fn watching() -> (Backend, Receiver<Result<usize, ErrorKind>>) {
    let (sender, endings) = channel();
    let sender = std::sync::Mutex::new(sender);
    let backend = Backend::serving(move |mut stream| {
        let mut opening = vec![0; SSH.len()];
        stream.read_exact(&mut opening).expect("the opening");
        stream.write_all(&[b"ssh: ", &opening[..]].concat()).expect("room");
        let ending = read_once(&mut stream, &mut [0]).map_err(|error| error.kind());
        sender.lock().expect("sound").send(ending).expect("somebody who listens");
    });
    (backend, endings)
}

#[test]
fn dropping_the_run_resets_what_is_open() {
    let (backend, endings) = watching();
    let running = Running::start(routes(&[("ssh", &backend)]));
    let mut client = joined(running.address, "ssh");
    let mut silent = connect(running.address);
    running.task.abort();
    let error = read_once(&mut client, &mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let ending = endings.recv_timeout(DEADLINE).expect("an ending");
    assert_eq!(ending, Err(ErrorKind::ConnectionReset));
    // One that was not joined yet is let go as well.
    is_let_go(&mut silent);
    until("new connections to be refused", || {
        TcpStream::connect(running.address).err().map(|error| error.kind())
    });
    until("every place to be given back", || (running.engine.open() == 0).then_some(()));
}

#[test]
fn dropping_the_runtime_resets_what_is_open() {
    let (backend, endings) = watching();
    let running = Running::start(routes(&[("ssh", &backend)]));
    let mut client = joined(running.address, "ssh");
    running.runtime.shutdown_timeout(DEADLINE);
    let error = read_once(&mut client, &mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let ending = endings.recv_timeout(DEADLINE).expect("an ending");
    assert_eq!(ending, Err(ErrorKind::ConnectionReset));
}

#[test]
fn the_run_ends_on_any_future_after_a_bounded_drain() {
    let (backend, endings) = watching();
    let drain_timeout = Duration::from_millis(100);
    let limits = Limits { drain_timeout, ..Limits::default() };
    let (builder, seen) = observed(routes(&[("ssh", &backend)]).limits(limits));
    let engine = builder.build().expect("sound routes");
    let listeners =
        Listeners::bind(&[loopback()], &[refractium::protocol::Transport::Tcp]).expect("a port");
    let address = listeners.addresses()[0];
    let end = Arc::new(Notify::new());
    let ending = Arc::clone(&end);
    // A runtime of one thread: the run is the only thing on it.
    let run = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(engine.run(listeners, end.notified()))
    });
    let mut client = joined(address, "ssh");
    ending.notify_one();
    let error = read_once(&mut client, &mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    let at_backend = endings.recv_timeout(DEADLINE).expect("an ending");
    assert_eq!(at_backend, Err(ErrorKind::ConnectionReset));
    until("the end of the run", || run.is_finished().then_some(()));
    run.join().expect("no panic").expect("an end");
    let backend = ("ssh".to_owned(), backend.address());
    let closed = Seen::Closed { id: 0, backend, up: 11, down: 16, ending: Ending::Cut };
    assert_eq!(seen.try_iter().last(), Some(closed));
}

#[test]
fn a_drain_lets_an_open_connection_finish() {
    let ssh = Backend::echo("ssh");
    let running = Running::start(routes(&[("ssh", &ssh)]));
    let mut client = joined(running.address, "ssh");
    let (address, engine) = (running.address, running.engine.clone());
    let run = std::thread::spawn(|| running.stop());
    until("new connections to be refused", || TcpStream::connect(address).err());
    // Those that were not refused yet are gone.
    until("one to be left", || (engine.open() == 1).then_some(()));
    client.write_all(b"the last").expect("room");
    client.shutdown(std::net::Shutdown::Write).expect("an open socket");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("the rest");
    assert_eq!(rest, b"the last");
    until("the end of the run", || run.is_finished().then_some(()));
    run.join().expect("a clean end");
}

#[test]
fn a_panic_in_a_protocol_ends_only_its_connection() {
    let [ssh, fragile] = ["ssh", "fragile"].map(Backend::echo);
    let builder = routes(&[("fragile", &fragile), ("ssh", &ssh)]).protocol(Fragile);
    let (builder, seen) = observed(builder);
    let running = Running::start(builder);
    let mut other = joined(running.address, "ssh");
    for _ in 0..10 {
        let mut client = connect(running.address);
        client.write_all(b"boom").expect("room");
        is_let_go(&mut client);
    }
    other.write_all(b"still here").expect("room");
    let mut answer = [0; 10];
    other.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"still here");
    assert_eq!(ask(running.address, SSH), [b"ssh: ", SSH].concat());
    drop(other);
    until("every place to be given back", || (running.engine.open() == 0).then_some(()));
    let is_told =
        |it: &Seen| matches!(it, Seen::Refused { reason, .. } if reason.contains("panic"));
    assert_eq!(seen.try_iter().filter(is_told).count(), 10);
    running.stop();
}

/// Row H11, where the configuration could not tell: the port is known only once it is listened on.
#[test]
fn a_backend_that_turns_out_to_be_ourselves_is_not_used() {
    let (sender, told) = channel();
    let listeners = Listeners::bind(&[loopback()], &[Transport::Tcp]).expect("a port");
    let address = listeners.addresses_of(Transport::Tcp)[0];
    let backend = Backend::echo("other");
    let forward = format!("ssh={address}").parse::<refractium::Forward>().expect("a forward");
    let engine = Refractium::builder()
        .forward(forward.to(backend.address()))
        .observer(move |event: &Event<'_>| match event {
            Event::LeadsBack { address, .. } => sender.send(Ok(*address)).expect("a listener"),
            Event::Accepted { conn } => sender.send(Err(conn.client)).expect("a listener"),
            _ => {}
        })
        .build()
        .expect("sound");
    let runtime = Runtime::new().expect("a runtime");
    runtime.spawn(async move { engine.run(listeners, std::future::pending::<()>()).await });
    assert_eq!(told.recv_timeout(DEADLINE), Ok(Ok(address)));
    for _ in 0..4 {
        assert_eq!(ask(address, b"SSH-2.0-x\r\n"), b"other: SSH-2.0-x\r\n");
    }
    assert_eq!(told.try_iter().count(), 4, "nobody but clients connected");
}
