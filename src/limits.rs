//! Every bound and time-out of the engine, with its default written once.

use std::time::Duration;

/// What the engine allows. The defaults are those of `refractium.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most connections open at a time.
    pub max_connections: usize,
    /// Most connections open at a time from one address; an IPv6 /64 counts as one. 0: no limit.
    pub max_connections_per_ip: usize,
    /// How long a client may stay undecided, from accept on.
    pub peek_timeout: Duration,
    /// Most bytes looked at before deciding.
    pub peek_buffer_size: usize,
    /// Silence after which a server-first route is taken, where there is one.
    pub server_first_delay: Duration,
    /// How long connecting to one backend may take.
    pub connect_timeout: Duration,
    /// How long one side may stay silent after the other has closed. Zero: for ever.
    pub half_close_timeout: Duration,
    /// How long open connections may go on once the engine is told to end.
    pub drain_timeout: Duration,
}

/// Longer than any connection lives, and short enough to be added to any time.
pub(crate) const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);

impl Limits {
    /// The same, with no time longer than [`FOR_EVER`].
    pub(crate) fn bounded(mut self) -> Self {
        for time in [
            &mut self.peek_timeout,
            &mut self.server_first_delay,
            &mut self.connect_timeout,
            &mut self.half_close_timeout,
            &mut self.drain_timeout,
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
            peek_timeout: Duration::from_millis(3_000),
            peek_buffer_size: 16 * 1024,
            server_first_delay: Duration::from_millis(300),
            connect_timeout: Duration::from_millis(3_000),
            half_close_timeout: Duration::from_millis(30_000),
            drain_timeout: Duration::from_millis(30_000),
        }
    }
}
