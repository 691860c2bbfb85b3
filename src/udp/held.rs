//! Datagrams of clients that are not yet known well enough, within narrow bounds.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use quinn_udp::EcnCodepoint;
use refractium_protocol::Opening;
use tokio::time::Instant;

use super::batch::Piece;
use super::session::Key;
use crate::event::Conn;

/// Most datagrams held of one client.
const MOST_DATAGRAMS: usize = 4;

/// Most bytes held of one client.
const MOST_BYTES: usize = 8 * 1024;

/// How long they are held.
pub(crate) const LONGEST: Duration = Duration::from_secs(1);

/// Most bytes held of all clients of the process.
const BUDGET: usize = 1024 * 1024;

/// What an entry takes beside the bytes, roughly: empty datagrams are not free.
const ENTRY: usize = 512;

/// What is taken of the budget.
static TAKEN: AtomicUsize = AtomicUsize::new(0);

/// The clients that are undecided.
#[derive(Default)]
pub(crate) struct Held(HashMap<Key, Undecided>);

/// What one of them has said.
pub(crate) struct Undecided {
    pub(crate) conn: Conn,
    pub(crate) since: Instant,
    bytes: Vec<u8>,
    ends: Vec<usize>,
    marks: Vec<Option<EcnCodepoint>>,
    taken: usize,
}

impl Held {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn take(&mut self, key: &Key) -> Option<Undecided> {
        // Nearly always there is none, and a key need not be hashed for that.
        if self.0.is_empty() { None } else { self.0.remove(key) }
    }

    pub(crate) fn put(&mut self, key: Key, undecided: Undecided) {
        self.0.insert(key, undecided);
    }

    /// Those whose time is over.
    pub(crate) fn expired(&self, now: Instant) -> Vec<Key> {
        let is_over = |undecided: &Undecided| now >= undecided.since + LONGEST;
        self.0.iter().filter(|(_, it)| is_over(it)).map(|(key, _)| *key).collect()
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.0.keys().copied().collect()
    }
}

impl Undecided {
    pub(crate) fn new(conn: Conn, since: Instant) -> Self {
        let (bytes, ends, marks) = (Vec::new(), Vec::new(), Vec::new());
        Self { conn, since, bytes, ends, marks, taken: 0 }
    }

    /// Adds a datagram, if more may be held. One that is not added may be sent on, or dropped, and ends the waiting.
    pub(crate) fn add(&mut self, datagram: &Piece<'_>) -> bool {
        let more = datagram.bytes.len() + if self.ends.is_empty() { ENTRY } else { 0 };
        let fits = self.ends.len() < MOST_DATAGRAMS
            && self.bytes.len() + datagram.bytes.len() <= MOST_BYTES
            && TAKEN.load(Ordering::Relaxed) + more <= BUDGET;
        if fits {
            TAKEN.fetch_add(more, Ordering::Relaxed);
            self.taken += more;
            self.bytes.extend_from_slice(datagram.bytes);
            self.ends.push(self.bytes.len());
            self.marks.push(datagram.ecn);
        }
        fits
    }

    /// All it has said.
    pub(crate) fn opening(&self, ended: bool) -> Opening<'_> {
        Opening { bytes: &self.bytes, ends: &self.ends, ended }
    }

    /// Each datagram, to be sent on.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = Piece<'_>> {
        let starts = std::iter::once(&0).chain(&self.ends);
        starts.zip(&self.ends).zip(&self.marks).map(|((&start, &end), &ecn)| {
            let bytes = self.bytes.get(start..end).unwrap_or_default();
            Piece { from: self.conn.peer, to: None, ecn, bytes, segment: bytes.len() }
        })
    }
}

impl Drop for Undecided {
    fn drop(&mut self) {
        TAKEN.fetch_sub(self.taken, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use refractium_protocol::Transport;

    use super::*;

    #[test]
    fn four_datagrams_and_eight_kibibytes_are_held_and_given_back_whole() {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let conn = Conn { id: 0, client: peer, peer, local: peer, transport: Transport::Udp };
        let piece = |bytes| Piece { from: peer, to: None, ecn: None, bytes, segment: 0 };
        let mut undecided = Undecided::new(conn, Instant::now());
        assert!(!undecided.add(&piece(&[0; MOST_BYTES + 1])), "too long");
        for bytes in [&b"ab"[..], b"", b"cde", b"f"] {
            assert!(undecided.add(&piece(bytes)));
        }
        assert!(!undecided.add(&piece(b"g")), "one too many");
        let kept: Vec<_> = undecided.datagrams().map(|it| it.bytes).collect();
        assert_eq!(kept, [&b"ab"[..], b"", b"cde", b"f"]);
        assert_eq!(undecided.opening(false).ends, [2, 2, 5, 6]);
        assert_eq!(undecided.taken, 6 + ENTRY);
    }
}
