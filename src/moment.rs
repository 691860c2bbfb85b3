//! Points in time that take little room.

use std::sync::LazyLock;
use std::time::Duration;

use tokio::time::Instant;

/// An [`Instant`] in half its room, of which a connection keeps several: nanoseconds since this program first asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

static FIRST: LazyLock<Instant> = LazyLock::new(|| std::time::Instant::now().into());

impl Moment {
    pub(crate) fn now() -> Self {
        Self(0).after(Instant::now().saturating_duration_since(*FIRST))
    }

    /// Later by so much, or at the end of time, in 584 years.
    pub(crate) fn after(self, more: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(more.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after another it is; zero if it is before.
    pub(crate) const fn since(self, other: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(other.0))
    }

    /// The same for the runtime.
    pub(crate) fn instant(self) -> Instant {
        *FIRST + Duration::from_nanos(self.0)
    }
}
