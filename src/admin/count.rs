//! Counting without waiting: whoever counts adds to an atomic, and nobody is told.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use crate::event::{By, Ending, Peer, SessionEnd};

/// Only ever grows.
#[derive(Debug, Default)]
pub(super) struct Counter(AtomicU64);

impl Counter {
    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub(super) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How often each of a few reasons was given.
#[derive(Debug)]
pub(super) struct Reasons {
    words: &'static [&'static str],
    counters: Box<[Counter]>,
}

impl Reasons {
    fn of(words: &'static [&'static str]) -> Self {
        Self { words, counters: words.iter().map(|_| Counter::default()).collect() }
    }

    pub(super) fn reloads() -> Self {
        Self::of(&[DONE, FAILED])
    }

    pub(super) fn refusals() -> Self {
        Self::of(REFUSALS)
    }

    pub(super) fn losses() -> Self {
        Self::of(LOSSES)
    }

    pub(super) fn decisions() -> Self {
        Self::of(BYS)
    }

    pub(super) fn endings() -> Self {
        Self::of(ENDINGS)
    }

    pub(super) fn session_ends() -> Self {
        Self::of(SESSION_ENDS)
    }

    /// One that the list does not have counts as the last.
    pub(super) fn add(&self, word: &str, count: u64) {
        let known = self.words.iter().zip(&self.counters).find(|(it, _)| **it == word);
        if let Some(counter) = known.map(|(_, counter)| counter).or_else(|| self.counters.last()) {
            counter.add(count);
        }
    }

    /// Of what most connections come by: its place in the list is known.
    pub(super) fn add_decided(&self, by: By) {
        self.add_at(match by {
            By::Verdict => 0,
            By::Silence => 1,
            By::EndOfStream => 2,
            By::Deadline => 3,
            By::FullBuffer => 4,
        });
    }

    /// The same of how most connections end.
    pub(super) fn add_ended(&self, ending: Ending) {
        match ending {
            Ending::Closed => self.add_at(0),
            seldom => self.add(seldom.word(), 1),
        }
    }

    fn add_at(&self, at: usize) {
        if let Some(counter) = self.counters.get(at) {
            counter.add(1);
        }
    }

    pub(super) fn sum(&self) -> u64 {
        self.counters.iter().map(Counter::get).sum()
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.words.iter().copied().zip(self.counters.iter().map(Counter::get))
    }
}

/// How much came in the last step.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// What there was when it began.
    last: [AtomicU64; 3],
    step: [AtomicU64; 3],
}

impl Pace {
    pub(super) fn step(&self, now: [u64; 3]) {
        for ((last, step), now) in self.last.iter().zip(&self.step).zip(now) {
            step.store(now.saturating_sub(last.swap(now, Relaxed)), Relaxed);
        }
    }

    pub(super) fn last_step(&self) -> [u64; 3] {
        self.step.each_ref().map(|it| it.load(Relaxed))
    }
}

/// In the order in which they are likely.
const BYS: &[&str] = &[
    By::Verdict.word(),
    By::Silence.word(),
    By::EndOfStream.word(),
    By::Deadline.word(),
    By::FullBuffer.word(),
];

const ENDINGS: &[&str] = &[
    Ending::Closed.word(),
    Ending::Reset(Peer::Client).word(),
    Ending::Reset(Peer::Backend).word(),
    Ending::IdleTimeout.word(),
    Ending::HalfCloseTimeout.word(),
    Ending::WriteStall(Peer::Client).word(),
    Ending::WriteStall(Peer::Backend).word(),
    Ending::BackendDown.word(),
    Ending::Cut.word(),
];

const SESSION_ENDS: &[&str] = &[
    SessionEnd::Idle.word(),
    SessionEnd::Answered.word(),
    SessionEnd::Evicted.word(),
    SessionEnd::Cut.word(),
];

const LOSSES: &[&str] = &["send_buffer_full", "unsent", "amplification", "no_backend", OTHER];

/// What became of a reload.
pub(super) const DONE: &str = "done";
pub(super) const FAILED: &str = "failed";

/// A reason that was added and not listed here.
const OTHER: &str = "other";

const REFUSALS: &[&str] = &[
    "no_route",
    "full",
    "full_for_address",
    "too_fast",
    "crowded_out",
    "client_gone",
    "no_backend",
    "backends_full",
    "no_header",
    "loop",
    "panicked",
    "closed",
    "cut",
    OTHER,
];

/// How many observations fell below each of some bounds.
#[derive(Debug)]
pub(super) struct Histogram {
    bounds: &'static [u64],
    /// One more than bounds: what is above them all.
    below: Box<[Counter]>,
    sum: Counter,
}

impl Histogram {
    /// Of times, in nanoseconds.
    pub(super) fn of_times() -> Self {
        Self::of(TIMES)
    }

    pub(super) fn of_bytes() -> Self {
        Self::of(BYTES)
    }

    fn of(bounds: &'static [u64]) -> Self {
        let below = (0..=bounds.len()).map(|_| Counter::default()).collect();
        Self { bounds, below, sum: Counter::default() }
    }

    pub(super) fn observe(&self, value: u64) {
        let at = self.bounds.iter().position(|bound| value <= *bound);
        if let Some(counter) = self.below.get(at.unwrap_or(self.bounds.len())) {
            counter.add(1);
        }
        self.sum.add(value);
    }

    pub(super) fn observe_time(&self, time: &Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }
}

/// What one histogram, or several with the same bounds, have observed.
#[derive(Debug, Default)]
pub(super) struct Total {
    pub(super) sum: u64,
    /// Each bound, with how many were above the one before; `None` is above all.
    pub(super) buckets: Vec<(Option<u64>, u64)>,
}

impl Total {
    pub(super) fn add(&mut self, histogram: &Histogram) {
        self.sum = self.sum.saturating_add(histogram.sum.get());
        if self.buckets.is_empty() {
            let bounds = histogram.bounds.iter().copied().map(Some).chain([None]);
            self.buckets = bounds.map(|bound| (bound, 0)).collect();
        }
        for ((_, count), counter) in self.buckets.iter_mut().zip(&histogram.below) {
            *count += counter.get();
        }
    }
}

const US: u64 = 1_000;
const MS: u64 = 1_000 * US;

/// From what a verdict takes to the time-outs of the opening and of connecting.
const TIMES: &[u64] = &[
    10 * US,
    25 * US,
    50 * US,
    100 * US,
    250 * US,
    500 * US,
    MS,
    5 * MS,
    25 * MS,
    100 * MS,
    250 * MS,
    500 * MS,
    1_000 * MS,
    3_000 * MS,
    10_000 * MS,
];

/// From a banner to the largest `peek_buffer_size`.
const BYTES: &[u64] = &[0, 16, 64, 128, 256, 512, 1024, 2048, 4096, 16_384, 65_536];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_counted_by_its_place_is_counted_under_its_word() {
        for by in [By::Verdict, By::Silence, By::EndOfStream, By::Deadline, By::FullBuffer] {
            let reasons = Reasons::decisions();
            reasons.add_decided(by);
            assert!(reasons.all().any(|it| it == (by.word(), 1)), "{by}");
        }
        for ending in [Ending::Closed, Ending::Cut, Ending::Reset(Peer::Backend)] {
            let reasons = Reasons::endings();
            reasons.add_ended(ending);
            assert!(reasons.all().any(|it| it == (ending.word(), 1)), "{ending}");
        }
    }
}
