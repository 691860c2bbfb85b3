//! What is counted of every route, found by the route.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::{Arc, Weak};
use std::time::Duration;

use refractium_protocol::Transport;

use super::count::{Counter, Histogram, Pace, Reasons};
use crate::backend::Backend;
use crate::endpoint::Endpoint;
use crate::event::{By, Ending, Exchanged, Loss, Moved, SessionEnd};
use crate::table::{Route, Table};

/// A page for each route of the plan, and for those of plans before that something still goes on on.
#[derive(Default)]
pub(super) struct Book {
    /// By the address of the route. It stays that route's alone while its page holds a weak reference.
    pages: HashMap<usize, Arc<Page>, BuildHasherDefault<ByAddress>>,
    /// Those of the plan, in its order.
    pub(super) now: Vec<(Arc<Route>, Arc<Page>)>,
}

/// What is counted of one route.
pub(super) struct Page {
    route: Weak<Route>,
    pub(super) counts: Arc<Counts>,
    pub(super) backends: Vec<Arc<BackendCounts>>,
}

/// What outlives a reload, as long as a route has the same label.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) label: String,
    pub(super) transport: Transport,
    pub(super) decided: Reasons,
    pub(super) time: Histogram,
    pub(super) bytes: Histogram,
    pub(super) ended: Reasons,
    pub(super) lost: Reasons,
    /// From clients to backends.
    pub(super) up: Traffic,
    pub(super) down: Traffic,
    /// Connections or sessions, and bytes both ways.
    pub(super) pace: Pace,
}

/// The same of one of its backends, whatever addresses its name has.
pub(super) struct BackendCounts {
    pub(super) endpoint: Endpoint,
    pub(super) joined: Counter,
    pub(super) left: Counter,
    pub(super) failed: Counter,
    pub(super) connect: Histogram,
}

#[derive(Debug, Default)]
pub(super) struct Traffic {
    pub(super) bytes: Counter,
    pub(super) datagrams: Counter,
}

impl Book {
    /// Does something with the page of a route, if it has one.
    pub(super) fn with(&self, route: &Route, note: impl FnOnce(&Page)) {
        if let Some(page) = self.pages.get(&address(route)) {
            note(page);
        }
    }

    /// A book for this table: routes with the same label go on where they were.
    pub(super) fn turned(&self, table: &Table) -> Self {
        let mut pages: HashMap<_, _, _> = self.pages.clone();
        pages.retain(|_, page| page.route.strong_count() > 0);
        let mut now = Vec::new();
        let mut labels: HashMap<(String, Transport), usize> = HashMap::new();
        let known: HashMap<_, _> =
            self.now.iter().map(|(_, page)| (page.counts.key(), page)).collect();
        for transport in [Transport::Tcp, Transport::Udp] {
            for route in table.routes(transport) {
                let label = route.label();
                let same = labels.entry((label.clone(), transport)).or_default();
                *same += 1;
                let label = if *same == 1 { label } else { format!("{label}#{same}") };
                let old = known.get(&(label.as_str(), transport)).copied();
                let page = Arc::new(Page::new(route, label, transport, old));
                pages.insert(address(route), Arc::clone(&page));
                now.push((Arc::clone(route), page));
            }
        }
        Self { pages, now }
    }
}

fn address(route: &Route) -> usize {
    std::ptr::from_ref(route).addr()
}

/// Addresses are alike in their low bits, and nobody chooses them.
#[derive(Default)]
struct ByAddress(u64);

impl Hasher for ByAddress {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_usize(&mut self, address: usize) {
        // Fibonacci hashing: the map takes both ends of the product.
        let address = u64::try_from(address).unwrap_or(0);
        self.0 = address.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32);
    }
}

impl Page {
    fn new(
        route: &Arc<Route>,
        label: String,
        transport: Transport,
        old: Option<&Arc<Self>>,
    ) -> Self {
        let counts = match old {
            Some(page) => Arc::clone(&page.counts),
            None => Arc::new(Counts::new(label, transport)),
        };
        let mut backends: Vec<Arc<BackendCounts>> = Vec::new();
        for target in route.pool().targets() {
            let is_it = |it: &&Arc<BackendCounts>| it.endpoint == target.endpoint;
            if backends.iter().any(|it| is_it(&it)) {
                continue;
            }
            let known = old.and_then(|page| page.backends.iter().find(is_it)).cloned();
            let new = || Arc::new(BackendCounts::new(target.endpoint.clone()));
            backends.push(known.unwrap_or_else(new));
        }
        Self { route: Arc::downgrade(route), counts, backends }
    }

    pub(super) fn decided(&self, by: By, after: Duration, bytes: usize) {
        self.counts.decided.add_decided(by);
        self.counts.time.observe_time(after);
        self.counts.bytes.observe(wide(bytes));
    }

    pub(super) fn given(&self, backend: &Backend, connect: Option<Duration>) {
        let Some(counts) = self.backend(backend) else { return };
        counts.joined.add(1);
        if let Some(connect) = connect {
            counts.connect.observe_time(connect);
        }
    }

    pub(super) fn moved(&self, from: &Backend, to: &Backend) {
        self.left(from);
        self.given(to, None);
    }

    pub(super) fn closed(&self, backend: &Backend, moved: &Moved, ending: Ending) {
        self.counts.up.bytes.add(moved.up);
        self.counts.down.bytes.add(moved.down);
        self.counts.ended.add_ended(ending);
        self.left(backend);
    }

    pub(super) fn ended(&self, backend: &Backend, exchanged: &Exchanged, end: SessionEnd) {
        for (traffic, count) in
            [(&self.counts.up, exchanged.up), (&self.counts.down, exchanged.down)]
        {
            traffic.bytes.add(count.bytes);
            traffic.datagrams.add(count.datagrams);
        }
        self.counts.ended.add(end.word(), 1);
        self.left(backend);
    }

