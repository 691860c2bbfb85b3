//! Lines that may come in floods, and how many of each are said.

use std::time::Duration;

use tracing::{info, warn};

use super::flood::Pace;
use crate::event::{Event, Refusal};

/// Strangers bring them about.
const STRANGERS: Pace = Pace { at_once: 1, each: Duration::from_secs(1) };

/// Strangers bring them about, and they may be of several backends.
const OF_SEVERAL: Pace = Pace { at_once: 10, each: Duration::from_secs(1) };

/// They tell what has changed: many things may change at once.
const CHANGES: Pace = Pace { at_once: 100, each: Duration::from_secs(1) };

/// What is said of an event of which there may be a flood, and how often; `None`: there is none, or nothing is said.
pub(super) const fn flooding(event: &Event<'_>) -> Option<(&'static str, Pace)> {
    Some(match event {
        Event::AcceptFailed { .. } => ("cannot accept", STRANGERS),
        Event::ConnectFailed { fell: true, .. } => {
            ("a backend does not take connections", OF_SEVERAL)
        }
        Event::Refused { refusal: Refusal::Full, .. } => {
            ("clients are turned away: as many are open as may be", STRANGERS)
        }
        Event::Refused { refusal: Refusal::NoBackend, .. } => {
            ("clients are turned away: no backend takes them", STRANGERS)
        }
        Event::Refused { refusal: Refusal::BackendsFull, .. } => {
            ("clients are turned away: every backend has as many as it may", STRANGERS)
        }
        Event::QueueOverflowed { .. } => ("clients came faster than they were accepted", STRANGERS),
        Event::LookedLong { .. } => ("a protocol took long to look at an opening", STRANGERS),
        Event::SegmentationRefused { .. } => ("datagrams are sent one by one", STRANGERS),
        Event::Overflowed { .. } => ("datagrams came faster than they were read", STRANGERS),
        Event::BackendDown { .. } => ("a backend is down", CHANGES),
        Event::BackendUp { .. } => ("a backend is up", CHANGES),
        Event::Resolved { .. } => ("resolved", CHANGES),
        Event::Unresolved { .. } => ("cannot resolve now", CHANGES),
        Event::LeadsBack { .. } => ("a backend is this program itself", CHANGES),
        _ => return None,
    })
}

/// Says it, and how many like it were left out before.
pub(super) fn say(event: &Event<'_>, what: &'static str, suppressed: Option<u64>) {
    match event {
        Event::AcceptFailed { local, error, pause } => {
            warn!(%local, %error, ?pause, suppressed, "{what}");
        }
        Event::ConnectFailed { conn, backend, error, .. } => {
            let backend = backend.endpoint();
            warn!(conn = conn.id, %backend, %error, suppressed, "{what}");
        }
        Event::Refused { conn, .. } => warn!(client = %conn.client, suppressed, "{what}"),
        Event::QueueOverflowed { local, packets } => warn!(%local, packets, suppressed, "{what}"),
        Event::LookedLong { conn, took } => warn!(conn = conn.id, ?took, suppressed, "{what}"),
        Event::SegmentationRefused { to, error } => info!(%to, %error, suppressed, "{what}"),
        Event::Overflowed { local, datagrams } => warn!(%local, datagrams, suppressed, "{what}"),
        Event::BackendDown { backend, error } => {
            let (backend, address) = (backend.endpoint(), backend.address());
            warn!(%backend, %address, %error, suppressed, "{what}");
        }
        Event::BackendUp { backend } => {
            let (backend, address) = (backend.endpoint(), backend.address());
            info!(%backend, %address, suppressed, "{what}");
        }
        Event::Resolved { endpoint, addresses } => {
            info!(name = %endpoint, ?addresses, suppressed, "{what}");
        }
        Event::Unresolved { endpoint, kept, error } => {
            warn!(name = %endpoint, %error, addresses = kept, suppressed, "{what}");
        }
        Event::LeadsBack { endpoint, address } => {
            warn!(backend = %endpoint, %address, suppressed, "{what}");
        }
        _ => {}
    }
}
