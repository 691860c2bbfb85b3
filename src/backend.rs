//! One server behind a route, and the right to use it.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use crate::bell::Bells;
use crate::endpoint::Endpoint;

/// A server: one address, whether it is alive, and how many connections it has. A name stands for as many of them as it
/// has addresses.
///
/// It starts alive. One that refuses is set aside; then one client, or a check, tries it again.
#[derive(Debug)]
pub struct Backend {
    endpoint: Endpoint,
    address: SocketAddr,
    /// How long a refusal keeps clients away, in milliseconds.
    aside: u64,
    /// Until when it is set aside, in milliseconds since [`START`]; 0: it is not.
    aside_until: AtomicU64,
    open: AtomicUsize,
    /// Who is to be told of a change.
    bells: Arc<Bells>,
}

/// The right to have one connection or session with a backend. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Backend>);

impl Backend {
    pub(crate) fn new(
        endpoint: Endpoint,
        address: SocketAddr,
        aside: Duration,
        bells: Arc<Bells>,
    ) -> Self {
        let aside = u64::try_from(aside.as_millis()).unwrap_or(u64::MAX);
        let (aside_until, open) = (AtomicU64::new(0), AtomicUsize::new(0));
        Self { endpoint, address, aside, aside_until, open, bells }
    }

    /// What was said of it: an address, or the name that has this one.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has from here.
    pub fn open(&self) -> usize {
        self.open.load(Relaxed)
    }

    /// Whether it is worth trying before others that are not.
    pub fn is_alive(&self) -> bool {
        self.aside_until() == 0
    }

    pub(crate) fn aside_until(&self) -> u64 {
        self.aside_until.load(Acquire)
    }

    /// It refused. Whether it was alive until now.
    pub(crate) fn set_aside(&self) -> bool {
        let until = now().saturating_add(self.aside);
        let fell = self.aside_until.swap(until, AcqRel) == 0;
        self.bells.change();
        fell
    }

    /// It took a connection.
    pub(crate) fn found_alive(&self) {
        if self.aside_until() != 0 && self.aside_until.swap(0, AcqRel) != 0 {
            self.bells.change();
        }
    }

    /// Whether this client is to try it again: its time aside is over, and nobody else does. The others wait for what
    /// becomes of that.
    pub(crate) fn claim(&self) -> bool {
        let until = self.aside_until();
        let now = now();
        let again = now.saturating_add(self.aside);
        let is_due = until != 0 && now >= until;
        let claimed =
            is_due && self.aside_until.compare_exchange(until, again, AcqRel, Acquire).is_ok();
        if claimed {
            self.bells.change();
        }
        claimed
    }

    /// A place, if it has less than `most` connections; 0: in any case.
    pub(crate) fn lease(self: &Arc<Self>, most: usize) -> Option<Lease> {
        if most == 0 {
            self.open.fetch_add(1, Relaxed);
        } else {
            let one_more = |open| (open < most).then_some(open + 1);
            self.open.fetch_update(SeqCst, SeqCst, one_more).ok()?;
        }
        Some(Lease(Arc::clone(self)))
    }
}

impl Lease {
    pub(crate) const fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // In one order with the count of those who wait: either they see the place, or we see them.
        self.0.open.fetch_sub(1, SeqCst);
        self.0.bells.place_freed();
    }
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since something long ago; never 0, which means "not set aside".
pub(crate) fn now() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}
