//! How a flood is told: so many lines of each kind, then one at a time, and how many were left out.

use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many lines at once, then one each time that this has passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    pub(super) at_once: u32,
    pub(super) each: Duration,
}

/// What was said lately of each kind, and what was not.
#[derive(Debug)]
pub(super) struct Flood {
    kinds: Mutex<Vec<Kind>>,
}

#[derive(Debug)]
struct Kind {
    word: &'static str,
    /// When as many may be said at once as if none had been.
    rested: Instant,
    left_out: u64,
}

impl Flood {
    pub(super) const fn new() -> Self {
        Self { kinds: Mutex::new(Vec::new()) }
    }

    /// Whether one more line of this kind may be said now. If not, it is counted.
    pub(super) fn admits(&self, word: &'static str, pace: Pace, now: Instant) -> bool {
        self.with(word, now, |kind| {
            let rested = kind.rested.max(now) + pace.each;
            let may = rested.saturating_duration_since(now) <= pace.each * pace.at_once.max(1);
            if may {
                kind.rested = rested;
            } else {
                kind.left_out = kind.left_out.saturating_add(1);
            }
            may
        })
    }

    /// How many of this kind were left out; they count as told.
    pub(super) fn take(&self, word: &'static str, now: Instant) -> u64 {
        self.with(word, now, |kind| std::mem::take(&mut kind.left_out))
    }

    /// How many of each kind were left out that are not told yet.
    pub(super) fn left_out(&self) -> Vec<(&'static str, u64)> {
        let kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds.iter().filter(|it| it.left_out > 0).map(|it| (it.word, it.left_out)).collect()
    }

    fn with<T>(&self, word: &'static str, now: Instant, done: impl FnOnce(&mut Kind) -> T) -> T {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        // Kinds are words of this program: a handful.
        if let Some(kind) = kinds.iter_mut().find(|it| it.word == word) {
            return done(kind);
        }
        let mut kind = Kind { word, rested: now, left_out: 0 };
        let result = done(&mut kind);
        kinds.push(kind);
        result
    }
}

/// Wakes who tells what was left out, at most once a second; while nothing is, it sleeps.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    orders: Mutex<Orders>,
    given: Condvar,
}

#[derive(Debug, Default)]
struct Orders {
    tell: bool,
    end: bool,
}

impl Alarm {
    /// Has it told within a second.
    pub(super) fn ring(&self) {
        self.order(|orders| orders.tell = true);
    }

    /// No more is to be told than what is known by now.
    pub(super) fn end(&self) {
        self.order(|orders| orders.end = true);
    }

    fn order(&self, give: impl FnOnce(&mut Orders)) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = orders.tell;
        give(&mut orders);
        if !is_known || orders.end {
            self.given.notify_all();
        }
    }

    /// Waits until there is something to tell, and the second is over. Whether there will be more.
    pub(super) fn wait(&self) -> bool {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.given.wait_while(orders, |it| !it.tell && !it.end);
        let orders = waited.unwrap_or_else(PoisonError::into_inner);
        let rest = self.given.wait_timeout_while(orders, SECOND, |it| !it.end);
        let (mut orders, _) = rest.unwrap_or_else(PoisonError::into_inner);
        orders.tell = false;
        !orders.end
    }
}

pub(super) const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: Pace = Pace { at_once: 3, each: SECOND };

    #[test]
    fn a_flood_is_so_many_lines_then_one_a_second() {
        let (flood, now) = (Flood::new(), Instant::now());
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
        assert_eq!(flood.take("a", now), 1031);
        assert!(flood.left_out().is_empty());
    }

    #[test]
    fn who_is_rung_for_tells_once_a_second_and_once_more_at_the_end() {
        let alarm = std::sync::Arc::new(Alarm::default());
        let (sender, told) = std::sync::mpsc::channel();
        let teller = std::thread::spawn({
            let alarm = std::sync::Arc::clone(&alarm);
            move || {
                while alarm.wait() {
                    sender.send(Instant::now()).expect("a listener");
                }
            }
        });
        let began = Instant::now();
        alarm.ring();
        alarm.ring();
        let first = told.recv_timeout(Duration::from_secs(20)).expect("a wake");
        assert!(first - began >= SECOND);
        alarm.end();
        teller.join().expect("an end");
        assert!(told.try_recv().is_err(), "once");
    }
}
