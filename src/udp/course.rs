//! Whether a port goes on. Those of one address end together: were one gone before the others, the system would give the
//! clients of the rest to other ports.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// The ports of one address, one for each worker.
#[derive(Debug, Default)]
pub(crate) struct Course {
    /// Written only with the ports locked.
    is_closing: AtomicBool,
    ports: Mutex<Vec<Member>>,
}

#[derive(Debug, Default)]
struct Member {
    /// It has nobody left to serve.
    is_quiet: bool,
    waker: Option<Waker>,
}

/// One of the ports.
#[derive(Debug)]
pub(crate) struct Part {
    course: Arc<Course>,
    at: usize,
}

/// What a port is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// To serve.
    Open,
    /// To serve those that it has, and nobody else.
    Closing,
    /// To end.
    Closed,
}

impl Course {
    /// One more port of the address.
    pub(crate) fn join(self: &Arc<Self>) -> Part {
        let mut ports = self.ports();
        ports.push(Member::default());
        Part { course: Arc::clone(self), at: ports.len() - 1 }
    }

    /// Lets the ports take nobody any more.
    pub(crate) fn close(&self) {
        let mut ports = self.ports();
        self.is_closing.store(true, Release);
        wake(&mut ports);
    }

    /// Lets them go on as if nothing had been said. Whether it is not too late for that.
    pub(crate) fn reopen(&self) -> bool {
        let mut ports = self.ports();
        if self.standing(&ports) == Standing::Closed {
            return false;
        }
        self.is_closing.store(false, Release);
        ports.iter_mut().for_each(|port| port.is_quiet = false);
        wake(&mut ports);
        true
    }

    fn standing(&self, ports: &[Member]) -> Standing {
        if !self.is_closing.load(Acquire) {
            return Standing::Open;
        }
        let is_over = ports.iter().all(|port| port.is_quiet);
        if is_over { Standing::Closed } else { Standing::Closing }
    }

    fn ports(&self) -> MutexGuard<'_, Vec<Member>> {
        // It is whole at every step: a panic elsewhere spoils nothing.
        self.ports.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wake(ports: &mut [Member]) {
    ports.iter_mut().filter_map(|port| port.waker.take()).for_each(Waker::wake);
}

impl Part {
    /// Whether new clients are taken at this moment.
    pub(crate) fn is_open(&self) -> bool {
        !self.course.is_closing.load(Acquire)
    }

    /// Sees to it that whoever runs this task is woken when there is something else to do.
    pub(crate) fn wake_on_change(&self, cx: &Context<'_>) {
        if let Some(port) = self.course.ports().get_mut(self.at) {
            port.waker = Some(cx.waker().clone());
        }
    }

    /// Says that there is nobody left. What to do then.
    pub(crate) fn quiet(&self) -> Standing {
        let mut ports = self.course.ports();
        if !self.is_open()
            && let Some(port) = ports.get_mut(self.at)
        {
            port.is_quiet = true;
        }
        let standing = self.course.standing(&ports);
        if standing == Standing::Closed {
            wake(&mut ports);
        }
        standing
    }
}

impl Drop for Part {
    /// One that ends for another reason is not waited for.
    fn drop(&mut self) {
        let mut ports = self.course.ports();
        if let Some(port) = ports.get_mut(self.at) {
            *port = Member { is_quiet: true, waker: None };
        }
        if self.course.standing(&ports) == Standing::Closed {
            wake(&mut ports);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_end_together_and_may_be_called_back_before() {
        let course = Arc::new(Course::default());
        let (one, other) = (course.join(), course.join());
        assert_eq!(one.quiet(), Standing::Open, "nobody there now may be somebody later");
        course.close();
        assert!(!one.is_open());
        assert_eq!(one.quiet(), Standing::Closing, "the other has somebody");
        assert!(course.reopen());
        assert!(one.is_open() && other.is_open());
        course.close();
        assert_eq!(other.quiet(), Standing::Closing, "what was said before counts no more");
        assert_eq!(one.quiet(), Standing::Closed);
        assert_eq!(other.quiet(), Standing::Closed);
        assert!(!course.reopen(), "it is too late");
    }
}
