//! What `/status` says. docs/admin.md describes every field.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::Seen;
use super::book::{BackendCounts, Page};
use super::count::Reasons;
use super::history::Rates;
use crate::backend::Backend;
use crate::table::Route;

/// What is to be seen at one moment.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// Of the program, as `refractium --version` says it.
    pub version: String,
    /// How far it is.
    pub state: State,
    /// When it started, in seconds since 1970.
    pub started_unix: u64,
    /// For how long it has been running.
    pub uptime_seconds: f64,
    /// Every address that is served.
    pub listeners: Vec<ListenerStatus>,
    /// TCP connections, those that are undecided among them.
    pub connections: OpenStatus,
    /// How many of them are undecided and said too little at first.
    pub undecided: usize,
    /// UDP sessions.
    pub sessions: OpenStatus,
    /// Datagrams that the system dropped because nobody read them in time.
    pub overflowed: u64,
    /// Packets of clients that the system dropped because the queue of a listener was full; they come again.
    pub queue_overflowed: u64,
    /// How often accepting failed.
    pub accept_failures: u64,
    /// Open descriptors, and how many may be; absent where the system does not tell.
    pub descriptors: Option<Descriptors>,
    /// What was asked for by reloads, by result: `done`, `failed`.
    pub reloads: BTreeMap<String, u64>,
    /// What went on in the last five minutes.
    pub rates: Rates,
    /// Every route, in the order in which they are asked, the fallbacks last.
    pub routes: Vec<RouteStatus>,
}

/// How far an engine is.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Not every address is served yet.
    #[default]
    Starting,
    /// All of them are.
    Serving,
    /// It ends: what is open may finish.
    Draining,
    /// It has ended.
    Ended,
}

impl State {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::Starting => 0,
            Self::Serving => 1,
            Self::Draining => 2,
            Self::Ended => 3,
        }
    }

    pub(super) const fn of(number: u8) -> Self {
        match number {
            0 => Self::Starting,
            1 => Self::Serving,
            2 => Self::Draining,
            _ => Self::Ended,
        }
    }
}

/// One address that is served.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenerStatus {
    /// With the port that the system chose.
    pub address: SocketAddr,
    /// `tcp` or `udp`.
    pub transport: String,
}

/// Connections or sessions.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct OpenStatus {
    /// How many are open.
    pub open: usize,
    /// How many may be.
    pub most: usize,
    /// How many there were in all: connections that were accepted, sessions that were opened.
    pub total: u64,
    /// How many were not carried, and of datagrams how many did not open a session, by reason.
    pub refused: BTreeMap<String, u64>,
}

/// Descriptors of the process.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Descriptors {
    /// How many are open.
    pub open: u64,
    /// How many may be.
    pub most: u64,
}

/// One route over one transport.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RouteStatus {
    /// What tells it from others, short: `https:a.example+2`.
    pub label: String,
    /// Its protocol; `fallback` for the rest.
    pub protocol: String,
    /// `tcp` or `udp`.
    pub transport: String,
    /// The hosts told apart; none: any.
    pub hosts: Vec<String>,
    /// The application protocols told apart; none: any.
    pub alpn: Vec<String>,
    /// How its backends are taken in turn, as `balance` says it.
    pub balance: String,
    /// Connections or sessions that are open.
    pub open: u64,
    /// Bytes from clients to backends, of those that have ended.
    pub bytes_up: u64,
    /// Bytes from backends to clients, of those that have ended.
    pub bytes_down: u64,
    /// Datagrams from clients to backends, of sessions that have ended.
    pub datagrams_up: u64,
    /// Datagrams from backends to clients, of sessions that have ended.
    pub datagrams_down: u64,
    /// What came in the last step of [`Rates`].
    pub last_step: LastStep,
    /// How many were decided for it, by what brought the decision.
    pub decided: BTreeMap<String, u64>,
    /// How many ended, by reason.
    pub ended: BTreeMap<String, u64>,
    /// Datagrams of its sessions that were dropped, by reason.
    pub dropped: BTreeMap<String, u64>,
    /// What it leads to.
    pub backends: Vec<BackendStatus>,
}

/// What one route had in the last step.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastStep {
    /// Connections or sessions that its backends were given.
    pub joined: u64,
    /// Bytes from clients to backends.
    pub bytes_up: u64,
    /// Bytes from backends to clients.
    pub bytes_down: u64,
}

/// One `address` of a route's `forward_to`, and each address that it has now.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackendStatus {
    /// As it was said.
    pub endpoint: String,
    /// Its share beside the others.
    pub weight: u16,
    /// It is used only while none lives that is no backup.
    pub backup: bool,
    /// Connections or sessions of this route that it has.
    pub open: u64,
    /// How many it had in all.
    pub total: u64,
    /// How often it did not take one, or took and reset too many.
    pub failures: u64,
    /// Where it is now: one address, several or none for a name.
    pub addresses: Vec<AddressStatus>,
}

/// One address of a backend.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddressStatus {
    /// The address.
    pub address: SocketAddr,
    /// Whether it is thought to live.
    pub state: BackendState,
    /// Connections and sessions that it has, of all routes that check it alike.
    pub open: usize,
}

