//! What is known of connections that have not ended.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use refractium_protocol::Opening;

use crate::backend::Backend;
use crate::event::By;
use crate::table::Route;

/// What went through.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moved {
    pub(super) up: u64,
    pub(super) down: u64,
}

/// What is known of one connection or session.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) since: Instant,
    pub(super) way: Option<Way>,
    pub(super) by: Option<By>,
    /// How many bytes were looked at.
    pub(super) looked: Option<usize>,
    pub(super) decide: Option<Duration>,
    pub(super) end: Option<Far>,
}

/// Where it goes.
#[derive(Debug)]
pub(super) struct Way {
    /// `None`: the fallback.
    pub(super) protocol: Option<String>,
    /// Escaped.
    pub(super) host: Option<String>,
    pub(super) route: String,
}

/// The backend.
#[derive(Debug)]
pub(super) struct Far {
    pub(super) backend: String,
    pub(super) address: SocketAddr,
    pub(super) connect: Option<Duration>,
}

impl Record {
    const fn new(since: Instant) -> Self {
        Self { since, way: None, by: None, looked: None, decide: None, end: None }
    }

    pub(super) fn decided(
        &mut self,
        route: &Route,
        opening: &Opening<'_>,
        by: By,
        after: Duration,
    ) {
        self.way = Some(Way {
            protocol: route.protocol().map(|it| it.name().to_owned()),
            host: route.host(opening),
            route: route.label(),
        });
        self.lost(opening.bytes.len(), by);
        self.decide = Some(after);
        // Of a session nothing was told before.
        self.since = self.since.min(Instant::now().checked_sub(after).unwrap_or(self.since));
    }

    /// It was looked at, and goes nowhere so far.
    pub(super) const fn lost(&mut self, bytes: usize, by: By) {
        self.looked = Some(bytes);
        self.by = Some(by);
    }

    pub(super) fn joined(&mut self, backend: &Backend, connect: Option<Duration>) {
        let (address, backend) = (backend.address(), backend.endpoint().to_string());
        self.end = Some(Far { backend, address, connect });
    }
}

/// The records of all that have not ended: no more than connections and sessions may be open.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// By number; in parts, so that workers seldom wait for each other.
    parts: [Mutex<HashMap<u64, Box<Record>>>; 32],
}

impl Records {
    /// Adds to what is known; the first time is the beginning.
    pub(super) fn note(&self, id: u64, add: impl FnOnce(&mut Record)) {
        self.with(id, |part| {
            add(part.entry(id).or_insert_with(|| Box::new(Record::new(Instant::now()))))
        });
    }

    /// Forgets one, and gives what was known.
    pub(super) fn end(&self, id: u64) -> Option<Box<Record>> {
        self.with(id, |part| part.remove(&id)).flatten()
    }

    fn with<T>(
        &self,
        id: u64,
        done: impl FnOnce(&mut HashMap<u64, Box<Record>>) -> T,
    ) -> Option<T> {
        let parts = u64::try_from(self.parts.len()).unwrap_or(1);
        let part = self.parts.get(usize::try_from(id % parts).unwrap_or(0))?;
        Some(done(&mut part.lock().unwrap_or_else(PoisonError::into_inner)))
    }
}
