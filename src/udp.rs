//! The life of a datagram: received, given to its session, sent on, and answered.
//!
//! One task owns a listening socket and all its sessions, so there is no lock. It never waits for a socket that is full or a
//! backend that is slow: each session is on its own.

mod batch;
mod circle;
mod course;
mod held;
mod inward;
mod leave;
mod open;
mod outlet;
mod outward;
mod overflow;
mod session;
mod sessions;
mod spare;
mod train;
mod upstream;
mod wheel;

use std::future::poll_fn;
use std::io;
use std::net::{SocketAddr, UdpSocket as StdUdpSocket};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::Guard;
use mio::{Events, Token};
use quinn_udp::UdpSockRef;
use socket2::SockRef;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UdpSocket;
use tokio::task::yield_now;
use tokio::time::{Instant, Sleep, sleep_until};

pub(crate) use batch::Batch;
pub(crate) use circle::Circle;
pub(crate) use course::{Course, Part};
pub(crate) use leave::{Handed, Leave, Steered, Told};
pub(crate) use overflow::Backlogs;
pub(crate) use sessions::MOST_PLACES;

use crate::crew::Shared;
use crate::event::{Event, SessionEnd};
use crate::listeners::address_is_dual;
use crate::terms::Terms;
use crate::{os, scratch};
use batch::Left;
use course::Standing;
use held::Held;
use leave::{Leaving, Orders};
use outlet::{Outlet, Outlets};
use outward::Blocked;
use overflow::Backlog;
use sessions::Sessions;
use spare::Spares;
use wheel::{Wheel, ticks};

/// A listening socket and its sessions.
pub(crate) struct Port {
    shared: Arc<Shared>,
    /// What holds for who comes now, as far as is known here.
    terms: Arc<Terms>,
    local: SocketAddr,
    socket: Arc<UdpSocket>,
    /// The way out to clients.
    outlet: Outlet,
    /// The ways out to backends.
    outlets: Outlets,
    sessions: Sessions,
    held: Held,
    spares: Spares,
    wheel: Wheel,
    /// Where something comes from backends.
    upstreams: AsyncFd<mio::Poll>,
    events: Events,
    /// Sessions that are being looked at; kept for its room.
    ready: Vec<Token>,
    /// Sessions of which a receive left something behind.
    unfinished: Vec<Token>,
    /// Answers that the socket does not take now. While there are any, backends are not listened to.
    blocked: Blocked,
    /// Whether the system may have dropped what nobody read.
    backlog: Arc<Backlog>,
    /// How many sessions may still be ended for newcomers in this tick.
    evictions: usize,
    /// The tick at which orders and idle sessions were last looked for.
    looked: u64,
    /// That look came late, because the process stood still.
    was_late: bool,
    /// The timer will wake us at the end of that tick.
    is_timed: bool,
    /// The end of the tick that is looked at next.
    timer: Pin<Box<Sleep>>,
    now: Instant,
    is_draining: bool,
    /// Whether it is to go on; alone until it is served.
    part: Part,
    leaving: Leaving,
}

/// How long it works before the thread's connections have their turn.
const SLICE: Duration = Duration::from_millis(2);

/// After so many receives in one turn that all brought something, the system may not have had room for it all.
const DEEP: u32 = 3;

/// Of how many sessions one look tells that something has come.
const EVENTS: usize = 64;

/// By so many ticks is late who has stood still.
const LATE: u64 = 5;

/// While the engine ends, a session counts as finished once it has been quiet for so long.
const DRAINED: Duration = Duration::from_secs(5);

impl Port {
    /// Takes a bound socket.
    pub(crate) fn new(socket: StdUdpSocket, shared: Arc<Shared>) -> io::Result<Self> {
        let local = socket.local_addr()?;
        let state = os::serve_datagrams(&socket, local)?;
        let now = Instant::now();
        let terms = Guard::into_inner(shared.terms());
        Ok(Self {
            local,
            outlet: Outlet::new(state),
            outlets: Outlets::default(),
            sessions: Sessions::default(),
            held: Held::default(),
            spares: Spares::beside(terms.session_caps.all),
            wheel: Wheel::new(now),
            upstreams: watch(mio::Poll::new()?)?,
            events: Events::with_capacity(EVENTS),
            ready: Vec::new(),
            unfinished: Vec::new(),
            blocked: Blocked::default(),
            backlog: Backlog::of(&socket, local),
            evictions: most_evictions(&terms),
            looked: 0,
            was_late: false,
            is_timed: false,
            timer: Box::pin(sleep_until(now)),
            now,
            is_draining: false,
            part: Arc::<Course>::default().join(),
            leaving: Leaving::Not,
            socket: Arc::new(UdpSocket::from_std(socket)?),
            terms,
            shared,
        })
    }

