//! From what the user says to a table, with every mistake on the way.

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::sync::Arc;

use arc_swap::ArcSwap;
use refractium_protocol::Transport;

use super::first::Asked;
use super::{Entry, Notes, Route, Side, Table};
use crate::check::{Check, CheckKind};
use crate::endpoint::Endpoint;
use crate::forward::Forward;
use crate::group::Group;
use crate::host::Host;
use crate::limits::FOR_EVER;
use crate::pool::Pool;
use crate::protocols::{Known, Protocols};
use crate::proxy_protocol::ProxyProtocol;
use crate::target::Target;

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
    /// The protocol offers no application protocols.
    #[error("`{0}` offers no application protocols: its route cannot be told apart by `alpn`")]
    NoAlpn(String),
    /// The protocol has no datagrams.
    #[error("`{protocol}` is carried by tcp alone, and `{key}` is about datagrams")]
    NoDatagrams {
        /// The protocol.
        protocol: String,
        /// What was said, as `refractium.toml` calls it.
        key: &'static str,
    },
    /// There is nowhere to go.
    #[error("`{0}` has no backend")]
    NoBackend(String),
    /// The check asks over a transport that the route does not have.
    #[error("`{kind}` asks over UDP, and `{protocol}` is carried by TCP")]
    CheckTransport {
        /// The kind of check.
        kind: &'static str,
        /// The route's protocol.
        protocol: String,
    },
    /// Connections are to end by a check, and there is none.
    #[error("`{0}` has no health check whose failure could close its connections")]
    NothingChecked(String),
    /// Version 1 of the PROXY protocol knows no datagrams.
    #[error(
        "`{0}` is carried by udp too, and datagrams have version 2 of the PROXY protocol alone"
    )]
    NoLine(String),
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

impl Table {
    /// Builds the table, or names every mistake.
    pub fn new(routes: &Routes, protocols: &Protocols) -> Result<Self, Vec<RouteError>> {
        let mut building = Building::default();
        for (at, forward) in routes.forwards.iter().enumerate() {
            building.add(at, forward, protocols);
        }
        let Building { tcp, udp, silent, mut groups, errors } = building;
        let mut fallback = |endpoint: &Option<Endpoint>, transport| {
            let forward = Forward::new("fallback").to(endpoint.clone()?);
            let pool = groups.pool(&forward, transport);
            Some(Arc::new(Route {
                protocol: None,
                hosts: Vec::new(),
                alpn: Vec::new(),
                pool,
                check: Check::default().over(transport),
                close_on_down: false,
                proxy_protocol: None,
                is_transparent: false,
                connect_timeout: None,
                takes_silence: false,
                idle_timeout: None,
                responses: None,
                amplification_limit: None,
                place: None,
                open: ArcSwap::default(),
                notes: Notes::default(),
            }))
        };
        if !errors.is_empty() {
            return Err(errors);
        }
        let tcp = Side {
            asked: Asked::new(tcp, Transport::Tcp),
            silent,
            fallback: fallback(&routes.fallback_tcp, Transport::Tcp),
        };
        let udp = Side {
            asked: Asked::new(udp, Transport::Udp),
            silent: None,
            fallback: fallback(&routes.fallback_udp, Transport::Udp),
        };
        Ok(Self { tcp, udp })
    }
}

/// A table in the making.
#[derive(Default)]
struct Building {
    tcp: Vec<Entry>,
    udp: Vec<Entry>,
    silent: Option<Arc<Route>>,
    groups: Groups,
    errors: Vec<RouteError>,
}

/// One group per endpoint, transport and check, however many routes lead to it: a server may be gone for one transport
/// and there for the other.
#[derive(Default)]
struct Groups(HashMap<(Endpoint, Transport, Check), Arc<Group>>);

impl Groups {
    fn pool(&mut self, forward: &Forward, transport: Transport) -> Pool {
        let mut check = forward.health.clone().unwrap_or_default().over(transport);
        check.proxy_protocol = forward.proxy_protocol;
        let targets = forward.to.iter().map(|to| (to.clone(), self.group(to, transport, &check)));
        Pool::new(targets.collect(), forward.balance.unwrap_or_default())
    }

    fn group(&mut self, target: &Target, transport: Transport, check: &Check) -> Arc<Group> {
        let key = (target.endpoint.clone(), transport, check.clone());
        let new = || Arc::new(Group::new(target.endpoint.clone(), transport, check.clone()));
        Arc::clone(self.0.entry(key).or_insert_with(new))
    }
}

