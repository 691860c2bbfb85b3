//! Protocols of the embedder's that fail: only the connection that they fail at knows of it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use refractium::protocol::{
    Opening, RefractiumProtocol, Transport, Verdict, define_protocol, prefix,
};
use refractium::{Event, Listeners, Refractium};

use super::{SSH, call};
use crate::harness::{Backend, DEADLINE, connect, pause, read_once, until};

/// Known by `late`, and panics when a connection of it is joined.
struct Bad;

impl RefractiumProtocol for Bad {
    fn name(&self) -> &str {
        "bad"
    }

    fn transports(&self) -> &[Transport] {
        &[Transport::Tcp]
    }

    fn identify(&self, opening: &Opening<'_>) -> Verdict {
        prefix(opening.bytes, b"late")
    }

    fn marks_urgent(&self) -> bool {
        panic!("on purpose: a test of what a panic ends")
    }
}

define_protocol! {
    /// Known by `slow`, for which it takes a second.
    struct Slow;
    name: "slow",
    transports: [Tcp],
    identify: |opening| {
        let verdict = prefix(opening.bytes, b"slow");
        if verdict == Verdict::Match {
            pause(Duration::from_secs(1));
        }
        verdict
    },
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Refused(String),
    Long(Duration),
    Closed,
}

/// An engine on two workers of its own, which ends with the test.
fn start(backend: &Backend) -> (SocketAddr, Refractium, Receiver<Told>) {
    let (sender, told) = channel();
    let forward = |left: &str| format!("{left}={}", backend.address()).parse().expect("a forward");
    let engine = Refractium::builder()
        .protocol(Bad)
        .protocol(Slow)
        .forward(forward("bad"))
        .forward(forward("slow"))
        .forward(forward("ssh"))
        .observer(move |event: &Event<'_>| {
            let told = match event {
                Event::Refused { refusal, .. } => Told::Refused(refusal.word().to_owned()),
                Event::LookedLong { took, .. } => Told::Long(*took),
                Event::Closed { .. } => Told::Closed,
                _ => return,
            };
            let _ = sender.send(told);
        })
        .build()
        .expect("sound routes");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let groups = Listeners::bind_each(&[any], &[Transport::Tcp], 2).expect("a port");
    let address = groups[0].addresses()[0];
    let running = engine.clone();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let for_ever = std::future::pending::<()>();
        runtime.expect("a runtime").block_on(running.run_on_workers(groups, for_ever))
    });
    (address, engine, told)
}

fn joined(to: SocketAddr) -> TcpStream {
    let mut client = connect(to);
    client.write_all(SSH).expect("room");
    client.read_exact(&mut [0; 15]).expect("an answer");
    client
}

/// Row P8: nothing catches this panic on its way out of the connection's task.
#[test]
fn a_panic_in_the_middle_of_a_connection_ends_that_one_and_is_told() {
    let backend = Backend::echo("ssh");
    let (address, engine, told) = start(&backend);
    let mut others: Vec<_> = (0..20).map(|_| joined(address)).collect();
    let mut client = connect(address);
    client.write_all(b"late").expect("room");
    let end = read_once(&mut client, &mut [0]).map_err(|error| error.kind());
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    assert_eq!(told.recv_timeout(DEADLINE), Ok(Told::Refused("panicked".to_owned())));
    for other in &mut others {
        other.write_all(b"?").expect("an open connection");
        other.read_exact(&mut [0]).expect("an answer");
    }
    until("its place", || (engine.open() == others.len()).then_some(()));
    drop(others);
    until("all places", || (engine.open() == 0).then_some(()));
    let rest: Vec<_> = told.try_iter().collect();
    assert!(rest.iter().all(|it| *it == Told::Closed), "{rest:?}");
}

/// Row D17: a second is too short for the watchdog, and long enough to be told of.
#[test]
fn a_protocol_that_takes_long_is_told_of_and_others_are_served() {
    let backend = Backend::echo("ssh");
    let (address, _engine, told) = start(&backend);
    let mut client = connect(address);
    client.write_all(b"slow").expect("room");
    for _ in 0..20 {
        assert!(call(None, address).is_served());
    }
    client.read_exact(&mut [0; 9]).expect("an answer, late as it is");
    let took = until("the event", || match told.recv_timeout(DEADLINE).expect("an event") {
        Told::Long(took) => Some(took),
        _ => None,
    });
    assert!((Duration::from_millis(950)..DEADLINE).contains(&took), "{took:?}");
}
