//! The numbers of `[server]` and of a route: one entry each, for reading, checking and printing.

use std::time::Duration;

use crate::forward::Forward;
use crate::limits::Limits;

/// A number of `[server]`.
pub(super) struct Number {
    pub(super) name: &'static str,
    pub(super) least: u64,
    pub(super) most: u64,
    pub(super) get: fn(&Limits) -> u64,
    pub(super) set: fn(&mut Limits, u64),
}

/// A day: longer than any time-out is meant to be.
pub(super) const DAY: u64 = 24 * 60 * 60 * 1000;

pub(super) const NUMBERS: &[Number] = &[
    Number {
        name: "max_connections",
        least: 1,
        most: 10_000_000,
        get: |limits| wide(limits.max_connections),
        set: |limits, value| limits.max_connections = narrow(value),
    },
    Number {
        name: "max_connections_per_ip",
        least: 0,
        most: 10_000_000,
        get: |limits| wide(limits.max_connections_per_ip),
        set: |limits, value| limits.max_connections_per_ip = narrow(value),
    },
    Number {
        name: "max_connection_rate_per_ip",
        least: 0,
        most: 1_000_000,
        get: |limits| wide(limits.max_connection_rate_per_ip),
        set: |limits, value| limits.max_connection_rate_per_ip = narrow(value),
    },
    Number {
        name: MAX_UNDECIDED,
        least: 0,
        most: 10_000_000,
        get: |limits| wide(limits.max_undecided),
        set: |limits, value| limits.max_undecided = narrow(value),
    },
    Number {
        name: "peek_timeout_ms",
        least: 1,
        most: DAY,
        get: |limits| ms(limits.peek_timeout),
        set: |limits, value| limits.peek_timeout = Duration::from_millis(value),
    },
    Number {
        name: "peek_buffer_size",
        least: 64,
        most: 64 * 1024,
        get: |limits| wide(limits.peek_buffer_size),
        set: |limits, value| limits.peek_buffer_size = narrow(value),
    },
    Number {
        name: "server_first_delay_ms",
        least: 1,
        most: DAY,
        get: |limits| ms(limits.server_first_delay),
        set: |limits, value| limits.server_first_delay = Duration::from_millis(value),
    },
    Number {
        name: "connect_timeout_ms",
        least: 1,
        most: DAY,
        get: |limits| ms(limits.connect_timeout),
        set: |limits, value| limits.connect_timeout = Duration::from_millis(value),
    },
    Number {
        name: "idle_timeout_ms",
        least: 0,
        most: DAY,
        get: |limits| ms(limits.idle_timeout),
        set: |limits, value| limits.idle_timeout = Duration::from_millis(value),
    },
    Number {
        name: "half_close_timeout_ms",
        least: 0,
        most: DAY,
        get: |limits| ms(limits.half_close_timeout),
        set: |limits, value| limits.half_close_timeout = Duration::from_millis(value),
    },
    Number {
        name: "write_stall_timeout_ms",
        least: 0,
        most: DAY,
        get: |limits| ms(limits.write_stall_timeout),
        set: |limits, value| limits.write_stall_timeout = Duration::from_millis(value),
    },
    Number {
        name: "keepalive_ms",
        least: 0,
        most: DAY,
        get: |limits| ms(limits.keepalive),
        set: |limits, value| limits.keepalive = Duration::from_millis(value),
    },
    Number {
        name: "drain_timeout_ms",
        least: 0,
        most: DAY,
        get: |limits| ms(limits.drain_timeout),
        set: |limits, value| limits.drain_timeout = Duration::from_millis(value),
    },
    Number {
        name: "resolve_interval_ms",
        least: 1,
        most: DAY,
        get: |limits| ms(limits.resolve_interval),
        set: |limits, value| limits.resolve_interval = Duration::from_millis(value),
    },
    Number {
        name: "udp_idle_timeout_ms",
        least: 0,
        most: DAY,
        get: |limits| ms(limits.udp_idle_timeout),
        set: |limits, value| limits.udp_idle_timeout = Duration::from_millis(value),
    },
    Number {
        name: MAX_UDP_SESSIONS,
        least: 0,
        most: 10_000_000,
        get: |limits| wide(limits.max_udp_sessions),
        set: |limits, value| limits.max_udp_sessions = narrow(value),
    },
    Number {
        name: "max_udp_sessions_per_ip",
        least: 0,
        most: 10_000_000,
        get: |limits| wide(limits.max_udp_sessions_per_ip),
        set: |limits, value| limits.max_udp_sessions_per_ip = narrow(value),
    },
];

const MAX_UNDECIDED: &str = "max_undecided";
const MAX_UDP_SESSIONS: &str = "max_udp_sessions";

impl Number {
    /// A value as `check` shows it.
    pub(super) fn text(&self, value: u64) -> String {
        match (self.name, value) {
            (MAX_UNDECIDED, 0) => "0 (half of max_connections)".to_owned(),
            (MAX_UDP_SESSIONS, 0) => "0 (derived from the descriptor limit)".to_owned(),
            _ => value.to_string(),
        }
    }
}

/// A number of a route.
pub(super) struct RouteNumber {
    pub(super) name: &'static str,
    pub(super) least: u64,
    pub(super) most: u64,
    pub(super) set: fn(&mut Forward, u64),
}

pub(super) const ROUTE_NUMBERS: &[RouteNumber] = &[
    RouteNumber {
        name: "connect_timeout_ms",
        least: 1,
        most: DAY,
        set: |forward, value| forward.connect_timeout = Some(Duration::from_millis(value)),
    },
    RouteNumber {
        name: "idle_timeout_ms",
        least: 0,
        most: DAY,
        set: |forward, value| forward.idle_timeout = Some(Duration::from_millis(value)),
    },
    RouteNumber {
        name: "responses",
        least: 0,
        most: 65_535,
        set: |forward, value| forward.responses = u32::try_from(value).ok(),
    },
    RouteNumber {
        name: "amplification_limit",
        least: 0,
        most: 65_535,
        set: |forward, value| forward.amplification_limit = u32::try_from(value).ok(),
    },
];

/// Other keys of `[server]`.
pub(super) const OTHERS: &[&str] = &[
    "bind",
    "port",
    "workers",
    "zero_copy",
    "hot_reload",
    "fallback_tcp",
    "fallback_udp",
    "proxy_protocol_from",
];

/// Most threads that `workers` may ask for.
pub(super) const MOST_WORKERS: u64 = 1024;

/// Other keys of a route.
const ROUTE: &[&str] = &[
    "name",
    "forward_to",
    "sni",
    "host",
    "alpn",
    "patterns",
    "transport",
    "server_first",
    "balance",
    "health",
    "close_on_down",
    "proxy_protocol",
    "transparent",
];

/// Keys of `[protocols.health]`.
pub(super) const HEALTH: &[&str] = &[
    "kind",
    "interval_ms",
    "timeout_ms",
    "slow_start_ms",
    "rise",
    "fall",
    "path",
    "host",
    "expect_status",
    "expect",
    "send",
];

/// Keys of one backend in `forward_to`.
pub(super) const TARGET: &[&str] = &["address", "weight", "backup", "max_connections"];

/// Every key of a route.
pub(super) fn route_keys() -> impl Iterator<Item = &'static str> {
    ROUTE.iter().copied().chain(ROUTE_NUMBERS.iter().map(|number| number.name))
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn narrow(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
