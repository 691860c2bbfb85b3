//! New connections at a steady rate, whatever becomes of those before: an open loop.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::SSH;
use crate::harness::pause;

pub(super) struct Load {
    /// New connections a second.
    pub(super) rate: u32,
    pub(super) length: Duration,
    /// How often something is to happen meanwhile.
    pub(super) upgrades: u32,
}

/// What became of the clients. None has tried twice.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    pub(super) served: usize,
    /// By what the system said, and where.
    pub(super) failures: BTreeMap<String, usize>,
    /// The longest that one took.
    slowest: Duration,
    /// The latest that one began.
    latest: Duration,
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { served, failures, slowest, latest } = self;
        write!(f, "{served} served, slowest {slowest:?}, latest {latest:?}, failures {failures:?}")
    }
}

impl Outcome {
    pub(super) fn has_no_failure(&self) -> bool {
        self.failures.is_empty() && self.served > 0
    }
}

/// Clients that wait at a time: many more than there would be if all were served at once.
const CLIENTS: usize = 64;

impl Load {
    /// Connects, and does something a few times meanwhile, at even intervals.
    pub(super) fn run(&self, to: SocketAddr, mut act: impl FnMut()) -> Outcome {
        let (next, begin) = (AtomicUsize::new(0), Instant::now());
        let outcome = Mutex::new(Outcome::default());
        let count = usize::try_from(self.rate).expect("few") * self.seconds();
        thread::scope(|scope| {
            for _ in 0..CLIENTS {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= count {
                            return;
                        }
                        let due = begin + self.due(number);
                        pause(due.saturating_duration_since(Instant::now()));
                        let late = due.elapsed();
                        let got = one(number, to);
                        let took = due.elapsed();
                        let mut outcome = outcome.lock().expect("sound");
                        outcome.slowest = outcome.slowest.max(took);
                        outcome.latest = outcome.latest.max(late);
                        match got {
                            Ok(()) => outcome.served += 1,
                            Err(failure) => *outcome.failures.entry(failure).or_default() += 1,
                        }
                    }
                });
            }
            let interval = self.length / (self.upgrades + 1);
            for round in 1..=self.upgrades {
                pause((begin + interval * round).saturating_duration_since(Instant::now()));
                act();
            }
        });
        outcome.into_inner().expect("sound")
    }

    fn seconds(&self) -> usize {
        usize::try_from(self.length.as_secs()).expect("few")
    }

    fn due(&self, number: usize) -> Duration {
        Duration::from_secs_f64(number as f64 / f64::from(self.rate))
    }
}

/// One client, from one of several addresses: it asks once, and must get the whole answer.
fn one(number: usize, to: SocketAddr) -> Result<(), String> {
    let last = u8::try_from(number % 8).expect("few") + 10;
    let failed = |at: &'static str| move |error: std::io::Error| format!("{at}: {error}");
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.map_err(failed("socket"))?;
    let from = SocketAddr::from((Ipv4Addr::new(127, 0, 1, last), 0));
    socket.bind(&from.into()).map_err(failed("bind"))?;
    socket.connect_timeout(&to.into(), crate::harness::DEADLINE).map_err(failed("connect"))?;
    let mut client = TcpStream::from(socket);
    client.set_read_timeout(Some(crate::harness::DEADLINE)).map_err(failed("option"))?;
    client.write_all(SSH).map_err(failed("write"))?;
    client.shutdown(Shutdown::Write).map_err(failed("end"))?;
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).map_err(failed("read"))?;
    let expected = [b"ssh: ", SSH].concat();
    if answer == expected { Ok(()) } else { Err(format!("answer: {} bytes", answer.len())) }
}
