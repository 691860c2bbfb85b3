//! Notices a worker that does not come round.

use std::convert::Infallible as Never;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::{Instant, sleep};

use crate::event::{Event, Observer};

/// How often each worker is asked, and how long it may take to answer.
const ROUND: Duration = Duration::from_secs(1);

/// Asks every worker again and again whether it comes round, until dropped.
pub(crate) async fn watch(workers: &[Handle], observer: &dyn Observer) -> Never {
    let mut watched: Vec<_> = workers.iter().map(Watched::new).collect();
    loop {
        for (worker, watched) in watched.iter_mut().enumerate() {
            if let Some(since) = watched.stalled {
                if watched.came_round() {
                    watched.stalled = None;
                    observer.on(&Event::WorkerResumed { worker, stalled: since.elapsed() });
                }
            } else if !watched.came_round() {
                watched.stalled = Some(watched.asked);
                let stalled = watched.asked.elapsed();
                observer.on(&Event::WorkerStalled { worker, stalled });
            }
            if watched.came_round() {
                watched.ask();
            }
        }
        sleep(ROUND).await;
    }
}

struct Watched<'w> {
    worker: &'w Handle,
    answered: Arc<AtomicBool>,
    asked: Instant,
    /// Told to stand still, since then.
    stalled: Option<Instant>,
}

impl<'w> Watched<'w> {
    fn new(worker: &'w Handle) -> Self {
        let answered = Arc::new(AtomicBool::new(true));
        Self { worker, answered, asked: Instant::now(), stalled: None }
    }

    fn ask(&mut self) {
        self.asked = Instant::now();
        self.answered.store(false, Ordering::Relaxed);
        let answered = Arc::clone(&self.answered);
        self.worker.spawn(async move { answered.store(true, Ordering::Relaxed) });
    }

    fn came_round(&self) -> bool {
        self.answered.load(Ordering::Relaxed)
    }
}