    pub(crate) fn backlog(&self) -> Arc<Backlog> {
        Arc::clone(&self.backlog)
    }

    pub(crate) const fn local(&self) -> SocketAddr {
        self.local
    }

    pub(crate) fn is_dual(&self) -> bool {
        address_is_dual(self.local, &SockRef::from(&*self.socket))
    }

    /// Serves until told to stop and every session has ended, or the order to end at once comes.
    pub(crate) async fn serve(mut self, part: Part, mut orders: Orders) {
        self.part = part;
        let shared = Arc::clone(&self.shared);
        let mut stop = pin!(shared.stop.cancelled());
        let mut cut = pin!(shared.cutter.told());
        poll_fn(|cx| {
            let has_worked = self.leaving.is_not() && self.work(cx);
            // Orders and the time come without work, and are looked for once in a tick where there is always some: asking
            // each time would cost a lock for each datagram.
            let tick = self.wheel.tick(self.now);
            if has_worked && self.is_timed && tick == self.looked {
                return Poll::Pending;
            }
            if tick != self.looked {
                self.was_late = self.is_timed && tick > self.looked.saturating_add(LATE);
                self.looked = tick;
                self.renew();
                self.evictions = most_evictions(&self.terms);
            }
            if cut.as_mut().poll(cx).is_ready() {
                self.end_all();
                return Poll::Ready(());
            }
            self.hear(&mut orders, cx);
            if self.is_gone() {
                return Poll::Ready(());
            }
            if !self.is_draining && stop.as_mut().poll(cx).is_ready() {
                self.is_draining = true;
            }
            self.part.wake_on_change(cx);
            self.look_after(cx)
        })
        .await;
    }

    /// Looks what holds now.
    fn renew(&mut self) {
        let terms = self.shared.terms();
        if !Arc::ptr_eq(&terms, &self.terms) {
            self.terms = Guard::into_inner(terms);
            self.spares.stay_beside(self.terms.session_caps.all);
        }
    }

    /// Receives and sends until nothing is left, or the turn is over. Whether there was anything.
    fn work(&mut self, cx: &mut Context<'_>) -> bool {
        let began = Instant::now();
        for turn in 0.. {
            self.now = Instant::now();
            if turn > 0 && self.now.saturating_duration_since(began) > SLICE {
                break;
            }
            let inward = self.take_in(cx);
            let outward = self.unblock(cx) && self.take_out(cx);
            if !inward && !outward {
                return turn > 0;
            }
            if inward && turn >= DEEP {
                self.backlog.is_deep();
            }
        }
        // There is more to do. The thread's other tasks come first, and so does what has come for them.
        let _ = pin!(yield_now()).poll(cx);
        true
    }

    /// Receives once from clients. Whether something may have come.
    fn take_in(&mut self, cx: &mut Context<'_>) -> bool {
        // An error of the runtime's is one of its end.
        let Poll::Ready(Ok(())) = self.socket.poll_recv_ready(cx) else { return false };
        scratch::with_datagrams(|batch, gathered| {
            let mut received = Ok(Left::Nothing);
            let _ = self.socket.try_io(Interest::READABLE, || {
                received = batch.receive(UdpSockRef::from(&self.socket), self.outlet.state());
                match received {
                    Ok(Left::Maybe) => Ok(()),
                    // That nothing is left is known already: the runtime need not find out by another call. And after a
                    // failure the next datagram is soon enough to try again.
                    _ => Err(io::ErrorKind::WouldBlock.into()),
                }
            });
            match received {
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => {
                    let (local, pause) = (self.local, Duration::ZERO);
                    self.shared.observer.on(&Event::AcceptFailed { local, error: &error, pause });
                }
                _ => self.pass_in(batch, gathered),
            }
        });
        true
    }

