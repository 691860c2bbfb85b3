//! What happens, for people and programs to see: `/metrics` for Prometheus, `/status` as JSON, `/live`, `/ready`.
//!
//! An [`Admin`] is an [`Observer`]: it counts what every event tells, and answers over HTTP from that. So it knows nothing
//! that another observer could not know, and what it costs a connection is a few atomic additions.

mod book;
mod count;
mod door;
mod reply;
mod status;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Instant, SystemTime};

use arc_swap::{ArcSwap, ArcSwapOption};
use refractium_protocol::Transport;

pub use door::{Door, DoorError};
pub use status::{
    AddressStatus, BackendState, BackendStatus, Descriptors, ListenerStatus, OpenStatus,
    RouteStatus, State, Status,
};

use crate::admission::Open;
use crate::event::{Event, Observer};
use crate::limits::Limits;
use book::Book;
use count::{Counter, Reasons};

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
    accept_failed: Counter,
    overflowed: Counter,
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
            accept_failed: Counter::default(),
            overflowed: Counter::default(),
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
            Event::Decided { route, by, after, opening, .. } => {
                self.book.load().with(route, |page| page.decided(*by, *after, opening.bytes.len()));
            }
            Event::Welded { route, backend, connect, .. } => {
                self.book.load().with(route, |page| page.joined(backend, Some(*connect)));
            }
            Event::SessionOpened { route, backend, .. } => {
                self.book.load().with(route, |page| page.joined(backend, None));
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
            Event::Refused { conn, refusal } => {
                let [tcp, udp] = &self.refused;
                let over = if conn.transport == Transport::Tcp { tcp } else { udp };
                over.add(refusal.word(), 1);
            }
            Event::AcceptFailed { .. } => self.accept_failed.add(1),
            Event::Overflowed { datagrams, .. } => self.overflowed.add(*datagrams),
            seldom => self.note_seldom(seldom),
        }
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
                let all = self.listeners.load();
                let open = all.iter().filter(|it| !changes.closed.contains(it)).copied();
                self.listeners.store(Arc::new(open.collect()));
            }
            Event::Serving => self.state.store(State::Serving.number(), Relaxed),
            Event::Draining { .. } => self.state.store(State::Draining.number(), Relaxed),
            Event::Drained { .. } => self.state.store(State::Ended.number(), Relaxed),
            _ => {}
        }
    }

    fn state(&self) -> State {
        State::of(self.state.load(Relaxed))
    }
}

impl fmt::Debug for Admin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admin").field("state", &self.0.state()).finish_non_exhaustive()
    }
}
