//! An observer that speaks tracing.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tracing::{Level, debug, info, warn};
use tracing_appender::non_blocking::WorkerGuard;

use super::Detail;
use crate::event::{Count, Event, Exchanged, Moved, Observer};
use crate::table::Route;

/// Turns events into tracing events: what an operator should act on as warnings, each connection's fate at debug level.
///
/// What a client sent is escaped.
#[derive(Clone, Copy, Debug, Default)]
pub struct Log;

/// Prints tracing events on standard error, and gives the observer that makes them.
///
/// # Errors
///
/// If something prints tracing events in this process already.
pub fn to_stderr(detail: Detail) -> io::Result<Arc<dyn Observer>> {
    let level = match detail {
        Detail::Normal => Level::INFO,
        Detail::Debug => Level::DEBUG,
    };
    // A thread of its own writes; when its queue is full, lines are lost, for who writes them carries connections.
    let (writer, rest) = tracing_appender::non_blocking(io::stderr());
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .log_internal_errors(false)
        .with_writer(writer);
    subscriber.try_init().map_err(io::Error::other)?;
    Ok(Arc::new(ToStderr { _rest: rest }))
}

/// The log of [`to_stderr`]: dropping it writes what is still queued.
struct ToStderr {
    _rest: WorkerGuard,
}

impl Observer for ToStderr {
    fn on(&self, event: &Event<'_>) {
        Log.on(event);
    }
}

/// How many of each route, as `2 ssh, 1 https a.example, 1 other`.
fn among(routes: &[(&Route, usize)], open: usize) -> String {
    let named = |&(route, open): &(&Route, usize)| {
        let host = route.hosts().first().map(|host| format!(" {host}")).unwrap_or_default();
        format!("{open} {}{host}", route.name())
    };
    let mut parts: Vec<_> = routes.iter().take(MOST_NAMED).map(named).collect();
    let told: usize = routes.iter().take(MOST_NAMED).map(|(_, open)| open).sum();
    if open > told {
        parts.push(format!("{} other", open - told));
    }
    parts.join(", ")
}

/// How many routes one line names.
const MOST_NAMED: usize = 8;

impl Observer for Log {
    fn on(&self, event: &Event<'_>) {
        match event {
            // A program prints it where it starts.
            Event::Planned { .. } => {}
            Event::Listening { local, transport } => info!(%local, %transport, "listening"),
            // Each address has been told.
            Event::Serving => {}
            Event::AcceptFailed { local, error, pause } => {
                warn!(%local, %error, ?pause, "cannot accept");
            }
            Event::Accepted { conn } => debug!(conn = conn.id, client = %conn.client, "accepted"),
            Event::Decided { conn, route, opening, by, after } => {
                if tracing::enabled!(Level::DEBUG) {
                    let host = route.host(opening).unwrap_or_else(|| "-".to_owned());
                    let (bytes, route) = (opening.bytes.len(), route.name());
                    let client = conn.client;
                    debug!(conn = conn.id, route, host, %by, bytes, ?after, %client, "decided");
                }
            }
            // Said once when it falls: strangers must not be able to fill the log.
            Event::ConnectFailed { conn, backend, error, fell: true, .. } => {
                let backend = backend.endpoint();
                warn!(conn = conn.id, %backend, %error, "a backend does not take connections");
            }
            Event::ConnectFailed { conn, backend, error, fell: false, .. } => {
                let backend = backend.endpoint();
                debug!(conn = conn.id, %backend, %error, "a backend does not take connections");
            }
            Event::Welded { conn, route, backend, connect } => {
                let (route, address) = (route.name(), backend.address());
                let backend = backend.endpoint();
                debug!(conn = conn.id, route, %backend, %address, ?connect, "welded");
            }
            Event::Closed { conn, moved, ending, .. } => {
                let &Moved { up, down, spliced, pipes_refused } = moved;
                debug!(conn = conn.id, up, down, spliced, pipes_refused, %ending, "closed");
            }
            Event::Refused { conn, refusal } => {
                debug!(conn = conn.id, client = %conn.client, reason = %refusal, "refused");
            }
            Event::SessionOpened { conn, route, backend } => {
                let (route, address) = (route.name(), backend.address());
                let backend = backend.endpoint();
                debug!(conn = conn.id, client = %conn.client, route, %backend, %address, "session");
            }
            Event::SessionMoved { conn, backend, .. } => {
                let address = backend.address();
                debug!(conn = conn.id, backend = %backend.endpoint(), %address, "session moved");
            }
            Event::Dropped { conn, to, datagrams, loss, .. } => {
                debug!(conn = conn.id, ?to, datagrams, reason = %loss, "dropped");
            }
            Event::SessionEnded { conn, exchanged, end, .. } => {
                let &Exchanged { up: Count { datagrams: up, bytes: up_bytes }, down } = exchanged;
                let Count { datagrams: down, bytes: down_bytes } = down;
                debug!(conn = conn.id, up, up_bytes, down, down_bytes, %end, "session ended");
            }
            // At most once a while for each address.
            Event::SegmentationRefused { to, error } => {
                info!(%to, %error, "datagrams are sent one by one");
            }
            Event::Overflowed { local, datagrams } => {
                warn!(%local, datagrams, "datagrams came faster than they were read");
            }
            Event::BackendDown { backend, error } => {
                let (backend, address) = (backend.endpoint(), backend.address());
                warn!(%backend, %address, %error, "a backend is down");
            }
            Event::BackendUp { backend } => {
                let (backend, address) = (backend.endpoint(), backend.address());
                info!(%backend, %address, "a backend is up");
            }
            Event::Resolved { endpoint, addresses } => {
                info!(name = %endpoint, ?addresses, "resolved")
            }
            Event::LeadsBack { endpoint, address } => {
                warn!(backend = %endpoint, %address, "a backend is this program itself");
            }
            Event::Unresolved { endpoint, kept, error } => {
                warn!(name = %endpoint, %error, addresses = kept, "cannot resolve now");
            }
            Event::WorkerStalled { worker, stalled } => {
                warn!(worker, ?stalled, "a worker stands still")
            }
            Event::WorkerResumed { worker, stalled } => info!(worker, ?stalled, "a worker goes on"),
            Event::Draining { open, limit } => info!(open, ?limit, "draining"),
            Event::Waiting { open, routes, left } => {
                info!(open, of = among(routes, *open), left = ?Duration::from_secs(left.as_secs()), "waiting");
            }
            Event::Drained { cut } => info!(cut, "ended"),
        }
    }
}
