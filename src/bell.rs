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
    /// How many clients wait for a place.
    waiting: AtomicUsize,
    place: Notify,
}

/// The ears of all pools that lead to one group of backends.
#[derive(Debug, Default)]
pub(crate) struct Bells {
    pools: Mutex<Vec<Weak<Bell>>>,
    /// Some pool allows only so many connections: a place that is given back may be waited for.
    is_limited: AtomicBool,
}

/// Somebody who waits for a place.
pub(crate) struct Waiting<'b> {
    bell: &'b Bell,
    /// Nobody waited then. Places freed before are nobody's news: who comes first looks for one.
    came_first: bool,
}

impl Bell {
    /// How often it was rung. Who has seen the same number has seen all.
    pub(crate) fn rings(&self) -> u64 {
        self.rings.load(Acquire)
    }

    /// Tells that something changed.
    pub(crate) fn ring(&self) {
        self.rings.fetch_add(1, Release);
        self.place.notify_waiters();
    }

    /// Waits until it was rung more often than that; how often that is.
    pub(crate) async fn change(&self, seen: u64) -> u64 {
        loop {
            let mut told = pin!(self.place.notified());
            told.as_mut().enable();
            let rings = self.rings();
            if rings != seen {
                return rings;
            }
            told.await;
        }
    }

    /// Whether others wait already.
    pub(crate) fn is_waited_for(&self) -> bool {
        self.waiting.load(Relaxed) > 0
    }

    pub(crate) fn wait(&self) -> Waiting<'_> {
        let came_first = self.waiting.fetch_add(1, SeqCst) == 0;
        Waiting { bell: self, came_first }
    }
}

impl Waiting<'_> {
    /// Waits until it is one's turn to look for a place. `is_free` says whether there is one already.
    pub(crate) async fn turn(&self, is_free: impl FnOnce() -> bool) {
        let mut place = pin!(self.bell.place.notified());
        place.as_mut().enable();
        if !(self.came_first && is_free()) {
            place.await;
        }
    }

    /// Ends the wait. If there is another place, the next has its turn.
    pub(crate) fn done(self, is_free: impl FnOnce() -> bool) {
        if self.bell.waiting.load(SeqCst) > 1 && is_free() {
            self.bell.place.notify_one();
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.bell.waiting.fetch_sub(1, SeqCst);
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

    /// Lets one of those who wait have a look, in each pool.
    pub(crate) fn place_freed(&self) {
        if !self.is_limited.load(Relaxed) {
            return;
        }
        self.with(|pools| {
            let waited_for = |pool: &Bell| pool.waiting.load(SeqCst) > 0;
            for pool in pools.iter().filter_map(Weak::upgrade).filter(|it| waited_for(it)) {
                pool.place.notify_one();
            }
        });
    }

    fn with(&self, work: impl FnOnce(&mut Vec<Weak<Bell>>)) {
        // A list is whole at every step: a panic elsewhere spoils nothing.
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        work(&mut pools);
    }
}
