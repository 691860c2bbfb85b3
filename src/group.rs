//! The backends of one endpoint.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use refractium_protocol::Transport;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, Whose};
use crate::bell::Bells;
use crate::check::Check;
use crate::endpoint::Endpoint;
use crate::own::canonical;

/// One backend for an address; for a name as many as it has addresses now, none while it has not been resolved.
/// Routes that lead to the same endpoint over the same transport and check it alike share it, and so do those of the next
/// plan.
#[derive(Debug)]
pub(crate) struct Group {
    endpoint: Arc<Endpoint>,
    transport: Transport,
    check: watch::Sender<Arc<Check>>,
    members: ArcSwap<Vec<Member>>,
    /// One at a time changes them: what one has taken away another must not bring back.
    changing: Mutex<()>,
    bells: Arc<Bells>,
    /// Cancelled when no plan has it any more.
    gone: CancellationToken,
}

/// A backend, and what records say of it now.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) backend: Arc<Backend>,
    pub(crate) rank: Rank,
}

/// An address that an endpoint was found to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Found {
    /// Whose it is: the endpoint itself, or a target of its SRV records.
    pub(crate) endpoint: Endpoint,
    pub(crate) address: SocketAddr,
    pub(crate) rank: Rank,
}

/// What SRV records say of a target; the default where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Rank {
    /// In the place of what the route says.
    pub(crate) weight: Option<u16>,
    /// 0 for the lowest priority number, which goes first; 1 for the next.
    pub(crate) tier: u16,
}

impl Group {
    pub(crate) fn new(endpoint: Endpoint, transport: Transport, check: Check) -> Self {
        let (members, bells) = (ArcSwap::default(), Arc::default());
        let check = watch::Sender::new(Arc::new(check.over(transport)));
        let (endpoint, gone) = (Arc::new(endpoint), CancellationToken::new());
        let changing = Mutex::default();
        let group = Self { endpoint, transport, check, members, changing, bells, gone };
        group.set(group.endpoint.address().as_slice());
        group
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    pub(crate) const fn transport(&self) -> Transport {
        self.transport
    }

    pub(crate) fn check(&self) -> Arc<Check> {
        Arc::clone(&self.check.borrow())
    }

    /// Has its backends checked otherwise from now on.
    pub(crate) fn set_check(&self, check: Arc<Check>) {
        let asks = check.asks();
        self.check.send_replace(check);
        if !asks {
            self.backends().iter().for_each(|backend| backend.forgive());
        }
        self.bells.change();
    }

    /// No plan has it any more.
    pub(crate) fn leave(&self) {
        self.gone.cancel();
        self.backends().iter().for_each(|backend| backend.set_gone());
    }

    /// Waits until no plan has it any more.
    pub(crate) async fn left(&self) {
        self.gone.cancelled().await;
    }

    pub(crate) fn members(&self) -> Arc<Vec<Member>> {
        self.members.load_full()
    }

    pub(crate) fn backends(&self) -> Vec<Arc<Backend>> {
        self.members.load().iter().map(|member| Arc::clone(&member.backend)).collect()
    }

    /// Whether one of them is there, however its address is written.
    pub(crate) fn has(&self, address: SocketAddr) -> bool {
        let is_it = |it: &Member| canonical(it.backend.address()) == canonical(address);
        self.members.load().iter().any(is_it)
    }

    pub(crate) fn bells(&self) -> &Bells {
        &self.bells
    }

    /// Takes these addresses of the endpoint itself; see [`take`](Self::take).
    pub(crate) fn set(&self, addresses: &[SocketAddr]) -> bool {
        let endpoint = || (*self.endpoint).clone();
        let found = |&address| Found { endpoint: endpoint(), address, rank: Rank::default() };
        self.take(&addresses.iter().map(found).collect::<Vec<_>>())
    }

    /// Takes these from now on; whether they are others than before, or other things are said of them. A backend that
    /// stays is the same one, with its liveness and its counts.
    pub(crate) fn take(&self, found: &[Found]) -> bool {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.replace(found)
    }

    /// Lets go of those at such addresses.
    pub(crate) fn let_go(&self, is_such: impl Fn(SocketAddr) -> bool) {
        let _one = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let kept = self.members();
        let kept = kept.iter().map(Found::again).filter(|it| !is_such(it.address));
        self.replace(&kept.collect::<Vec<_>>());
    }

    fn replace(&self, found: &[Found]) -> bool {
        let old = self.members();
        let known = |it: &Found| old.iter().find(|member| it.is(&member.backend));
        let is_as_before = |it: &Found| known(it).is_some_and(|member| member.rank == it.rank);
        if old.len() == found.len() && found.iter().all(is_as_before) {
            return false;
        }
        let new = |it: &Found| {
            let (check, bells) = (self.check.subscribe(), Arc::clone(&self.bells));
            let forwarded_to = Arc::clone(&self.endpoint);
            let whose = Whose { endpoint: it.endpoint.clone(), forwarded_to };
            Arc::new(Backend::new(whose, it.address, check, bells))
        };
        let member = |it: &Found| Member {
            backend: known(it).map_or_else(|| new(it), |member| Arc::clone(&member.backend)),
            rank: it.rank,
        };
        self.members.store(Arc::new(found.iter().map(member).collect()));
        for Member { backend, .. } in old.iter() {
            if !found.iter().any(|it| it.is(backend)) {
                backend.set_gone();
            }
        }
        self.bells.change();
        true
    }
}

impl Found {
    fn again(Member { backend, rank }: &Member) -> Self {
        Self { endpoint: backend.endpoint().clone(), address: backend.address(), rank: *rank }
    }

    fn is(&self, backend: &Backend) -> bool {
        self.address == backend.address() && self.endpoint == *backend.endpoint()
    }
}
