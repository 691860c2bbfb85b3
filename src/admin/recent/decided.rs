//! A decision, as what carries connections leaves it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Duration;

use refractium_protocol::Opening;

use crate::admin::book::{Counts, Page};
use crate::event::{By, Conn};
use crate::table::Route;

/// What is left of a decision: a copy, for who looks at it later reads what there is to read in it.
#[derive(Debug)]
pub(in crate::admin) struct Decided {
    pub(super) conn: Conn,
    route: Weak<Route>,
    pub(super) counts: Arc<Counts>,
    /// The beginning of what was said.
    opening: Box<[u8]>,
    /// Where each datagram of it ends.
    ends: Box<[usize]>,
    pub(super) by: By,
    /// How much was said.
    pub(super) bytes: usize,
    pub(super) after: Duration,
}

impl Decided {
    pub(in crate::admin) fn new(
        conn: &Conn,
        page: &Page,
        opening: &Opening<'_>,
        (by, after): (By, &Duration),
    ) -> Self {
        let bytes = opening.bytes.len();
        let beginning = opening.bytes.get(..MOST_BYTES).unwrap_or(opening.bytes);
        Self {
            conn: *conn,
            route: Weak::clone(&page.route),
            counts: Arc::clone(&page.counts),
            opening: beginning.into(),
            ends: opening.ends.iter().map(|end| (*end).min(beginning.len())).collect(),
            by,
            bytes,
            after: *after,
        }
    }

    /// The host that the client asks for, as long as a person reads.
    pub(super) fn host(&self) -> Option<String> {
        let ended = self.by.is_the_end();
        let opening = Opening { bytes: &self.opening, ends: &self.ends, ended };
        let route = self.route.upgrade()?;
        // A protocol that panics leaves out its host alone; the panic hook has told of it.
        let host = catch_unwind(AssertUnwindSafe(|| route.host(&opening))).ok()??;
        let cut = host.char_indices().nth(MOST_HOST).and_then(|(at, _)| host.get(..at));
        Some(cut.map_or_else(|| host.clone(), |cut| format!("{cut}...")))
    }
}

/// How much of an opening is kept: as much as is looked at by default.
const MOST_BYTES: usize = 16 * 1024;

/// Characters of a host that are shown.
const MOST_HOST: usize = 80;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use refractium_protocol::{Fact, Facts, RefractiumProtocol, Scratch, Transport, Verdict};

    use super::*;
    use crate::admin::book::Book;
    use crate::protocols::Protocols;
    use crate::table::{Routes, Table};

    impl Decided {
        /// One for a route of this name, which is no more.
        pub(in crate::admin::recent) fn of_nobody(conn: Conn, name: &str) -> Self {
            let counts = Arc::new(Counts::new(name.to_owned(), Transport::Tcp));
            let (opening, ends, route) = (Box::default(), Box::default(), Weak::new());
            let (by, bytes, after) = (By::Verdict, 7, Duration::from_micros(5));
            Self { conn, route, counts, opening, ends, by, bytes, after }
        }
    }

    /// Its host is all that a client says.
    struct Named;

    impl RefractiumProtocol for Named {
        fn name(&self) -> &str {
            "named"
        }

        fn transports(&self) -> &[Transport] {
            &[Transport::Tcp]
        }

        fn identify(&self, _: &Opening<'_>) -> Verdict {
            Verdict::Match
        }

        fn facts<'a>(&self, opening: &Opening<'a>, _: &'a mut Scratch) -> Facts<'a> {
            assert_ne!(opening.bytes, b"bad", "a protocol that panics");
            Facts::with_host(Fact::Known(opening.bytes))
        }
    }

    #[test]
    fn the_host_is_read_later_and_cut() {
        let mut protocols = Protocols::default();
        protocols.add(Named);
        let forwards = vec!["named=127.0.0.1:1".parse().expect("a forward")];
        let table =
            Table::new(&Routes { forwards, ..Routes::default() }, &protocols).expect("a table");
        let book = Book::default().turned(&table);
        let (_, page) = &book.now[0];
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        let (id, transport) = (1, Transport::Tcp);
        let conn = Conn { id, client: address, peer: address, local: address, transport };
        let decided = |said: &[u8]| {
            let found = (By::Verdict, &Duration::ZERO);
            Decided::new(&conn, page, &Opening::stream(said), found)
        };
        let host = |said: &[u8]| decided(said).host();
        assert_eq!(host(b"a.example").as_deref(), Some("a.example"));
        assert_eq!(host(&[b'x'; 81]), Some("x".repeat(80) + "..."));
        assert_eq!(host(b"bad"), None);
        let long = decided(&[b'x'; 20_000]);
        assert_eq!((long.bytes, long.opening.len()), (20_000, 16_384));
        let last = decided(b"a.example");
        drop((book, table));
        assert_eq!(last.host(), None, "its route is no more");
    }
}
