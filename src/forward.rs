//! What the user says of one route, before it is one.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::balance::Balance;
use crate::check::Check;
use crate::endpoint::{Endpoint, EndpointError};
use crate::host::{Host, HostError};
use crate::proxy_protocol::ProxyProtocol;
use crate::target::Target;

/// A protocol's name, the hosts told apart, and where they go: `PROTOCOL[:HOST]=ADDR`, as on the command line.
///
/// ```
/// use refractium::Forward;
///
/// let forward: Forward = "https:*.b.example=10.0.0.2:443".parse()?;
/// assert_eq!(forward.protocol, "https");
/// # Ok::<(), refractium::ForwardError>(())
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forward {
    /// The protocol's name.
    pub protocol: String,
    /// The names it takes; none: whatever no other route of the protocol takes.
    pub hosts: Vec<Host>,
    /// The application protocols (RFC 7301) of which the client must offer one; none: whatever it offers.
    pub alpn: Vec<String>,
    /// Where they go.
    pub to: Vec<Target>,
    /// Which of those gets the next client; `None`: the default.
    pub balance: Option<Balance>,
    /// How it is found out whether they are alive; `None`: as is usual for the transport.
    pub health: Option<Check>,
    /// Whether connections and sessions end when the checks of their backend fail.
    pub close_on_down: bool,
    /// In which version of the PROXY protocol its backends are told who the client is; `None`: they are not. Over UDP the
    /// first datagram of a session has the header in front, and it can only be version 2.
    pub proxy_protocol: Option<ProxyProtocol>,
    /// Whether its backends see the client's own address as the other end. That takes rights, and routes for the answers
    /// (README).
    pub transparent: bool,
    /// How long connecting to one of them may take; `None`: as the limits say.
    pub connect_timeout: Option<Duration>,
    /// Whether a silent client goes here; `None`: as the protocol says.
    pub server_first: Option<bool>,
    /// How long its connections and sessions may move nothing either way; zero: for ever. `None`: as the limits say.
    pub idle_timeout: Option<Duration>,
    /// How many datagrams answer one of the client's: a UDP session ends once all its questions have been answered. 0: it
    /// never ends by that. `None`: as the protocol says.
    pub responses: Option<u32>,
    /// Until a UDP client has sent something after an answer, and so shown that its address is its own, answers may have
    /// at most so many times the bytes that it sent; what goes beyond is dropped. 0 and `None`: no limit.
    pub amplification_limit: Option<u32>,
}

/// Why a text is no [`Forward`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// There is no `=`.
    #[error("`=` is missing: write PROTOCOL[:HOST]=ADDR")]
    NoAddress,
    /// There is nothing before the `=`.
    #[error("a protocol is missing: write PROTOCOL[:HOST]=ADDR")]
    NoProtocol,
    /// What stands behind the `:` is no host.
    #[error(transparent)]
    Host(#[from] HostError),
    /// What stands behind the `=` is no endpoint.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
}

impl Forward {
    /// One without hosts and backends yet.
    pub fn new(protocol: impl Into<String>) -> Self {
        Self {
            protocol: protocol.into(),
            hosts: Vec::new(),
            alpn: Vec::new(),
            to: Vec::new(),
            balance: None,
            health: None,
            close_on_down: false,
            proxy_protocol: None,
            transparent: false,
            connect_timeout: None,
            server_first: None,
            idle_timeout: None,
            responses: None,
            amplification_limit: None,
        }
    }

    /// Adds a name that it takes.
    #[must_use]
    pub fn host(mut self, host: Host) -> Self {
        self.hosts.push(host);
        self
    }

    /// Adds a backend.
    #[must_use]
    pub fn to(mut self, target: impl Into<Target>) -> Self {
        self.to.push(target.into());
        self
    }

    /// Says which backend gets the next client.
    #[must_use]
    pub const fn balance(mut self, balance: Balance) -> Self {
        self.balance = Some(balance);
        self
    }

    /// Adds the backends of those with the same left side to the first of them.
    pub(crate) fn merge(forwards: Vec<Self>) -> Vec<Self> {
        let mut merged: Vec<Self> = Vec::with_capacity(forwards.len());
        for forward in forwards {
            let same = |other: &&mut Self| {
                other.to_string() == forward.to_string() && other.alpn == forward.alpn
            };
            match merged.iter_mut().find(same) {
                Some(first) => {
                    first.to.extend(forward.to);
                    first.balance = first.balance.or(forward.balance);
                    first.health = first.health.take().or(forward.health);
                    first.close_on_down |= forward.close_on_down;
                    first.transparent |= forward.transparent;
                    first.proxy_protocol = first.proxy_protocol.or(forward.proxy_protocol);
                    first.connect_timeout = first.connect_timeout.or(forward.connect_timeout);
                    first.server_first = first.server_first.or(forward.server_first);
                    first.idle_timeout = first.idle_timeout.or(forward.idle_timeout);
                    first.responses = first.responses.or(forward.responses);
                    first.amplification_limit =
                        first.amplification_limit.or(forward.amplification_limit);
                }
                None => merged.push(forward),
            }
        }
        merged
    }
}

impl FromStr for Forward {
    type Err = ForwardError;

    fn from_str(text: &str) -> Result<Self, ForwardError> {
        let (left, address) = text.split_once('=').ok_or(ForwardError::NoAddress)?;
        let (protocol, host) = match left.split_once(':') {
            Some((protocol, host)) => (protocol, Some(host.parse()?)),
            None => (left, None),
        };
        if protocol.is_empty() {
            return Err(ForwardError::NoProtocol);
        }
        let to = vec![Target::from(address.parse::<Endpoint>()?)];
        Ok(Self { hosts: host.into_iter().collect(), to, ..Self::new(protocol) })
    }
}

/// The left side: the protocol and its hosts.
impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.protocol)?;
        for (at, host) in self.hosts.iter().enumerate() {
            write!(f, "{}{host}", if at == 0 { ":" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_left_side_may_name_a_host() {
        let forward: Forward = "https:*.b.example=[::1]:443".parse().expect("a forward");
        assert_eq!(forward.hosts, ["*.b.example".parse().expect("a host")]);
        let endpoint: Endpoint = "[::1]:443".parse().expect("an endpoint");
        assert_eq!(forward.to, [Target::from(endpoint)]);
        assert_eq!(forward.to_string(), "https:*.b.example");
    }

    #[test]
    fn what_is_missing_is_named() {
        assert_eq!("http".parse::<Forward>(), Err(ForwardError::NoAddress));
        assert_eq!("=a:1".parse::<Forward>(), Err(ForwardError::NoProtocol));
        assert_eq!(":h=a:1".parse::<Forward>(), Err(ForwardError::NoProtocol));
        assert_eq!("http=a".parse::<Forward>(), Err(EndpointError::NoPort.into()));
        assert_eq!("http:*=a:1".parse::<Forward>(), Err(HostError::Star.into()));
    }

    #[test]
    fn the_same_left_side_adds_backends() {
        let parse = |text: &str| text.parse().expect(text);
        let merged =
            Forward::merge(vec![parse("http=a:1"), parse("http:h=b:1"), parse("http=c:1")]);
        let lines: Vec<_> = merged.iter().map(|it| (it.to_string(), it.to.len())).collect();
        assert_eq!(lines, [("http".into(), 2), ("http:h".into(), 1)]);
    }
}
