//! Where a route leads: its backends, and which of them is next.

mod lineup;
mod score;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, Guard};

use crate::backend::{Backend, Lease, now};
use crate::balance::Balance;
use crate::bell::Bell;
use crate::group::Group;
use crate::target::Target;
use lineup::{Lineup, Tier};
#[cfg(feature = "srv")]
pub(crate) use score::greatest_common_divisor;

/// The backends of one route, and how one of them is chosen.
#[derive(Debug)]
pub struct Pool {
    targets: Vec<(Target, ArcSwap<Group>)>,
    balance: Balance,
    /// Who is there now and who lives, computed when that changes.
    lineup: ArcSwap<Lineup>,
    /// One at a time computes it: a slow one would overwrite what a later one saw.
    renewing: Mutex<()>,
    bell: Arc<Bell>,
    turn: AtomicUsize,
    /// Makes the draws of one process differ from those of the next.
    seed: u64,
}

/// The backends that one client has already been sent to in vain.
#[derive(Debug, Default)]
pub(crate) struct Tried(Vec<Arc<Backend>>);

/// Where to send a client.
#[derive(Debug)]
pub(crate) enum Pick {
    /// To this backend, which lives as far as is known.
    Alive(Lease),
    /// To this one, which does not: nothing better is left.
    LastResort(Lease),
    /// Nowhere now: all that live have as many connections as they may.
    Full,
    /// Nowhere: all were tried, or there is none.
    None,
}

impl Tried {
    /// Gives the place back.
    pub(crate) fn push(&mut self, lease: Lease) {
        self.0.push(Arc::clone(lease.backend()));
    }

    fn has(&self, backend: &Arc<Backend>) -> bool {
        self.0.iter().any(|it| Arc::ptr_eq(it, backend))
    }
}

impl Pool {
    pub(crate) fn new(targets: Vec<(Target, Arc<Group>)>, balance: Balance) -> Self {
        let bell = Arc::new(Bell::default());
        for (target, group) in &targets {
            group.bells().add(Arc::downgrade(&bell), target.max_connections > 0);
        }
        let own = |(target, group)| (target, ArcSwap::new(group));
        let targets: Vec<_> = targets.into_iter().map(own).collect();
        let lineup = ArcSwap::from_pointee(Lineup::new(&targets, now()));
        let seed = RandomState::new().hash_one(0);
        Self {
            targets,
            balance,
            lineup,
            renewing: Mutex::default(),
            bell,
            turn: AtomicUsize::new(0),
            seed,
        }
    }

    /// What was said of its backends, in the order given.
    pub fn targets(&self) -> impl Iterator<Item = &Target> {
        self.targets.iter().map(|(target, _)| target)
    }

    /// How one is chosen.
    pub const fn balance(&self) -> Balance {
        self.balance
    }

    /// The backends there are now: each address of a name is one.
    pub fn backends(&self) -> Vec<Arc<Backend>> {
        self.lineup().seats.iter().map(|seat| Arc::clone(&seat.backend)).collect()
    }

    /// Whether any of them lives.
    pub(crate) fn lives(&self) -> bool {
        self.lineup().front.lives
    }

    /// How many backends were not tried.
    pub(crate) fn left(&self, tried: &Tried) -> usize {
        self.lineup().seats.iter().filter(|seat| !tried.has(&seat.backend)).count()
    }

    pub(crate) fn groups(&self) -> impl Iterator<Item = Arc<Group>> {
        self.targets.iter().map(|(_, group)| group.load_full())
    }

    /// Leads to other groups in the place of its own: those that stood for the same backends until now.
    pub(crate) fn adopt(&self, known: impl Fn(&Arc<Group>) -> Option<Arc<Group>>) {
        for (target, group) in &self.targets {
            let own = group.load_full();
            if let Some(known) = known(&own).filter(|known| !Arc::ptr_eq(known, &own)) {
                known.bells().add(Arc::downgrade(&self.bell), target.max_connections > 0);
                group.store(known);
            }
        }
        self.bell.ring();
    }

    /// Goes on where another stands.
    pub(crate) fn take_turn_of(&self, other: &Self) {
        self.turn.store(other.turn.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The next for this client, of those that were not tried: one that lives, else a backup that does, else any of them
    /// (fail open). Never waits.
    pub(crate) fn pick(&self, client: IpAddr, tried: &Tried) -> Pick {
        if !self.bell.is_waited_for() {
            return self.pick_now(client, tried);
        }
        // Who waits has been here longer, but nobody tells him that a time aside is over.
        self.lineup().trial().map_or(Pick::Full, Pick::Alive)
    }

    /// The same, and never [`Pick::Full`]: waits for a place behind those who wait already, or, once it was tried in vain,
    /// for one with any other. The caller sets the limit.
    pub(crate) async fn pick_in_turn(&self, client: IpAddr, tried: &Tried) -> Pick {
        let is_free = || self.lineup().has_room(tried);
        let bell = &self.bell;
        let waiting =
            if tried.0.is_empty() { bell.wait(is_free) } else { bell.wait_beside(is_free) };
        loop {
            waiting.turn().await;
            match self.pick_now(client, tried) {
                Pick::Full => {}
                found => return found,
            }
        }
    }

    fn pick_now(&self, client: IpAddr, tried: &Tried) -> Pick {
        let lineup = self.lineup();
        if let Some(lease) = lineup.trial() {
            return Pick::Alive(lease);
        }
        if tried.0.is_empty() {
            return self.choose(&lineup, &lineup.front, client);
        }
        self.choose(&lineup, &lineup.without(tried), client)
    }

    fn choose(&self, lineup: &Lineup, tier: &Tier, client: IpAddr) -> Pick {
        if tier.seats.is_empty() {
            return Pick::None;
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let best = match self.balance {
            Balance::RoundRobin => tier.nth(turn),
            Balance::LeastConnections => lineup.least(tier, turn),
            Balance::RandomTwo => {
                lineup.less_of_two(tier, score::mix(self.seed ^ u64::try_from(turn).unwrap_or(0)))
            }
            Balance::SourceHash => lineup.nearest(tier, score::of_client(client)),
        };
        // It may be full, or become so just now: then any that is not.
        let others = (1..=tier.turns.len()).map(|step| tier.nth(turn.wrapping_add(step)));
        let lease = std::iter::once(best).chain(others).flatten().find_map(|at| lineup.lease(at));
        match lease {
            Some(lease) if tier.lives => Pick::Alive(lease),
            Some(lease) => Pick::LastResort(lease),
            None => Pick::Full,
        }
    }

    fn lineup(&self) -> Guard<Arc<Lineup>> {
        let lineup = self.lineup.load();
        if lineup.is_of_now(self.bell.rings()) {
            return lineup;
        }
        // Who comes meanwhile waits the moment: what was before may have nobody to offer.
        let _one = self.renewing.lock().unwrap_or_else(PoisonError::into_inner);
        let rings = self.bell.rings();
        if !self.lineup.load().is_of_now(rings) {
            self.lineup.store(Arc::new(Lineup::new(&self.targets, now()).heard(rings)));
        }
        self.lineup.load()
    }
}

#[cfg(test)]
mod tests;
