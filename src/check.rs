//! How it is found out whether a backend is alive.

use std::time::Duration;

use refractium_protocol::Transport;

use crate::limits::FOR_EVER;
use crate::proxy_protocol::ProxyProtocol;

/// A health check, and when it is believed. The defaults are those of `refractium.toml`.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Check {
    /// What is asked.
    pub kind: CheckKind,
    /// How often; and without a check, how long a refusal keeps clients away.
    pub interval: Duration,
    /// How long the answer may take.
    pub timeout: Duration,
    /// How long the share of one that comes back takes to be whole again, from next to nothing on; zero: it is so at once.
    pub slow_start: Duration,
    /// How many checks in a row have to pass before a backend that was down is up.
    pub rise: u32,
    /// How many in a row have to fail before one that was up is down.
    pub fall: u32,
    /// The PROXY header without a client that comes before what is asked; `None`: there is none. A route says what its own is.
    pub(crate) proxy_protocol: Option<ProxyProtocol>,
}

/// What a check asks of a backend, and what passes.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub enum CheckKind {
    /// What is usual for the transport: over TCP [`Tcp`](Self::Tcp), over UDP [`None`](Self::None).
    #[default]
    Usual,
    /// Nothing: only what befalls clients counts.
    None,
    /// It takes a TCP connection. It is reset before the server is told of it, where the system can do that.
    Tcp,
    /// It answers an HTTP request with a good status.
    Http {
        /// What is asked for.
        path: String,
        /// The host asked for; `None`: the endpoint.
        host: Option<String>,
        /// The statuses that are good; none: any from 200 to 399.
        expect_status: Vec<u16>,
    },
    /// It answers a TLS ClientHello with a ServerHello.
    Tls {
        /// The server name asked for; `None`: the endpoint's name, if it has one.
        host: Option<String>,
    },
    /// It takes a TCP connection and speaks first.
    Banner {
        /// How what it says begins; empty: it says anything.
        expect: Vec<u8>,
    },
    /// It answers a DNS query over UDP, with any code but SERVFAIL.
    Dns {
        /// The name whose IPv4 addresses are asked for; `None`: the root's name servers.
        host: Option<String>,
    },
    /// It answers these bytes, over the route's own transport.
    Payload {
        /// What is sent.
        send: Vec<u8>,
        /// How the answer begins; empty: any answer will do.
        expect: Vec<u8>,
    },
}

impl Check {
    /// One that asks for `kind`, at the usual times.
    pub fn new(kind: CheckKind) -> Self {
        Self {
            kind,
            interval: Duration::from_millis(5_000),
            timeout: Duration::from_millis(1_000),
            slow_start: Duration::ZERO,
            rise: 2,
            fall: 3,
            proxy_protocol: None,
        }
    }

    /// The same for one transport: what is usual there stands in it, and no check takes longer than the interval.
    #[must_use]
    pub fn over(mut self, transport: Transport) -> Self {
        self.interval = self.interval.clamp(SHORTEST, FOR_EVER);
        self.timeout = self.timeout.min(self.interval);
        self.slow_start = self.slow_start.min(FOR_EVER);
        self.kind = match (self.kind, transport) {
            (CheckKind::Usual, Transport::Tcp) => CheckKind::Tcp,
            (CheckKind::Usual, Transport::Udp) => CheckKind::None,
            (kind, _) => kind,
        };
        self
    }

    /// Whether something is asked at all.
    pub(crate) fn asks(&self) -> bool {
        self.kind != CheckKind::None
    }
}

/// More often is no check but a load.
const SHORTEST: Duration = Duration::from_millis(1);

impl Default for Check {
    fn default() -> Self {
        Self::new(CheckKind::default())
    }
}

impl CheckKind {
    /// The words for all of them in `refractium.toml`.
    pub const WORDS: [&str; 7] = ["tcp", "http", "tls", "banner", "dns", "payload", "none"];

    /// Its word in `refractium.toml`.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Usual => "usual",
            Self::None => "none",
            Self::Tcp => "tcp",
            Self::Http { .. } => "http",
            Self::Tls { .. } => "tls",
            Self::Banner { .. } => "banner",
            Self::Dns { .. } => "dns",
            Self::Payload { .. } => "payload",
        }
    }
}
