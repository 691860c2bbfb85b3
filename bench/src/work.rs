//! The works that are measured, their sizes and what is aimed at.

use clap::ValueEnum;

use crate::order::{Kind, Load, Manner, Udp, Way};
use crate::peer::{Purpose, Sessions};
use crate::report::Target;

/// One kind of work for the proxies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, ValueEnum)]
pub(crate) enum Work {
    /// New connections that open with an HTTP request
    ConnectHttp,
    /// New connections that open with a ClientHello of 517 bytes
    ConnectTls,
    /// New connections that open with a post-quantum ClientHello of 1981 bytes
    ConnectTlsPq,
    /// New connections that open with an SSH identification
    ConnectSsh,
    /// 64 bytes each way on one kept connection
    #[value(name = "ping-pong-1")]
    PingPong1,
    /// 64 bytes each way on 64 kept connections
    #[value(name = "ping-pong-64")]
    PingPong64,
    /// Responses of 4 KiB on 64 kept connections
    #[value(name = "response-4k")]
    Response4k,
    /// Responses of 64 KiB on 64 kept connections
    #[value(name = "response-64k")]
    Response64k,
    /// Bytes in bulk to one client
    #[value(name = "bulk-pull-1")]
    Pull1,
    /// Bytes in bulk to eight clients
    #[value(name = "bulk-pull-8")]
    Pull8,
    /// Bytes in bulk from one client
    #[value(name = "bulk-push-1")]
    Push1,
    /// Bytes in bulk from eight clients
    #[value(name = "bulk-push-8")]
    Push8,
    /// Memory and descriptors of 8,000 idle connections
    Idle,
    /// System calls per connection
    Calls,
    /// An answer that comes after the client has ended its side
    HalfClose,
    /// Datagrams of 64 bytes each way, one client
    #[value(name = "udp-ping-pong-1")]
    UdpPingPong1,
    /// Datagrams of 64 bytes each way, 64 clients
    #[value(name = "udp-ping-pong-64")]
    UdpPingPong64,
    /// One flow of datagrams of 1,200 bytes from a client that gives the kernel 32 in one call
    UdpPushGso,
    /// One flow of datagrams of 1,200 bytes from a client that sends each by itself
    UdpPushPlain,
    /// One flow to a client, from a backend that gives the kernel 32 in one call
    UdpPullGso,
    /// One flow to a client, from a backend that sends each by itself
    UdpPullPlain,
    /// New clients, each with one question
    UdpSessions,
    /// How many new clients in a second are carried without a loss
    UdpRate,
    /// Memory and descriptors of 12,000 idle sessions
    UdpIdle,
    /// System calls per datagram of a flow
    UdpCalls,
}

/// What the processor time is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Connection,
    Message,
    Byte,
    Datagram,
    Session,
}

impl Unit {
    /// The unit of the processor time.
    pub(crate) fn cost(self) -> &'static str {
        match self {
            Self::Connection => "µs per connection",
            Self::Message => "µs per message",
            Self::Byte => "ms per GB",
            Self::Datagram => "µs per datagram",
            Self::Session => "µs per session",
        }
    }

    /// From seconds per unit to `cost`.
    pub(crate) fn scale(self) -> f64 {
        match self {
            Self::Byte => 1e3 * 1e9,
            _ => 1e6,
        }
    }

    /// The unit of the throughput.
    pub(crate) fn rate(self) -> &'static str {
        match self {
            Self::Connection => "connections/s",
            Self::Message => "messages/s",
            Self::Byte => "GB/s",
            Self::Datagram => "datagrams/s",
            Self::Session => "sessions/s",
        }
    }

    /// From units per second to `rate`.
    pub(crate) fn many(self) -> f64 {
        match self {
            Self::Byte => 1e9,
            _ => 1.0,
        }
    }

    /// Whether each is timed by itself.
    pub(crate) fn is_timed(self) -> bool {
        !matches!(self, Self::Byte | Self::Datagram)
    }
}

/// How much of each work is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sizes {
    pub(crate) connections: u64,
    pub(crate) alone: u64,
    pub(crate) messages: u64,
    pub(crate) small: u64,
    pub(crate) large: u64,
    pub(crate) bytes: u64,
    pub(crate) idle: u64,
    pub(crate) datagrams: u64,
    pub(crate) sessions: u64,
    pub(crate) idle_sessions: u64,
}

impl Sizes {
    pub(crate) const FULL: Self = Self {
        connections: 6_000,
        alone: 20_000,
        messages: 100_000,
        small: 60_000,
        large: 15_000,
        bytes: 2_000_000_000,
        idle: 8_000,
        datagrams: 500_000,
        sessions: 30_000,
        idle_sessions: 12_000,
    };
    pub(crate) const QUICK: Self = Self {
        connections: 100,
        alone: 200,
        messages: 1_000,
        small: 500,
        large: 200,
        bytes: 20_000_000,
        idle: 200,
        datagrams: 10_000,
        sessions: 500,
        idle_sessions: 300,
    };
}

impl Sizes {
    /// Whether the numbers mean nothing.
    pub(crate) fn is_quick(&self) -> bool {
        self.connections < Self::FULL.connections
    }
}

/// Connections that are opened at the same time.
const AT_ONCE: u64 = 16;
const KEPT: u64 = 64;
const MESSAGE: u64 = crate::opening::MESSAGE as u64;

impl Work {
    pub(crate) fn name(self) -> String {
        self.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
    }

