//! Who there is to choose from, computed when it changes.

use std::cmp::Ordering;
use std::sync::Arc;
use std::sync::atomic::{self, AtomicU64};

use arc_swap::ArcSwap;

use super::score::Nearness;
use super::{Tried, score};
use crate::backend::{Backend, Lease, STEPS, now};
use crate::group::{Group, Member};
use crate::target::Target;

/// The backends that a pool has now.
#[derive(Debug)]
pub(super) struct Lineup {
    pub(super) seats: Vec<Seat>,
    /// Those that new clients go to.
    pub(super) front: Tier,
    /// When the first of those set aside is to be tried again (see [`now`]).
    trial_due: AtomicU64,
    /// When the share of one that came back grows next.
    growth_due: u64,
    /// How often the bell had been rung when this was begun.
    rings: u64,
}

#[derive(Debug)]
pub(super) struct Seat {
    pub(super) backend: Arc<Backend>,
    weight: u16,
    /// How far back it stands: backups behind all others, and among either by what SRV records say.
    reserve: (bool, u16),
    max_connections: usize,
    lives: bool,
    /// Its address, for `source_hash`.
    key: u64,
}

/// Backends that are as good as each other, by their places in [`Lineup::seats`].
#[derive(Debug)]
pub(super) struct Tier {
    pub(super) seats: Vec<usize>,
    /// In whose turn they are taken: each as often as it weighs.
    pub(super) turns: Vec<usize>,
    pub(super) lives: bool,
}

impl Lineup {
    /// As they are at that time (see [`now`]).
    pub(super) fn new(targets: &[(Target, ArcSwap<Group>)], at: u64) -> Self {
        let seats = targets.iter().flat_map(|(target, group)| {
            let seat = |member: &Member| Seat::new(target, member);
            group.load().members().iter().map(seat).collect::<Vec<_>>()
        });
        let mut seats: Vec<_> = seats.collect();
        overrule(&mut seats);
        let growth_due = grow(&mut seats, at);
        let aside = seats.iter().map(|seat| seat.backend.aside_until()).filter(|it| *it != 0);
        let trial_due = AtomicU64::new(aside.min().unwrap_or(u64::MAX));
        let front = front(&seats, |_| true);
        Self { seats, front, trial_due, growth_due, rings: 0 }
    }

    /// All that was told by so many rings is in it.
    pub(super) fn heard(self, rings: u64) -> Self {
        Self { rings, ..self }
    }

    /// Whether nothing was told since, and no share has grown.
    pub(super) fn is_of_now(&self, rings: u64) -> bool {
        self.rings == rings && (self.growth_due == u64::MAX || now() < self.growth_due)
    }

    /// The best of those that were not tried.
    pub(super) fn without(&self, tried: &Tried) -> Tier {
        front(&self.seats, |seat| !tried.has(&seat.backend))
    }

    /// A place with one that was set aside and is now to be tried again.
    pub(super) fn trial(&self) -> Option<Lease> {
        let due = self.trial_due.load(atomic::Ordering::Relaxed);
        if due == u64::MAX || now() < due {
            return None;
        }
        let claimed = |seat: &&Seat| !seat.is_full() && seat.backend.claim();
        let seat = self.seats.iter().find(claimed)?;
        seat.backend.lease(seat.max_connections)
    }

    pub(super) fn has_room(&self, tried: &Tried) -> bool {
        let tier = self.without(tried);
        tier.seats.iter().any(|at| self.seats.get(*at).is_some_and(|seat| !seat.is_full()))
    }

    pub(super) fn lease(&self, at: usize) -> Option<Lease> {
        let seat = self.seats.get(at)?;
        seat.backend.lease(seat.max_connections)
    }

    /// The one with the fewest connections for its weight. `turn` decides between equals.
    pub(super) fn least(&self, tier: &Tier, turn: usize) -> Option<usize> {
        let first = turn.checked_rem(tier.seats.len())?;
        let (before, after) = tier.seats.split_at(first);
        self.least_of(after.iter().chain(before))
    }

    /// Of two drawn by weight, the one with fewer connections.
    pub(super) fn less_of_two(&self, tier: &Tier, draw: u64) -> Option<usize> {
        let (one, other) = score::two_below(draw, tier.turns.len())?;
        let drawn = [tier.turns.get(one)?, tier.turns.get(other)?];
        self.least_of(drawn.into_iter())
    }

    /// The one that rendezvous hashing gives this client.
    pub(super) fn nearest(&self, tier: &Tier, client: u64) -> Option<usize> {
        let nearness = |seat: &Seat| Nearness::new(seat.key, client, seat.weight);
        let near = self.free(tier.seats.iter()).map(|(at, seat)| (at, nearness(seat)));
        near.min_by(|(_, one), (_, other)| one.compare(other)).map(|(at, _)| at)
    }

