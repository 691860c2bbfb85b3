//! Notices a worker that does not come round.

use std::convert::Infallible as Never;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::crew::Shared;
use crate::event::{Event, Observer};

/// How often a worker shows that it comes round.
const BEAT: Duration = Duration::from_millis(500);

/// How often that is looked at, and so for how long nothing is noticed.
const ROUND: Duration = Duration::from_secs(1);

/// Shows that a worker comes round, until it is to stop.
///
/// Its timer has a second use: the runtime interrupts its own wait whenever a timer is set that is nearer than all
/// others, which costs a connection that comes alone two system calls. Those of connections are seldom nearer than this.
pub(crate) async fn beat(worker: Arc<Shared>) {
    let beats = async {
        loop {
            worker.beat();
            sleep(BEAT).await;
        }
    };
    worker.stop.run_until_cancelled(beats).await;
}

/// Looks at every worker again and again, until dropped.
pub(crate) async fn watch(workers: &[Arc<Shared>], observer: &dyn Observer) -> Never {
    let watched = |shared: &Arc<Shared>| Watched {
        beats: shared.beats(),
        at: Instant::now(),
        missed: 0,
        is_stalled: false,
    };
    let mut all: Vec<_> = workers.iter().map(watched).collect();
    loop {
        sleep(ROUND).await;
        for (worker, (watched, shared)) in all.iter_mut().zip(workers).enumerate() {
            if shared.stop.is_cancelled() {
                continue;
            }
            let stalled = watched.at.elapsed();
            match watched.look(shared.beats()) {
                Some(true) => observer.on(&Event::WorkerStalled { worker, stalled }),
                Some(false) => observer.on(&Event::WorkerResumed { worker, stalled }),
                None => {}
            }
        }
    }
}

struct Watched {
    beats: u64,
    /// When they were last seen to grow.
    at: Instant,
    /// How often in a row they had not grown.
    missed: u32,
    is_stalled: bool,
}

impl Watched {
    /// Whether it stands still, if that is news.
    fn look(&mut self, beats: u64) -> Option<bool> {
        if beats == self.beats {
            self.missed = self.missed.saturating_add(1);
        } else {
            (self.beats, self.at, self.missed) = (beats, Instant::now(), 0);
        }
        // Once is not enough: the whole process may have been stopped, and its worker be next to run.
        let stands_still = self.missed > 1;
        let is_news = stands_still != self.is_stalled;
        self.is_stalled = stands_still;
        is_news.then_some(stands_still)
    }
}