    /// Receives once from every backend that has sent something. Whether that was any.
    fn take_out(&mut self, cx: &mut Context<'_>) -> bool {
        let mut tokens = std::mem::take(&mut self.ready);
        tokens.append(&mut self.unfinished);
        let has_unfinished = !tokens.is_empty();
        let mut has_more = false;
        if let Poll::Ready(Ok(mut ready)) = self.upstreams.poll_read_ready_mut(cx) {
            let looked = ready.get_inner_mut().poll(&mut self.events, Some(Duration::ZERO));
            // After a failure, which a signal may be, it is looked again.
            has_more = looked.is_err();
            if looked.is_ok() {
                tokens.extend(self.events.iter().map(mio::event::Event::token));
                if self.events.iter().count() < EVENTS {
                    ready.clear_ready();
                }
            }
        }
        if has_unfinished {
            tokens.sort_unstable();
            tokens.dedup();
        }
        has_more |= !tokens.is_empty();
        let mut left = tokens.drain(..);
        while self.blocked.is_empty()
            && let Some(token) = left.next()
        {
            scratch::with_datagrams(|batch, gathered| self.pass_out(token, batch, gathered));
        }
        // The socket to clients is full: the rest waits in the kernel.
        self.unfinished.extend(left);
        self.ready = tokens;
        has_more
    }

    /// Ends what has been idle for too long, and sees to it that the next look comes in time. Ready once all is over.
    fn look_after(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            let tick = self.wheel.tick(self.now);
            // A process that was stopped is told of the time before it is told what has come.
            if !std::mem::take(&mut self.was_late) {
                self.end_idle(tick);
            }
            self.spares.tidy(self.now);
            self.make_room_for_others();
            let expired =
                if self.is_draining { self.held.keys() } else { self.held.expired(self.now) };
            expired.iter().for_each(|key| self.settle(key));
            let is_over =
                self.sessions.is_empty() && self.held.is_empty() && self.blocked.is_empty();
            let is_closed = is_over && self.part.quiet() == Standing::Closed;
            if is_closed || is_over && self.is_draining {
                return Poll::Ready(());
            }
            self.is_timed = !is_over || !self.spares.is_empty();
            if !self.is_timed {
                return Poll::Pending;
            }
            let until = self.wheel.end_of(tick);
            if self.timer.deadline() != until {
                self.timer.as_mut().reset(until);
            }
            if self.timer.as_mut().poll(cx).is_pending() {
                return Poll::Pending;
            }
            self.now = Instant::now();
        }
    }

    fn end_idle(&mut self, tick: u64) {
        while let Some(entries) = self.wheel.due(tick) {
            for entry in entries {
                if let Some(idle) = self.sessions.given_out(entry, tick, &mut self.wheel) {
                    self.end(idle, SessionEnd::Idle);
                }
            }
        }
        if self.is_draining {
            let quiet = ticks(DRAINED);
            for token in self.sessions.tokens() {
                if self.sessions.get(token).is_some_and(|it| it.last.saturating_add(quiet) <= tick)
                {
                    self.end(token, SessionEnd::Idle);
                }
            }
        }
    }

    fn end_all(&mut self) {
        for token in self.sessions.tokens() {
            self.end(token, SessionEnd::Cut);
            self.shared.count_cut();
        }
    }

    /// Ends a session, if it has not ended before. Its place and its descriptor are given back.
    fn end(&mut self, token: Token, end: SessionEnd) {
        if let Some(session) = self.sessions.remove(token) {
            let (conn, route) = (&session.conn, &*session.route);
            let (backend, exchanged) = (session.upstream.backend(), session.exchanged);
            let ended = Event::SessionEnded { conn, route, backend, exchanged, end };
            self.shared.observer.on(&ended);
            if end == SessionEnd::Answered {
                self.spares.put(session.upstream);
            }
        }
    }
}

/// Has the runtime tell when any of the sockets that are watched has something.
// What is to replace it is unsafe, for descriptors that may be closed meanwhile: this one is owned.
#[allow(deprecated)]
fn watch(poll: mio::Poll) -> io::Result<AsyncFd<mio::Poll>> {
    AsyncFd::with_interest(poll, Interest::READABLE)
}

/// How many sessions may be ended for newcomers in one tick. Most of a flood so costs a look at a table that is full, not a
/// session each; and with the usual number of sessions each lives for 1.6 s at least, time enough for an answer.
fn most_evictions(terms: &Terms) -> usize {
    (terms.session_caps.all / 16).clamp(64, 1024)
}
