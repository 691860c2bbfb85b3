//! A backend that is restarted again and again while its clients go on.

use std::collections::BTreeSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use super::{proxy, said};
use crate::harness::udp::{Backend, Client, own_ip};
use crate::harness::until;

const RESTARTS: usize = 100;
const CLIENTS: usize = 4;

/// What a client has seen so far.
#[derive(Default)]
struct Seen {
    sent: AtomicUsize,
    /// The last life of the backend that answered it.
    life: AtomicUsize,
}

/// A backend that says in which life it is, and whom it answers.
fn live(address: SocketAddr, life: usize) -> Option<Backend> {
    let socket = UdpSocket::bind(address).ok()?;
    Some(Backend::on(socket, move |got, answer| {
        answer(&[&life.to_be_bytes(), &got.bytes[..]].concat());
    }))
}

/// Sends until told to stop, and notes who answers. What is sent to a dead backend is lost, and nothing else.
fn go_on(client: &Client, number: u8, seen: &Seen, stop: &AtomicBool) {
    let mut round = 0_u32;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let says = [&[number][..], &round.to_be_bytes()].concat();
        client.send(&says);
        seen.sent.fetch_add(1, Ordering::Relaxed);
        if let Ok(answer) = client.receive_within(Duration::from_millis(5)) {
            let (life, echoed) = answer.split_at(size_of::<usize>());
            assert_eq!(echoed[0], number, "an answer to another client");
            let life = usize::from_be_bytes(life.try_into().expect("a number"));
            seen.life.fetch_max(life, Ordering::Relaxed);
        }
    }
}

#[test]
fn sessions_recover_from_a_hundred_restarts_of_their_backend() {
    let mut backend = live((own_ip(), 0).into(), 1);
    let address = backend.as_ref().expect("a port").address();
    let proxy = proxy(backend.as_ref().expect("it runs"), "workers = 2");
    let (seen, stop): ([Seen; CLIENTS], _) = Default::default();
    let mut ports = [const { BTreeSet::new() }; CLIENTS];
    thread::scope(|scope| {
        let stop = Stop(&stop);
        for (number, seen) in (0..).zip(&seen) {
            let client = Client::of(proxy.address());
            scope.spawn(move || go_on(&client, number, seen, stop.0));
        }
        for life in 1..=RESTARTS {
            until("every client to be answered", || {
                seen.iter().all(|it| it.life.load(Ordering::Relaxed) == life).then_some(())
            });
            for got in backend.take().expect("it runs").rest() {
                ports[usize::from(got.bytes[0])].insert(got.peer.port());
            }
            // Each of them is refused at least once.
            let sent = || seen.each_ref().map(|it| it.sent.load(Ordering::Relaxed));
            let before = sent();
            until("every client to be refused", || {
                before.iter().zip(sent()).all(|(before, now)| now >= before + 2).then_some(())
            });
            backend = Some(until("the port", || live(address, life + 1)));
        }
        until("every client to be answered at last", || {
            seen.iter().all(|it| it.life.load(Ordering::Relaxed) > RESTARTS).then_some(())
        });
    });
    assert!(ports.iter().all(|of_client| of_client.len() == 1), "one session each: {ports:?}");
    let warnings = said(&proxy, "WARN").len();
    assert!(warnings <= 2 * RESTARTS, "{warnings} warnings");
    assert!(proxy.terminate().0.success());
}

/// Lets the clients end, also where the test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}
