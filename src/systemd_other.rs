//! Where there is no systemd, events go to the log alone.

use std::convert::Infallible as Never;
use std::future::pending;
use std::sync::Arc;

use refractium::{Event, Observer};

pub(crate) struct Systemd(Arc<dyn Observer>);

impl Systemd {
    pub(crate) fn from_env(log: Arc<dyn Observer>) -> Self {
        Self(log)
    }

    pub(crate) async fn keep_alive(&self) -> Never {
        pending().await
    }

    pub(crate) const fn reloading(&self) {}

    pub(crate) const fn ready(&self) {}

    pub(crate) const fn is_succeeded_by(&self, _: u32) {}
}

impl Observer for Systemd {
    fn on(&self, event: &Event<'_>) {
        self.0.on(event);
    }
}
