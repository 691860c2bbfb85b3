//! What the clients of one load counted.

use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use hdrhistogram::Histogram;

use super::parting::Parting;
use crate::order::Done;

/// Longest latency that is told apart, in nanoseconds: a minute.
const LONGEST: u64 = 60_000_000_000;

/// Three digits: 0.1 %.
const DIGITS: u8 = 3;

/// Units that were carried, and how long each took where that was timed.
pub(crate) struct Tally {
    pub(crate) units: u64,
    failed: u64,
    first_failure: Option<Error>,
    latency: Histogram<u64>,
    /// Connections that carried what they were to carry.
    pub(super) parting: Parting,
}

impl Tally {
    pub(crate) fn new() -> Result<Self> {
        let latency = Histogram::new_with_bounds(1, LONGEST, DIGITS).context("a histogram")?;
        Ok(Self { units: 0, failed: 0, first_failure: None, latency, parting: Parting::default() })
    }

    /// Notes one unit that began at `start` and ends now.
    pub(crate) fn note(&mut self, start: Instant) {
        self.units += 1;
        let nanoseconds = u64::try_from(start.elapsed().as_nanos()).unwrap_or(LONGEST);
        self.latency.saturating_record(nanoseconds);
    }

    /// Notes a unit that was not carried.
    pub(crate) fn fail(&mut self, error: Error) {
        self.failed += 1;
        self.first_failure.get_or_insert(error);
    }

    pub(crate) fn add(&mut self, other: Self) -> Result<()> {
        self.units += other.units;
        self.failed += other.failed;
        self.first_failure = self.first_failure.take().or(other.first_failure);
        self.parting.add(other.parting);
        self.latency.add(&other.latency).context("adding histograms")
    }

    /// What was done, if nothing failed.
    pub(crate) fn done(self, elapsed: Duration) -> Result<Done> {
        if let Some(error) = self.first_failure {
            let all = self.units + self.failed;
            return Err(error.context(format!("{} of {all}", self.failed)));
        }
        let quantile = |part| self.latency.value_at_quantile(part) as f64 / 1000.0;
        Ok(Done {
            seconds: elapsed.as_secs_f64(),
            units: self.units,
            p50: quantile(0.50),
            p99: quantile(0.99),
            ..Done::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_in_microseconds() {
        let mut tally = Tally::new().unwrap();
        for microseconds in 1..=100_u64 {
            tally.latency.record(microseconds * 1000).unwrap();
        }
        let done = tally.done(Duration::from_secs(2)).unwrap();
        assert!((done.p50 - 50.0).abs() < 0.2, "{done:?}");
        assert!((done.p99 - 99.0).abs() < 0.2, "{done:?}");
        assert!((done.seconds - 2.0).abs() < 1e-9);
    }
}
