//! Threads that carry connections, each with a runtime of its own.

use std::io;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

/// Threads that run what is spawned on them. Dropping them ends them, and drops what they still run.
#[derive(Debug)]
pub(crate) struct Workers {
    list: Vec<Worker>,
    end: CancellationToken,
}

#[derive(Debug)]
struct Worker {
    handle: Handle,
    /// Closed once the thread has dropped everything.
    ended: Receiver<()>,
}

/// How long the threads are waited for when they are ended.
const ENDING: Duration = Duration::from_millis(500);

/// How long what they run may take to end by itself: who was cut tells of it.
const SETTLING: Duration = Duration::from_millis(400);

/// How often it is looked whether it has.
const LOOK: Duration = Duration::from_millis(1);

impl Workers {
    /// Starts as many threads as asked for.
    pub(crate) fn start(count: usize) -> io::Result<Self> {
        let mut workers = Self { list: Vec::with_capacity(count), end: CancellationToken::new() };
        for at in 0..count {
            let worker = Worker::start(at, workers.end.clone())?;
            workers.list.push(worker);
        }
        Ok(workers)
    }

    /// Where to spawn, one for each thread.
    pub(crate) fn handles(&self) -> impl Iterator<Item = &Handle> {
        self.list.iter().map(|worker| &worker.handle)
    }
}

impl Drop for Workers {
    /// Waits a moment for the threads, because a process that ends before they do would end connections as if they
    /// were whole. One that is stuck is left behind.
    fn drop(&mut self) {
        self.end.cancel();
        let until = Instant::now() + ENDING;
        for worker in &self.list {
            let _ = worker.ended.recv_timeout(until.saturating_duration_since(Instant::now()));
        }
    }
}

impl Worker {
    fn start(at: usize, end: CancellationToken) -> io::Result<Self> {
        let (started, start) = channel();
        let (ending, ended) = channel();
        thread::Builder::new()
            .name(format!("refractium-{at}"))
            .spawn(move || run(&started, &end, ending))?;
        let gone = |_| Err(io::Error::other("the thread ended at once"));
        Ok(Self { handle: start.recv().unwrap_or_else(gone)?, ended })
    }
}

fn run(started: &Sender<io::Result<Handle>>, end: &CancellationToken, _ending: Sender<()>) {
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            // Who starts us is waiting.
            let _ = started.send(Err(error));
            return;
        }
    };
    let _ = started.send(Ok(runtime.handle().clone()));
    runtime.block_on(async {
        end.cancelled().await;
        // What is still there is dropped.
        let _ = timeout(SETTLING, ended(&runtime)).await;
    });
}

/// Waits until nothing is left that was spawned there.
async fn ended(runtime: &Runtime) {
    while runtime.metrics().num_alive_tasks() > 0 {
        sleep(LOOK).await;
    }
}
