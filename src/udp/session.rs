//! One client address and the backend that it is bound to.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use super::outlet::Alone;
use crate::admission::Permit;
use crate::backend::{Backend, Lease};
use crate::event::{Conn, Count, Exchanged};
use crate::table::Taken;

/// A client, as its datagrams tell it from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// Where it sends from.
    pub(crate) peer: SocketAddr,
    /// The address that it sends to, where the socket has several: answers leave from there.
    pub(crate) local: Option<IpAddr>,
}

/// A client address bound to a backend until it is idle.
pub(crate) struct Session {
    pub(crate) key: Key,
    pub(crate) conn: Conn,
    pub(crate) route: Taken,
    pub(crate) upstream: Upstream,
    /// The backend has refused what it was sent: the next datagram asks for another.
    pub(crate) is_refused: bool,
    /// What is sent next is to say who the client is (PROXY protocol).
    pub(crate) is_unknown: bool,
    pub(crate) exchanged: Exchanged,
    /// The path to its client takes no several datagrams at once.
    pub(crate) path: Alone,
    /// How far its client is known to hear us.
    pub(crate) trust: Trust,
    /// The tick at which something came last, either way.
    pub(crate) last: u64,
    /// For how many ticks nothing may come; `None`: for ever.
    pub(crate) idle: Option<u64>,
    pub(crate) _permit: Permit,
}

/// The way to a backend: a socket that takes datagrams from it alone.
pub(crate) struct Upstream {
    pub(crate) socket: UdpSocket,
    pub(crate) lease: Lease,
    /// The kernel puts what comes in bulk together.
    pub(crate) gathers: bool,
    /// The path to the backend takes no several datagrams at once.
    pub(crate) path: Alone,
    /// It has the client's address, and is of no use to another.
    pub(crate) stands_in: bool,
}

/// How far a client is known to be where it says it is. A sender that lies about its address hears no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It has had no answer yet.
    Unanswered,
    /// It has had one.
    Answered,
    /// It sent something after that.
    Confirmed,
}

impl Upstream {
    pub(crate) fn backend(&self) -> &Backend {
        self.lease.backend()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.backend().address()
    }
}

impl Session {
    /// Whether its backend is as good as any: it has not refused, and where sessions are to leave one whose checks fail,
    /// it is not down beside others that live.
    pub(crate) fn has_backend(&self) -> bool {
        let leaves = || {
            let is_down = self.route.close_on_down() && self.upstream.backend().is_down();
            is_down && self.route.pool().lives()
        };
        !self.is_refused && !leaves()
    }

    /// Notes that the backend, or the one that takes its place, has not been told who the client is, if it is to be.
    pub(crate) fn forget(&mut self) {
        self.is_unknown = self.route.proxy_protocol().is_some();
    }

    /// Whether nothing has come for as long as may be.
    pub(crate) fn is_idle(&self, tick: u64) -> bool {
        self.due().is_some_and(|due| due <= tick)
    }

    /// The tick at which it will have been idle for too long, if nothing comes.
    pub(crate) fn due(&self) -> Option<u64> {
        self.idle.map(|idle| self.last.saturating_add(idle))
    }

    /// Whether as many answers have come as were asked for.
    pub(crate) fn is_answered(&self) -> bool {
        let Exchanged { up, down } = self.exchanged;
        let enough = |each: u64| down.datagrams >= up.datagrams.saturating_mul(each);
        self.route.responses().is_some_and(|each| enough(each.get().into()))
    }

    /// How many of the bytes that wait for its client it may have now; `None`: all.
    pub(crate) fn allowance(&self) -> Option<u64> {
        let limit = self.route.amplification_limit().filter(|_| self.trust != Trust::Confirmed)?;
        let Exchanged { up, down } = self.exchanged;
        Some(up.bytes.saturating_mul(limit.get().into()).saturating_sub(down.bytes))
    }

    /// Notes that its client sent something at this tick.
    pub(crate) fn heard(&mut self, tick: u64) {
        self.last = tick;
        if self.trust == Trust::Answered {
            self.trust = Trust::Confirmed;
        }
    }
}

impl Trust {
    /// Notes an answer.
    pub(crate) fn answer(&mut self) {
        if *self == Self::Unanswered {
            *self = Self::Answered;
        }
    }
}

impl Count {
    pub(crate) fn add(&mut self, datagrams: usize, bytes: usize) {
        let wide = |it: usize| u64::try_from(it).unwrap_or(u64::MAX);
        self.datagrams += wide(datagrams);
        self.bytes += wide(bytes);
    }
}
