//! The last decisions, for who looks. What carries connections leaves a few of them in passing, and counts the rest.

mod decided;

use std::collections::VecDeque;
use std::mem;
use std::net::SocketAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::count::Counter;
use crate::event::{By, Conn, Refusal};
pub(super) use decided::Decided;

/// What was left and not yet fetched, and what was fetched last.
#[derive(Debug)]
pub(super) struct Recent {
    /// Never waited for: who finds it taken counts instead.
    left: Mutex<Vec<Left>>,
    /// How many may be left now.
    budget: AtomicUsize,
    /// Decisions that were only counted.
    more: Counter,
    /// One more than the number of connections that were left, each at its place, so that few need to look further.
    ids: Ids,
    journal: Mutex<Journal>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            left: Mutex::default(),
            budget: AtomicUsize::new(MOST_DECISIONS),
            more: Counter::default(),
            ids: Ids::default(),
            journal: Mutex::default(),
        }
    }
}

#[derive(Debug)]
struct Ids([AtomicU64; 64]);

impl Default for Ids {
    fn default() -> Self {
        Self(std::array::from_fn(|_| AtomicU64::new(0)))
    }
}

impl Ids {
    fn place(&self, id: u64) -> Option<&AtomicU64> {
        self.0.get(usize::try_from(id % 64).unwrap_or(0))
    }
}

/// What one event leaves.
#[derive(Debug)]
enum Left {
    Decided(Decided),
    Joined { id: u64, backend: SocketAddr },
    Refused { conn: Conn, reason: &'static str, opening: Option<(usize, By)> },
}

/// One line of the page.
#[derive(Clone, Debug, Default, Serialize)]
pub(super) struct Line {
    /// Of the connection or session.
    id: u64,
    /// Grows with every change to any line.
    #[serde(skip)]
    change: u64,
    /// When it was fetched, in milliseconds since 1970.
    at: u64,
    client: String,
    transport: String,
    /// What it was taken for, and which route that is.
    route: Option<String>,
    host: Option<String>,
    by: Option<&'static str>,
    bytes: Option<usize>,
    micros: Option<u64>,
    /// Where it went.
    backend: Option<SocketAddr>,
    /// Why it was not carried.
    refused: Option<&'static str>,
}

/// What has happened since somebody looked.
#[derive(Debug, Default, Serialize)]
pub(super) struct News {
    pub(super) lines: Vec<Line>,
    /// How many decisions there were beside those, since the start.
    pub(super) more: u64,
    #[serde(skip)]
    pub(super) change: u64,
}

#[derive(Debug, Default)]
struct Journal {
    lines: VecDeque<Line>,
    change: u64,
    /// Room for what is fetched next.
    spare: Vec<Left>,
}

impl Recent {
    /// Whether a decision may be left. If not, it is counted.
    pub(super) fn has_room(&self) -> bool {
        let has_room = self.budget.load(Relaxed) > 0;
        if !has_room {
            self.more.add(1);
        }
        has_room
    }

    pub(super) fn decided(&self, decided: Decided) {
        let id = decided.conn.id;
        if !self.leave(Left::Decided(decided)) {
            return self.more.add(1);
        }
        if let Some(place) = self.ids.place(id) {
            place.store(id.wrapping_add(1), Relaxed);
        }
    }

    /// Where one went that may have been left.
    pub(super) fn joined(&self, id: u64, backend: SocketAddr) {
        let place = self.ids.place(id);
        if place.is_some_and(|it| it.load(Relaxed) == id.wrapping_add(1)) {
            self.leave(Left::Joined { id, backend });
        }
    }

    pub(super) fn refused(&self, conn: &Conn, refusal: &Refusal) {
        if !self.has_room() {
            return;
        }
        let opening = match refusal {
            Refusal::NoRoute { bytes, by } => Some((*bytes, *by)),
            _ => None,
        };
        if !self.leave(Left::Refused { conn: *conn, reason: refusal.word(), opening }) {
            self.more.add(1);
        }
    }

    fn leave(&self, left: Left) -> bool {
        let Ok(mut all) = self.left.try_lock() else { return false };
        if all.len() >= ROOM {
            return false;
        }
        all.reserve(ROOM); // once
        if !matches!(left, Left::Joined { .. }) {
            self.grant(|budget| budget.saturating_sub(1));
        }
        all.push(left);
        true
    }

    /// To be called by who holds what was left: nobody else changes it then.
    fn grant(&self, budget: impl FnOnce(usize) -> usize) {
        self.budget.store(budget(self.budget.load(Relaxed)), Relaxed);
    }

