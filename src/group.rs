//! The backends of one endpoint.

use std::net::SocketAddr;
use std::sync::Arc;

use arc_swap::ArcSwap;
use refractium_protocol::Transport;

use crate::backend::Backend;
use crate::bell::Bells;
use crate::check::Check;
use crate::endpoint::Endpoint;
use crate::own::canonical;

/// One backend for an address; for a name as many as it has addresses now, none while it has not been resolved.
/// Routes that lead to the same endpoint over the same transport and check it alike share it.
#[derive(Debug)]
pub(crate) struct Group {
    endpoint: Endpoint,
    transport: Transport,
    check: Arc<Check>,
    backends: ArcSwap<Vec<Arc<Backend>>>,
    bells: Arc<Bells>,
}

impl Group {
    pub(crate) fn new(endpoint: Endpoint, transport: Transport, check: Check) -> Self {
        let (backends, bells) = (ArcSwap::default(), Arc::default());
        let check = Arc::new(check.over(transport));
        let group = Self { endpoint, transport, check, backends, bells };
        group.set(group.endpoint.address().as_slice());
        group
    }

    pub(crate) const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) const fn transport(&self) -> Transport {
        self.transport
    }

    pub(crate) const fn check(&self) -> &Arc<Check> {
        &self.check
    }

    pub(crate) fn backends(&self) -> Arc<Vec<Arc<Backend>>> {
        self.backends.load_full()
    }

    /// Whether one of them is there, however its address is written.
    pub(crate) fn has(&self, address: SocketAddr) -> bool {
        let is_it = |it: &Arc<Backend>| canonical(it.address()) == canonical(address);
        self.backends.load().iter().any(is_it)
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
            let (check, bells) = (Arc::clone(&self.check), Arc::clone(&self.bells));
            Arc::new(Backend::new(self.endpoint.clone(), *address, check, bells))
        };
        let backends = addresses.iter().map(|it| known(it).cloned().unwrap_or_else(|| new(it)));
        self.backends.store(Arc::new(backends.collect()));
        let gone = old.iter().filter(|it| !addresses.contains(&it.address()));
        gone.for_each(|backend| backend.set_gone());
        self.bells.change();
        true
    }
}
