//! A line for each connection and session at its end, and for each that is refused.

mod line;
mod record;

use std::io::{self, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use tracing_appender::non_blocking::WorkerGuard;

use super::Connections;
use super::flood::{Alarm, Flood, Pace};
use super::queue::Queue;
use crate::event::{Conn, Event, Observer, Refusal, SessionEnd};
use line::{Form, Line};
use record::{Moved, Records};

/// Of each reason for which a client is turned away. What was carried is never left out.
const TURNED_AWAY: Pace = Pace { at_once: 20, each: Duration::from_millis(100) };

/// Prints a line for each connection and session on standard output, and gives the observer that makes them; `None` if
/// none is to be printed.
///
/// # Errors
///
/// Where the feature `logging` is off and lines are asked for.
pub fn connections_to_stdout(how: Connections) -> io::Result<Option<Arc<dyn Observer>>> {
    let form = match how {
        Connections::Off => return Ok(None),
        Connections::Text => Form::Text,
        Connections::Json => Form::Json,
    };
    Ok(Some(Arc::new(ToStdout::new(io::stdout(), form))))
}

/// Dropping it says what is left to be said of floods, and writes what is queued.
struct ToStdout {
    log: Arc<ConnectionLog>,
    /// Who tells of floods. If no thread was to be had, nobody.
    teller: Option<JoinHandle<()>>,
    _rest: WorkerGuard,
}

impl ToStdout {
    fn new(to: impl Write + Send + 'static, form: Form) -> Self {
        let alarm = Arc::default();
        let (queue, rest) = Queue::new(to, &alarm);
        let (records, flood) = (Records::default(), Flood::new());
        let log = Arc::new(ConnectionLog { form, records, flood, alarm, queue });
        let told = Arc::clone(&log);
        let teller = thread::Builder::new().name("connections".to_owned()).spawn(move || {
            while told.alarm.wait() {
                told.sum_up();
            }
            told.sum_up();
        });
        Self { log, teller: teller.ok(), _rest: rest }
    }
}

impl Observer for ToStdout {
    fn on(&self, event: &Event<'_>) {
        self.log.on(event);
    }
}

impl Drop for ToStdout {
    fn drop(&mut self) {
        self.log.alarm.end();
        // A panic of it has been told by the hook.
        let _ = self.teller.take().map(JoinHandle::join);
    }
}

struct ConnectionLog {
    form: Form,
    records: Records,
    flood: Flood,
    alarm: Arc<Alarm>,
    queue: Queue,
}

impl Observer for ConnectionLog {
    fn on(&self, event: &Event<'_>) {
        match event {
            Event::Accepted { conn } => self.records.note(conn.id, |_| {}),
            Event::Decided { conn, route, opening, by, after } => {
                self.records.note(conn.id, |it| it.decided(route, opening, *by, *after));
            }
            Event::Welded { conn, backend, connect, .. } => {
                self.records.note(conn.id, |it| it.joined(backend, Some(*connect)));
            }
            Event::SessionOpened { conn, backend, .. }
            | Event::SessionMoved { conn, backend, .. } => {
                self.records.note(conn.id, |it| it.joined(backend, None));
            }
            Event::Closed { conn, moved, ending, .. } => {
                let moved = Moved { up: moved.up, down: moved.down };
                self.end(conn, Some(moved), ending.word());
            }
            Event::SessionEnded { conn, exchanged, end, .. } => {
                let moved = Moved { up: exchanged.up.bytes, down: exchanged.down.bytes };
                self.end(conn, Some(moved), end.word());
            }
            Event::Refused { conn, refusal } => {
                if let Refusal::NoRoute { bytes, by } = refusal {
                    self.records.note(conn.id, |it| it.lost(*bytes, *by));
                }
                self.end(conn, None, refusal.word());
            }
            _ => {}
        }
    }
}

impl ConnectionLog {
    /// Says how one ended. Of those that were turned away, or that a stranger can make without being there, only so many.
    fn end(&self, conn: &Conn, moved: Option<Moved>, end: &'static str) {
        let record = self.records.end(conn.id);
        let is_carried = moved.is_some() && end != SessionEnd::Evicted.word();
        if !is_carried && !self.flood.admits(end, TURNED_AWAY, Instant::now()) {
            return self.alarm.ring();
        }
        let record = record.as_deref();
        self.say(&Line::of(conn, record, moved, end));
    }

    /// Says what was left out of floods, and what was lost because nobody read it in time.
    fn sum_up(&self) {
        let now = Instant::now();
        let left_out: Vec<_> = self.flood.left_out().into_iter().map(|(word, _)| word).collect();
        let left_out = left_out.into_iter().map(|word| (word, self.flood.take(word, now)));
        let left_out: Vec<_> = left_out.collect();
        if !left_out.is_empty() {
            self.say(&Line::left_out(&left_out));
        }
        self.queue.tell_lost(|lines| self.say(&Line::lost(lines)));
    }

    fn say(&self, line: &Line) {
        // The queue takes everything, or counts what it does not.
        let _ = self.queue.clone().write_all(line.text(self.form).as_bytes());
    }
}
