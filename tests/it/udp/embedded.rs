//! The engine inside another program: protocols of its own, and what its observer is told.

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Deref;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use refractium::protocol::{
    Opening, RefractiumProtocol, Transport, Verdict, define_protocol, prefix,
};
use refractium::{Builder, By, Event, Limits, Listeners, Loss, Peer, Refractium, SessionEnd};

use crate::harness::udp::{Backend, Client, refusing};
use crate::harness::{DEADLINE, Running, loopback, until};

define_protocol! {
    /// Four magic bytes.
    struct Game;
    name: "game",
    transports: [Udp],
    identify: |opening| prefix(opening.first_datagram(), b"GAME"),
}

define_protocol! {
    struct Fragile;
    name: "fragile",
    transports: [Udp],
    identify: |opening| match prefix(opening.first_datagram(), b"boom") {
        Verdict::Match => panic!("on purpose: a test of what a panic ends"),
        undecided => undecided,
    },
}

/// A handshake of three datagrams, in which the third tells what it is.
struct Handshake;

impl RefractiumProtocol for Handshake {
    fn name(&self) -> &str {
        "handshake"
    }

    fn transports(&self) -> &[Transport] {
        &[Transport::Udp]
    }

    fn identify(&self, opening: &Opening<'_>) -> Verdict {
        let starts = std::iter::once(&0).chain(opening.ends);
        let mut said = starts.zip(opening.ends).map(|(&start, &end)| &opening.bytes[start..end]);
        if said.any(|datagram| !datagram.starts_with(b"H")) {
            return Verdict::NoMatch;
        }
        match (opening.ends.len(), opening.bytes.ends_with(b"!")) {
            (3.., true) => Verdict::Match,
            (3.., false) => Verdict::NoMatch,
            _ => Verdict::NeedMore,
        }
    }
}

/// What an observer saw.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Decided { id: u64, route: String, opening: Vec<u8>, by: By },
    Opened { id: u64, client: SocketAddr, address: SocketAddr },
    Moved { id: u64, from: SocketAddr, address: SocketAddr },
    Failed { id: u64, backend: String, fell: bool },
    Dropped { id: u64, to: Peer, datagrams: usize, loss: String },
    Ended { id: u64, address: SocketAddr, up: (u64, u64), down: (u64, u64), end: SessionEnd },
    Refused { id: u64, reason: String },
}

fn seen(event: &Event<'_>) -> Option<Seen> {
    Some(match event {
        Event::Decided { conn, route, opening, by, .. } => {
            let (route, opening) = (route.name().to_owned(), opening.bytes.to_vec());
            Seen::Decided { id: conn.id, route, opening, by: *by }
        }
        Event::SessionOpened { conn, backend, .. } => {
            assert_eq!(conn.transport, Transport::Udp);
            Seen::Opened { id: conn.id, client: conn.client, address: backend.address() }
        }
        Event::SessionMoved { conn, from, backend, .. } => {
            let (from, address) = (from.address(), backend.address());
            Seen::Moved { id: conn.id, from, address }
        }
        Event::ConnectFailed { conn, backend, fell, .. } => {
            let backend = backend.endpoint().to_string();
            Seen::Failed { id: conn.id, backend, fell: *fell }
        }
        Event::Dropped { conn, to, datagrams, loss, .. } => {
            let loss = match loss {
                Loss::SendBufferFull => "full".to_owned(),
                other => other.to_string(),
            };
            Seen::Dropped { id: conn.id, to: *to, datagrams: *datagrams, loss }
        }
        Event::SessionEnded { conn, backend, exchanged, end, .. } => {
            let address = backend.address();
            let up = (exchanged.up.datagrams, exchanged.up.bytes);
            let down = (exchanged.down.datagrams, exchanged.down.bytes);
            Seen::Ended { id: conn.id, address, up, down, end: *end }
        }
        Event::Refused { conn, refusal } => {
            Seen::Refused { id: conn.id, reason: refusal.to_string() }
        }
        _ => return None,
    })
}

/// An engine, and what its observer sees.
struct Watched {
    running: Running,
    events: Receiver<Seen>,
}

impl Deref for Watched {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

impl Watched {
    fn start(builder: Builder) -> Self {
        let listeners = Listeners::bind(&[loopback()], &[Transport::Udp]);
        Self::start_on(builder, listeners.expect("a port"))
    }

    fn start_on(builder: Builder, listeners: Listeners) -> Self {
        let (sender, events) = channel();
        let builder = builder.observer(move |event: &Event<'_>| {
            if let Some(seen) = seen(event) {
                // The test may be over.
                let _ = sender.send(seen);
            }
        });
        Self { running: Running::start_on(builder, listeners), events }
    }

    fn next(&self) -> Seen {
        self.events.recv_timeout(DEADLINE).expect("an event")
    }

    /// Waits for an event of this kind; those before it are passed over.
    fn next_of<T>(&self, is_it: impl Fn(&Seen) -> Option<T>) -> T {
        loop {
            if let Some(found) = is_it(&self.next()) {
                return found;
            }
        }
    }
}