    /// Whether it is measured in rounds of traffic.
    pub(crate) fn is_traffic(self) -> bool {
        use Work::{Calls, HalfClose, Idle, UdpCalls, UdpIdle, UdpRate};
        !matches!(self, Idle | Calls | HalfClose | UdpRate | UdpIdle | UdpCalls)
    }

    /// Whether it is about datagrams.
    pub(crate) fn is_udp(self) -> bool {
        matches!(self.purpose(), Purpose::Udp(_))
    }

    /// What the proxies are started for.
    pub(crate) fn purpose(self) -> Purpose {
        match self {
            Self::Idle => Purpose::Idle,
            Self::UdpSessions | Self::UdpRate => Purpose::Udp(Sessions::Short),
            Self::UdpIdle => Purpose::Udp(Sessions::Idle),
            Self::UdpPingPong1
            | Self::UdpPingPong64
            | Self::UdpPushGso
            | Self::UdpPushPlain
            | Self::UdpPullGso
            | Self::UdpPullPlain
            | Self::UdpCalls => Purpose::Udp(Sessions::Long),
            _ => Purpose::Traffic,
        }
    }

    /// What is aimed at for the processor time.
    pub(crate) fn target(self) -> Target {
        let most = |most| Target::RatioAtMost { aim: most, limit: most };
        match (self, self.unit()) {
            (Self::UdpPingPong1, _) => Target::Nothing,
            (Self::UdpPingPong64, _) => most(0.7),
            (Self::UdpPushGso | Self::UdpPullGso, _) => most(0.35),
            (_, Unit::Session) => most(0.6),
            (_, Unit::Datagram) => most(1.0),
            (_, Unit::Byte) => most(0.65),
            (_, Unit::Connection | Unit::Message) => Target::RatioAtMost { aim: 0.95, limit: 1.0 },
        }
    }

    /// What is aimed at for the throughput.
    pub(crate) fn rate_target(self) -> Target {
        match (self, self.unit()) {
            (Self::UdpPushGso | Self::UdpPullGso, _) => Target::RatioAtLeast(3.0),
            (_, Unit::Byte) => Target::RatioAtLeast(1.1),
            _ => Target::Nothing,
        }
    }

    /// What is aimed at for the middle and for the tail of the latencies.
    pub(crate) fn latency_targets(self) -> [Target; 2] {
        match self {
            Self::UdpPingPong1 => [Target::RatioAtMost { aim: 1.0, limit: 1.0 }, Target::Nothing],
            _ if self.is_udp() => [Target::Nothing; 2],
            _ => [Target::Nothing, Target::RatioAtMost { aim: 1.1, limit: 1.1 }],
        }
    }

    pub(crate) fn unit(self) -> Unit {
        match self {
            Self::ConnectHttp | Self::ConnectTls | Self::ConnectTlsPq | Self::ConnectSsh => {
                Unit::Connection
            }
            Self::Idle | Self::Calls | Self::HalfClose => Unit::Connection,
            Self::PingPong1 | Self::PingPong64 | Self::Response4k | Self::Response64k => {
                Unit::Message
            }
            Self::Pull1 | Self::Pull8 | Self::Push1 | Self::Push8 => Unit::Byte,
            Self::UdpPingPong1 | Self::UdpPingPong64 => Unit::Message,
            Self::UdpPushGso | Self::UdpPushPlain => Unit::Datagram,
            Self::UdpPullGso | Self::UdpPullPlain | Self::UdpCalls => Unit::Datagram,
            Self::UdpSessions | Self::UdpRate | Self::UdpIdle => Unit::Session,
        }
    }

    pub(crate) fn load(self, sizes: &Sizes) -> Load {
        let connect = |kind| Load::Connect { kind, count: sizes.connections, at_once: AT_ONCE };
        let exchange = |kept, count, answer| Load::Exchange { kept, count, answer };
        let bytes = sizes.bytes;
        let flow = |way, manner| Load::Udp(Udp::flow(way, manner, sizes.datagrams));
        let ask = |clients, count| Load::Udp(Udp::Exchange { clients, count });
        match self {
            Self::ConnectHttp => connect(Kind::Http),
            Self::ConnectTls => connect(Kind::Tls),
            Self::ConnectTlsPq => connect(Kind::TlsBig),
            Self::ConnectSsh => connect(Kind::Ssh),
            Self::PingPong1 => exchange(1, sizes.alone, MESSAGE),
            Self::PingPong64 => exchange(KEPT, sizes.messages, MESSAGE),
            Self::Response4k => exchange(KEPT, sizes.small, 4 * 1024),
            Self::Response64k => exchange(KEPT, sizes.large, 64 * 1024),
            Self::Pull1 => Load::Pull { connections: 1, bytes },
            Self::Pull8 => Load::Pull { connections: 8, bytes },
            Self::Push1 => Load::Push { connections: 1, bytes },
            Self::Push8 => Load::Push { connections: 8, bytes },
            Self::UdpPingPong1 => ask(1, sizes.alone),
            Self::UdpPingPong64 => ask(KEPT, sizes.messages),
            Self::UdpPushGso => flow(Way::Push, Manner::Joined),
            Self::UdpPushPlain => flow(Way::Push, Manner::Plain),
            Self::UdpPullGso => flow(Way::Pull, Manner::Joined),
            Self::UdpPullPlain => flow(Way::Pull, Manner::Plain),
            Self::UdpSessions => Load::Udp(Udp::Sessions { count: sizes.sessions, at_once: KEPT }),
            Self::Idle | Self::Calls | Self::HalfClose => Load::Release,
            Self::UdpRate | Self::UdpIdle | Self::UdpCalls => Load::Release,
        }
    }
}
