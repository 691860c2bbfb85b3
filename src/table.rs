//! Ordered routes: an opening goes in, a decision comes out. Immutable, synchronous, without I/O.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use refractium_protocol::{Fact, Facts, Opening, RefractiumProtocol, Scratch, Transport, Verdict};

use crate::backend::Backend;
use crate::endpoint::Endpoint;
use crate::forward::Forward;
use crate::host::{Host, Hosts};
use crate::pool::Pool;
use crate::protocols::Protocols;

/// A protocol, the hosts told apart, and the pool they go to; or the fallback.
pub struct Route {
    protocol: Option<Arc<dyn RefractiumProtocol>>,
    hosts: Vec<Host>,
    pool: Pool,
    takes_silence: bool,
    place: Option<usize>,
}

/// What the user says of all routes.
#[derive(Clone, Debug, Default)]
pub struct Routes {
    /// In the order in which they are asked.
    pub forwards: Vec<Forward>,
    /// Where a TCP connection goes that matches nothing; `None`: it is closed.
    pub fallback_tcp: Option<Endpoint>,
    /// Where a datagram goes that matches nothing; `None`: it is dropped.
    pub fallback_udp: Option<Endpoint>,
}

/// A mistake in [`Routes`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind}")]
pub struct RouteError {
    /// Which of [`Routes::forwards`] it is in.
    pub forward: usize,
    /// What is wrong.
    pub kind: RouteErrorKind,
}

/// What is wrong with a route.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteErrorKind {
    /// No protocol has this name.
    #[error("unknown protocol `{0}`")]
    UnknownProtocol(String),
    /// The protocol gives no host away.
    #[error("`{0}` names no host in its opening: its route cannot be told apart by one")]
    NoHosts(String),
    /// There is nowhere to go.
    #[error("`{0}` has no backend")]
    NoBackend(String),
    /// An earlier route takes everything that this one names.
    #[error("{what} has a route already")]
    Duplicate {
        /// The protocol and, if there is one, the host.
        what: String,
        /// Which of the hosts; `None`: the route without names.
        host: Option<usize>,
        /// Which of [`Routes::forwards`] came first.
        first: usize,
    },
    /// A client that says nothing can go one way only.
    #[error(
        "`{protocol}` and `{other}` are both server-first: a silent client says nothing that could tell them apart"
    )]
    TwoServerFirst {
        /// The later protocol.
        protocol: String,
        /// The earlier one.
        other: String,
        /// Which of [`Routes::forwards`] came first.
        first: usize,
    },
}

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
    entries: Vec<Entry>,
    silent: Option<Arc<Route>>,
    fallback: Option<Arc<Route>>,
}

/// All routes of one protocol, at the place of the first: it is asked once.
struct Entry {
    protocol: Arc<dyn RefractiumProtocol>,
    hosts: Hosts<Arc<Route>>,
}

impl Route {
    /// What it is called: its protocol's name, or `fallback`.
    pub fn name(&self) -> &str {
        self.protocol.as_ref().map_or("fallback", |protocol| protocol.name())
    }

    /// The protocol; `None` for the fallback.
    pub fn protocol(&self) -> Option<&dyn RefractiumProtocol> {
        self.protocol.as_deref()
    }

    /// The hosts told apart; none: the rest of the protocol.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// Where it leads.
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether a client that says nothing goes this way.
    pub const fn takes_silence(&self) -> bool {
        self.takes_silence
    }

    /// Which of [`Routes::forwards`] it was made from; `None` for the fallback.
    pub const fn place(&self) -> Option<usize> {
        self.place
    }

    /// What an opening that went this way gives away: read again here, because few need to know.
    pub fn facts<'a>(&self, opening: &Opening<'a>, scratch: &'a mut Scratch) -> Facts<'a> {
        match &self.protocol {
            Some(protocol) => protocol.facts(opening, scratch).settled(opening.ended),
            None => Facts::NONE,
        }
    }
}

impl Table {
    /// Builds the table, or names every mistake.
    pub fn new(routes: &Routes, protocols: &Protocols) -> Result<Self, Vec<RouteError>> {
        let mut building = Building::default();
        for (at, forward) in routes.forwards.iter().enumerate() {
            building.add(at, forward, protocols);
        }
        let Building { mut table, mut backends, errors } = building;
        let fallback = |backends: &mut Backends, endpoint: &Option<Endpoint>| {
            let pool = Pool::new(vec![backends.get(endpoint.as_ref()?)]);
            Some(Arc::new(Route {
                protocol: None,
                hosts: Vec::new(),
                pool,
                takes_silence: false,
                place: None,
            }))
        };
        table.tcp.fallback = fallback(&mut backends, &routes.fallback_tcp);
        table.udp.fallback = fallback(&mut backends, &routes.fallback_udp);
        if errors.is_empty() { Ok(table) } else { Err(errors) }
    }

