//! How a pool hears that a backend of its has changed.

use std::pin::pin;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Mutex, PoisonError, Weak};

use tokio::sync::Notify;

/// One pool's ear.
#[derive(Debug, Default)]
pub(crate) struct Bell {
    /// How often some backend lived that had not, or the other way round, or they were others.
    rings: AtomicU64,
    /// Clients that wait for a place, one behind the other.
    line: Party,
    /// Clients that were sent to some backend in vain. They have no use for a place there, so they stand beside the line:
    /// in it they would hold up those who have.
    beside: Party,
}

/// Clients that wait for places of one kind.
#[derive(Debug, Default)]
struct Party {
    count: AtomicUsize,
    told: Notify,
}

/// The ears of all pools that lead to one group of backends.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    pools: Mutex<Vec<Weak<Bell>>>,
    /// Some pool allows only so many connections: a place that is given back may be waited for.
    is_limited: AtomicBool,
}

/// Somebody who waits for a place. Who ends the wait lets the next have a look, if there is another place.
pub(crate) struct Waiting<'b, F: Fn() -> bool> {
    party: &'b Party,
    /// Whether there is a place already.
    is_free: F,
    /// Nobody is in front. Places freed before are nobody's news: who comes first looks for one.
    is_first: bool,
}

impl Bell {
    /// How often it was rung. Who has seen the same number has seen all.
    pub(crate) fn rings(&self) -> u64 {
        self.rings.load(Acquire)
    }

    /// Tells that something changed.
    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, Release);
        self.line.told.notify_waiters();
        self.beside.told.notify_waiters();
    }

    /// Waits until it was rung more often than that; how often that is.
    pub(crate) async fn change(&self, seen: u64) -> u64 {
        loop {
            let mut told = pin!(self.line.told.notified());
            told.as_mut().enable();
            let rings = self.rings();
            if rings != seen {
                return rings;
            }
            told.await;
        }
    }

    /// Whether others wait in line already.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.line.count.load(Relaxed) > 0
    }

    /// Waits behind those who wait already.
    pub(crate) fn wait<F: Fn() -> bool>(&self, is_free: F) -> Waiting<'_, F> {
        let is_first = self.line.count.fetch_add(1, SeqCst) == 0;
        Waiting { party: &self.line, is_free, is_first }
    }

    /// Waits beside the line, behind nobody.
    pub(crate) fn wait_beside<F: Fn() -> bool>(&self, is_free: F) -> Waiting<'_, F> {
        self.beside.count.fetch_add(1, SeqCst);
        Waiting { party: &self.beside, is_free, is_first: true }
    }

    /// Lets the next in line have a look, and all who stand beside it.
    fn place_freed(&self) {
        if self.beside.count.load(SeqCst) > 0 {
            self.beside.told.notify_waiters();
        }
        if self.line.count.load(SeqCst) > 0 {
            self.line.told.notify_one();
        }
    }
}

impl<F: Fn() -> bool> Waiting<'_, F> {
    /// Waits until it is one's turn to look for a place.
    pub(crate) async fn turn(&self) {
        let mut told = pin!(self.party.told.notified());
        told.as_mut().enable();
        if !(self.is_first && (self.is_free)()) {
            told.await;
        }
    }
}

impl<F: Fn() -> bool> Drop for Waiting<'_, F> {
    fn drop(&mut self) {
        // Counted off before the look: who comes from now on and finds nobody here looks by himself.
        if self.party.count.fetch_sub(1, SeqCst) > 1 && (self.is_free)() {
            self.party.told.notify_one();
        }
    }
}

impl Bells {
    pub(crate) fn add(&self, pool: Weak<Bell>, is_limited: bool) {
        self.is_limited.fetch_or(is_limited, Relaxed);
        self.with(|pools| {
            // Not each time: ten thousand routes may lead to one backend.
            if pools.len() == pools.capacity() {
                pools.retain(|pool| pool.strong_count() > 0);
            }
            pools.push(pool);
        });
    }

    /// Tells every pool to look again.
    pub(crate) fn change(&self) {
        self.with(|pools| {
            pools.retain(|pool| pool.strong_count() > 0);
            pools.iter().filter_map(Weak::upgrade).for_each(|pool| pool.ring());
        });
    }

    /// Lets those who wait have a look, in each pool.
    pub(crate) fn place_freed(&self) {
        if !self.is_limited.load(Relaxed) {
            return;
        }
        self.with(|pools| {
            pools.iter().filter_map(Weak::upgrade).for_each(|pool| pool.place_freed());
        });
    }

    fn with(&self, work: impl FnOnce(&mut Vec<Weak<Bell>>)) {
        // A list is whole at every step: a panic elsewhere spoils nothing.
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut pools);
    }
}
