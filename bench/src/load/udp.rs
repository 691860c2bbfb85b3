//! The clients that send datagrams.

mod crowd;
mod pair;

use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{gather, shares};
use crate::datagram::{Head, Kind};
use crate::flow::{Receipt, Side};
use crate::ledger::Counts;
use crate::order::{Done, Flow, Order, Udp, Way};
use crate::pattern::Pattern;
use crate::socket::{Buffers, Socket, transmit};
use crowd::{Asking, Crowd};

/// What carries out orders about datagrams, one after the other.
pub(super) struct Clients {
    pattern: Arc<Pattern>,
    /// Every session of a run has a number of its own.
    next_session: u64,
    crowd: Option<Crowd>,
}

impl Clients {
    pub(super) fn new(pattern: Arc<Pattern>) -> Self {
        Self { pattern, next_session: 1, crowd: None }
    }

    pub(super) async fn carry_out(&mut self, order: &Order, udp: Udp) -> Result<Done> {
        let to = order.to;
        let start = Instant::now();
        match udp {
            Udp::Exchange { clients, count } => {
                let sessions = self.take_sessions(clients);
                let mut tasks = JoinSet::new();
                for (session, share) in sessions.zip(shares(count, clients)) {
                    tasks.spawn(pair::exchange(to, session, share, Arc::clone(&self.pattern)));
                }
                gather(tasks).await
            }
            Udp::Bulk { way, manner, count, window } => {
                let session = self.take_sessions(1).start;
                let flow = Flow { session, way, manner, count, window };
                self.bulk(flow, to, order.side).await?;
                let seconds = start.elapsed().as_secs_f64();
                Ok(Done { seconds, units: count, ..Done::default() })
            }
            Udp::Sessions { count, at_once } => {
                let sessions = self.take_sessions(count);
                let tally = self.crowd()?.once(to, at_once, sessions).await?;
                tally.done(start.elapsed())
            }
            Udp::Paced { count, rate } => {
                let sessions = self.take_sessions(count);
                self.crowd()?.paced(to, sessions, rate).await
            }
            Udp::Hold { count } => {
                let sessions = self.take_sessions(count);
                let tally = self.crowd()?.hold(to, sessions).await?;
                tally.done(start.elapsed())
            }
            Udp::Called => self.crowd()?.called().await,
            Udp::Turns { count, at_once } => {
                let asking = Asking { kind: Kind::Question, count, at_once };
                let tally = self.crowd()?.turns(to, asking).await?;
                tally.done(start.elapsed())
            }
        }
    }

    /// Forgets the clients that are kept.
    pub(super) fn release(&mut self) {
        if let Some(crowd) = &mut self.crowd {
            crowd.release();
        }
    }

    fn take_sessions(&mut self, count: u64) -> Range<u64> {
        let first = self.next_session;
        self.next_session += count;
        first..self.next_session
    }

    fn crowd(&mut self) -> Result<&mut Crowd> {
        if self.crowd.is_none() {
            self.crowd = Some(Crowd::new(Arc::clone(&self.pattern))?);
        }
        self.crowd.as_mut().context("no clients")
    }

    async fn bulk(&self, flow: Flow, to: SocketAddr, side: u16) -> Result<()> {
        let socket = Socket::bind(Ipv4Addr::LOCALHOST)?;
        let mut side = Side::new(TcpStream::connect((Ipv4Addr::LOCALHOST, side)).await?).await?;
        side.tell(&flow)?;
        // The backend is ready.
        let _: Counts = side.hear().await?;
        match flow.way {
            Way::Push => flow.send(&self.pattern, (&socket, to), &mut side).await,
            Way::Pull => {
                let start = Head { kind: Kind::Start, session: flow.session, number: 0 };
                let start = start.message(&self.pattern);
                socket.send(&transmit(to, &start, None)).await.context("sending the start")?;
                self.take(&socket, Receipt::new(flow, side)).await
            }
        }
    }

    async fn take(&self, socket: &Socket, mut receipt: Receipt) -> Result<()> {
        let mut buffers = Buffers::new();
        loop {
            socket.receive_soon(&mut buffers).await.with_context(|| receipt.fault())?;
            for datagram in buffers.datagrams() {
                let head = Head::read(&self.pattern, datagram.bytes)?;
                anyhow::ensure!(
                    head.kind == Kind::Piece && head.session == receipt.session(),
                    "a datagram of another session"
                );
                receipt.note(head.number);
            }
            receipt.tell()?;
            if let Some(done) = receipt.done() {
                return done;
            }
        }
    }
}
