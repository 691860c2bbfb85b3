//! Every bound and time-out of the engine, with its default written once.

use std::num::NonZeroU32;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};

use crate::udp::MOST_PLACES;

/// What the engine allows. The defaults are those of `refractium.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most connections open at a time.
    pub max_connections: usize,
    /// Most connections open at a time from one address; an IPv6 /64 counts as one. 0: no limit.
    pub max_connections_per_ip: usize,
    /// Most connections that are taken in a second from one address, which may come at once; an IPv6 /64 counts as one. 0: any.
    pub max_connection_rate_per_ip: usize,
    /// Most connections that may be undecided at a time: the oldest that a worker has makes room for the next. 0: half of
    /// [`max_connections`](Self::max_connections).
    pub max_undecided: usize,
    /// How long a client may stay undecided, from accept on.
    pub peek_timeout: Duration,
    /// Most bytes looked at before deciding.
    pub peek_buffer_size: usize,
    /// Silence after which a server-first route is taken, where there is one.
    pub server_first_delay: Duration,
    /// How long connecting to one backend may take.
    pub connect_timeout: Duration,
    /// How long a connection may move nothing either way, where its route says nothing else. Zero: for ever. It does
    /// not hold for a protocol whose clients are [quiet for hours](crate::protocol::RefractiumProtocol::rests).
    pub idle_timeout: Duration,
    /// How long one side may stay silent after the other has closed. Zero: for ever.
    pub half_close_timeout: Duration,
    /// How long one side may take none of the bytes that wait for it. Zero: for ever.
    pub write_stall_timeout: Duration,
    /// After how long a peer is given up that answers nothing at all, not even the kernel's probes; but not before
    /// [`write_stall_timeout`](Self::write_stall_timeout), because the kernel takes a peer that is full for one that does
    /// not answer. Zero: it is not probed.
    pub keepalive: Duration,
    /// Whether bytes in bulk may pass through the kernel alone.
    pub zero_copy: ZeroCopy,
    /// Most pipes that may be open for that in the process at a time. Each is two descriptors, and holds up to a MiB on its way to a
    /// client that takes it slowly; where there are no more, bytes are copied.
    pub max_pipes: usize,
    /// How long open connections and sessions may go on once the engine is told to end.
    pub drain_timeout: Duration,
    /// How often the names of backends are resolved again.
    pub resolve_interval: Duration,
    /// How long a UDP session may move nothing either way before it ends, where its route says nothing else. Zero: for
    /// ever.
    pub udp_idle_timeout: Duration,
    /// Most UDP sessions open at a time, each of which has a descriptor. 0: as many as 70 % of the descriptors that the
    /// process may have when it begins to serve, and never more than [`Limits::UDP_SESSIONS`].
    pub max_udp_sessions: usize,
    /// Most UDP sessions open at a time from one address; an IPv6 /64 counts as one. 0: no limit.
    pub max_udp_sessions_per_ip: usize,
}

/// Whether bytes in bulk may pass through the kernel alone, by splice(2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ZeroCopy {
    /// Where the kernel can, and a pipe is to be had. Rust programs ignore SIGPIPE, which splice(2) raises when a peer is
    /// gone: a program that does not is to say `Off`.
    #[default]
    Auto,
    /// Never.
    Off,
}

/// Most of one address; 0: no limit.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Each {
    /// That may be open.
    pub(crate) open: usize,
    /// That may come in a second.
    pub(crate) per_second: usize,
}

/// Most checks of backends that are made at the same time.
pub(crate) const MOST_CHECKS: usize = 256;

/// Longer than any connection lives, and short enough to be added to any time.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

impl Limits {
    /// Most UDP sessions where nobody says how many. Each has a port towards its backend, of 28,232 that Linux gives by
    /// default (ip(7), `ip_local_port_range`): a flood of senders that do not exist must leave some to other programs.
    pub const UDP_SESSIONS: usize = 16_384;

    /// How many sessions may be open: as many as are said, or as the descriptors of the process allow.
    pub(crate) fn udp_sessions(&self) -> usize {
        let said = match self.max_udp_sessions {
            0 => {
                let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
                let share = usize::try_from(Self::udp_share(descriptors)).unwrap_or(usize::MAX);
                share.clamp(1, Self::UDP_SESSIONS)
            }
            said => said,
        };
        said.min(MOST_PLACES)
    }

    /// For so many UDP sessions there may be one more socket, of one that is over.
    pub const SESSIONS_PER_SPARE: usize = 16;

    /// How many of so many descriptors sessions may have: 70 %, for connections need some as well.
    pub const fn udp_share(descriptors: u64) -> u64 {
        descriptors / 10 * 7
    }

    /// How many connections may be undecided.
    pub(crate) const fn undecided(&self) -> usize {
        match self.max_undecided {
            0 => self.max_connections.div_ceil(2),
            said => said,
        }
    }

    /// Most connections of one address.
    pub(crate) const fn each_client(&self) -> Each {
        Each { open: self.max_connections_per_ip, per_second: self.max_connection_rate_per_ip }
    }

    /// How many pipes there may be; `None`: nobody asks for one.
    pub(crate) fn pipes(&self) -> Option<NonZeroU32> {
        match self.zero_copy {
            ZeroCopy::Auto => NonZeroU32::new(u32::try_from(self.max_pipes).unwrap_or(u32::MAX)),
            ZeroCopy::Off => None,
        }
    }

    /// The same, with no time longer than [`FOR_EVER`].
    pub(crate) fn bounded(mut self) -> Self {
        for time in [
            &mut self.peek_timeout,
            &mut self.server_first_delay,
            &mut self.connect_timeout,
            &mut self.idle_timeout,
            &mut self.half_close_timeout,
            &mut self.write_stall_timeout,
            &mut self.keepalive,
            &mut self.drain_timeout,
            &mut self.resolve_interval,
            &mut self.udp_idle_timeout,
        ] {
            *time = FOR_EVER.min(*time);
        }
        self
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 10_000,
            max_connections_per_ip: 0,
            max_connection_rate_per_ip: 0,
            max_undecided: 0,
            peek_timeout: Duration::from_millis(3_000),
            peek_buffer_size: 16 * 1024,
            server_first_delay: Duration::from_millis(300),
            connect_timeout: Duration::from_millis(3_000),
            idle_timeout: Duration::from_millis(3_600_000),
            half_close_timeout: Duration::from_millis(30_000),
            write_stall_timeout: Duration::from_millis(60_000),
            keepalive: Duration::from_millis(60_000),
            zero_copy: ZeroCopy::Auto,
            max_pipes: 256,
            drain_timeout: Duration::from_millis(30_000),
            resolve_interval: Duration::from_millis(30_000),
            udp_idle_timeout: Duration::from_millis(60_000),
            max_udp_sessions: 0,
            max_udp_sessions_per_ip: 0,
        }
    }
}
