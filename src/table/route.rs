//! One way through the table.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use refractium_protocol::{AlpnList, Fact, Facts, Opening, RefractiumProtocol, Scratch};

use super::notes::Notes;
use crate::check::Check;
use crate::host::Host;
use crate::pool::Pool;
use crate::protocols::Known;
use crate::proxy_protocol::ProxyProtocol;
use crate::scratch;

/// A protocol, the hosts told apart, and the pool they go to; or the fallback.
pub struct Route {
    pub(super) protocol: Option<Known>,
    pub(super) hosts: Vec<Host>,
    pub(super) alpn: Vec<String>,
    pub(super) pool: Pool,
    pub(super) check: Check,
    pub(super) close_on_down: bool,
    pub(super) proxy_protocol: Option<ProxyProtocol>,
    pub(super) is_transparent: bool,
    pub(super) connect_timeout: Option<Duration>,
    pub(super) takes_silence: bool,
    pub(super) idle_timeout: Option<Duration>,
    pub(super) responses: Option<NonZeroU32>,
    pub(super) amplification_limit: Option<NonZeroU32>,
    pub(super) place: Option<usize>,
    /// How many there are of [`Taken`], those of the same route of earlier plans included.
    pub(super) open: ArcSwap<AtomicUsize>,
    pub(super) notes: Notes,
}

/// A route that a connection or a session has taken. Dropping it gives its place in the count back.
#[derive(Debug)]
pub(crate) struct Taken(Arc<Route>);

impl Taken {
    pub(crate) fn new(route: Arc<Route>) -> Self {
        route.open.load().fetch_add(1, Ordering::Relaxed);
        Self(route)
    }
}

impl Deref for Taken {
    type Target = Route;

    fn deref(&self) -> &Route {
        &self.0
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.0.open.load().fetch_sub(1, Ordering::Relaxed);
    }
}

impl Route {
    /// What it is called: its protocol's name, or `fallback`.
    pub fn name(&self) -> &str {
        self.protocol.as_ref().map_or("fallback", |protocol| protocol.name())
    }

    /// What tells it from others, short: its name, and of several hosts or application protocols the first and how many
    /// more (`https:a.example+2/h2`). Routes may share one.
    pub fn label(&self) -> String {
        let mut label = self.name().to_owned();
        let hosts = self.hosts.iter().map(ToString::to_string);
        label.extend(first_of(':', hosts));
        label.extend(first_of('/', self.alpn.iter().cloned()));
        label
    }

    /// The protocol; `None` for the fallback.
    pub fn protocol(&self) -> Option<&dyn RefractiumProtocol> {
        self.protocol.as_deref()
    }

    /// The hosts told apart; none: the rest of the protocol.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The application protocols of which the client must offer one; none: whatever it offers.
    pub fn alpn(&self) -> &[String] {
        &self.alpn
    }

    /// Where it leads.
    pub const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Whether its hosts and its application protocols leave it open to a client of its protocol with these facts.
    pub fn takes(&self, facts: &Facts<'_>) -> bool {
        let is_one = |name: &[u8]| self.hosts.iter().any(|host| host.is(name));
        let is_named = self.hosts.is_empty() || facts.host.known().is_some_and(is_one);
        is_named && self.fits(facts.alpn)
    }

    pub(super) fn fits(&self, offered: Fact<AlpnList<'_>>) -> bool {
        let is_wanted = |name: &[u8]| self.alpn.iter().any(|wanted| wanted.as_bytes() == name);
        self.alpn.is_empty() || offered.known().is_some_and(|list| list.iter().any(is_wanted))
    }

    /// How it is found out whether its backends are alive.
    pub const fn check(&self) -> &Check {
        &self.check
    }

    /// Whether its connections and sessions end when the checks of their backend fail.
    pub const fn close_on_down(&self) -> bool {
        self.close_on_down
    }

    /// In which version of the PROXY protocol its backends are told who the client is.
    pub const fn proxy_protocol(&self) -> Option<ProxyProtocol> {
        self.proxy_protocol
    }

