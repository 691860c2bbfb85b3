//! One server behind a route, and the right to use it.

use std::net::SocketAddr;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::bell::Bells;
use crate::check::Check;
use crate::endpoint::Endpoint;

/// A server: one address, whether it is alive, and how many connections it has. A name stands for as many of them as it
/// has addresses.
///
/// It starts alive. Checks say whether it is up or down; one that refuses a client is set aside until a check passes, or,
/// without checks, for a while, after which one client tries it again.
#[derive(Debug)]
pub struct Backend {
    endpoint: Endpoint,
    forwarded_to: Arc<Endpoint>,
    address: SocketAddr,
    /// How it is found out whether it is alive, which a reload may change.
    check: watch::Receiver<Arc<Check>>,
    /// Its checks failed.
    is_down: AtomicBool,
    /// Until when it is set aside, in milliseconds since [`START`]; 0: it is not.
    aside_until: AtomicU64,
    /// It is set aside for connections that it took and reset.
    is_broken: AtomicBool,
    /// How many of those there were in a row.
    resets: AtomicU32,
    open: AtomicUsize,
    /// Cancelled when it goes down, and made anew.
    fall: Mutex<CancellationToken>,
    /// Who is to be told of a change.
    bells: Arc<Bells>,
    /// Somebody checks it.
    is_checked: AtomicBool,
    /// Cancelled when it has no place in the plan any more, or its name not its address.
    gone: CancellationToken,
    /// Some connection or session is to end when it goes down.
    is_followed: AtomicBool,
    /// It refused a client: whoever checks it is to do so soon.
    refused: Notify,
    /// Since when its share grows, in milliseconds since [`START`]; 0: it was never away, or has all of it at once.
    back_since: AtomicU64,
}

/// The right to have one connection or session with a backend. Dropping it gives the place back.
#[derive(Debug)]
pub(crate) struct Lease(Arc<Backend>);

/// By what a backend was found.
#[derive(Debug)]
pub(crate) struct Whose {
    pub(crate) endpoint: Endpoint,
    pub(crate) forwarded_to: Arc<Endpoint>,
}

/// What a connection with a backend came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Served {
    Something,
    /// It was reset before the backend had said anything.
    Nothing,
}

/// The right to check a backend, which one has at a time.
#[derive(Debug)]
pub(crate) struct Checked(Arc<Backend>);

impl Backend {
    pub(crate) fn new(
        whose: Whose,
        address: SocketAddr,
        check: watch::Receiver<Arc<Check>>,
        bells: Arc<Bells>,
    ) -> Self {
        let Whose { endpoint, forwarded_to } = whose;
        Self {
            endpoint,
            forwarded_to,
            address,
            check,
            is_down: AtomicBool::new(false),
            aside_until: AtomicU64::new(0),
            is_broken: AtomicBool::new(false),
            resets: AtomicU32::new(0),
            open: AtomicUsize::new(0),
            fall: Mutex::default(),
            bells,
            is_checked: AtomicBool::new(false),
            gone: CancellationToken::new(),
            is_followed: AtomicBool::new(false),
            refused: Notify::new(),
            back_since: AtomicU64::new(0),
        }
    }

