//! Ordered routes: an opening goes in, a decision comes out. Immutable, synchronous, without I/O.

mod build;
mod first;
mod notes;
mod route;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use refractium_protocol::{Fact, Opening, RefractiumProtocol, Scratch, Transport, Verdict};

pub use build::{RouteError, RouteErrorKind, Routes};
pub use notes::Notes;
pub use route::Route;
pub(crate) use route::Taken;

use crate::backend::Backend;
use crate::group::Group;
use crate::host::Hosts;
use crate::limits::MOST_CHECKS;
use crate::protocols::Known;
use first::Asked;

/// What the table says of an opening.
#[derive(Debug)]
pub enum Decision<'t> {
    /// It goes this way, whatever follows. What else it gives away, [`Route::facts`] tells.
    Route(&'t Arc<Route>),
    /// No route takes it; the fallback may.
    NoMatch,
    /// It still may match.
    NeedMore {
        /// A later route that matches, held back by an earlier one that still may.
        held: Option<&'t Arc<Route>>,
    },
}

/// All routes, by transport.
#[derive(Debug, Default)]
pub struct Table {
    tcp: Side,
    udp: Side,
}

/// The routes of one transport.
#[derive(Debug, Default)]
struct Side {
    asked: Asked<Entry>,
    silent: Option<Arc<Route>>,
    fallback: Option<Arc<Route>>,
}

/// All routes of one protocol, at the place of the first: it is asked once.
struct Entry {
    protocol: Known,
    hosts: Hosts<Arc<Route>>,
    /// Some route depends on what the client offers.
    asks_alpn: bool,
    /// Some route depends on that or on the host.
    asks_facts: bool,
}

impl Table {
    /// Decides, in route order. An earlier protocol that still may match holds a later match back, so the decision is
    /// the same however the opening was cut. One that matched but has no route for the host is passed over.
    pub fn decide(&self, opening: &Opening<'_>, scratch: &mut Scratch) -> Decision<'_> {
        let side = self.side(opening.transport());
        let mut waiting = false;
        for entry in side.asked.of(opening) {
            match entry.ask(opening, scratch) {
                Answer::Route(route) if waiting => return Decision::NeedMore { held: Some(route) },
                Answer::Route(route) => return Decision::Route(route),
                Answer::NeedMore => waiting = true,
                Answer::None => {}
            }
        }
        if waiting { Decision::NeedMore { held: None } } else { Decision::NoMatch }
    }

    /// Decides with nothing more to come: who may still match does not, one who said nothing goes the server-first way,
    /// and the fallback takes the rest.
    pub fn settle(&self, opening: &Opening<'_>, scratch: &mut Scratch) -> Option<&Arc<Route>> {
        match self.decide(&Opening { ended: true, ..*opening }, scratch) {
            Decision::Route(route) => return Some(route),
            Decision::NoMatch | Decision::NeedMore { .. } => {}
        }
        let side = self.side(opening.transport());
        let silent = side.silent.as_ref().filter(|_| opening.bytes.is_empty());
        silent.or(side.fallback.as_ref())
    }

    /// Forgets the routes of the other transport.
    #[must_use]
    pub fn only(mut self, transport: Transport) -> Self {
        match transport {
            Transport::Tcp => self.udp = Side::default(),
            Transport::Udp => self.tcp = Side::default(),
        }
        self
    }

    /// The route of a client that says nothing.
    pub fn silent(&self) -> Option<&Arc<Route>> {
        self.tcp.silent.as_ref()
    }

    /// What takes an opening that no route takes.
    pub fn fallback(&self, transport: Transport) -> Option<&Arc<Route>> {
        self.side(transport).fallback.as_ref()
    }

    /// Every route of a transport once, in the order in which they are asked, the fallback last.
    pub fn routes(&self, transport: Transport) -> Vec<&Arc<Route>> {
        let side = self.side(transport);
        let mut routes: Vec<&Arc<Route>> = Vec::new();
        for entry in side.asked.all() {
            let mut of_entry: Vec<_> = entry.hosts.values().collect();
            of_entry.sort_by_key(|route| route.place);
            of_entry.dedup_by_key(|route| route.place);
            routes.extend(of_entry);
        }
        routes.extend(&side.fallback);
        routes
    }

    /// What there is to listen for: the transports with a route or a fallback.
    pub fn transports(&self) -> &'static [Transport] {
        match (self.tcp.is_empty(), self.udp.is_empty()) {
            (false, false) => &[Transport::Tcp, Transport::Udp],
            (false, true) => &[Transport::Tcp],
            (true, false) => &[Transport::Udp],
            (true, true) => &[],
        }
    }