fn forward(name: &str, to: SocketAddr) -> refractium::Forward {
    format!("{name}={to}").parse().expect("a forward")
}

#[test]
fn an_observer_sees_each_step_of_a_session() {
    let game = Backend::echo("game");
    let mut route = forward("game", game.address());
    route.responses = Some(1);
    let running = Watched::start(Refractium::builder().protocol(Game).forward(route));
    for id in 0..3 {
        let client = Client::of(running.address);
        client.reaches("game", b"GAME on");
        let (route, opening, by) = ("game".to_owned(), b"GAME on".to_vec(), By::Verdict);
        assert_eq!(running.next(), Seen::Decided { id, route, opening, by });
        let (client, address) = (client.address(), game.address());
        assert_eq!(running.next(), Seen::Opened { id, client, address });
        let (up, down, end) = ((1, 7), (1, 13), SessionEnd::Answered);
        assert_eq!(running.next(), Seen::Ended { id, address, up, down, end });
    }
    Client::of(running.address).send(b"nobody's");
    let reason = "no route after 8 bytes, decided by verdict".to_owned();
    assert_eq!(running.next(), Seen::Refused { id: 3, reason });
    until("every place to be given back", || (running.engine.sessions() == 0).then_some(()));
    assert_eq!(game.rest().len(), 3);
    running.running.stop();
}

/// A panic costs its client that datagram. Its next one is as good as another's.
#[test]
fn a_panic_in_a_protocol_costs_one_datagram() {
    let [game, fragile] = ["game", "fragile"].map(Backend::echo);
    let builder = Refractium::builder().protocol(Fragile).protocol(Game);
    let builder = builder
        .forward(forward("fragile", fragile.address()))
        .forward(forward("game", game.address()));
    let running = Watched::start(builder);
    let other = Client::of(running.address);
    other.reaches("game", b"GAME of another");
    for round in 0..10 {
        let client = Client::of(running.address);
        client.send(b"boom");
        running.next_of(|it| {
            matches!(it, Seen::Refused { reason, .. } if reason.contains("panic")).then_some(())
        });
        client.reaches("game", format!("GAME {round}").as_bytes());
        other.reaches("game", b"of the same session");
        // In a session nobody is asked any more.
        client.reaches("game", b"boom");
    }
    assert_eq!(fragile.rest(), []);
    assert_eq!(game.rest().len(), 1 + 3 * 10);
    assert_eq!(running.engine.sessions(), 11);
}

#[test]
fn an_opening_of_several_datagrams_is_held_until_it_is_known() {
    let [handshake, game] = ["handshake", "game"].map(Backend::echo);
    let builder = Refractium::builder().protocol(Handshake).protocol(Game);
    let builder = builder
        .forward(forward("handshake", handshake.address()))
        .forward(forward("game", game.address()));
    let running = Watched::start(builder);
    let client = Client::of(running.address);
    for bytes in [&b"H1"[..], b"H2, a longer one", b"H!"] {
        client.send(bytes);
    }
    for bytes in [&b"H1"[..], b"H2, a longer one", b"H!"] {
        assert_eq!(client.receive(), [b"handshake: ", bytes].concat());
    }
    let recorded = handshake.take(3);
    assert!(recorded.iter().all(|it| it.peer == recorded[0].peer), "one session");
    let said: Vec<_> = recorded.into_iter().map(|it| it.bytes).collect();
    assert_eq!(said, [&b"H1"[..], b"H2, a longer one", b"H!"], "in their order");
    let opened = |it: &Seen| matches!(it, Seen::Opened { .. }).then_some(());
    running.next_of(opened);
    // What is none after all is dropped, and a good one after it is routed.
    let client = Client::of(running.address);
    client.send(b"H1");
    client.send(b"something else");
    let is_refused = |it: &Seen| match it {
        Seen::Refused { id, reason } => Some((*id, reason.clone())),
        _ => None,
    };
    let (_, reason) = running.next_of(is_refused);
    assert_eq!(reason, "no route after 16 bytes, decided by verdict");
    client.reaches("game", b"GAME");
    assert_eq!(handshake.rest(), []);
}

/// Who begins and does not go on is decided upon after a second, and its memory is free.
#[test]
fn an_opening_that_never_ends_is_settled() {
    let handshake = Backend::echo("handshake");
    let builder = Refractium::builder().protocol(Handshake);
    let running = Watched::start(builder.forward(forward("handshake", handshake.address())));
    let start = Instant::now();
    let clients: Vec<_> = (0..20).map(|_| Client::of(running.address)).collect();
    clients.iter().for_each(|it| it.send(b"H1"));
    for _ in &clients {
        let reason = running.next_of(|it| match it {
            Seen::Refused { reason, .. } => Some(reason.clone()),
            _ => None,
        });
        assert_eq!(reason, "no route after 2 bytes, decided by deadline");
    }
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?}", start.elapsed());
    assert_eq!(running.engine.sessions(), 0);
    for bytes in [b"H1", b"H2", b"H!"] {
        clients[0].send(bytes);
    }
    assert_eq!(clients[0].receive(), b"handshake: H1");
    assert_eq!(handshake.take(3).len(), 3);
}

