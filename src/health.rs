//! Asks backends whether they are alive, away from the data path.

mod hello;
mod probe;

use std::convert::Infallible;
use std::future::pending;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use refractium_protocol::Transport;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};

use crate::backend::{Backend, Checked};
use crate::bell::Bell;
use crate::check::Check;
use crate::event::{Event, Observer};
use crate::group::Group;
use crate::limits::MOST_CHECKS;
use crate::table::Table;

/// Every backend of every group that is checked, again and again, until dropped.
pub(crate) struct Health {
    observer: Arc<dyn Observer>,
    groups: Vec<Arc<Group>>,
    /// Rung when a name gets other addresses.
    bell: Arc<Bell>,
    /// How often it was heard.
    heard: u64,
    room: Arc<Semaphore>,
    /// Dropping it ends all of them.
    watches: JoinSet<()>,
}

impl Health {
    pub(crate) fn new(observer: &Arc<dyn Observer>) -> Self {
        let (groups, bell) = (Vec::new(), Arc::default());
        let room = Arc::new(Semaphore::new(MOST_CHECKS));
        let watches = JoinSet::new();
        Self { observer: Arc::clone(observer), groups, bell, heard: 0, room, watches }
    }

    /// Checks the groups of this table from now on. Those that were checked before go on undisturbed; who has left is let
    /// go by its own watch.
    pub(crate) fn follow(&mut self, table: &Table) {
        self.groups = table.groups().into_iter().filter(|it| it.check().asks()).collect();
        // A new one: where it was hung up before, it is no more.
        (self.bell, self.heard) = (Arc::default(), 0);
        for group in &self.groups {
            group.bells().add(Arc::downgrade(&self.bell), false);
        }
        self.begin();
    }

    /// Looks for backends that come later, until dropped.
    pub(crate) async fn keep(&mut self) -> Infallible {
        loop {
            self.heard = self.bell.change(self.heard).await;
            self.begin();
        }
    }

    fn begin(&mut self) {
        while self.watches.try_join_next().is_some() {}
        for group in &self.groups {
            for backend in group.backends().iter() {
                if let Some(checked) = Checked::new(backend) {
                    let (observer, room) = (Arc::clone(&self.observer), Arc::clone(&self.room));
                    let transport = group.transport();
                    self.watches.spawn(Watch { checked, transport, observer, room }.keep());
                }
            }
        }
    }
}

/// One backend under observation.
struct Watch {
    checked: Checked,
    transport: Transport,
    observer: Arc<dyn Observer>,
    room: Arc<Semaphore>,
}

impl Watch {
    /// Checks until nobody needs to know any more, anew whenever it is to be checked otherwise.
    async fn keep(self) {
        let backend = self.checked.backend();
        let mut checks = backend.checks();
        loop {
            let check = Arc::clone(&checks.borrow_and_update());
            if !check.asks() {
                // A check that was just over may have said something after all was forgiven.
                backend.forgive();
            }
            let changed = async {
                // No plan has it any more: nothing changes.
                if checks.changed().await.is_err() {
                    pending().await
                }
            };
            tokio::select! {
                () = self.keep_asking(&check) => return,
                () = changed => {}
                () = backend.left() => return,
            }
        }
    }

    async fn keep_asking(&self, check: &Arc<Check>) {
        if check.asks() {
            let probe = probe::Probe::new(check, self.transport);
            let asking = Asking { watch: self, check, probe };
            match asking.keep().await {}
        }
        pending().await
    }
}

/// A watch while a backend is checked in one way.
struct Asking<'w> {
    watch: &'w Watch,
    check: &'w Check,
    probe: probe::Probe,
}

impl Asking<'_> {
    async fn keep(&self) -> Infallible {
        let (check, backend) = (self.check, self.watch.checked.backend());
        // Not all at once: neither at start nor later.
        let mut next = Instant::now() + part(check.interval.min(FIRST));
        let mut streak = Streak { is_down: backend.is_down(), length: 0 };
        let mut soon = Soon::new(check.interval);
        loop {
            tokio::select! {
                () = sleep_until(next) => {
                    next += check.interval - check.interval / 20 + part(check.interval / 10);
                    next = next.max(Instant::now());
                    let passed = self.ask().await;
                    self.judge(backend, passed, &mut streak);
                }
                () = backend.refusal() => soon.after_refusal(),
                () = soon.due() => match self.ask().await {
                    // It counts for nothing else: `rise` and `fall` are times as well.
                    Ok(()) => backend.found_alive(),
                    Err(_) => soon.after_failure(),
                },
            }
        }
    }

    async fn ask(&self) -> io::Result<()> {
        // It is never closed.
        let _one = self.watch.room.acquire().await;
        let asked = timeout(self.check.timeout, self.probe.ask(self.watch.checked.backend())).await;
        asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
    }

    fn judge(&self, backend: &Backend, passed: io::Result<()>, streak: &mut Streak) {
        let (check, observer) = (self.check, &self.watch.observer);
        match passed {
            Ok(()) => {
                backend.found_alive();
                if streak.is_over(true, check.rise) && backend.set_up() {
                    observer.on(&Event::BackendUp { backend });
                }
            }
            Err(error) => {
                if streak.is_over(false, check.fall) && backend.set_down() {
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

/// When one that refused a client is checked out of turn: soon, and then more and more seldom up to the usual interval. A
/// server that restarts is so used again in good time, and one that refuses for ever costs nothing.
struct Soon {
    interval: Duration,
    wait: Duration,
    at: Option<Instant>,
    /// When it was last found to refuse.
    last: Option<Instant>,
}

impl Soon {
    const fn new(interval: Duration) -> Self {
        Self { interval, wait: SOON, at: None, last: None }
    }

    fn after_refusal(&mut self) {
        let is_new = self.last.is_none_or(|last| last.elapsed() >= self.interval * 2);
        if is_new {
            self.wait = SOON;
        }
        if is_new || self.at.is_none() {
            self.set();
        }
    }

    fn after_failure(&mut self) {
        self.set();
    }

    fn set(&mut self) {
        let now = Instant::now();
        self.last = Some(now);
        self.at = (self.wait < self.interval).then_some(now + self.wait);
        self.wait = self.wait.saturating_mul(2).min(self.interval);
    }

    /// Waits until it is to be checked, once.
    async fn due(&mut self) {
        match self.at {
            Some(at) => sleep_until(at).await,
            None => pending().await,
        }
        self.at = None;
    }
}

/// Some part of it, drawn.
fn part(whole: Duration) -> Duration {
    let drawn = RandomState::new().hash_one(0) % 1000;
    whole.mul_f64(drawn as f64 / 1000.0)
}

/// Within this time every backend has been checked once, so that one that is dead is known soon.
const FIRST: Duration = Duration::from_secs(1);

/// How long after it has refused a client a backend is checked.
const SOON: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests;
