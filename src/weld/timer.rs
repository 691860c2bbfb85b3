//! The time-outs of a weld, all on one timer.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use socket2::SockRef;
use tokio::task::unconstrained;
use tokio::time::{Instant, Sleep};

use super::way::OneWay;
use crate::event::{Ending, Peer};
use crate::keepalive;
use crate::limits::{FOR_EVER, Limits};
use crate::moment::Moment;

/// Watches that something moves.
///
/// Progress is only noted. The timer stays where it is and, when it fires, is set again to where it should be by then,
/// so that a busy connection does not touch the runtime's wheel.
pub(super) struct Timer<'t> {
    sleep: Pin<&'t mut Sleep>,
    /// The runtime knows of it, and nothing that is due has come nearer since.
    is_set: bool,
    limits: &'t Limits,
    /// How long nothing may move.
    quiet: Duration,
    /// What it is when nothing did.
    ending: Ending,
    up: Pulse,
    down: Pulse,
    /// When the backend is to be probed from; connections that end before do not pay for it.
    probe: Option<Moment>,
}

/// What a direction did last.
struct Pulse {
    /// Whose bytes wait if any do.
    sink: Peer,
    moved: u64,
    is_blocked: bool,
    at: Moment,
}

impl<'t> Timer<'t> {
    pub(super) fn new(sleep: Pin<&'t mut Sleep>, limits: &'t Limits, idle: Duration) -> Self {
        let now = Moment::now();
        let pulse = |sink| Pulse { sink, moved: 0, is_blocked: false, at: now };
        Self {
            sleep,
            is_set: false,
            limits,
            quiet: or_for_ever(idle),
            ending: Ending::IdleTimeout,
            up: pulse(Peer::Backend),
            down: pulse(Peer::Client),
            probe: (!limits.keepalive.is_zero()).then(|| now.after(limits.keepalive / 4)),
        }
    }

    /// The direction from `source` is done: from now on the other may be quiet for less.
    pub(super) fn half_closed(&mut self, source: Peer) {
        self.is_set = false;
        if !self.limits.half_close_timeout.is_zero() {
            self.quiet = self.limits.half_close_timeout;
            self.ending = Ending::HalfCloseTimeout;
        }
        // Who was silent before begins anew.
        match source {
            Peer::Client => self.up.at = Moment::now(),
            Peer::Backend => self.down.at = Moment::now(),
        }
    }

    /// How long one side may be quiet that has closed, or waits for the other to.
    pub(super) const fn patience(&self) -> Duration {
        self.quiet
    }

    /// Does `work` for no longer than `limit`. To be used when nothing else is watched any more.
    pub(super) async fn allow(
        &mut self,
        limit: Duration,
        mut work: impl FnMut(&mut Context<'_>) -> Poll<()>,
    ) {
        self.is_set = false;
        self.sleep.as_mut().reset(Instant::now() + limit);
        poll_fn(
            |cx| if work(cx).is_ready() { Poll::Ready(()) } else { self.sleep.as_mut().poll(cx) },
        )
        .await;
    }

    /// Ready when a time-out is reached. To be polled after the ways were.
    pub(super) fn poll<'s>(
        &mut self,
        cx: &mut Context<'_>,
        up: &mut OneWay<'s>,
        down: &mut OneWay<'s>,
    ) -> Poll<Ending> {
        self.up.note(up);
        self.down.note(down);
        // Asking the runtime would be a tenth of what we do for a small message.
        if self.is_set && !self.is_blocked() && !self.sleep.is_elapsed() {
            return Poll::Pending;
        }
        loop {
            let (due, ending) = self.due();
            let wake = self.wake(due);
            if wake.instant() < self.sleep.deadline() {
                self.sleep.as_mut().reset(wake.instant());
            }
            // A task that has done much would be told "pending", and the runtime not of the timer.
            self.is_set = true;
            ready!(pin!(unconstrained(self.sleep.as_mut())).poll(cx));
            let now = Moment::now();
            let late = now.since(due);
            if due <= now && late < LATE {
                return Poll::Ready(ending);
            }
            // A process that was stopped is told of the time before it is told what has come.
            let due = if due <= now { self.put_off(late + GRACE) } else { due };
            if self.probe.is_some_and(|at| at <= now) {
                self.probe = None;
                keepalive::set(SockRef::from(up.sink()), self.limits);
            }
            for way in [&mut *up, &mut *down] {
                if way.is_blocked() {
                    way.push_next();
                    cx.waker().wake_by_ref();
                }
            }
            let wake = self.wake(due);
            self.sleep.as_mut().reset(wake.instant());
        }
    }

    /// When there is something to do, if nothing moves until then and the first time-out is reached at `due`.
    fn wake(&self, due: Moment) -> Moment {
        let wake = self.probe.map_or(due, |at| at.min(due));
        if self.is_blocked() {
            let limits = [self.limits.write_stall_timeout, self.limits.half_close_timeout];
            let push =
                limits.into_iter().filter(|it| !it.is_zero()).fold(PUSH * 4, Duration::min) / 4;
            wake.min(Moment::now().after(push))
        } else {
            wake
        }
    }

    /// Begins to count so much later; when the first time-out is reached then.
    fn put_off(&mut self, by: Duration) -> Moment {
        self.up.at = self.up.at.after(by);
        self.down.at = self.down.at.after(by);
        self.due().0
    }

    const fn is_blocked(&self) -> bool {
        self.up.is_blocked || self.down.is_blocked
    }

    /// When the first time-out is reached if nothing moves until then.
    fn due(&self) -> (Moment, Ending) {
        let last = self.up.at.max(self.down.at);
        let quiet = (last.after(self.quiet), self.ending);
        let stall = or_for_ever(self.limits.write_stall_timeout);
        let stalled =
            |it: &Pulse| it.is_blocked.then(|| (it.at.after(stall), Ending::WriteStall(it.sink)));
        let stalled = stalled(&self.up).into_iter().chain(stalled(&self.down));
        stalled.fold(quiet, |first, next| if next.0 < first.0 { next } else { first })
    }
}

impl Pulse {
    fn note(&mut self, way: &OneWay<'_>) {
        let (moved, is_blocked) = (way.moved, way.is_blocked());
        if (moved, is_blocked) != (self.moved, self.is_blocked) {
            (self.moved, self.is_blocked, self.at) = (moved, is_blocked, Moment::now());
        }
    }
}

fn or_for_ever(limit: Duration) -> Duration {
    if limit.is_zero() { FOR_EVER } else { limit }
}

/// Whoever comes so late after a time-out has stood still.
const LATE: Duration = Duration::from_millis(500);

/// How long it has then to find out what has come meanwhile.
const GRACE: Duration = Duration::from_secs(1);

/// How often a write is tried though the socket does not count as writable: the kernel calls it so only once a third of
/// its buffer is free. That may be a MiB and more, for which a peer that takes 20 KB a second needs a minute; it is
/// alive all the time. Shorter time-outs have it tried four times.
const PUSH: Duration = Duration::from_secs(1);