    /// The one with the least to do; of equals the first.
    fn least_of<'s>(&self, places: impl Iterator<Item = &'s usize>) -> Option<usize> {
        self.free(places).min_by(|(_, one), (_, other)| one.by_load(other)).map(|(at, _)| at)
    }

    /// Those that are not full.
    fn free<'s>(
        &self,
        places: impl Iterator<Item = &'s usize>,
    ) -> impl Iterator<Item = (usize, &Seat)> {
        let seats = places.filter_map(|at| Some((*at, self.seats.get(*at)?)));
        seats.filter(|(_, seat)| !seat.is_full())
    }
}

impl Seat {
    fn new(target: &Target, Member { backend, rank }: &Member) -> Self {
        Self {
            backend: Arc::clone(backend),
            weight: rank.weight.unwrap_or(target.weight).clamp(1, Target::MOST_WEIGHT),
            reserve: (target.backup, rank.tier),
            max_connections: target.max_connections,
            lives: backend.is_alive(),
            key: score::of_backend(backend.address()),
        }
    }

    fn is_full(&self) -> bool {
        self.max_connections > 0 && self.backend.open() >= self.max_connections
    }

    /// By the connections they would have, each for its weight.
    fn by_load(&self, other: &Self) -> Ordering {
        let load = |seat: &Self, by: &Self| {
            let open = seat.backend.open().saturating_add(1);
            open.saturating_mul(usize::from(by.weight))
        };
        load(self, other).cmp(&load(other, self))
    }
}

impl Tier {
    pub(super) fn nth(&self, turn: usize) -> Option<usize> {
        self.turns.get(turn.checked_rem(self.turns.len())?).copied()
    }
}

/// At most half of those that come first are kept away for resetting connections: a stranger may be the cause of that.
fn overrule(seats: &mut [Seat]) {
    let first = seats.iter().map(|seat| seat.reserve).min();
    let most = seats.iter().filter(|seat| Some(seat.reserve) == first).count() / 2;
    let broken = seats.iter_mut().filter(|seat| !seat.lives && seat.backend.is_broken());
    for seat in broken.skip(most) {
        seat.lives = true;
    }
}

/// Those that came back get a part of their share: all are weighed more finely for that. When the next part is due.
fn grow(seats: &mut [Seat], at: u64) -> u64 {
    let growing: Vec<_> = seats.iter().map(|seat| seat.backend.growing(at)).collect();
    let due = growing.iter().flatten().map(|(_, due)| *due).min();
    let Some(due) = due else { return u64::MAX };
    // The order in which they are taken must not become too long for it.
    let all: usize = seats.iter().map(|seat| usize::from(seat.weight)).sum();
    let fine = LONGEST.checked_div(all).and_then(|it| u16::try_from(it).ok()).unwrap_or(STEPS);
    let fine = fine.clamp(1, STEPS);
    for (seat, growing) in seats.iter_mut().zip(growing) {
        let whole = seat.weight.saturating_mul(fine);
        let part = u32::from(growing.map_or(STEPS, |(part, _)| part));
        let weight = u32::from(whole) * part / u32::from(STEPS);
        seat.weight = u16::try_from(weight).unwrap_or(whole).max(1);
    }
    due
}

/// Of those that may be used: the living, of them those that stand foremost; or any, in the same order.
fn front(seats: &[Seat], may_be_used: impl Fn(&Seat) -> bool) -> Tier {
    let open: Vec<_> = seats.iter().enumerate().filter(|(_, seat)| may_be_used(seat)).collect();
    let grade = |seat: &Seat| (!seat.lives, seat.reserve);
    let best = open.iter().map(|(_, seat)| grade(seat)).min();
    let places = open.iter().filter(|(_, seat)| Some(grade(seat)) == best).map(|(at, _)| *at);
    let places: Vec<_> = places.collect();
    let lives = best.is_some_and(|(is_dead, _)| !is_dead);
    Tier { turns: turns(seats, &places), seats: places, lives }
}

/// An order in which each comes as often as it weighs, as far from itself as can be: the k-th time of one that weighs w is
/// at (k + its own part of a step) / w of the round.
fn turns(seats: &[Seat], places: &[usize]) -> Vec<usize> {
    let weight = |at: &usize| seats.get(*at).map_or(1, |seat| u64::from(seat.weight));
    let common = places.iter().map(weight).fold(0, score::greatest_common_divisor).max(1);
    let steps = (places.len() as u64).saturating_mul(2);
    let mut round = Vec::new();
    for (nth, at) in (0_u64..).zip(places) {
        let weight = weight(at) / common;
        round.extend((0..weight).map(|k| (k * steps + 2 * nth + 1, weight, *at)));
    }
    round.sort_by(|(one, weight, _), (other, of_other, _)| {
        one.saturating_mul(*of_other).cmp(&other.saturating_mul(*weight))
    });
    round.into_iter().map(|(_, _, at)| at).collect()
}

/// How many turns there are to be at most while shares grow.
const LONGEST: usize = 1 << 16;