/// Nobody may have more held than a little: then what there is decides.
#[test]
fn no_more_than_four_datagrams_or_8_kib_are_held() {
    /// Wants to see more, whatever it has seen.
    struct Endless;
    impl RefractiumProtocol for Endless {
        fn name(&self) -> &str {
            "endless"
        }
        fn transports(&self) -> &[Transport] {
            &[Transport::Udp]
        }
        fn identify(&self, opening: &Opening<'_>) -> Verdict {
            match (opening.ended, opening.bytes.first()) {
                (true, Some(b'E')) => Verdict::Match,
                _ => Verdict::NeedMore,
            }
        }
    }
    let endless = Backend::silent();
    let builder = Refractium::builder().protocol(Endless);
    let running = Watched::start(builder.forward(forward("endless", endless.address())));
    let small: Vec<_> = (0..6_u8).map(|at| vec![b'E', at]).collect();
    let large: Vec<_> = (0..4_u8).map(|at| [&[b'E', at][..], &[b'.'; 3000]].concat()).collect();
    for datagrams in [small, large] {
        let client = Client::of(running.address);
        datagrams.iter().for_each(|it| client.send(it));
        let recorded = endless.take(datagrams.len());
        let peer = recorded[0].peer;
        assert!(recorded.iter().all(|it| it.peer == peer));
        let said: Vec<_> = recorded.into_iter().map(|it| it.bytes).collect();
        assert_eq!(said, datagrams, "all of them, in their order");
        let held = running.next_of(|it| match it {
            Seen::Decided { opening, .. } => Some(opening.len()),
            _ => None,
        });
        assert!(held <= 8 * 1024, "{held} bytes were held");
    }
}

#[test]
fn a_refusal_marks_the_backend_and_moves_the_session() {
    let (dead, game) = (refusing(), Backend::echo("game"));
    let mut route = forward("game", dead);
    route.to.push(game.address().into());
    let running = Watched::start(Refractium::builder().protocol(Game).forward(route));
    let client = Client::of(running.address);
    client.send(b"GAME one");
    let (id, address) = running.next_of(|it| match it {
        Seen::Opened { id, address, .. } => Some((*id, *address)),
        _ => None,
    });
    assert_eq!(address, dead);
    let backend = dead.to_string();
    assert_eq!(running.next(), Seen::Failed { id, backend, fell: true });
    client.reaches("game", b"GAME two");
    let (from, address) = (dead, game.address());
    assert_eq!(running.next(), Seen::Moved { id, from, address });
    client.reaches("game", b"GAME three");
    let ports: Vec<_> = game.take(2).iter().map(|it| it.peer.port()).collect();
    assert_eq!(ports[0], ports[1]);
    assert_eq!(running.engine.sessions(), 1);
}

#[test]
fn limits_hold_and_places_are_given_back() {
    let game = Backend::echo("game");
    let udp_idle_timeout = Duration::from_millis(500);
    let limits = Limits { max_udp_sessions: 2, udp_idle_timeout, ..Limits::default() };
    let builder = Refractium::builder().protocol(Game).limits(limits);
    let running = Watched::start(builder.forward(forward("game", game.address())));
    let clients = [(); 2].map(|()| {
        let client = Client::of(running.address);
        client.reaches("game", b"GAME");
        client.reaches("game", b"GAME again");
        client
    });
    Client::of(running.address).send(b"GAME too many");
    let reason = running.next_of(|it| match it {
        Seen::Refused { reason, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(reason, "too many connections");
    for _ in &clients {
        let end = running.next_of(|it| match it {
            Seen::Ended { up, down, end, .. } => Some((*up, *down, *end)),
            _ => None,
        });
        assert_eq!(end, ((2, 14), (2, 26), SessionEnd::Idle));
    }
    until("every place to be given back", || (running.engine.sessions() == 0).then_some(()));
    assert_eq!(game.rest().len(), 4);
}

/// Row U6, for what no check can see before: a route that leads back to where it came from.
#[test]
fn a_route_to_ourselves_does_not_go_round() {
    let wildcard = Listeners::bind(&[(Ipv4Addr::UNSPECIFIED, 0).into()], &[Transport::Udp]);
    let listeners = wildcard.expect("a port");
    let own = (Ipv4Addr::LOCALHOST, listeners.addresses()[0].port()).into();
    let game = Backend::echo("game");
    let builder = Refractium::builder().protocol(Game).protocol(Handshake);
    let builder = builder.forward(forward("game", own));
    let running = Watched::start_on(builder, listeners);
    let client = Client::of(own);
    client.send(b"GAME of a loop");
    let quiet = Duration::from_millis(500);
    let mut events = 0;
    while let Ok(event) = running.events.recv_timeout(quiet) {
        events += 1;
        assert!(events < 20, "it goes round: {event:?}");
    }
    assert!(running.engine.sessions() <= 1, "{} sessions", running.engine.sessions());
    assert_eq!(game.rest(), []);
}