    /// What was said of it: an address, or the name that has this one, which may be the target of an SRV record.
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// What its routes say of it: the same, or the name of the SRV records that have it.
    pub fn forwarded_to(&self) -> &Endpoint {
        &self.forwarded_to
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections it has from here.
    pub fn open(&self) -> usize {
        // See how a lease is dropped.
        self.open.load(SeqCst)
    }

    /// Whether it is worth trying before others that are not.
    pub fn is_alive(&self) -> bool {
        !self.is_down() && self.aside_until() == 0
    }

    /// Whether its checks failed.
    pub fn is_down(&self) -> bool {
        self.is_down.load(Acquire)
    }

    /// Whether it is set aside only for what it did to clients that it took.
    pub(crate) fn is_broken(&self) -> bool {
        !self.is_down() && self.is_broken.load(Acquire)
    }

    pub(crate) fn aside_until(&self) -> u64 {
        self.aside_until.load(Acquire)
    }

    /// It refused. Whether it was alive until now.
    pub(crate) fn set_aside(&self) -> bool {
        self.is_broken.store(false, Release);
        let fell = self.keep_away();
        if fell {
            self.refused.notify_one();
        }
        fell
    }

    /// Waits until it refuses a client while it counts as alive. One waits at a time.
    pub(crate) async fn refusal(&self) {
        self.refused.notified().await;
    }

    fn keep_away(&self) -> bool {
        // Held until it is noted: if checks ended in between, nothing would take it back.
        let check = self.check.borrow();
        let fell = self.aside_until.swap(aside_from_now(&check), AcqRel) == 0;
        drop(check);
        self.bells.change();
        fell && !self.is_down()
    }

    /// It took a connection, or a check passed.
    pub(crate) fn found_alive(&self) {
        if self.aside_until() != 0 && self.aside_until.swap(0, AcqRel) != 0 {
            self.is_broken.store(false, Release);
            self.comes_back();
        }
    }

    fn comes_back(&self) {
        if !self.check.borrow().slow_start.is_zero() {
            self.back_since.store(now(), Release);
        }
        self.bells.change();
    }

    /// While its share grows: how many of [`STEPS`] parts of it it has at that time, and when it has one more.
    pub(crate) fn growing(&self, at: u64) -> Option<(u16, u64)> {
        let since = self.back_since.load(Acquire);
        if since == 0 {
            return None;
        }
        let whole = u64::try_from(self.check.borrow().slow_start.as_millis()).unwrap_or(u64::MAX);
        let step = (whole / u64::from(STEPS)).max(1);
        let part = u16::try_from(at.saturating_sub(since) / step).ok()?.checked_add(1)?;
        (part < STEPS).then(|| (part, since.saturating_add(step.saturating_mul(part.into()))))
    }

    /// Whether this client is to try it again: its time aside is over, and nobody else does. The others wait for what
    /// becomes of that.
    pub(crate) fn claim(&self) -> bool {
        let until = self.aside_until();
        let is_due = until != 0 && now() >= until;
        let again = aside_from_now(&self.check.borrow());
        let claimed =
            is_due && self.aside_until.compare_exchange(until, again, AcqRel, Acquire).is_ok();
        if claimed {
            self.bells.change();
        }
        claimed
    }

    /// A connection with it is over. Whether too many in a row were reset before it had said anything: then it is set
    /// aside, for it takes connections and serves none.
    pub(crate) fn ended(&self, as_if: Served) -> bool {
        match as_if {
            Served::Something if self.resets.load(Relaxed) == 0 => false,
            Served::Something => {
                self.resets.store(0, Relaxed);
                false
            }
            Served::Nothing => {
                let resets = self.resets.fetch_add(1, Relaxed).saturating_add(1);
                if resets < self.check.borrow().fall {
                    return false;
                }
                self.resets.store(0, Relaxed);
                self.is_broken.store(true, Release);
                self.keep_away()
            }
        }
    }

    /// Enough checks passed. Whether it was down until now.
    pub(crate) fn set_up(&self) -> bool {
        let rose = self.is_down.swap(false, AcqRel);
        if rose {
            self.comes_back();
        }
        rose
    }

    /// Enough checks failed. Whether it was up until now.
    pub(crate) fn set_down(&self) -> bool {
        let fell = !self.is_down.swap(true, AcqRel);
        self.bells.change();
        if fell {
            std::mem::take(&mut *self.fall()).cancel();
        }
        fell
    }

    /// What is cancelled when it goes down next.
    pub(crate) fn next_fall(&self) -> CancellationToken {
        self.follow();
        self.fall().clone()
    }

    fn fall(&self) -> std::sync::MutexGuard<'_, CancellationToken> {
        // A token is whole at every step: a panic elsewhere spoils nothing.
        self.fall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that somebody is to end when it goes down: then it is checked while it has any connection, even once it is
    /// gone.
    pub(crate) fn follow(&self) {
        self.is_followed.store(true, Release);
    }

    pub(crate) fn set_gone(&self) {
        self.gone.cancel();
    }

    /// Waits until nobody needs to know any more whether it is alive.
    pub(crate) async fn left(&self) {
        self.gone.cancelled().await;
        while self.is_followed.load(Acquire) && self.open() > 0 {
            sleep(LEAVING).await;
        }
    }

    /// How it is found out whether it is alive, now and from then on.
    pub(crate) fn checks(&self) -> watch::Receiver<Arc<Check>> {
        self.check.clone()
    }

    /// Nobody asks any more: what earlier checks said is forgotten, for nothing would take it back.
    pub(crate) fn forgive(&self) {
        self.is_down.store(false, Release);
        self.is_broken.store(false, Release);
        self.aside_until.store(0, Release);
        self.bells.change();
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

impl Checked {
    pub(crate) fn new(backend: &Arc<Backend>) -> Option<Self> {
        let is_free = !backend.is_checked.swap(true, AcqRel);
        is_free.then(|| Self(Arc::clone(backend)))
    }

    pub(crate) const fn backend(&self) -> &Arc<Backend> {
        &self.0
    }
}

impl Drop for Checked {
    fn drop(&mut self) {
        self.0.is_checked.store(false, Release);
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

/// Until when one that falls now is set aside.
fn aside_from_now(check: &Check) -> u64 {
    if check.asks() {
        return UNTIL_CHECKED;
    }
    let length = u64::try_from(check.interval.as_millis()).unwrap_or(u64::MAX);
    now().saturating_add(length).min(UNTIL_CHECKED - 1)
}

/// In how many steps the share of a backend that is back grows.
pub(crate) const STEPS: u16 = 16;

/// How often one that is gone is asked whether it has connections.
const LEAVING: Duration = Duration::from_secs(1);

/// No client's turn comes: a check is made before.
const UNTIL_CHECKED: u64 = u64::MAX;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since something long ago; never 0, which means "not set aside".
pub(crate) fn now() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX).saturating_add(1)
}
