//! Answers on their way: all at once, or as things happen (Server-Sent Events).

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use serde::Serialize;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

use super::Admin;

/// How often more of an answer was asked for, which is only done while the client takes it.
#[derive(Clone, Debug, Default)]
pub(super) struct Polls(Arc<AtomicU64>);

impl Polls {
    pub(super) fn count(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What is sent.
pub(super) enum Sent {
    Whole(Whole),
    Live(Box<Live>),
}

/// An answer that is there.
pub(super) struct Whole {
    rest: Bytes,
    polls: Polls,
}

impl Whole {
    pub(super) fn new(answer: Vec<u8>, polls: &Polls) -> Self {
        Self { rest: answer.into(), polls: polls.clone() }
    }

    /// A part at a time, so that it is seen whether the client takes it.
    fn next(&mut self) -> Option<Bytes> {
        self.polls.0.fetch_add(1, Relaxed);
        let part = self.rest.split_to(self.rest.len().min(PART));
        Some(part).filter(|part| !part.is_empty())
    }
}

/// What happens, until the client has enough.
pub(super) struct Live {
    admin: Admin,
    polls: Polls,
    ticks: Interval,
    /// Up to which change the decisions have been told.
    told: u64,
    /// How many there were beside them then.
    more: u64,
    /// When the status is to be told.
    status: Instant,
    _place: Arc<()>,
}

impl Live {
    pub(super) fn new(admin: &Admin, polls: &Polls, place: Arc<()>) -> Self {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (admin, polls) = (admin.clone(), polls.clone());
        Self { admin, polls, ticks, told: 0, more: 0, status: Instant::now(), _place: place }
    }

    /// What is to be told now; nothing if nothing is new.
    fn news(&mut self) -> Option<String> {
        let mut text = String::new();
        let now = Instant::now();
        if now >= self.status {
            let status = self.admin.status();
            // A table of ten thousand routes is some megabytes: who watches it sees it every few seconds.
            let routes = u32::try_from(status.routes.len()).unwrap_or(u32::MAX);
            self.status = now + STATUS.saturating_mul(1 + routes / 500);
            text += &event("status", &status)?;
        }
        self.admin.0.recent.fetch();
        let news = self.admin.0.recent.since(self.told);
        if !news.lines.is_empty() || news.more != self.more {
            (self.told, self.more) = (news.change, news.more);
            text += &event("decisions", &news)?;
        }
        Some(text).filter(|text| !text.is_empty())
    }
}

fn event(name: &str, data: &impl Serialize) -> Option<String> {
    Some(format!("event: {name}\ndata: {}\n\n", serde_json::to_string(data).ok()?))
}

impl Body for Sent {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let live = match &mut *self {
            Self::Whole(whole) => return Poll::Ready(whole.next().map(|it| Ok(Frame::data(it)))),
            Self::Live(live) => live,
        };
        live.polls.0.fetch_add(1, Relaxed);
        loop {
            ready!(live.ticks.poll_tick(cx));
            if let Some(news) = live.news() {
                return Poll::Ready(Some(Ok(Frame::data(news.into()))));
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(whole) if whole.rest.is_empty())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(whole) => {
                SizeHint::with_exact(u64::try_from(whole.rest.len()).unwrap_or(u64::MAX))
            }
            Self::Live(_) => SizeHint::default(),
        }
    }
}

/// What is handed over at a time.
const PART: usize = 64 * 1024;

/// How often it is looked for decisions.
const TICK: Duration = Duration::from_millis(250);

/// How often the status is told.
const STATUS: Duration = Duration::from_secs(1);
