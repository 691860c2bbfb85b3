//! The workers of one run: what the connections of each share, and who carries the next.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use arc_swap::{ArcSwap, Guard};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::{Caps, Gates, Permit};
use crate::crowd::Line;
use crate::cut::Cutter;
use crate::event::{Observer, Refusal};
#[cfg(test)]
use crate::plan::Plan;
use crate::terms::Terms;
#[cfg(test)]
use crate::udp::Circle;

/// What the tasks of one worker share.
pub(crate) struct Shared {
    /// What holds for who comes now.
    terms: ArcSwap<Terms>,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) gates: Gates,
    pub(crate) ids: Arc<AtomicU64>,
    /// Where its tasks run.
    pub(crate) runtime: Handle,
    /// No more connections.
    pub(crate) stop: CancellationToken,
    /// No more time for the open ones.
    pub(crate) cutter: Cutter,
    pub(crate) tasks: TaskTracker,
    /// Those of them that take clients.
    pub(crate) doors: TaskTracker,
    /// Its connections that are undecided.
    pub(crate) line: Line,
    /// How many connections it carries.
    open: AtomicUsize,
    /// How many were cut.
    cuts: AtomicUsize,
    /// How often it has come round.
    beats: AtomicU64,
    /// How many connections another gave it that it has not begun with.
    given: AtomicUsize,
    /// How many connections came to it since it last did.
    recent: AtomicUsize,
}

/// The workers of one run, seen by one of them.
#[derive(Clone)]
pub(crate) struct Crew {
    pub(crate) me: Arc<Shared>,
    all: Arc<[Arc<Shared>]>,
}

/// The place of a connection at the worker that carries it.
pub(crate) struct Place {
    pub(crate) shared: Arc<Shared>,
}

impl Shared {
    pub(crate) fn new(
        terms: Terms,
        observer: Arc<dyn Observer>,
        gates: Gates,
        ids: Arc<AtomicU64>,
        runtime: Handle,
    ) -> Self {
        Self {
            terms: ArcSwap::from_pointee(terms),
            observer,
            line: Line::new(&gates.crowd),
            gates,
            ids,
            runtime,
            stop: CancellationToken::new(),
            cutter: Cutter::default(),
            tasks: TaskTracker::new(),
            doors: TaskTracker::new(),
            open: AtomicUsize::new(0),
            cuts: AtomicUsize::new(0),
            beats: AtomicU64::new(0),
            given: AtomicUsize::new(0),
            recent: AtomicUsize::new(0),
        }
    }

    /// What holds for who comes now. To be taken once for each: they may be others the next time.
    pub(crate) fn terms(&self) -> Guard<Arc<Terms>> {
        self.terms.load()
    }

    /// Changes what holds for who comes from now on.
    pub(crate) fn set_terms(&self, terms: Terms) {
        self.terms.store(Arc::new(terms));
    }

    /// A place for a connection of this client, if it is known already.
    pub(crate) fn admit_connection(
        &self,
        client: Option<IpAddr>,
        terms: &Terms,
    ) -> Result<Permit, Refusal> {
        let limits = &terms.limits;
        let caps = Caps { all: limits.max_connections, each: limits.each_client() };
        self.gates.connections.enter(client, caps)
    }

    /// A place for a session of this client.
    pub(crate) fn admit_session(&self, client: IpAddr, caps: Caps) -> Result<Permit, Refusal> {
        self.gates.sessions.enter(Some(client), caps)
    }

    pub(crate) fn has_no_session_left(&self, caps: Caps) -> bool {
        self.gates.sessions.open() >= caps.all
    }

    /// Asks the others for a place for a session: theirs may never have been confirmed.
    pub(crate) fn ask_for_room(&self) {
        let one_more = |lacking| (lacking < MOST_LACKING).then_some(lacking + 1);
        let order = Ordering::Relaxed;
        // As many as may be asked for at a time are asked for already.
        let _ = self.gates.lacking.fetch_update(order, order, one_more);
    }

    /// Whether somebody asks for a place: then it is to be made.
    pub(crate) fn is_asked_for_room(&self, caps: Caps) -> bool {
        if !self.has_no_session_left(caps) {
            // There is room again, whoever made it.
            self.gates.lacking.store(0, Ordering::Relaxed);
            return false;
        }
        let one_less = |lacking: usize| lacking.checked_sub(1);
        let order = Ordering::Relaxed;
        self.gates.lacking.fetch_update(order, order, one_less).is_ok()
    }