impl Building {
    fn add(&mut self, at: usize, forward: &Forward, protocols: &Protocols) {
        let mut wrong = |kind| self.errors.push(RouteError { forward: at, kind });
        let name = || forward.protocol.clone();
        if forward.to.is_empty() {
            wrong(RouteErrorKind::NoBackend(name()));
        }
        let Some(protocol) = protocols.known(&forward.protocol) else {
            return wrong(RouteErrorKind::UnknownProtocol(name()));
        };
        if !forward.hosts.is_empty() && protocol.host_key().is_none() {
            wrong(RouteErrorKind::NoHosts(name()));
        }
        if !forward.alpn.is_empty() && !protocol.offers_alpn() {
            wrong(RouteErrorKind::NoAlpn(name()));
        }
        if !protocol.transports().contains(&Transport::Udp) {
            for key in about_datagrams(forward) {
                wrong(RouteErrorKind::NoDatagrams { protocol: name(), key });
            }
        }
        let check = forward.health.clone().unwrap_or_default();
        if matches!(check.kind, CheckKind::Dns { .. }) && protocol.transports() == [Transport::Tcp]
        {
            let kind = check.kind.word();
            wrong(RouteErrorKind::CheckTransport { kind, protocol: name() });
        }
        let asks = |transport: &Transport| check.clone().over(*transport).asks();
        if forward.close_on_down && !protocol.transports().iter().any(asks) {
            wrong(RouteErrorKind::NothingChecked(name()));
        }
        let is_line = forward.proxy_protocol == Some(ProxyProtocol::V1);
        if is_line && protocol.transports().contains(&Transport::Udp) {
            wrong(RouteErrorKind::NoLine(name()));
        }
        for transport in protocol.transports() {
            let route = Arc::new(self.route(at, forward, protocol.clone(), *transport));
            self.insert(*transport, at, &route);
            if route.takes_silence {
                self.take_silence(at, route);
            }
        }
    }

    fn route(
        &mut self,
        at: usize,
        forward: &Forward,
        protocol: Known,
        transport: Transport,
    ) -> Route {
        let server_first = forward.server_first.unwrap_or_else(|| protocol.server_first());
        Route {
            hosts: forward.hosts.clone(),
            alpn: forward.alpn.clone(),
            pool: self.groups.pool(forward, transport),
            check: forward.health.clone().unwrap_or_default().over(transport),
            close_on_down: forward.close_on_down,
            proxy_protocol: forward.proxy_protocol,
            is_transparent: forward.transparent,
            connect_timeout: forward.connect_timeout.map(|it| it.min(FOR_EVER)),
            takes_silence: server_first && transport == Transport::Tcp,
            idle_timeout: forward.idle_timeout.map(|it| it.min(FOR_EVER)),
            responses: forward
                .responses
                .map_or_else(|| protocol.responses(), Some)
                .and_then(NonZeroU32::new),
            amplification_limit: forward.amplification_limit.and_then(NonZeroU32::new),
            place: Some(at),
            open: ArcSwap::default(),
            notes: Notes::default(),
            protocol: Some(protocol),
        }
    }

    fn insert(&mut self, transport: Transport, at: usize, route: &Arc<Route>) {
        let Some(protocol) = &route.protocol else { return };
        let entries = match transport {
            Transport::Tcp => &mut self.tcp,
            Transport::Udp => &mut self.udp,
        };
        let known = entries.iter().position(|it| it.protocol.name() == protocol.name());
        let place = known.unwrap_or_else(|| {
            entries.push(Entry::new(protocol.clone()));
            entries.len() - 1
        });
        let Some(entry) = entries.get_mut(place) else { return };
        entry.asks_alpn |= !route.alpn.is_empty();
        entry.asks_facts |= !route.alpn.is_empty() || !route.hosts.is_empty();
        let mut hosts: Vec<(Option<usize>, Option<&Host>)> =
            route.hosts.iter().enumerate().map(|(nth, host)| (Some(nth), Some(host))).collect();
        if hosts.is_empty() {
            hosts.push((None, None));
        }
        for (nth, host) in hosts {
            let taken = entry.hosts.first(host, |other| other.alpn == route.alpn);
            let Some(first) = taken.map(|taken| taken.place.unwrap_or(at)) else {
                entry.hosts.push(host, Arc::clone(route));
                continue;
            };
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
        let Some(earlier) = &self.silent else {
            self.silent = Some(route);
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

/// What was said that has a meaning for datagrams alone.
fn about_datagrams(forward: &Forward) -> impl Iterator<Item = &'static str> {
    let responses = forward.responses.map(|_| "responses");
    let amplification_limit = forward.amplification_limit.map(|_| "amplification_limit");
    responses.into_iter().chain(amplification_limit)
}
