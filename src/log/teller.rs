//! Who tells what was left out of a flood once it is over.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A thread that tells what there is to tell, once a second and when it is dropped.
pub(super) struct Teller {
    alarm: Arc<Alarm>,
    /// If no thread was to be had, nobody tells.
    thread: Option<JoinHandle<()>>,
}

impl Teller {
    pub(super) fn new(alarm: &Arc<Alarm>, tell: impl Fn() + Send + 'static) -> Self {
        let rung = Arc::clone(alarm);
        let thread = thread::Builder::new().name("teller".to_owned()).spawn(move || {
            while rung.wait() {
                tell();
            }
            tell();
        });
        Self { alarm: Arc::clone(alarm), thread: thread.ok() }
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        self.alarm.end();
        // If it panicked, the hook has told of that.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Wakes who tells what was left out, at most once a second; while nothing is, it sleeps.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    orders: Mutex<Orders>,
    given: Condvar,
}

#[derive(Debug, Default)]
struct Orders {
    tell: bool,
    end: bool,
}

impl Alarm {
    /// Has it told within a second.
    pub(super) fn ring(&self) {
        self.order(|orders| orders.tell = true);
    }

    /// No more is to be told than what is known by now.
    pub(super) fn end(&self) {
        self.order(|orders| orders.end = true);
    }

    fn order(&self, give: impl FnOnce(&mut Orders)) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let is_known = orders.tell;
        give(&mut orders);
        if !is_known || orders.end {
            self.given.notify_all();
        }
    }

    /// Waits until there is something to tell, and the second is over. Whether there will be more.
    pub(super) fn wait(&self) -> bool {
        let orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.given.wait_while(orders, |it| !it.tell && !it.end);
        let orders = waited.unwrap_or_else(PoisonError::into_inner);
        let rest = self.given.wait_timeout_while(orders, SECOND, |it| !it.end);
        let (mut orders, _) = rest.unwrap_or_else(PoisonError::into_inner);
        orders.tell = false;
        !orders.end
    }
}

const SECOND: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Instant;

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(20);

    #[test]
    fn what_there_is_to_tell_is_told_after_a_second_and_at_the_end() {
        let alarm = Arc::default();
        let (sender, told) = channel();
        let teller = Teller::new(&alarm, move || sender.send(Instant::now()).expect("a listener"));
        let began = Instant::now();
        alarm.ring();
        alarm.ring();
        let first = told.recv_timeout(DEADLINE).expect("a wake");
        assert!(first - began >= SECOND);
        assert!(told.try_recv().is_err(), "once");
        drop(teller);
        told.recv_timeout(DEADLINE).expect("the last word");
        assert!(told.recv_timeout(DEADLINE).is_err(), "the end");
    }
}