/// Whether a backend is thought to live.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// It is, as far as is known.
    Alive,
    /// It refused a client, or reset too many, and is tried again later.
    Aside,
    /// Its checks failed.
    Down,
}

impl BackendState {
    pub(super) const ALL: [Self; 3] = [Self::Alive, Self::Aside, Self::Down];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Alive => "alive",
            Self::Aside => "aside",
            Self::Down => "down",
        }
    }

    pub(super) fn of(backend: &Backend) -> Self {
        match backend {
            it if it.is_down() => Self::Down,
            it if it.is_alive() => Self::Alive,
            _ => Self::Aside,
        }
    }
}

impl Status {
    pub(super) fn of(seen: &Seen) -> Self {
        let (book, plan) = (seen.book.load(), seen.plan.load());
        let (started, since) = seen.since;
        let listener = |(address, transport): &(SocketAddr, _)| ListenerStatus {
            address: *address,
            transport: format!("{transport}"),
        };
        let [tcp, udp] = &seen.refused;
        let mut connections = OpenStatus::new(seen.accepted.get(), tcp);
        let routes: Vec<_> =
            book.now.iter().map(|(route, page)| RouteStatus::of(route, page)).collect();
        let mut sessions = OpenStatus::new(opened(&routes), udp);
        if let Some(held) = plan.as_ref() {
            connections.open = held.open.connections();
            connections.most = held.limits.max_connections;
            sessions.open = held.open.sessions();
            sessions.most = held.limits.udp_sessions();
        }
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            state: seen.state(),
            started_unix: started.duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs()),
            uptime_seconds: since.elapsed().as_secs_f64(),
            listeners: seen.listeners.load().iter().map(listener).collect(),
            connections,
            undecided: plan.as_ref().map_or(0, |held| held.open.undecided()),
            sessions,
            overflowed: seen.overflowed.get(),
            queue_overflowed: seen.queue_overflowed.get(),
            accept_failures: seen.accept_failed.get(),
            descriptors: Descriptors::now(),
            reloads: seen.reloads.all().map(|(word, count)| (word.to_owned(), count)).collect(),
            rates: seen.history.rates(),
            routes,
        }
    }
}

/// How many sessions there were.
fn opened(routes: &[RouteStatus]) -> u64 {
    let sessions = routes.iter().filter(|it| it.transport == "udp");
    sessions.flat_map(|it| &it.backends).map(|it| it.total).sum()
}

impl OpenStatus {
    fn new(total: u64, refused: &Reasons) -> Self {
        Self { total, refused: by_reason(refused), ..Self::default() }
    }
}

/// What has happened at all.
fn by_reason(reasons: &Reasons) -> BTreeMap<String, u64> {
    let counted = reasons.all().filter(|(_, count)| *count > 0);
    counted.map(|(word, count)| (word.to_owned(), count)).collect()
}

impl Descriptors {
    /// Those of this process, where the system tells.
    pub(super) fn now() -> Option<Self> {
        let open = std::fs::read_dir("/proc/self/fd").ok()?.count();
        let most = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
        // The one that looks is open as well.
        let open = u64::try_from(open).unwrap_or(u64::MAX).saturating_sub(1);
        Some(Self { open, most: most.unwrap_or(u64::MAX) })
    }
}

impl RouteStatus {
    fn of(route: &Route, page: &Page) -> Self {
        let counts = &page.counts;
        let [joined, bytes_up, bytes_down] = counts.pace.last_step();
        let backends = route.pool().backends();
        let backend = |counts: &Arc<BackendCounts>| BackendStatus::of(route, counts, &backends);
        Self {
            label: counts.label.clone(),
            protocol: route.name().to_owned(),
            transport: counts.transport.to_string(),
            hosts: route.hosts().iter().map(ToString::to_string).collect(),
            alpn: route.alpn().to_vec(),
            balance: route.pool().balance().to_string(),
            open: page.open(),
            bytes_up: counts.up.bytes.get(),
            bytes_down: counts.down.bytes.get(),
            datagrams_up: counts.up.datagrams.get(),
            datagrams_down: counts.down.datagrams.get(),
            last_step: LastStep { joined, bytes_up, bytes_down },
            decided: by_reason(&counts.decided),
            ended: by_reason(&counts.ended),
            dropped: by_reason(&counts.lost),
            backends: page.backends.iter().map(backend).collect(),
        }
    }
}

impl BackendStatus {
    fn of(route: &Route, counts: &BackendCounts, all: &[Arc<Backend>]) -> Self {
        let target = route.pool().targets().find(|it| it.endpoint == counts.endpoint);
        let its = all.iter().filter(|it| *it.forwarded_to() == counts.endpoint);
        let address = |it: &Arc<Backend>| AddressStatus {
            address: it.address(),
            state: BackendState::of(it),
            open: it.open(),
        };
        Self {
            endpoint: counts.endpoint.to_string(),
            weight: target.map_or(1, |it| it.weight),
            backup: target.is_some_and(|it| it.backup),
            open: counts.open(),
            total: counts.joined.get(),
            failures: counts.failed.get(),
            addresses: its.map(address).collect(),
        }
    }
}
