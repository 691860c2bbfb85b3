//! What is counted of every route, found by the route.

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use refractium_protocol::Transport;

use super::count::{Counter, Histogram, Pace, Reasons};
use crate::backend::Backend;
use crate::endpoint::Endpoint;
use crate::event::{By, Ending, Exchanged, Loss, Moved, SessionEnd};
use crate::table::{Route, Table};

/// A page for each route of the plan, and for those of plans before that something still goes on on. Each is left at its
/// route, where there is room.
#[derive(Default)]
pub(super) struct Book {
    owner: Owner,
    /// Those for which there was none, by the address of the route. It stays that route's alone while its page holds a weak
    /// reference.
    pages: HashMap<usize, Arc<Page>>,
    /// Those of the plan, in its order.
    pub(super) now: Vec<(Arc<Route>, Arc<Page>)>,
}

/// Tells the pages of one book, and of those that it is turned into, from those of others.
#[derive(Clone, Default)]
pub(super) struct Owner(Arc<()>);

/// What is counted of one route.
pub(super) struct Page {
    owner: Owner,
    pub(super) route: Weak<Route>,
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

impl Owner {
    /// The page of this owner that was left at a route.
    pub(super) fn page<'r>(&self, route: &'r Route) -> Option<&'r Arc<Page>> {
        let page: &Arc<Page> = route.notes().read()?;
        Arc::ptr_eq(&page.owner.0, &self.0).then_some(page)
    }
}

impl Book {
    pub(super) fn owner(&self) -> Owner {
        self.owner.clone()
    }

    /// The page of a route at which there was no room for it.
    pub(super) fn page(&self, route: &Route) -> Option<&Arc<Page>> {
        self.pages.get(&address(route))
    }

    /// A book for this table: routes with the same label go on where they were.
    pub(super) fn turned(&self, table: &Table) -> Self {
        let mut pages = self.pages.clone();
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
                let namesake = || known.get(&(label.as_str(), transport)).copied();
                let old = self.owner.page(route).or_else(namesake);
                let new = || Arc::new(Counts::new(label.clone(), transport));
                let page = Arc::new(Page {
                    owner: self.owner(),
                    route: Arc::downgrade(route),
                    counts: old.map_or_else(new, |page| Arc::clone(&page.counts)),
                    backends: backends(route, old),
                });
                if self.owner.page(route).is_none() && !route.notes().leave(Arc::clone(&page)) {
                    pages.insert(address(route), Arc::clone(&page));
                }
                now.push((Arc::clone(route), page));
            }
        }
        Self { owner: self.owner(), pages, now }
    }
}

fn address(route: &Route) -> usize {
    std::ptr::from_ref(route).addr()
}

/// The counts of the backends of a route, some of which an earlier page may have.
fn backends(route: &Route, old: Option<&Arc<Page>>) -> Vec<Arc<BackendCounts>> {
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
    backends
}

impl Page {
    pub(super) fn decided(&self, (by, after): (By, &Duration), bytes: usize) {
        self.counts.decided.add_decided(by);
        self.counts.time.observe_time(after);
        self.counts.bytes.observe(wide(bytes));
    }

    pub(super) fn given(&self, backend: &Backend, connect: Option<&Duration>) {
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

    #[inline]
    fn backend(&self, backend: &Backend) -> Option<&BackendCounts> {
        match self.backends.as_slice() {
            // Of one alone it need not be asked.
            [only] => Some(only),
            several => its(several, backend),
        }
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

fn its<'c>(all: &'c [Arc<BackendCounts>], backend: &Backend) -> Option<&'c BackendCounts> {
    all.iter().find(|it| it.endpoint == *backend.forwarded_to()).map(|it| &**it)
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
