//! How a flood is told: so many lines of each kind, then one at a time, and how many were left out.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So many lines at once, then one each time that this has passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) at_once: u32,
    pub(super) each: Duration,
}

/// What was said lately of each kind, and what was not.
#[derive(Debug, Default)]
pub(super) struct Flood {
    kinds: Mutex<Vec<Kind>>,
}

#[derive(Debug)]
struct Kind {
    what: &'static str,
    pace: Pace,
    /// When as many may be said at once as if none had been.
    rested: Instant,
    left_out: u64,
}

impl Flood {
    /// Whether one more line of this kind may be said now. If not, it is counted.
    pub(super) fn admits(&self, what: &'static str, pace: Pace, now: Instant) -> bool {
        let mut kinds = self.kinds();
        // Kinds are words of this program: a handful.
        let at = kinds.iter().position(|it| it.what == what).unwrap_or(kinds.len());
        if at == kinds.len() {
            kinds.push(Kind { what, pace, rested: now, left_out: 0 });
        }
        kinds.get_mut(at).is_none_or(|kind| {
            let admitted = kind.admits(now);
            if !admitted {
                kind.left_out = kind.left_out.saturating_add(1);
            }
            admitted
        })
    }

    /// How many of this kind were left out; they count as told.
    pub(super) fn take(&self, what: &'static str) -> u64 {
        let mut kinds = self.kinds();
        let kind = kinds.iter_mut().find(|it| it.what == what);
        kind.map_or(0, |it| std::mem::take(&mut it.left_out))
    }

    /// The same in the place of a line of this kind, if one may be said now.
    pub(super) fn take_if_over(&self, what: &'static str, now: Instant) -> Option<u64> {
        let mut kinds = self.kinds();
        let kind = kinds.iter_mut().find(|it| it.what == what)?;
        kind.admits(now).then(|| std::mem::take(&mut kind.left_out))
    }

    /// The kinds of which some were left out that are not told yet, and how many.
    pub(super) fn left_out(&self) -> Vec<(&'static str, u64)> {
        let kinds = self.kinds();
        kinds.iter().filter(|it| it.left_out > 0).map(|it| (it.what, it.left_out)).collect()
    }

    fn kinds(&self) -> MutexGuard<'_, Vec<Kind>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kind {
    fn admits(&mut self, now: Instant) -> bool {
        let rested = self.rested.max(now) + self.pace.each;
        let may = rested.saturating_duration_since(now) <= self.pace.each * self.pace.at_once;
        if may {
            self.rested = rested;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { at_once: 3, each: Duration::from_secs(1) };

    #[test]
    fn a_flood_is_so_many_lines_then_one_a_second() {
        let (flood, now) = (Flood::default(), Instant::now());
        let said = |at: u64, count: usize| {
            let now = now + Duration::from_millis(at);
            (0..count).filter(|_| flood.admits("a", PACE, now)).count()
        };
        assert_eq!(said(0, 1000), 3);
        assert!(flood.admits("b", PACE, now), "another kind");
        assert_eq!(said(999, 10), 0);
        assert_eq!(said(1000, 10), 1);
        assert_eq!(said(3500, 10), 2);
        assert_eq!(said(60_000, 10), 3, "no more than at first");
        assert_eq!(flood.left_out(), [("a", 997 + 10 + 9 + 8 + 7)]);
        assert_eq!(flood.take_if_over("a", now + PACE.each * 60), None, "it goes on");
        assert_eq!(flood.take_if_over("a", now + PACE.each * 61), Some(1031));
        assert_eq!(said(61_000, 10), 0, "that was one");
        assert_eq!(flood.take("a"), 10);
        assert!(flood.left_out().is_empty());
    }
}
