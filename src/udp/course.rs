//! Whether a port goes on. Those of one address end together: were one gone before the others, the system would give the
//! clients of the rest to other ports.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Waker};

/// The ports of one address, one for each worker.
#[derive(Debug, Default)]
pub(crate) struct Course(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    is_closing: bool,
    ports: Vec<Member>,
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
        let mut state = self.state();
        state.ports.push(Member::default());
        Part { course: Arc::clone(self), at: state.ports.len() - 1 }
    }

    /// Lets the ports take nobody any more.
    pub(crate) fn close(&self) {
        let mut state = self.state();
        state.is_closing = true;
        state.wake();
    }

    /// Lets them go on as if nothing had been said. Whether it is not too late for that.
    pub(crate) fn reopen(&self) -> bool {
        let mut state = self.state();
        if state.is_closed() {
            return false;
        }
        state.is_closing = false;
        state.ports.iter_mut().for_each(|port| port.is_quiet = false);
        state.wake();
        true
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // It is whole at every step: a panic elsewhere spoils nothing.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_closed(&self) -> bool {
        self.is_closing && self.ports.iter().all(|port| port.is_quiet)
    }

    fn standing(&self) -> Standing {
        match (self.is_closing, self.is_closed()) {
            (false, _) => Standing::Open,
            (true, false) => Standing::Closing,
            (true, true) => Standing::Closed,
        }
    }

    fn wake(&mut self) {
        self.ports.iter_mut().filter_map(|port| port.waker.take()).for_each(Waker::wake);
    }
}

impl Part {
    /// What to do now. Who asks is woken when that changes.
    pub(crate) fn standing(&self, cx: &Context<'_>) -> Standing {
        let mut state = self.course.state();
        if let Some(port) = state.ports.get_mut(self.at) {
            port.waker = Some(cx.waker().clone());
        }
        state.standing()
    }

    /// Says that there is nobody left. What to do then.
    pub(crate) fn quiet(&self) -> Standing {
        let mut state = self.course.state();
        if state.is_closing
            && let Some(port) = state.ports.get_mut(self.at)
        {
            port.is_quiet = true;
        }
        let standing = state.standing();
        if standing == Standing::Closed {
            state.wake();
        }
        standing
    }
}

impl Drop for Part {
    /// One that ends for another reason is not waited for.
    fn drop(&mut self) {
        let mut state = self.course.state();
        if let Some(port) = state.ports.get_mut(self.at) {
            *port = Member { is_quiet: true, waker: None };
        }
        if state.is_closed() {
            state.wake();
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
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(one.quiet(), Standing::Open, "nobody there now may be somebody later");
        course.close();
        assert_eq!(one.standing(&cx), Standing::Closing);
        assert_eq!(one.quiet(), Standing::Closing, "the other has somebody");
        assert!(course.reopen());
        course.close();
        assert_eq!(other.quiet(), Standing::Closing, "what was said before counts no more");
        assert_eq!(one.quiet(), Standing::Closed);
        assert_eq!(other.standing(&cx), Standing::Closed);
        assert!(!course.reopen(), "it is too late");
    }
}
