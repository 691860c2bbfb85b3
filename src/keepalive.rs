//! How long a peer that answers nothing at all is believed to live.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};

use crate::limits::Limits;
use crate::os;

/// Lets the kernel give up a peer that has answered nothing for [`Limits::keepalive`]: it is asked after half of that
/// time, and then again and again. Sockets that a listener accepts inherit it.
///
/// What was sent and is not acknowledged counts as well (tcp(7), TCP_USER_TIMEOUT). The kernel takes a peer that
/// answers and has no room for one that does not answer, so it waits longer than the weld, which knows the difference.
pub(crate) fn set(socket: SockRef<'_>, limits: &Limits) {
    if limits.keepalive.is_zero() {
        return;
    }
    let idle = (limits.keepalive / 2).clamp(SECOND, LONGEST);
    let rest = limits.keepalive.saturating_sub(idle).min(LONGEST);
    let interval = (rest / PROBES).max(SECOND);
    let probes = (rest.as_secs() / interval.as_secs()).max(1);
    let keepalive = TcpKeepalive::new()
        .with_time(idle)
        .with_interval(interval)
        .with_retries(u32::try_from(probes).unwrap_or(PROBES));
    // It fails only on a socket that is gone.
    let _ = socket.set_tcp_keepalive(&keepalive);
    if !limits.write_stall_timeout.is_zero() {
        let unacknowledged = limits.keepalive.max(limits.write_stall_timeout + MARGIN);
        os::give_up_after(&socket, unacknowledged);
    }
}

/// The same for a listener that may have had other limits before.
pub(crate) fn set_anew(socket: SockRef<'_>, limits: &Limits) {
    if limits.keepalive.is_zero() {
        // They fail only on a socket that is gone.
        let _ = socket.set_keepalive(false);
    }
    if limits.keepalive.is_zero() || limits.write_stall_timeout.is_zero() {
        os::give_up_after(&socket, Duration::ZERO);
    }
    set(socket, limits);
}

/// How often it is asked before it is given up.
const PROBES: u32 = 10;

/// The kernel counts these times in seconds.
const SECOND: Duration = Duration::from_secs(1);

/// The longest that it takes for either (tcp(7), MAX_TCP_KEEPIDLE and MAX_TCP_KEEPINTVL).
const LONGEST: Duration = Duration::from_secs(32_767);

/// How much longer the kernel waits for a peer that takes nothing.
const MARGIN: Duration = Duration::from_secs(2);
