//! Many clients behind one socket, each with an address of loopback to itself.
//!
//! A proxy cannot tell them from clients with sockets of their own. To have a socket for each would cost the load
//! generator more than many a session costs a proxy.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::super::tally::Tally;
use crate::datagram::{Head, Kind};
use crate::order::Done;
use crate::pattern::Pattern;
use crate::socket::{Buffers, Datagram, Socket, transmit};

/// Sessions go round in 127.64.0.0/10; the one that comes back to an address is four million later.
const FIRST: u32 = u32::from_be_bytes([127, 64, 0, 0]);
const ADDRESSES: u64 = 1 << 22;

/// Clients that become known at a time where none of them is timed.
const AT_ONCE: u64 = 64;

/// How often one that is paced sends what is due: seldom enough that sleeping costs little.
const TICK: Duration = Duration::from_micros(200);

pub(super) struct Crowd {
    socket: Arc<Socket>,
    buffers: Buffers,
    pattern: Arc<Pattern>,
    /// Sessions that are kept, with the number of questions they have asked.
    kept: Vec<(u64, u64)>,
}

/// A question that waits for its answer.
struct Asked {
    number: u64,
    at: Instant,
}

impl Crowd {
    pub(super) fn new(pattern: Arc<Pattern>) -> Result<Self> {
        let socket = Arc::new(Socket::bind(Ipv4Addr::UNSPECIFIED)?);
        Ok(Self { socket, buffers: Buffers::new(), pattern, kept: Vec::new() })
    }

    /// Asks each question, a session and a number, and takes the answer; no session may ask twice at a time.
    pub(super) async fn ask(
        &mut self,
        to: SocketAddr,
        at_once: u64,
        mut questions: impl Iterator<Item = (u64, u64)>,
    ) -> Result<Tally> {
        self.forget_the_past();
        let mut tally = Tally::new()?;
        let mut waiting: HashMap<u64, Asked> = HashMap::new();
        loop {
            let room = (at_once as usize).saturating_sub(waiting.len());
            for (session, number) in questions.by_ref().take(room) {
                let at = Instant::now();
                let question = Head { kind: Kind::Question, session, number };
                self.socket.send(&sent(to, session, &question.message(&self.pattern))).await?;
                waiting.insert(session, Asked { number, at });
            }
            if waiting.is_empty() {
                break;
            }
            if self.socket.receive_soon(&mut self.buffers).await.is_err() {
                bail!(
                    "{} of {} answers were lost",
                    waiting.len(),
                    tally.units + waiting.len() as u64
                );
            }
            for datagram in self.buffers.datagrams() {
                let head = answer(datagram, &self.pattern)?;
                let asked =
                    waiting.remove(&head.session).filter(|asked| asked.number == head.number);
                tally.note(asked.context("an answer that was not asked for")?.at);
            }
        }
        let more = self.socket.try_receive(&mut self.buffers).is_ok();
        ensure!(!more, "an answer that was not asked for");
        Ok(tally)
    }

    /// New sessions that are kept.
    pub(super) async fn hold(&mut self, to: SocketAddr, first: u64, count: u64) -> Result<Done> {
        let new = first..first + count;
        let start = Instant::now();
        let tally = self.ask(to, AT_ONCE, new.clone().map(|session| (session, 0))).await?;
        self.kept.extend(new.map(|session| (session, 1)));
        tally.done(start.elapsed())
    }

    /// Questions of those that are kept, each in its turn.
    pub(super) async fn turns(
        &mut self,
        to: SocketAddr,
        at_once: u64,
        count: u64,
    ) -> Result<Tally> {
        let kept = self.kept.len();
        ensure!(kept > 0, "nobody is kept");
        let mut sessions = std::mem::take(&mut self.kept);
        let places = (0..kept).cycle().take(count as usize);
        let questions = places.filter_map(|place| {
            let (session, asked) = sessions.get_mut(place)?;
            *asked += 1;
            Some((*session, *asked - 1))
        });
        let asked = self.ask(to, at_once.min(kept as u64), questions).await;
        self.kept = sessions;
        asked
    }

    pub(super) fn release(&mut self) {
        self.kept.clear();
    }

    /// New sessions at a pace that nobody's answers change; those that are not answered are counted.
    pub(super) async fn paced(
        &mut self,
        to: SocketAddr,
        first: u64,
        count: u64,
        rate: u64,
    ) -> Result<Done> {
        self.forget_the_past();
        let (socket, pattern) = (Arc::clone(&self.socket), Arc::clone(&self.pattern));
        socket.writable().await?;
        let start = Instant::now();
        let sender = tokio::task::spawn_blocking(move || -> Result<Duration> {
            let mut sessions = first..first + count;
            while !sessions.is_empty() {
                let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
                let due = due.saturating_sub(sessions.start - first);
                for session in sessions.by_ref().take(due as usize) {
                    let question = Head { kind: Kind::Question, session, number: 0 };
                    socket.try_send(&sent(to, session, &question.message(&pattern)))?;
                }
                thread::sleep(TICK);
            }
            Ok(start.elapsed())
        });
        let mut answered = vec![false; count as usize];
        let mut units = 0;
        while units < count {
            if self.socket.receive_soon(&mut self.buffers).await.is_err() {
                if sender.is_finished() {
                    break;
                }
                continue;
            }
            for datagram in self.buffers.datagrams() {
                let head = answer(datagram, &self.pattern)?;
                let place = head
                    .session
                    .checked_sub(first)
                    .and_then(|place| answered.get_mut(place as usize));
                let before = place.map(|place| std::mem::replace(place, true));
                ensure!(before == Some(false), "an answer that was not asked for");
                units += 1;
            }
        }
        let seconds = sender.await??.as_secs_f64();
        Ok(Done { seconds, units, lost: count - units, ..Done::default() })
    }

    /// What still comes from a load that has failed.
    fn forget_the_past(&mut self) {
        while self.socket.try_receive(&mut self.buffers).is_ok() {}
    }
}

fn sent(to: SocketAddr, session: u64, question: &[u8]) -> quinn_udp::Transmit<'_> {
    let src_ip = Some(IpAddr::V4(address(session)));
    quinn_udp::Transmit { src_ip, ..transmit(to, question, None) }
}

fn address(session: u64) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + u32::try_from(session % ADDRESSES).unwrap_or_default())
}

/// An answer that came to the client who asked.
fn answer(datagram: Datagram<'_>, pattern: &Pattern) -> Result<Head> {
    let head = Head::read(pattern, datagram.bytes)?;
    ensure!(head.kind == Kind::Answer, "not an answer");
    ensure!(datagram.to == Some(address(head.session)), "an answer to another client");
    Ok(head)
}
