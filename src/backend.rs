//! One server behind a route.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;

use crate::endpoint::Endpoint;

/// A server: where it is, its last known addresses, and whether it is alive.
///
/// It starts alive. A failed connect sets it aside for [`Backend::ASIDE`]; then one client tries it again.
#[derive(Debug)]
pub struct Backend {
    endpoint: Endpoint,
    addresses: ArcSwap<Vec<SocketAddr>>,
    since: Instant,
    /// Milliseconds after `since` until which it is set aside; 0 while alive.
    aside_until: AtomicU64,
}

impl Backend {
    /// How long a failed connect keeps clients away while others live.
    pub const ASIDE: Duration = Duration::from_secs(5);

    pub(crate) fn new(endpoint: Endpoint) -> Self {
        let addresses = endpoint.address().into_iter().collect();
        Self {
            endpoint,
            addresses: ArcSwap::from_pointee(addresses),
            since: Instant::now(),
            aside_until: AtomicU64::new(0),
        }
    }

    /// Where it was said to be.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The addresses known now; none while its name has not been resolved.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses.load().to_vec()
    }

    /// The same, without a copy.
    pub(crate) fn snapshot(&self) -> Arc<Vec<SocketAddr>> {
        self.addresses.load_full()
    }

    /// Whether it is worth trying before others that are not.
    pub fn is_alive(&self) -> bool {
        let until = self.aside_until.load(Ordering::Relaxed);
        (until == 0 || self.now() >= until) && !self.addresses.load().is_empty()
    }

    /// Whether this client may try it. One whose time aside is over is tried by one client; the others wait for what
    /// becomes of that.
    pub(crate) fn claim(&self) -> bool {
        let until = self.aside_until.load(Ordering::Relaxed);
        let now = self.now();
        if until == 0 {
            return true;
        }
        let again = now.saturating_add(Self::aside_ms());
        let order = Ordering::Relaxed;
        now >= until && self.aside_until.compare_exchange(until, again, order, order).is_ok()
    }

    fn aside_ms() -> u64 {
        u64::try_from(Self::ASIDE.as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn set_aside(&self) {
        self.aside_until.store(self.now().saturating_add(Self::aside_ms()), Ordering::Relaxed);
    }

    pub(crate) fn found_alive(&self) {
        if self.aside_until.load(Ordering::Relaxed) != 0 {
            self.aside_until.store(0, Ordering::Relaxed);
        }
    }

    pub(crate) fn resolved(&self, addresses: Vec<SocketAddr>) {
        self.addresses.store(Arc::new(addresses));
    }

    fn now(&self) -> u64 {
        u64::try_from(self.since.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}