    /// Whether its backends see the client's own address as the other end.
    pub const fn is_transparent(&self) -> bool {
        self.is_transparent
    }

    /// How long connecting to one of its backends may take; `None`: as the limits say.
    pub const fn connect_timeout(&self) -> Option<Duration> {
        self.connect_timeout
    }

    /// Whether a client that says nothing goes this way.
    pub const fn takes_silence(&self) -> bool {
        self.takes_silence
    }

    /// How long its connections and sessions may move nothing either way; zero: for ever. `None`: as the limits say.
    pub const fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// How many datagrams answer one of the client's; `None`: that says nothing.
    pub const fn responses(&self) -> Option<NonZeroU32> {
        self.responses
    }

    /// How many times the bytes of a client that has not confirmed its address its answers may have; `None`: any.
    pub const fn amplification_limit(&self) -> Option<NonZeroU32> {
        self.amplification_limit
    }

    /// Which of [`Routes::forwards`](super::Routes::forwards) it was made from; `None` for the fallback.
    pub const fn place(&self) -> Option<usize> {
        self.place
    }

    /// How many connections and sessions have taken it and go on.
    pub fn open(&self) -> usize {
        self.open.load().load(Ordering::Relaxed)
    }

    /// Room for what an observer keeps of it.
    pub const fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Goes on where the same route of an earlier plan stands.
    pub(crate) fn succeed(&self, other: &Self) {
        self.open.store(other.open.load_full());
        self.pool.take_turn_of(&other.pool);
    }

    /// The host that an opening which went this way asks for, escaped for a person to read.
    pub fn host(&self, opening: &Opening<'_>) -> Option<String> {
        let escaped = |host: &[u8]| host.escape_ascii().to_string();
        scratch::with_facts(|room| self.facts(opening, room).host.known().map(escaped))
    }

    /// All that an opening which went this way gives away: read again here, because few need to know.
    pub fn facts<'a>(&self, opening: &Opening<'a>, scratch: &'a mut Scratch) -> Facts<'a> {
        match &self.protocol {
            Some(protocol) => protocol.facts(opening, scratch).settled(opening.ended),
            None => Facts::NONE,
        }
    }
}

/// The first of a list behind a mark, and how many more there are; nothing of an empty list.
fn first_of(mark: char, list: impl ExactSizeIterator<Item = String>) -> Option<String> {
    let more = list.len().saturating_sub(1);
    let plus = if more == 0 { String::new() } else { format!("+{more}") };
    list.take(1).next().map(|first| format!("{mark}{first}{plus}"))
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

#[cfg(all(test, feature = "proto-https"))]
mod tests {
    use refractium_protocol::Transport;

    use crate::forward::Forward;
    use crate::protocols::Protocols;
    use crate::table::{Routes, Table};

    #[test]
    fn a_label_is_short_and_says_that_there_is_more() {
        let label = |hosts: &[&str], alpn: &[&str]| {
            let mut forward: Forward = "https=127.0.0.1:1".parse().expect("a forward");
            forward.hosts = hosts.iter().map(|it| it.parse().expect("a host")).collect();
            forward.alpn = alpn.iter().map(ToString::to_string).collect();
            let routes = Routes { forwards: vec![forward], ..Routes::default() };
            let table = Table::new(&routes, &Protocols::default()).expect("a table");
            table.routes(Transport::Tcp)[0].label()
        };
        assert_eq!(label(&[], &[]), "https");
        assert_eq!(label(&["a.example"], &[]), "https:a.example");
        assert_eq!(label(&["*.a.example", "b", "c"], &["h2", "x"]), "https:*.a.example+2/h2+1");
        let rest = Routes { fallback_tcp: "a:1".parse().ok(), ..Routes::default() };
        let table = Table::new(&rest, &Protocols::default()).expect("a table");
        assert_eq!(table.fallback(Transport::Tcp).expect("a route").label(), "fallback");
    }
}
