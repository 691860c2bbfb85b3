//! What went on in the last minutes.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Seen;

/// Sums of a moment.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    connections: u64,
    sessions: u64,
    refused: u64,
    bytes_up: u64,
    bytes_down: u64,
}

#[derive(Debug, Default)]
pub(super) struct History(Mutex<Past>);

#[derive(Debug, Default)]
struct Past {
    /// `None` before the first look.
    last: Option<Sums>,
    /// What each step had, the oldest first.
    steps: VecDeque<Sums>,
}

/// What each step of the last minutes had, the oldest first.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Rates {
    /// How long a step is.
    pub step_seconds: f64,
    /// TCP connections that were accepted.
    pub connections: Vec<u64>,
    /// UDP sessions that were opened.
    pub sessions: Vec<u64>,
    /// Connections and datagrams that were refused.
    pub refused: Vec<u64>,
    /// Bytes from clients to backends.
    pub bytes_up: Vec<u64>,
    /// Bytes from backends to clients.
    pub bytes_down: Vec<u64>,
}

impl History {
    /// How long a step is.
    pub(super) const STEP: Duration = Duration::from_secs(2);

    /// Ends a step.
    pub(super) fn step(&self, seen: &Seen) {
        let now = Sums::of(seen);
        let mut past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = past.last.replace(now) {
            if past.steps.len() >= STEPS {
                past.steps.pop_front();
            }
            past.steps.push_back(now.less(&last));
        }
    }

    pub(super) fn rates(&self) -> Rates {
        let past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |number: fn(&Sums) -> u64| past.steps.iter().map(number).collect();
        Rates {
            step_seconds: Self::STEP.as_secs_f64(),
            connections: of(|it| it.connections),
            sessions: of(|it| it.sessions),
            refused: of(|it| it.refused),
            bytes_up: of(|it| it.bytes_up),
            bytes_down: of(|it| it.bytes_down),
        }
    }
}

impl Sums {
    fn of(seen: &Seen) -> Self {
        let refused = seen.refused.iter().map(|it| it.sum()).sum();
        let mut sums = Self { connections: seen.accepted.get(), refused, ..Self::default() };
        for (_, page) in &seen.book.load().now {
            let counts = &page.counts;
            let so_far = [page.joined(), counts.up.bytes.get(), counts.down.bytes.get()];
            let [joined, up, down] = so_far;
            sums.bytes_up += up;
            sums.bytes_down += down;
            if counts.transport == refractium_protocol::Transport::Udp {
                sums.sessions += joined;
            }
            counts.pace.step(so_far);
        }
        sums
    }

    /// What routes counted that are no more is missing from the sums: then this step shows none.
    const fn less(&self, last: &Self) -> Self {
        Self {
            connections: self.connections.saturating_sub(last.connections),
            sessions: self.sessions.saturating_sub(last.sessions),
            refused: self.refused.saturating_sub(last.refused),
            bytes_up: self.bytes_up.saturating_sub(last.bytes_up),
            bytes_down: self.bytes_down.saturating_sub(last.bytes_down),
        }
    }
}

/// Five minutes.
const STEPS: usize = 150;
