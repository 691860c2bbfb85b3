//! The numbers of `[server]`: one line each, for reading, checking and printing.

use std::time::Duration;

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
const DAY: u64 = 24 * 60 * 60 * 1000;

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
];

/// Other keys of `[server]`.
pub(super) const OTHERS: &[&str] =
    &["bind", "port", "workers", "zero_copy", "hot_reload", "fallback_tcp", "fallback_udp"];

/// Most threads that `workers` may ask for.
pub(super) const MOST_WORKERS: u64 = 1024;

/// Keys of `[server]` whose capability is not built yet.
pub(super) const PLANNED: &[&str] = &[
    "max_undecided",
    "max_connection_rate_per_ip",
    "udp_idle_timeout_ms",
    "max_udp_sessions",
    "max_udp_sessions_per_ip",
    "resolve_interval_ms",
    "proxy_protocol_from",
];

/// Keys of a route.
pub(super) const ROUTE: &[&str] = &[
    "name",
    "forward_to",
    "sni",
    "host",
    "alpn",
    "patterns",
    "transport",
    "server_first",
    "balance",
];

/// Keys of one backend in `forward_to`.
pub(super) const TARGET: &[&str] = &["address", "weight", "backup", "max_connections"];

/// Keys of a route whose capability is not built yet.
pub(super) const ROUTE_PLANNED: &[&str] = &[
    "health",
    "close_on_down",
    "connect_timeout_ms",
    "proxy_protocol",
    "transparent",
    "idle_timeout_ms",
    "responses",
    "amplification_limit",
];

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn wide(value: usize) -> u64 {
    u64::try_from(value).unwrap_or(u64::MAX)
}

fn narrow(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}
