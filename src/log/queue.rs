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

/// Lines that the system refused to write.
static UNWRITTEN: AtomicU64 = AtomicU64::new(0);

/// How many lines of this process's logs were lost, because nobody read them in time or because they cannot be written.
pub fn lost() -> u64 {
    let all = ALL.lock().unwrap_or_else(PoisonError::into_inner);
    all.iter().map(dropped).sum::<u64>().saturating_add(UNWRITTEN.load(Ordering::Relaxed))
}

/// Where lines are written to, one at a time: the thread that does it forgets what failed.
struct Counted<W>(W);

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn write_all(&mut self, line: &[u8]) -> io::Result<()> {
        let written = self.0.write_all(line);
        if written.is_err() {
            UNWRITTEN.fetch_add(1, Ordering::Relaxed);
        }
        written
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
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
        let (way_in, rest) = builder.finish(Counted(to));
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

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk without room, say.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_cannot_be_written_is_counted() {
        let (before, alarm) = (lost(), Arc::default());
        let (mut queue, rest) = Queue::new(Full, &alarm);
        for _ in 0..3 {
            queue.write_all(b"a line\n").expect("room in the queue");
        }
        drop((queue, rest));
        assert!(lost() >= before + 3, "{} and {before}", lost());
    }
}
