//! Lines on their way to a reader that may be slow: a thread writes them, and when its queue is full, lines are lost,
//! for who says them carries connections.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tracing_appender::non_blocking::{ErrorCounter, NonBlocking, NonBlockingBuilder, WorkerGuard};

use super::teller::Alarm;

/// So many lines may wait: seconds of what may be said of a flood, and a few megabytes.
const LINES: usize = 8192;

/// The counts of all queues.
static ALL: Mutex<Vec<ErrorCounter>> = Mutex::new(Vec::new());

/// How many lines of this process's logs were lost because nobody read them in time.
pub fn lost() -> u64 {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().map(dropped).sum()
}

fn dropped(counter: &ErrorCounter) -> u64 {
    u64::try_from(counter.dropped_lines()).unwrap_or(u64::MAX)
}

/// The way into the queue.
#[derive(Clone, Debug)]
pub(super) struct Queue {
    way_in: NonBlocking,
    lost: ErrorCounter,
    told: Arc<AtomicU64>,
    alarm: Arc<Alarm>,
}

impl Queue {
    /// Rings when lines are lost. Dropping the guard waits a moment for what is queued.
    pub(super) fn new(to: impl Write + Send + 'static, alarm: &Arc<Alarm>) -> (Self, WorkerGuard) {
        let builder = NonBlockingBuilder::default().buffered_lines_limit(LINES);
        let (way_in, rest) = builder.finish(to);
        let lost = way_in.error_counter();
        ALL.lock().unwrap_or_else(PoisonError::into_inner).push(lost.clone());
        let (told, alarm) = (Arc::default(), Arc::clone(alarm));
        (Self { way_in, lost, told, alarm }, rest)
    }

    /// Says how many lines were lost since that was last said, if any. If that is lost too, it is said again later.
    pub(super) fn tell_lost(&self, say: impl FnOnce(u64)) {
        let before = dropped(&self.lost);
        let told = self.told.load(Ordering::Relaxed);
        if before == told {
            return;
        }
        say(before.saturating_sub(told));
        if dropped(&self.lost) == before {
            self.told.store(before, Ordering::Relaxed);
        } else {
            self.alarm.ring();
        }
    }
}

impl Write for Queue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let written = self.way_in.write(line);
        if dropped(&self.lost) != self.told.load(Ordering::Relaxed) {
            self.alarm.ring();
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