    pub(crate) fn next_id(&self) -> u64 {
        self.ids.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn count_cut(&self) {
        self.cuts.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }

    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
        self.recent.store(0, Ordering::Relaxed);
    }

    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl Crew {
    /// Every worker's view of all of them.
    pub(crate) fn of(all: &Arc<[Arc<Shared>]>) -> impl Iterator<Item = Self> {
        all.iter().map(|me| Self { me: Arc::clone(me), all: Arc::clone(all) })
    }

    /// Who is to carry the next connection that this worker accepts: itself, unless it has far more than another. The
    /// kernel spreads connections by their addresses, which is even for many of them and lopsided for a few: many
    /// that come at once are left as they are.
    pub(crate) fn carrier(&self) -> &Arc<Shared> {
        let mine = self.me.open();
        // At most its share of all connections, whose count is at hand: the others need not be asked.
        let is_fair = mine.saturating_mul(self.all.len()) <= self.me.gates.connections.open();
        if self.me.recent.fetch_add(1, Ordering::Relaxed) >= FEW || is_fair {
            return &self.me;
        }
        let least = self.all.iter().min_by_key(|it| it.open());
        // One that is blocked soon has the fewest, and would get all.
        let comes_round = |it: &&Arc<Shared>| it.given.load(Ordering::Relaxed) < MOST_GIVEN;
        least.filter(comes_round).filter(|it| is_far_above(mine, it.open())).unwrap_or(&self.me)
    }
}

/// How many places for sessions may be asked for at a time.
const MOST_LACKING: usize = 64;

/// So many connections of one beat may be handed over.
const FEW: usize = 32;

/// How many connections a worker may have been given and not have begun with.
const MOST_GIVEN: usize = 4;

/// By half as many, and more than one.
const fn is_far_above(mine: usize, least: usize) -> bool {
    mine.saturating_mul(2) > least.saturating_mul(3).saturating_add(2)
}

impl Place {
    pub(crate) fn new(shared: &Arc<Shared>) -> Self {
        shared.open.fetch_add(1, Ordering::Relaxed);
        Self { shared: Arc::clone(shared) }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A connection that was given to another worker, until that begins with it.
pub(crate) struct Given(Arc<Shared>);

impl Given {
    pub(crate) fn new(to: &Arc<Shared>) -> Self {
        to.given.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(to))
    }
}

impl Drop for Given {
    fn drop(&mut self) {
        self.0.given.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
impl Shared {
    /// What a worker has that is alone, on this runtime.
    pub(crate) fn alone(plan: Plan, observer: impl Observer + 'static) -> Arc<Self> {
        let circle = Arc::new(Circle::new(Arc::default(), &plan.table));
        let terms = Terms::new(Arc::new(plan), circle);
        let (gates, ids) = (Gates::default(), Arc::default());
        Arc::new(Self::new(terms, Arc::new(observer), gates, ids, Handle::current()))
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::event::Event;

    fn crew(count: usize) -> Crew {
        let gates = Gates::default();
        let shared = || {
            let observer = Arc::new(|_: &Event<'_>| {});
            let terms = Terms::new(Arc::default(), Arc::default());
            Shared::new(terms, observer, gates.clone(), Arc::default(), Handle::current())
        };
        let all = (0..count).map(|_| Arc::new(shared())).collect();
        Crew::of(&all).next().expect("a worker")
    }

    fn carried(crew: &Crew, connections: usize) -> Vec<usize> {
        let local = Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let enter = || crew.me.admit_connection(local, &crew.me.terms());
        let next = |_| (Place::new(crew.carrier()), enter().expect("room"));
        let _places: Vec<_> = (0..connections).map(next).collect();
        crew.all.iter().map(|it| it.open()).collect()
    }

    #[tokio::test]
    async fn who_accepts_all_does_not_carry_all() {
        let crew = crew(2);
        assert_eq!(carried(&crew, 1), [1, 0]);
        assert_eq!(carried(&crew, 8), [5, 3]);
        let many = carried(&crew, 1000);
        assert!(many.first().is_some_and(|&it| it > 900), "too many to be worth it: {many:?}");
        crew.me.beat();
        assert_eq!(carried(&crew, 8), [5, 3]);
        assert!(crew.all.iter().all(|it| it.open() == 0), "every place is given back");
    }

    #[tokio::test]
    async fn who_does_not_begin_is_given_no_more() {
        let crew = crew(2);
        let stuck: Vec<_> = (0..MOST_GIVEN).map(|_| Given::new(&crew.all[1])).collect();
        assert_eq!(carried(&crew, 8), [8, 0]);
        drop(stuck);
        assert_eq!(carried(&crew, 8), [5, 3]);
    }

    #[tokio::test]
    async fn who_is_alone_carries_all() {
        let crew = crew(1);
        assert_eq!(carried(&crew, 100), [100]);
    }
}
