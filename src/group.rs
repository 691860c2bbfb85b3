//! The backends of one endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::backend::Backend;
use crate::bell::Bells;
use crate::endpoint::Endpoint;

/// One backend for an address; for a name as many as it has addresses now, none while it has not been resolved.
/// Routes that lead to the same endpoint share it.
#[derive(Debug)]
pub(crate) struct Group {
    endpoint: Endpoint,
    backends: ArcSwap<Vec<Arc<Backend>>>,
    bells: Arc<Bells>,
}

impl Group {
    pub(crate) fn new(endpoint: Endpoint) -> Self {
        let group = Self { endpoint, backends: ArcSwap::default(), bells: Arc::default() };
        group.set(group.endpoint.address().as_slice());
        group
    }

    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) fn backends(&self) -> Arc<Vec<Arc<Backend>>> {
        self.backends.load_full()
    }

    pub(crate) fn has(&self, address: SocketAddr) -> bool {
        self.backends.load().iter().any(|backend| backend.address() == address)
    }

    pub(crate) fn bells(&self) -> &Bells {
        &self.bells
    }

    /// Takes these addresses from now on; whether they are others than before. A backend whose address stays is the same
    /// one, with its liveness and its counts.
    pub(crate) fn set(&self, addresses: &[SocketAddr]) -> bool {
        let old = self.backends();
        let known = |address: &SocketAddr| old.iter().find(|it| it.address() == *address);
        if old.len() == addresses.len() && addresses.iter().all(|it| known(it).is_some()) {
            return false;
        }
        let new = |address: &SocketAddr| {
            let bells = Arc::clone(&self.bells);
            Arc::new(Backend::new(self.endpoint.clone(), *address, ASIDE, bells))
        };
        let backends = addresses.iter().map(|it| known(it).cloned().unwrap_or_else(|| new(it)));
        self.backends.store(Arc::new(backends.collect()));
        self.bells.change();
        true
    }
}

/// How long a refusal keeps clients away.
const ASIDE: Duration = Duration::from_secs(5);
