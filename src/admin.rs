//! What happens, for people and programs to see: `/metrics` for Prometheus, `/status` as JSON, `/live`, `/ready`.
//!
//! An [`Admin`] is an [`Observer`]: it counts what every event tells, and answers over HTTP from that. So it knows nothing
//! that another observer could not know, and what it costs a connection is a few atomic additions.

mod book;
mod count;
mod door;
mod history;
mod live;
mod metrics;
mod recent;
mod reply;
mod status;
#[cfg(all(test, feature = "srv"))]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use refractium_protocol::{Opening, Transport};

pub use door::{Door, DoorError};
pub use history::Rates;
pub use status::{
    AddressStatus, BackendState, BackendStatus, Descriptors, LastStep, ListenerStatus, OpenStatus,
    RouteStatus, State, Status,
};

use crate::admission::Open;
use crate::event::{Conn, Event, Observer, Refusal};
use crate::limits::Limits;
use crate::table::Route;
use book::Book;
use count::{Counter, DONE, FAILED, Reasons};
use history::History;
use recent::{Decided, Recent};

/// Counts what happens, and answers who asks. Cheap to clone; all clones are one.
///
/// ```
/// use refractium::Refractium;
/// use refractium::admin::{Admin, Door};
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let admin = Admin::default();
/// let engine = Refractium::builder().observer(admin.clone()).build()?;
/// let door = Door::bind(&["127.0.0.1:0".parse()?])?;
/// println!("http://{}/", door.addresses()[0]);
/// // Beside `engine.run(..)`, on a runtime that carries no connections:
/// let serving = admin.serve(door);
/// # drop((engine, serving));
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Default)]
pub struct Admin(Arc<Seen>);

/// What was seen so far.
struct Seen {
    since: (SystemTime, Instant),
    state: AtomicU8,
    plan: ArcSwapOption<Held>,
    listeners: ArcSwap<Vec<(std::net::SocketAddr, Transport)>>,
    book: ArcSwap<Book>,
    accepted: Counter,
    /// Why connections were not carried, and datagrams not taken.
    refused: [Reasons; 2],
    /// Openings that no route takes, by what brought that to light.
    unrouted: [Reasons; 2],
    accept_failed: Counter,
    overflowed: Counter,
    queue_overflowed: Counter,
    stalls: Counter,
    reloads: Reasons,
    recent: Recent,
    history: History,
}

/// What of the plan does not stand in the book.
struct Held {
    limits: Limits,
    open: Open,
}

impl Default for Seen {
    fn default() -> Self {
        Self {
            since: (SystemTime::now(), Instant::now()),
            state: AtomicU8::new(State::Starting.number()),
            plan: ArcSwapOption::empty(),
            listeners: ArcSwap::default(),
            book: ArcSwap::default(),
            accepted: Counter::default(),
            refused: [Reasons::refusals(), Reasons::refusals()],
            unrouted: [Reasons::decisions(), Reasons::decisions()],
            accept_failed: Counter::default(),
            overflowed: Counter::default(),
            queue_overflowed: Counter::default(),
            stalls: Counter::default(),
            reloads: Reasons::reloads(),
            recent: Recent::default(),
            history: History::default(),
        }
    }
}

impl Admin {
    /// What is to be seen now.
    pub fn status(&self) -> Status {
        Status::of(&self.0)
    }
}

impl Observer for Admin {
    fn on(&self, event: &Event<'_>) {
        self.0.note(event);
    }
}