    /// Fetches what was left. Who leaves something just now is not waited for, so that it need not wake us.
    pub(super) fn fetch(&self) {
        let mut journal = self.journal();
        let mut spare = mem::take(&mut journal.spare);
        if let Ok(mut all) = self.left.try_lock() {
            mem::swap(&mut *all, &mut spare);
            self.grant(|budget| (budget + MORE_DECISIONS).min(MOST_DECISIONS));
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let at = u64::try_from(at.as_millis()).unwrap_or(u64::MAX);
        spare.drain(..).for_each(|left| journal.note(left, at));
        journal.spare = spare;
    }

    /// What changed after this change.
    pub(super) fn since(&self, change: u64) -> News {
        let journal = self.journal();
        let lines = journal.lines.iter().filter(|line| line.change > change).cloned().collect();
        News { lines, more: self.more.get(), change: journal.change }
    }

    fn journal(&self) -> MutexGuard<'_, Journal> {
        // A panic elsewhere can have left one line out at most.
        self.journal.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Journal {
    fn note(&mut self, left: Left, at: u64) {
        self.change += 1;
        let change = self.change;
        match left {
            Left::Decided(it) => self.add(Line {
                change,
                route: Some(it.counts.label.clone()),
                host: it.host(),
                by: Some(it.by.word()),
                bytes: Some(it.bytes),
                micros: Some(u64::try_from(it.after.as_micros()).unwrap_or(u64::MAX)),
                ..Line::of(&it.conn, at)
            }),
            Left::Joined { id, backend } => {
                if let Some(line) = self.lines.iter_mut().find(|line| line.id == id) {
                    line.change = change;
                    line.backend = Some(backend);
                }
            }
            Left::Refused { conn, reason, opening } => {
                let refused = Some(reason);
                if let Some(line) = self.lines.iter_mut().find(|line| line.id == conn.id) {
                    (line.change, line.refused) = (change, refused);
                    return;
                }
                let (bytes, by) = opening.map(|(bytes, by)| (bytes, by.word())).unzip();
                self.add(Line { change, refused, bytes, by, ..Line::of(&conn, at) });
            }
        }
    }

    fn add(&mut self, line: Line) {
        if self.lines.len() >= KEPT {
            self.lines.pop_front();
        }
        self.lines.push_back(line);
    }
}

impl Line {
    fn of(conn: &Conn, at: u64) -> Self {
        let (client, transport) = (conn.client.to_string(), conn.transport.to_string());
        Self { id: conn.id, at, client, transport, ..Self::default() }
    }
}

/// How many decisions may be left at once: what one visitor causes is seen whole.
const MOST_DECISIONS: usize = 16;

/// How many more with each time that they are fetched, which a page that is looked at does four times a second. Leaving one
/// copies it, with the host, while counting one adds to a number.
const MORE_DECISIONS: usize = 4;

/// And what becomes of them.
const ROOM: usize = 32;

/// How many lines there are for who comes to look.
const KEPT: usize = 100;

#[cfg(test)]
mod tests {
    use refractium_protocol::Transport;

    use super::*;

    fn conn(id: u64) -> Conn {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        Conn { id, client: address, peer: address, local: address, transport: Transport::Tcp }
    }

    fn decide(recent: &Recent, id: u64) {
        if recent.has_room() {
            recent.decided(Decided::of_nobody(conn(id), "http"));
        }
        recent.joined(id, SocketAddr::from(([127, 0, 0, 1], 2)));
    }

    #[test]
    fn a_few_are_left_and_the_rest_is_counted() {
        let recent = Recent::default();
        (0..100).for_each(|id| decide(&recent, id));
        recent.fetch();
        let news = recent.since(0);
        let count = u64::try_from(news.lines.len()).expect("few");
        assert!((1..=16).contains(&count), "{count} lines");
        assert_eq!(count + news.more, 100);
        assert!(news.lines.iter().all(|line| line.backend.is_some()), "{news:?}");
        decide(&recent, 100);
        assert!(recent.since(news.change).lines.is_empty(), "not fetched yet");
        recent.fetch();
        let lines = recent.since(news.change).lines;
        assert_eq!(lines.iter().map(|line| line.id).collect::<Vec<_>>(), [100]);
    }

    #[test]
    fn who_is_refused_is_one_line_with_its_decision() {
        let recent = Recent::default();
        decide(&recent, 1);
        recent.refused(&conn(1), &Refusal::NoBackend);
        recent.refused(&conn(2), &Refusal::NoRoute { bytes: 9, by: By::Deadline });
        recent.fetch();
        let lines = recent.since(0).lines;
        let [first, second] = lines.as_slice() else { panic!("{lines:?}") };
        assert_eq!((first.route.as_deref(), first.refused), (Some("http"), Some("no_backend")));
        assert_eq!((second.by, second.bytes), (Some("deadline"), Some(9)));
    }

    #[test]
    fn nobody_waits_for_who_looks() {
        let recent = Recent::default();
        let looking = recent.left.lock().expect("sound");
        (0..3).for_each(|id| decide(&recent, id));
        drop(looking);
        recent.fetch();
        let news = recent.since(0);
        assert_eq!((news.lines.len(), news.more), (0, 3));
    }
}
