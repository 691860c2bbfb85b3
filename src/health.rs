//! Asks backends whether they are alive, away from the data path.

mod hello;
mod probe;

use std::convert::Infallible;
use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::backend::{Backend, Checked};
use crate::bell::Bell;
use crate::check::Check;
use crate::event::{Event, Observer};
use crate::limits::MOST_CHECKS;
use crate::table::Table;

/// Checks every backend of every group again and again, until dropped; those too that a name gets later.
pub(crate) async fn keep_checking(table: &Table, observer: &Arc<dyn Observer>) -> Infallible {
    let groups: Vec<_> = table.groups().into_iter().filter(|it| it.check().asks()).collect();
    if groups.is_empty() {
        return pending().await;
    }
    let bell = Arc::new(Bell::default());
    groups.iter().for_each(|group| group.bells().add(Arc::downgrade(&bell), false));
    let room = Arc::new(Semaphore::new(MOST_CHECKS));
    // Dropping it ends all of them.
    let mut watches = JoinSet::new();
    loop {
        for group in &groups {
            for backend in group.backends().iter() {
                if let Some(checked) = Checked::new(backend) {
                    let check = Arc::clone(group.check());
                    let (observer, room) = (Arc::clone(observer), Arc::clone(&room));
                    let probe = probe::Probe::new(group);
                    watches.spawn(Watch { checked, check, probe, observer, room }.keep());
                }
            }
        }
        bell.change().await;
        while watches.try_join_next().is_some() {}
    }
}

/// One backend under observation.
struct Watch {
    checked: Checked,
    check: Arc<Check>,
    probe: probe::Probe,
    observer: Arc<dyn Observer>,
    room: Arc<Semaphore>,
}

impl Watch {
    /// Checks until the backend's name has this address no more.
    async fn keep(self) {
        let Self { checked, check, .. } = &self;
        let backend = checked.backend();
        // Not all at once: neither at start nor later.
        let mut next = Instant::now() + part(check.interval.min(FIRST));
        let mut streak = Streak { is_down: backend.is_down(), length: 0 };
        while !backend.is_gone() {
            sleep_until(next).await;
            next += check.interval - check.interval / 20 + part(check.interval / 10);
            next = next.max(Instant::now());
            let Ok(_one) = self.room.acquire().await else { return };
            let asked = timeout(check.timeout, self.probe.ask(backend)).await;
            let passed = asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
            self.judge(backend, passed, &mut streak);
        }
    }

    fn judge(&self, backend: &Backend, passed: io::Result<()>, streak: &mut Streak) {
        let observer = &self.observer;
        match passed {
            Ok(()) => {
                backend.found_alive();
                if streak.is_over(true, self.check.rise) && backend.set_up() {
                    observer.on(&Event::BackendUp { backend });
                }
            }
            Err(error) => {
                if streak.is_over(false, self.check.fall) && backend.set_down() {
                    observer.on(&Event::BackendDown { backend, error: &error });
                }
            }
        }
    }
}

/// Checks in a row that say something else than what is held for true.
struct Streak {
    is_down: bool,
    length: u32,
}

impl Streak {
    /// Counts one, and says whether they are enough.
    fn is_over(&mut self, passed: bool, enough: u32) -> bool {
        if passed != self.is_down {
            self.length = 0; // nothing new
            return false;
        }
        self.length = self.length.saturating_add(1);
        let is_over = self.length >= enough;
        if is_over {
            *self = Self { is_down: !self.is_down, length: 0 };
        }
        is_over
    }
}

/// Some part of it, drawn.
fn part(whole: Duration) -> Duration {
    let drawn = RandomState::new().hash_one(0) % 1000;
    whole.mul_f64(drawn as f64 / 1000.0)
}

/// Within this time every backend has been checked once, so that one that is dead is known soon.
const FIRST: Duration = Duration::from_secs(1);
