//! Rows A5 and A12: clients come and go, in any way and in great numbers, and nothing is left of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::address::{leave, loopback};
use super::flat::{Sample, is_flat, nothing_counts_as_open, sockets};
use super::{Over, call, served};
use crate::admin::{ADMIN, admin_of, get};
use crate::harness::{Backend, Proxy, pause, route, until};

/// Places of each address.
const CAP: usize = 16;

/// The last part of the addresses that clients come from.
const SOURCES: std::ops::Range<u8> = 2..10;

struct Churned {
    proxy: Proxy,
    _backend: Backend,
}

impl Churned {
    fn start() -> Self {
        let backend = Backend::echo("ssh");
        let server =
            format!("workers = 2\nmax_connections_per_ip = {CAP}\npeek_timeout_ms = 1000\n");
        let routes = ADMIN.to_owned() + &route("ssh", "", backend.address());
        let proxy = Proxy::start_with(&server, &routes, &[]);
        // Then it has all the sockets that it has without clients.
        let is_ready = || (get(admin_of(&proxy), "/ready").code == 200).then_some(());
        until("it to be ready", is_ready);
        Self { proxy, _backend: backend }
    }

    fn to(&self) -> SocketAddr {
        self.proxy.address()
    }

    /// All are counted once, and every address has all its places again, and none more.
    fn has_nothing_left(&self, before: &Sample) -> u64 {
        until("all to be gone", || (sockets(&self.proxy) <= before.sockets).then_some(()));
        let total = nothing_counts_as_open(&self.proxy);
        for last in SOURCES {
            let held = served((0..CAP).map(|_| call(loopback(last), self.to())));
            assert_eq!(held.len(), CAP, "of 127.0.0.{last}");
            assert!(!call(loopback(last), self.to()).is_served(), "and none more");
        }
        total
    }
}

/// So many come from each address, one after the other.
fn come_and_go(each: usize) {
    let churned = Churned::start();
    let before = Sample::of(&churned.proxy, Instant::now());
    thread::scope(|scope| {
        for last in SOURCES {
            let to = churned.to();
            scope.spawn(move || (0..each).for_each(|at| leave(at, loopback(last), to)));
        }
    });
    // None is missing: the kernel gives those as well that were reset before they were accepted.
    assert_eq!(
        churned.has_nothing_left(&before),
        u64::try_from(each * SOURCES.len()).expect("few")
    );
}

#[test]
fn a_few_thousand_come_and_go_and_are_counted_once() {
    come_and_go(400);
}

/// Row A5.
#[test]
#[ignore = "200,000 connections take minutes"]
fn two_hundred_thousand_come_and_go_and_are_counted_once() {
    come_and_go(25_000);
}

/// How many a second.
const RATE: usize = 1000;

/// How long, unless `REFRACTIUM_CHURN_MINUTES` says something else.
const MINUTES: u64 = 60;

/// Row A12: a thousand a second, whatever becomes of them.
#[test]
#[ignore = "an hour, on a machine that does nothing else"]
fn an_hour_of_coming_and_going_leaves_nothing() {
    let minutes = std::env::var("REFRACTIUM_CHURN_MINUTES");
    let minutes = minutes.map_or(MINUTES, |it| it.parse().expect("minutes"));
    let churned = Churned::start();
    let (next, start, is_over) = (AtomicUsize::new(0), Instant::now(), false.into());
    let mut samples = vec![Sample::of(&churned.proxy, start)];
    thread::scope(|scope| {
        for last in SOURCES.chain(SOURCES) {
            let (next, is_over, to) = (&next, &is_over, churned.to());
            scope.spawn(move || {
                while !std::sync::atomic::AtomicBool::load(is_over, Ordering::Relaxed) {
                    let at = next.fetch_add(1, Ordering::Relaxed);
                    let due = start + Duration::from_secs_f64(at as f64 / RATE as f64);
                    pause(due.saturating_duration_since(Instant::now()));
                    leave(at, loopback(last), to);
                }
            });
        }
        let _over = Over(&is_over);
        while start.elapsed() < Duration::from_secs(60 * minutes) {
            pause(Duration::from_secs(5));
            samples.push(Sample::of(&churned.proxy, start));
            println!("{:?}", samples[samples.len() - 1]);
        }
    });
    let total = churned.has_nothing_left(&samples[0]);
    println!("{total} in {:?}", start.elapsed());
    is_flat(&samples);
}
