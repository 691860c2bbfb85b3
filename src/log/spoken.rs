//! An observer that speaks tracing.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing::{Level, debug, info, warn};
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::Detail;
use super::flood::{Flood, Pace};
use super::queue::Queue;
use super::teller::{Alarm, Teller};
use super::warned::{flooding, say};
use crate::changes::Changes;
use crate::event::{Count, Event, Exchanged, Moved, Observer};
use crate::table::Route;

/// Turns events into tracing events: what an operator should act on as warnings, each connection's fate at debug level.
///
/// What a client sent is escaped. Of what may come in floods, so many are said, and of those that were left out how many:
/// with the next that is said (`suppressed`), and where [`to_stderr`] made it, also when the flood is over.
#[derive(Debug, Default)]
pub struct Log {
    flood: Flood,
    alarm: Arc<Alarm>,
}

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
    let log = Arc::new(Log::default());
    let (queue, rest) = Queue::new(io::stderr(), &log.alarm);
    let writer = queue.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_target(false)
        .with_ansi(io::IsTerminal::is_terminal(&io::stderr()))
        .log_internal_errors(false)
        .with_writer(move || writer.clone());
    // Not what our dependencies say: the resolver warns of answers that strangers may send.
    let ours = filter_fn(|it| it.target().starts_with(env!("CARGO_PKG_NAME")));
    subscriber.finish().with(ours).try_init().map_err(io::Error::other)?;
    let told = Arc::clone(&log);
    let teller = Teller::new(&log.alarm, move || {
        told.sum_up();
        queue.tell_lost(|lines| {
            warn!(lines, "lines of this log are lost: they are read too slowly")
        });
    });
    Ok(Arc::new(ToStderr { log, _teller: teller, _rest: rest }))
}

/// The log of [`to_stderr`]: dropping it writes what is still queued.
struct ToStderr {
    log: Arc<Log>,
    _teller: Teller,
    _rest: WorkerGuard,
}

impl Observer for ToStderr {
    fn on(&self, event: &Event<'_>) {
        self.log.on(event);
    }
}

impl Log {
    /// Whether a line may be said, and how many like it were left out before.
    fn admit(&self, what: &'static str, pace: Pace) -> Option<Option<u64>> {
        let now = Instant::now();
        if self.flood.admits(what, pace, now) {
            return Some(Some(self.flood.take(what)).filter(|it| *it > 0));
        }
        self.alarm.ring();
        None
    }

    /// Says what was left out of floods that are over.
    fn sum_up(&self) {
        for (what, _) in self.flood.left_out() {
            // While a flood goes on its own lines tell, and this would be one too many.
            if let Some(suppressed) = self.flood.take_if_over(what, Instant::now()) {
                warn!(suppressed, "{what}");
            } else {
                self.alarm.ring();
            }
        }
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
        if let Some((what, pace)) = flooding(event)
            && let Some(suppressed) = self.admit(what, pace)
        {
            say(event, what, suppressed);
        }
        speak(event);
    }
}

/// Says what is no flood, or is asked for.
fn speak(event: &Event<'_>) {
    match event {
        // A program prints it where it starts.
        Event::Planned { .. } => {}
        Event::Listening { local, transport } => info!(%local, %transport, "listening"),
        // Each address has been told.
        Event::Serving => {}
        Event::Accepted { conn } => debug!(conn = conn.id, client = %conn.client, "accepted"),
        Event::Decided { conn, route, opening, by, after } => {
            if tracing::enabled!(Level::DEBUG) {
                let host = route.host(opening).unwrap_or_else(|| "-".to_owned());
                let (bytes, route) = (opening.bytes.len(), route.name());
                let client = conn.client;
                debug!(conn = conn.id, route, host, %by, bytes, ?after, %client, "decided");
            }
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
        Event::AcceptFailed { .. }
        | Event::ConnectFailed { fell: true, .. }
        | Event::QueueOverflowed { .. }
        | Event::LookedLong { .. }
        | Event::SegmentationRefused { .. }
        | Event::Overflowed { .. }
        | Event::BackendDown { .. }
        | Event::BackendUp { .. }
        | Event::Resolved { .. }
        | Event::Unresolved { .. }
        | Event::LeadsBack { .. } => {}
        Event::WorkerStalled { worker, stalled } => {
            warn!(worker, ?stalled, "a worker stands still")
        }
        Event::WorkerResumed { worker, stalled } => info!(worker, ?stalled, "a worker goes on"),
        Event::Warned { warning } => warn!("{warning}"),
        Event::Reloaded { changes } => speak_of_changes(changes),
        Event::ReloadFailed { error } => {
            let error = chain(*error);
            // Mistakes are told as compilers tell theirs.
            let error = error.strip_prefix("error: ").unwrap_or(&error);
            warn!(%error, "cannot reload");
        }
        Event::TookOver { sessions, lost } => info!(sessions, lost, "took over"),
        Event::HandedOver { process, sessions, open } => {
            info!(process, sessions, open, "handed over");
        }
        Event::HandOverFailed { error } => warn!(error = %chain(*error), "not handed over"),
        Event::Draining { open, limit } => info!(open, ?limit, "draining"),
        Event::Waiting { open, routes, left } => {
            // Rounded up: as long as there is time, it is not over.
            let left =
                Duration::from_secs(left.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX));
            info!(open, of = among(routes, *open), ?left, "waiting");
        }
        Event::Drained { cut } => info!(cut, "ended"),
    }
}

fn speak_of_changes(changes: &Changes) {
    let (routes_added, routes_removed) = (changes.routes_added.len(), changes.routes_removed.len());
    let (backends_added, backends_removed) = (changes.backends_added, changes.backends_removed);
    info!(routes_added, routes_removed, backends_added, backends_removed, "reloaded");
    for (local, transport) in &changes.closed {
        info!(%local, %transport, "not listening any more");
    }
}

/// An error and what caused it, in one line or, where it has several, in its lines.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    text
}
