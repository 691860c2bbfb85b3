//! The works that are measured, their sizes and what is aimed at.

use clap::ValueEnum;

use crate::order::{Kind, Load};
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
}

/// What the processor time is divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Connection,
    Message,
    Byte,
}

impl Unit {
    /// The unit of the processor time.
    pub(crate) fn cost(self) -> &'static str {
        match self {
            Self::Connection => "µs per connection",
            Self::Message => "µs per message",
            Self::Byte => "ms per GB",
        }
    }

    /// From seconds per unit to `cost`.
    pub(crate) fn scale(self) -> f64 {
        match self {
            Self::Connection | Self::Message => 1e6,
            Self::Byte => 1e3 * 1e9,
        }
    }

    /// The unit of the throughput.
    pub(crate) fn rate(self) -> &'static str {
        match self {
            Self::Connection => "connections/s",
            Self::Message => "messages/s",
            Self::Byte => "GB/s",
        }
    }

    /// From units per second to `rate`.
    pub(crate) fn many(self) -> f64 {
        match self {
            Self::Connection | Self::Message => 1.0,
            Self::Byte => 1e9,
        }
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
    };
    pub(crate) const QUICK: Self = Self {
        connections: 100,
        alone: 200,
        messages: 1_000,
        small: 500,
        large: 200,
        bytes: 20_000_000,
        idle: 200,
    };
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
        !matches!(self, Self::Idle | Self::Calls | Self::HalfClose)
    }

    /// What is aimed at for the processor time.
    pub(crate) fn target(self) -> Target {
        match self.unit() {
            Unit::Connection | Unit::Message => Target::RatioAtMost { aim: 0.95, limit: 1.0 },
            Unit::Byte => Target::RatioAtMost { aim: 0.65, limit: 0.65 },
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
        }
    }

    pub(crate) fn load(self, sizes: &Sizes) -> Load {
        let connect = |kind| Load::Connect { kind, count: sizes.connections, at_once: AT_ONCE };
        let exchange = |kept, count, answer| Load::Exchange { kept, count, answer };
        let bytes = sizes.bytes;
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
            Self::Idle | Self::Calls | Self::HalfClose => Load::Release,
        }
    }
}