    /// The protocols of a transport, in the order in which they are asked.
    pub fn protocols(&self, transport: Transport) -> impl Iterator<Item = &dyn RefractiumProtocol> {
        self.side(transport).asked.all().iter().map(|entry| &*entry.protocol)
    }

    /// Every backend there is now, once.
    pub fn backends(&self) -> Vec<Arc<Backend>> {
        let groups = self.groups();
        groups.iter().flat_map(|group| group.backends()).collect()
    }

    /// How many checks of backends may be made at the same time: each takes a descriptor.
    pub fn most_checks(&self) -> usize {
        let groups = self.groups().into_iter().filter(|group| group.check().asks());
        // A name may have any number of addresses.
        let checks =
            groups.map(|it| if it.endpoint().address().is_none() { MOST_CHECKS } else { 1 });
        checks.fold(0, usize::saturating_add).min(MOST_CHECKS)
    }

    /// Every group once.
    pub(crate) fn groups(&self) -> Vec<Arc<Group>> {
        let mut groups: Vec<Arc<Group>> = Vec::new();
        for transport in [Transport::Tcp, Transport::Udp] {
            groups.extend(self.routes(transport).into_iter().flat_map(|it| it.pool.groups()));
        }
        groups.sort_by_key(Arc::as_ptr);
        groups.dedup_by(|one, other| Arc::ptr_eq(one, other));
        groups
    }

    const fn side(&self, transport: Transport) -> &Side {
        match transport {
            Transport::Tcp => &self.tcp,
            Transport::Udp => &self.udp,
        }
    }
}

impl Side {
    fn is_empty(&self) -> bool {
        self.asked.all().is_empty() && self.fallback.is_none()
    }
}

enum Answer<'t> {
    Route(&'t Arc<Route>),
    NeedMore,
    None,
}

impl Entry {
    fn new(protocol: Known) -> Self {
        Self { protocol, hosts: Hosts::default(), asks_alpn: false, asks_facts: false }
    }

    fn ask(&self, opening: &Opening<'_>, scratch: &mut Scratch) -> Answer<'_> {
        match self.protocol.identify(opening) {
            Verdict::NoMatch => return Answer::None,
            Verdict::NeedMore if opening.ended => return Answer::None,
            Verdict::NeedMore => return Answer::NeedMore,
            Verdict::Match => {}
        }
        if self.asks_facts {
            return self.ask_facts(opening, scratch);
        }
        self.hosts.rest().first().map_or(Answer::None, Answer::Route)
    }

    /// Not inlined: those that need it not should not make room for it.
    #[inline(never)]
    fn ask_facts(&self, opening: &Opening<'_>, scratch: &mut Scratch) -> Answer<'_> {
        let facts = self.protocol.facts(opening, scratch);
        let name = match facts.host {
            Fact::Known(name) => Some(name),
            Fact::NeedMore if !opening.ended => return Answer::NeedMore,
            Fact::NeedMore | Fact::Absent => None,
        };
        if self.asks_alpn && facts.alpn == Fact::NeedMore && !opening.ended {
            return Answer::NeedMore;
        }
        // Where nothing depends on the offer, no route is looked at: among ten thousand it is far away.
        let fits = |route: &Arc<Route>| !self.asks_alpn || route.fits(facts.alpn);
        self.hosts.find(name, fits).map_or(Answer::None, Answer::Route)
    }
}

impl AsRef<dyn RefractiumProtocol> for Entry {
    fn as_ref(&self) -> &(dyn RefractiumProtocol + 'static) {
        &*self.protocol
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("protocol", &self.protocol.name())
            .field("hosts", &self.hosts)
            .finish()
    }
}