    /// Decides, in route order. An earlier protocol that still may match holds a later match back, so the decision is
    /// the same however the opening was cut. One that matched but has no route for the host is passed over.
    pub fn decide(&self, opening: &Opening<'_>, scratch: &mut Scratch) -> Decision<'_> {
        let transport = if opening.ends.is_empty() { Transport::Tcp } else { Transport::Udp };
        let mut waiting = false;
        for entry in &self.side(transport).entries {
            match entry.ask(opening, scratch) {
                Answer::Route(route) if waiting => return Decision::NeedMore { held: Some(route) },
                Answer::Route(route) => return Decision::Route(route),
                Answer::NeedMore => waiting = true,
                Answer::None => {}
            }
        }
        if waiting { Decision::NeedMore { held: None } } else { Decision::NoMatch }
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
        for entry in &side.entries {
            let mut of_entry: Vec<_> = entry.hosts.values().collect();
            of_entry.sort_by_key(|route| route.place);
            of_entry.dedup_by_key(|route| route.place);
            routes.extend(of_entry);
        }
        routes.extend(&side.fallback);
        routes
    }

    /// Every backend once.
    pub fn backends(&self) -> Vec<&Arc<Backend>> {
        let mut backends: Vec<&Arc<Backend>> = Vec::new();
        for transport in [Transport::Tcp, Transport::Udp] {
            backends.extend(self.routes(transport).iter().flat_map(|it| it.pool.backends()));
        }
        backends.sort_by_key(|backend| Arc::as_ptr(backend));
        backends.dedup_by_key(|backend| Arc::as_ptr(backend));
        backends
    }

    const fn side(&self, transport: Transport) -> &Side {
        match transport {
            Transport::Tcp => &self.tcp,
            Transport::Udp => &self.udp,
        }
    }
}

enum Answer<'t> {
    Route(&'t Arc<Route>),
    NeedMore,
    None,
}

impl Entry {
    fn ask(&self, opening: &Opening<'_>, scratch: &mut Scratch) -> Answer<'_> {
        match self.protocol.identify(opening) {
            Verdict::NoMatch => return Answer::None,
            Verdict::NeedMore if opening.ended => return Answer::None,
            Verdict::NeedMore => return Answer::NeedMore,
            Verdict::Match => {}
        }
        let found = if self.hosts.is_named() {
            match self.protocol.facts(opening, scratch).host.settled(opening.ended) {
                Fact::Known(name) => self.hosts.find(name),
                Fact::Absent => self.hosts.rest(),
                Fact::NeedMore => return Answer::NeedMore,
            }
        } else {
            self.hosts.rest()
        };
        found.map_or(Answer::None, Answer::Route)
    }
}

/// A table in the making.
#[derive(Default)]
struct Building {
    table: Table,
    backends: Backends,
    errors: Vec<RouteError>,
}

/// One backend per endpoint, however many routes lead to it.
#[derive(Default)]
struct Backends(HashMap<Endpoint, Arc<Backend>>);

impl Backends {
    fn get(&mut self, endpoint: &Endpoint) -> Arc<Backend> {
        let new = || Arc::new(Backend::new(endpoint.clone()));
        Arc::clone(self.0.entry(endpoint.clone()).or_insert_with(new))
    }
}

impl Building {
    fn add(&mut self, at: usize, forward: &Forward, protocols: &Protocols) {
        let mut wrong = |kind| self.errors.push(RouteError { forward: at, kind });
        let name = || forward.protocol.clone();
        if forward.to.is_empty() {
            wrong(RouteErrorKind::NoBackend(name()));
        }
        let Some(protocol) = protocols.find(&forward.protocol) else {
            return wrong(RouteErrorKind::UnknownProtocol(name()));
        };
        if !forward.hosts.is_empty() && protocol.host_key().is_none() {
            return wrong(RouteErrorKind::NoHosts(name()));
        }
        let is_tcp = protocol.transports().contains(&Transport::Tcp);
        let server_first = forward.server_first.unwrap_or_else(|| protocol.server_first());
        let route = Arc::new(Route {
            hosts: forward.hosts.clone(),
            pool: Pool::new(forward.to.iter().map(|to| self.backends.get(to)).collect()),
            takes_silence: server_first && is_tcp,
            place: Some(at),
            protocol: Some(Arc::clone(&protocol)),
        });
        for transport in protocol.transports() {
            self.insert(*transport, at, &route);
        }
        if route.takes_silence {
            self.take_silence(at, route);
        }
    }

    fn insert(&mut self, transport: Transport, at: usize, route: &Arc<Route>) {
        let Some(protocol) = &route.protocol else { return };
        let side = match transport {
            Transport::Tcp => &mut self.table.tcp,
            Transport::Udp => &mut self.table.udp,
        };
        let known = side.entries.iter().position(|it| it.protocol.name() == protocol.name());
        let place = known.unwrap_or_else(|| {
            side.entries.push(Entry { protocol: Arc::clone(protocol), hosts: Hosts::default() });
            side.entries.len() - 1
        });
        let Some(entry) = side.entries.get_mut(place) else { return };
        let mut hosts: Vec<(Option<usize>, Option<&Host>)> =
            route.hosts.iter().enumerate().map(|(nth, host)| (Some(nth), Some(host))).collect();
        if hosts.is_empty() {
            hosts.push((None, None));
        }
        for (nth, host) in hosts {
            let Some(taken) = entry.hosts.insert(host, Arc::clone(route)) else { continue };
            let first = taken.place.unwrap_or(at);
            entry.hosts.insert(host, taken); // the first stays
            let what = match host {
                Some(host) => format!("`{}:{host}`", protocol.name()),
                None => format!("`{}`", protocol.name()),
            };
            let kind = RouteErrorKind::Duplicate { what, host: nth, first };
            let error = RouteError { forward: at, kind };
            // A route of both transports is reported once.
            if !self.errors.contains(&error) {
                self.errors.push(error);
            }
        }
    }

    fn take_silence(&mut self, at: usize, route: Arc<Route>) {
        let Some(earlier) = &self.table.tcp.silent else {
            self.table.tcp.silent = Some(route);
            return;
        };
        let kind = RouteErrorKind::TwoServerFirst {
            protocol: route.name().to_owned(),
            other: earlier.name().to_owned(),
            first: earlier.place.unwrap_or(at),
        };
        // The same route twice is a duplicate, and said so.
        if !self.errors.iter().any(|error| error.forward == at) {
            self.errors.push(RouteError { forward: at, kind });
        }
    }
}

impl PartialEq for Route {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route")
            .field("name", &self.name())
            .field("hosts", &self.hosts)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
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
