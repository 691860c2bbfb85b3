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
mod spare;
mod status;
#[cfg(all(test, feature = "srv"))]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use refractium_protocol::{Opening, Transport};

pub use door::{Door, DoorError};
pub use history::Rates;
pub use status::{
    AddressStatus, BackendState, BackendStatus, Descriptors, LastStep, ListenerStatus, OpenStatus,
    RouteStatus, State, Status,
};

use crate::admission::Open;
use crate::backend::Backend;
use crate::event::{By, Conn, Ending, Event, Moved, Observer, Refusal};
use crate::limits::Limits;
use crate::table::Route;
use book::{Book, Owner, Page};
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
    owner: Owner,
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
        let book = Book::default();
        Self {
            since: (SystemTime::now(), Instant::now()),
            state: AtomicU8::new(State::Starting.number()),
            plan: ArcSwapOption::empty(),
            listeners: ArcSwap::default(),
            owner: book.owner(),
            book: ArcSwap::from_pointee(book),
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
    /// What every connection comes by has a function of its own, which is not to be put in here: nothing is saved for it then
    /// before it is known what is to be done.
    fn note(&self, event: &Event<'_>) {
        match event {
            Event::Accepted { .. } => self.accepted.add(1),
            Event::Decided { conn, route, opening, by, after } => {
                self.decided(conn, route, opening, (*by, after));
            }
            Event::Welded { conn, route, backend, connect } => {
                self.welded(conn, route, backend, connect);
            }
            Event::Closed { route, backend, moved, ending, .. } => {
                self.closed(route, backend, moved, *ending);
            }
            other => self.note_other(other),
        }
    }

    #[inline(never)]
    fn decided(&self, conn: &Conn, route: &Route, opening: &Opening<'_>, found: (By, &Duration)) {
        self.with(route, |page| {
            page.decided(found, opening.bytes.len());
            if self.recent.has_room() {
                self.recent.decided(Decided::new(conn, page, opening, found));
            }
        });
    }

    #[inline(never)]
    fn welded(&self, conn: &Conn, route: &Route, backend: &Backend, connect: &Duration) {
        self.with(route, |page| page.given(backend, Some(connect)));
        self.recent.joined(conn.id, backend.address());
    }

    #[inline(never)]
    fn closed(&self, route: &Route, backend: &Backend, moved: &Moved, ending: Ending) {
        self.with(route, |page| page.closed(backend, moved, ending));
    }

    #[inline(never)]
    fn note_other(&self, event: &Event<'_>) {
        match event {
            Event::SessionOpened { conn, route, backend } => {
                self.with(route, |page| page.given(backend, None));
                self.recent.joined(conn.id, backend.address());
            }
            Event::SessionMoved { route, from, backend, .. } => {
                self.with(route, |page| page.moved(from, backend));
            }
            Event::SessionEnded { route, backend, exchanged, end, .. } => {
                self.with(route, |page| page.ended(backend, exchanged, *end));
            }
            Event::ConnectFailed { route, backend, .. } => {
                self.with(route, |page| page.failed(backend));
            }
            Event::Dropped { route, datagrams, loss, .. } => {
                self.with(route, |page| page.dropped(*datagrams, loss));
            }
            Event::Refused { conn, refusal } => self.refused(conn, refusal),
            Event::AcceptFailed { .. } => self.accept_failed.add(1),
            Event::Overflowed { datagrams, .. } => self.overflowed.add(*datagrams),
            Event::QueueOverflowed { packets, .. } => self.queue_overflowed.add(*packets),
            seldom => self.note_seldom(seldom),
        }
    }

    /// Does something with the page of a route, if it has one.
    #[inline]
    fn with(&self, route: &Route, note: impl FnOnce(&Page)) {
        let other;
        let page = match self.owner.page(route) {
            Some(page) => Some(page),
            None => {
                other = self.other_page(route);
                other.as_ref()
            }
        };
        if let Some(page) = page {
            note(page);
        }
    }

    /// Where another observer has left its own at the route.
    #[cold]
    fn other_page(&self, route: &Route) -> Option<Arc<Page>> {
        self.book.load().page(route).cloned()
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

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("state", &self.0.state()).finish_non_exhaustive()
    }
}
