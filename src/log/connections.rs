//! A line for each connection and session at its end, and for each that is refused.

mod line;
mod record;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tracing_appender::non_blocking::WorkerGuard;

use super::Connections;
use super::flood::{Flood, Pace};
use super::queue::Queue;
use super::teller::{Alarm, Teller};
use crate::event::{Conn, Event, Observer, Refusal};
use line::{Form, Line};
use record::{Moved, Records};

/// Of each way in which one ends that nobody answered: it was turned away, or was a session of which nothing came back. Who
/// was carried is never left out.
const UNCARRIED: Pace = Pace { at_once: 20, each: Duration::from_millis(100) };

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
    Ok(Some(Arc::new(ToStdout::new(form))))
}

/// Dropping it says what is left to be said of floods, and writes what is queued.
struct ToStdout {
    log: Arc<ConnectionLog>,
    _teller: Teller,
    _rest: WorkerGuard,
}

impl ToStdout {
    fn new(form: Form) -> Self {
        let alarm = Arc::default();
        let (queue, rest) = Queue::new(io::stdout(), &alarm);
        let (records, flood) = (Records::default(), Flood::default());
        let log =
            Arc::new(ConnectionLog { form, records, flood, alarm: Arc::clone(&alarm), queue });
        let told = Arc::clone(&log);
        let teller = Teller::new(&alarm, move || told.sum_up());
        Self { log, _teller: teller, _rest: rest }
    }
}

impl Observer for ToStdout {
    fn on(&self, event: &Event<'_>) {
        self.log.on(event);
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
                // A client that does not exist can open one.
                if exchanged.down.datagrams > 0 || self.may_say(end.word()) {
                    let moved = Moved { up: exchanged.up.bytes, down: exchanged.down.bytes };
                    self.end(conn, Some(moved), end.word());
                } else {
                    self.records.end(conn.id);
                }
            }
            Event::Refused { conn, refusal } => {
                if let Refusal::NoRoute { bytes, by } = refusal {
                    self.records.note(conn.id, |it| it.lost(*bytes, *by));
                }
                if self.may_say(refusal.word()) {
                    self.end(conn, None, refusal.word());
                } else {
                    self.records.end(conn.id);
                }
            }
            _ => {}
        }
    }
}

impl ConnectionLog {
    /// Whether one more that ended so is told of. If not, it is counted.
    fn may_say(&self, end: &'static str) -> bool {
        let may = self.flood.admits(end, UNCARRIED, Instant::now());
        if !may {
            self.alarm.ring();
        }
        may
    }

    fn end(&self, conn: &Conn, moved: Option<Moved>, end: &'static str) {
        let record = self.records.end(conn.id);
        self.say(&Line::of(conn, record.as_deref(), moved, end));
    }

    /// Says what was left out of floods, and what was lost because nobody read it in time.
    fn sum_up(&self) {
        let left_out = self.flood.left_out().into_iter();
        let left_out: Vec<_> = left_out.map(|(end, _)| (end, self.flood.take(end))).collect();
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

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::SocketAddr;

    use refractium_protocol::{Opening, Transport};

    use super::*;
    use crate::event::{By, Moved as Carried};
    use crate::protocols::Protocols;
    use crate::table::{Routes, Table};

    #[test]
    fn nothing_is_kept_of_what_has_ended() {
        let alarm = Arc::default();
        let (queue, _rest) = Queue::new(io::sink(), &alarm);
        let (records, flood) = (Records::default(), Flood::default());
        let log = ConnectionLog { form: Form::Text, records, flood, alarm, queue };
        let rest = Routes { fallback_tcp: "127.0.0.1:9".parse().ok(), ..Routes::default() };
        let table = Table::new(&rest, &Protocols::default()).expect("a table");
        let route = table.fallback(Transport::Tcp).expect("a route");
        let backend = &route.pool().backends()[0];
        let client = SocketAddr::from(([127, 0, 0, 1], 1));
        let conn = |id| Conn { id, client, peer: client, local: client, transport: Transport::Tcp };
        // Far more than are told of.
        for conn in (0..1000).map(conn) {
            let (conn, by, opening) = (&conn, By::Verdict, Opening::stream(b"x"));
            log.on(&Event::Accepted { conn });
            log.on(&Event::Decided { conn, route, opening, by, after: Duration::ZERO });
            if conn.id % 2 == 0 {
                log.on(&Event::Refused { conn, refusal: &Refusal::NoBackend });
            } else {
                let (moved, ending) = (Carried::default(), crate::event::Ending::Closed);
                log.on(&Event::Closed { conn, route, backend, moved, ending });
            }
        }
        assert!((0..1000).all(|id| log.records.end(id).is_none()));
        assert_eq!(log.flood.left_out().len(), 1);
    }
}
