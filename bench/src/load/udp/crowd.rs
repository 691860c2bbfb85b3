//! Many clients behind one socket, each with an address of loopback to itself.
//!
//! A proxy cannot tell them from clients with sockets of their own. To have a socket for each would cost the load
//! generator more than many a session costs a proxy.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::super::tally::Tally;
use crate::datagram::{CALL, Head, Kind};
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
    /// Sessions that are kept, each with the number of its next question, in the order of their turn.
    kept: VecDeque<(u64, u64)>,
}

/// So many questions, so many of them under way.
pub(super) struct Asking {
    pub(super) kind: Kind,
    pub(super) count: u64,
    pub(super) at_once: u64,
}

/// A question that waits for its answer.
struct Asked {
    number: u64,
    at: Instant,
}

impl Crowd {
    pub(super) fn new(pattern: Arc<Pattern>) -> Result<Self> {
        let socket = Arc::new(Socket::bind(Ipv4Addr::UNSPECIFIED)?);
        Ok(Self { socket, buffers: Buffers::new(), pattern, kept: VecDeque::new() })
    }

    /// New sessions with one question each.
    pub(super) async fn once(
        &mut self,
        to: SocketAddr,
        at_once: u64,
        sessions: Range<u64>,
    ) -> Result<Tally> {
        let count = sessions.end - sessions.start;
        let mut turn = sessions.map(|session| (session, 0)).collect();
        self.ask(to, Asking { kind: Kind::Question, count, at_once }, &mut turn).await
    }

    /// The same, and they are kept.
    pub(super) async fn hold(&mut self, to: SocketAddr, sessions: Range<u64>) -> Result<Tally> {
        let count = sessions.end - sessions.start;
        let mut turn = sessions.map(|session| (session, 0)).collect();
        let asking = Asking { kind: Kind::Keep, count, at_once: AT_ONCE };
        let asked = self.ask(to, asking, &mut turn).await?;
        self.kept.append(&mut turn);
        Ok(asked)
    }

    /// Questions of those that are kept, each in its turn.
    pub(super) async fn turns(&mut self, to: SocketAddr, asking: Asking) -> Result<Tally> {
        let mut kept = std::mem::take(&mut self.kept);
        let asked = self.ask(to, asking, &mut kept).await;
        self.kept = kept;
        asked
    }

    /// Has those in `turn`, a session and its next number, ask and take the answers; who was answered is the last then.
    async fn ask(
        &mut self,
        to: SocketAddr,
        Asking { kind, count, at_once }: Asking,
        turn: &mut VecDeque<(u64, u64)>,
    ) -> Result<Tally> {
        self.forget_the_past();
        let mut tally = Tally::new()?;
        let mut waiting: HashMap<u64, Asked> = HashMap::new();
        while tally.units < count {
            while (waiting.len() as u64) < at_once.min(count - tally.units)
                && let Some((session, number)) = turn.pop_front()
            {
                let at = Instant::now();
                let question = Head { kind, session, number };
                self.socket.send(&sent(to, session, &question.message(&self.pattern))).await?;
                waiting.insert(session, Asked { number, at });
            }
            ensure!(!waiting.is_empty(), "nobody is there to ask");
            if self.socket.receive_soon(&mut self.buffers).await.is_err() {
                let all = tally.units + waiting.len() as u64;
                bail!("{} of {all} answers were lost", waiting.len());
            }
            for datagram in self.buffers.datagrams() {
                let head = answer(datagram, &self.pattern)?;
                let own = datagram.to == Some(address(head.session));
                ensure!(own, "an answer to another client");
                let asked = waiting.remove(&head.session);
                let asked = asked.filter(|asked| asked.number == head.number);
                tally.note(asked.context("an answer that was not asked for")?.at);
                turn.push_back((head.session, head.number + 1));
            }
        }
        let more = self.socket.try_receive(&mut self.buffers).is_ok();
        ensure!(!more, "an answer that was not asked for");
        Ok(tally)
    }

    /// Takes what the backend sends to each that is kept.
    pub(super) async fn called(&mut self) -> Result<Done> {
        let mut silent: HashSet<u64> = self.kept.iter().map(|(session, _)| *session).collect();
        while !silent.is_empty() {
            if self.socket.receive_soon(&mut self.buffers).await.is_err() {
                bail!("{} of {} sessions were not kept", silent.len(), self.kept.len());
            }
            for datagram in self.buffers.datagrams() {
                let head = answer(datagram, &self.pattern)?;
                ensure!(datagram.to == Some(address(head.session)), "a call to another client");
                let called = head.number == CALL && silent.remove(&head.session);
                ensure!(called, "an answer that was not asked for");
            }
        }
        Ok(Done { units: self.kept.len() as u64, ..Done::default() })
    }

    pub(super) fn release(&mut self) {
        self.kept.clear();
    }

    /// New sessions at a pace that nobody's answers change; those that are not answered are counted.
    pub(super) async fn paced(
        &mut self,
        to: SocketAddr,
        sessions: Range<u64>,
        rate: u64,
    ) -> Result<Done> {
        self.forget_the_past();
        self.socket.writable().await?;
        let (socket, pattern) = (Arc::clone(&self.socket), Arc::clone(&self.pattern));
        let (first, count) = (sessions.start, sessions.end - sessions.start);
        let sender =
            tokio::task::spawn_blocking(move || pace(&socket, &pattern, to, sessions, rate));
        let mut answered = vec![false; count as usize];
        let mut done = Done::default();
        while done.units < count {
            if self.socket.receive_soon(&mut self.buffers).await.is_err() {
                if sender.is_finished() {
                    break;
                }
                continue;
            }
            for datagram in self.buffers.datagrams() {
                let head = answer(datagram, &self.pattern)?;
                if datagram.to != Some(address(head.session)) {
                    done.astray += 1;
                    continue;
                }
                let place = head.session.checked_sub(first).unwrap_or(count) as usize;
                let before = answered.get_mut(place).map(|place| std::mem::replace(place, true));
                ensure!(before == Some(false), "an answer that was not asked for");
                done.units += 1;
            }
        }
        done.seconds = sender.await??.as_secs_f64();
        done.lost = count - done.units;
        Ok(done)
    }

    /// What still comes from a load that has failed.
    fn forget_the_past(&mut self) {
        while self.socket.try_receive(&mut self.buffers).is_ok() {}
    }
}

/// Sends a question of each session at its time; how long that took.
fn pace(
    socket: &Socket,
    pattern: &Pattern,
    to: SocketAddr,
    mut sessions: Range<u64>,
    rate: u64,
) -> Result<Duration> {
    let (start, first) = (Instant::now(), sessions.start);
    while !sessions.is_empty() {
        let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
        let more = due.saturating_sub(sessions.start - first);
        for session in sessions.by_ref().take(more as usize) {
            let question = Head { kind: Kind::Question, session, number: 0 };
            socket.try_send(&sent(to, session, &question.message(pattern)))?;
        }
        thread::sleep(TICK);
    }
    Ok(start.elapsed())
}

fn sent(to: SocketAddr, session: u64, question: &[u8]) -> quinn_udp::Transmit<'_> {
    let src_ip = Some(IpAddr::V4(address(session)));
    quinn_udp::Transmit { src_ip, ..transmit(to, question, None) }
}

fn address(session: u64) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + u32::try_from(session % ADDRESSES).unwrap_or_default())
}

fn answer(datagram: Datagram<'_>, pattern: &Pattern) -> Result<Head> {
    let head = Head::read(pattern, datagram.bytes)?;
    ensure!(head.kind == Kind::Answer, "not an answer");
    Ok(head)
}