impl Seen {
    fn note(&self, event: &Event<'_>) {
        match event {
            Event::Accepted { .. } => self.accepted.add(1),
            Event::Decided { conn, route, opening, by, after } => {
                let (by, after) = (*by, *after);
                self.book.load().with(route, |page| {
                    page.decided(by, after, opening.bytes.len());
                    if self.recent.has_room() {
                        let (conn, counts) = (**conn, Arc::clone(&page.counts));
                        let (host, bytes) = (host(route, opening), opening.bytes.len());
                        self.recent.decided(Decided { conn, counts, host, by, bytes, after });
                    }
                });
            }
            Event::Welded { conn, route, backend, connect } => {
                self.book.load().with(route, |page| page.given(backend, Some(*connect)));
                self.recent.joined(conn.id, backend.address());
            }
            Event::SessionOpened { conn, route, backend } => {
                self.book.load().with(route, |page| page.given(backend, None));
                self.recent.joined(conn.id, backend.address());
            }
            Event::SessionMoved { route, from, backend, .. } => {
                self.book.load().with(route, |page| page.moved(from, backend));
            }
            Event::Closed { route, backend, moved, ending, .. } => {
                self.book.load().with(route, |page| page.closed(backend, moved, *ending));
            }
            Event::SessionEnded { route, backend, exchanged, end, .. } => {
                self.book.load().with(route, |page| page.ended(backend, exchanged, *end));
            }
            Event::ConnectFailed { route, backend, .. } => {
                self.book.load().with(route, |page| page.failed(backend));
            }
            Event::Dropped { route, datagrams, loss, .. } => {
                self.book.load().with(route, |page| page.dropped(*datagrams, loss));
            }
            Event::Refused { conn, refusal } => self.refused(conn, refusal),
            Event::AcceptFailed { .. } => self.accept_failed.add(1),
            Event::Overflowed { datagrams, .. } => self.overflowed.add(*datagrams),
            Event::QueueOverflowed { packets, .. } => self.queue_overflowed.add(*packets),
            seldom => self.note_seldom(seldom),
        }
    }

    fn refused(&self, conn: &Conn, refusal: &Refusal) {
        over(conn.transport, &self.refused).add(refusal.word(), 1);
        if let Refusal::NoRoute { by, .. } = refusal {
            over(conn.transport, &self.unrouted).add(by.word(), 1);
        }
        self.recent.refused(conn, refusal);
    }

    /// Ends a step of the history, and fetches what was left meanwhile.
    fn step(&self) {
        self.history.step(self);
        self.recent.fetch();
    }

    /// What happens to the engine as a whole.
    fn note_seldom(&self, event: &Event<'_>) {
        match event {
            Event::Planned { plan, open } => {
                self.book.store(Arc::new(self.book.load().turned(&plan.table)));
                let held = Held { limits: plan.limits, open: (*open).clone() };
                self.plan.store(Some(Arc::new(held)));
            }
            Event::Listening { local, transport } => {
                let mut all = self.listeners.load().to_vec();
                all.push((*local, *transport));
                self.listeners.store(Arc::new(all));
            }
            Event::Reloaded { changes } => {
                self.reloads.add(DONE, 1);
                let all = self.listeners.load();
                let open = all.iter().filter(|it| !changes.closed.contains(it)).copied();
                self.listeners.store(Arc::new(open.collect()));
            }
            Event::Serving => self.state.store(State::Serving.number(), Relaxed),
            Event::Draining { .. } => self.state.store(State::Draining.number(), Relaxed),
            Event::Drained { .. } => self.state.store(State::Ended.number(), Relaxed),
            Event::WorkerStalled { .. } => self.stalls.add(1),
            Event::ReloadFailed { .. } => self.reloads.add(FAILED, 1),
            _ => {}
        }
    }

    fn state(&self) -> State {
        State::of(self.state.load(Relaxed))
    }
}

const fn over(transport: Transport, [tcp, udp]: &[Reasons; 2]) -> &Reasons {
    match transport {
        Transport::Tcp => tcp,
        Transport::Udp => udp,
    }
}

/// The host that a client asks for, as long as a person reads.
fn host(route: &Route, opening: &Opening<'_>) -> Option<String> {
    let host = route.host(opening)?;
    let cut = host.char_indices().nth(MOST_HOST).and_then(|(at, _)| host.get(..at));
    Some(cut.map_or_else(|| host.clone(), |cut| format!("{cut}...")))
}

/// Characters of a host that are shown.
const MOST_HOST: usize = 80;

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("state", &self.0.state()).finish_non_exhaustive()
    }
}