    fn left(&self, backend: &Backend) {
        if let Some(counts) = self.backend(backend) {
            counts.left.add(1);
        }
    }

    pub(super) fn failed(&self, backend: &Backend) {
        if let Some(counts) = self.backend(backend) {
            counts.failed.add(1);
        }
    }

    pub(super) fn dropped(&self, datagrams: usize, loss: &Loss) {
        self.counts.lost.add(loss.word(), wide(datagrams));
    }

    fn backend(&self, backend: &Backend) -> Option<&BackendCounts> {
        let is_it = |it: &&Arc<BackendCounts>| it.endpoint == *backend.forwarded_to();
        self.backends.iter().find(is_it).map(|it| &**it)
    }

    /// How many connections or sessions its backends were given.
    pub(super) fn joined(&self) -> u64 {
        self.backends.iter().map(|it| it.joined.get()).sum()
    }

    /// How many connections or sessions are open.
    pub(super) fn open(&self) -> u64 {
        self.backends.iter().map(|it| it.open()).sum()
    }
}

impl Counts {
    pub(super) fn new(label: String, transport: Transport) -> Self {
        let ended = match transport {
            Transport::Tcp => Reasons::endings(),
            Transport::Udp => Reasons::session_ends(),
        };
        Self {
            label,
            transport,
            decided: Reasons::decisions(),
            time: Histogram::of_times(),
            bytes: Histogram::of_bytes(),
            ended,
            lost: Reasons::losses(),
            up: Traffic::default(),
            down: Traffic::default(),
            pace: Pace::default(),
        }
    }

    fn key(&self) -> (&str, Transport) {
        (&self.label, self.transport)
    }
}

impl BackendCounts {
    /// What left is read first: what joins meanwhile is not missed then.
    pub(super) fn open(&self) -> u64 {
        let left = self.left.get();
        self.joined.get().saturating_sub(left)
    }

    fn new(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            joined: Counter::default(),
            left: Counter::default(),
            failed: Counter::default(),
            connect: Histogram::of_times(),
        }
    }
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocols::Protocols;
    use crate::table::Routes;

    fn table(forwards: &[&str]) -> Table {
        let mut protocols = Protocols::default();
        for name in ["one", "two", "three"] {
            protocols.add(
                crate::magic::Magic::new(name, &[Transport::Tcp], [name.as_bytes().to_vec()])
                    .expect("sound"),
            );
        }
        let forwards = forwards.iter().map(|it| it.parse().expect("a forward")).collect();
        Table::new(&Routes { forwards, ..Routes::default() }, &protocols).expect("a table")
    }

    fn decide(book: &Book, route: &Route) {
        book.with(route, |page| page.decided(By::Verdict, Duration::ZERO, 3));
    }

    fn decided(book: &Book, at: usize) -> (String, u64) {
        let (_, page) = book.now.get(at).expect("a page");
        (page.counts.label.clone(), page.counts.decided.sum())
    }

    /// A route that stays counts on, one that is gone as long as something goes on on it, a new one from nothing.
    #[test]
    fn counts_outlive_a_reload_with_their_route() {
        let before = table(&["one=127.0.0.1:1", "two=127.0.0.1:2"]);
        let book = Book::default().turned(&before);
        let [one, two] = [0, 1].map(|at| Arc::clone(before.routes(Transport::Tcp)[at]));
        decide(&book, &one);
        decide(&book, &two);
        let after = table(&["three=127.0.0.1:3", "one=127.0.0.1:4"]);
        let turned = book.turned(&after);
        let known = |at: usize| Arc::clone(after.routes(Transport::Tcp)[at]);
        assert_eq!(decided(&turned, 0), ("three".to_owned(), 0));
        assert_eq!(decided(&turned, 1), ("one".to_owned(), 1));
        decide(&turned, &one);
        decide(&turned, &known(1));
        assert_eq!(decided(&turned, 1), ("one".to_owned(), 3));
        decide(&turned, &two);
        let (_, old) = book.now.get(1).expect("a page");
        assert_eq!(old.counts.decided.sum(), 2, "what goes on on it is counted");
        assert_eq!(turned.pages.len(), 4);
        drop((before, book, one, two));
        assert_eq!(turned.turned(&after).pages.len(), 2, "and then it is forgotten");
    }

    /// Labels are short, so that two routes may have the same.
    #[test]
    fn every_route_has_a_label_of_its_own() {
        let mut protocols = Protocols::default();
        protocols.add(Named);
        let forward = |second: &str| {
            let mut forward: crate::Forward =
                "named:a.example=127.0.0.1:1".parse().expect("a forward");
            forward.hosts.push(second.parse().expect("a host"));
            forward.alpn = vec!["x".to_owned(), second.to_owned()];
            forward
        };
        let forwards = vec![forward("b.example"), forward("c.example")];
        let table =
            Table::new(&Routes { forwards, ..Routes::default() }, &protocols).expect("a table");
        let book = Book::default().turned(&table);
        assert_ne!(decided(&book, 0).0, decided(&book, 1).0);
    }

    struct Named;

    impl refractium_protocol::RefractiumProtocol for Named {
        fn name(&self) -> &str {
            "named"
        }

        fn transports(&self) -> &[Transport] {
            &[Transport::Tcp]
        }

        fn identify(&self, _: &refractium_protocol::Opening<'_>) -> refractium_protocol::Verdict {
            refractium_protocol::Verdict::NeedMore
        }

        fn host_key(&self) -> Option<&str> {
            Some("host")
        }

        fn offers_alpn(&self) -> bool {
            true
        }
    }
}
