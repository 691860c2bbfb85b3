//! Sockets of sessions that were answered, for sessions to come. Making a socket, watching it and closing it is a quarter
//! of what a session of one question costs.

use std::collections::VecDeque;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::session::Upstream;
use crate::limits::Limits;
use crate::os;

/// Most that a port keeps.
const MOST: usize = 256;

/// How many there are in the process.
static KEPT_IN_ALL: AtomicUsize = AtomicUsize::new(0);

/// How long one rests before it is used again. It has no port and no peer from the moment it is put here, so nothing new
/// comes; what the kernel was about to put into it then is there by the time that it is emptied. Should it come later still,
/// it is not taken for an answer of another backend: who sent it is looked at.
const REST: Duration = Duration::from_millis(10);

/// How long one is kept.
const KEPT: Duration = Duration::from_secs(1);

/// How many datagrams are taken out of one; one with more is closed.
const LEFTOVERS: usize = 16;

/// The sockets that rest, the longest first.
pub(crate) struct Spares {
    resting: VecDeque<Spare>,
    most_in_all: usize,
}

struct Spare {
    socket: UdpSocket,
    is_v4: bool,
    is_local: bool,
    since: Instant,
    _place: Place,
}

/// One of those in the process.
struct Place;

impl Place {
    fn take(most: usize) -> Option<Self> {
        let one_more = |kept| (kept < most).then_some(kept + 1);
        let order = Ordering::Relaxed;
        KEPT_IN_ALL.fetch_update(order, order, one_more).ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        KEPT_IN_ALL.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Spares {
    /// Of an engine that may have so many sessions.
    pub(crate) fn beside(sessions: usize) -> Self {
        Self { resting: VecDeque::new(), most_in_all: sessions / Limits::SESSIONS_PER_SPARE }
    }

    /// The engine may have so many sessions from now on.
    pub(crate) const fn stay_beside(&mut self, sessions: usize) {
        self.most_in_all = sessions / Limits::SESSIONS_PER_SPARE;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.resting.is_empty()
    }

    /// Takes the socket of a session that is over, or closes it.
    pub(crate) fn put(&mut self, upstream: Upstream) {
        let address = upstream.address();
        let Upstream { socket, gathers, stands_in, .. } = upstream;
        // One that gathers has much room in the kernel.
        if !gathers
            && !stands_in
            && self.resting.len() < MOST
            && let Some(place) = Place::take(self.most_in_all)
            && os::disconnect(&socket).is_ok()
        {
            let (is_v4, is_local) = (address.is_ipv4(), address.ip().is_loopback());
            let since = Instant::now();
            self.resting.push_back(Spare { socket, is_v4, is_local, since, _place: place });
        }
    }

    /// A socket for this address that has rested, is empty, and is watched already.
    pub(crate) fn take(&mut self, address: SocketAddr, now: Instant) -> Option<UdpSocket> {
        let fits = |it: &Spare| {
            let is_alike = it.is_v4 == address.is_ipv4();
            now >= it.since + REST && is_alike && it.is_local == address.ip().is_loopback()
        };
        if !self.resting.front().is_some_and(fits) {
            return None;
        }
        let socket = self.resting.pop_front()?.socket;
        os::empties(&socket, LEFTOVERS).then_some(socket)
    }

    /// Closes one, if there is any.
    pub(crate) fn close_one(&mut self) -> bool {
        self.resting.pop_front().is_some()
    }

    /// Closes those that nobody needed for a while.
    pub(crate) fn tidy(&mut self, now: Instant) {
        while self.resting.front().is_some_and(|it| now >= it.since + KEPT) {
            self.resting.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use refractium_protocol::Transport;

    use super::super::outlet::Alone;
    use super::*;
    use crate::check::Check;
    use crate::group::Group;

    fn connected(to: SocketAddr) -> Upstream {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        socket.connect(to).expect("connected");
        let group = Group::new(to.into(), Transport::Udp, Check::default());
        let lease = group.backends()[0].lease(0).expect("a place");
        Upstream { socket, lease, gathers: false, path: Alone::default(), stands_in: false }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn one_rests_first_and_is_empty_then() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let to = server.local_addr().expect("an address");
        let mut spares = Spares::beside(usize::MAX);
        let upstream = connected(to);
        let before = upstream.socket.local_addr().expect("an address");
        server.send_to(b"late", before).expect("sent");
        spares.put(upstream);
        let now = Instant::now();
        assert!(spares.take(to, now - REST).is_none(), "it rests");
        let other = "[::1]:1".parse().expect("an address");
        assert!(spares.take(other, now + REST).is_none(), "it is of another kind");
        let again = spares.take(to, now + REST).expect("a socket");
        again.set_nonblocking(true).expect("an open socket");
        again.connect(to).expect("connected");
        let error = again.recv(&mut [0; 8]).expect_err("nothing is left in it");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        assert!(spares.is_empty());
    }

    #[test]
    fn those_that_nobody_needs_are_closed_and_most_are_not_kept() {
        let to = "127.0.0.1:9".parse().expect("an address");
        let mut spares = Spares::beside(16 * 16);
        for _ in 0..20 {
            spares.put(connected(to));
        }
        assert!(spares.resting.len() <= 16);
        spares.tidy(Instant::now() + KEPT);
        assert!(spares.is_empty());
    }
}
