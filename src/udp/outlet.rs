//! Sending: many datagrams with one call where the system takes that, else one by one.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::Duration;

use quinn_udp::{Transmit, UdpSockRef, UdpSocketState};
use rustix::io::Errno;
use tokio::time::Instant;

use super::batch::Piece;
use crate::os;

/// Where datagrams go and the address that they leave from, where the socket has several.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Course {
    pub(crate) to: SocketAddr,
    pub(crate) from: Option<IpAddr>,
}

/// What was sent, and why it was not all.
#[derive(Debug, Default)]
pub(crate) struct Sent {
    /// How many datagrams.
    pub(crate) datagrams: usize,
    /// How many bytes they have.
    pub(crate) bytes: usize,
    pub(crate) failed: Option<io::Error>,
    /// The system did not take several at once.
    pub(crate) refused: Option<io::Error>,
}

/// One way out, and what the system has shown to take there.
pub(crate) struct Outlet {
    state: UdpSocketState,
    /// Until then datagrams go one by one.
    one_by_one_until: Option<Instant>,
}

/// For how long a way out that refused several datagrams at once is given them one by one: a route or a device may
/// change.
const ONE_BY_ONE: Duration = Duration::from_secs(30);

impl Outlet {
    pub(crate) const fn new(state: UdpSocketState) -> Self {
        Self { state, one_by_one_until: None }
    }

    pub(crate) const fn state(&self) -> &UdpSocketState {
        &self.state
    }

    /// How many datagrams may be sent with one call.
    pub(crate) fn most(&self, now: Instant) -> usize {
        let is_off = self.one_by_one_until.is_some_and(|until| now < until);
        if is_off { 1 } else { self.state.max_gso_segments() }
    }

    /// Sends what the piece holds: at once, or one by one where that is refused.
    pub(crate) fn send(
        &mut self,
        socket: &impl AsFd,
        course: Course,
        piece: Piece<'_>,
        now: Instant,
    ) -> Sent {
        let mut refused = None;
        if piece.count() <= self.most(now) {
            match self.transmit(socket, course, piece) {
                Ok(()) => return Sent::all(piece),
                Err(error) if piece.count() > 1 && is_refusal(&error) => {
                    self.go_one_by_one(course.to, now);
                    refused = Some(error);
                }
                Err(error) => return Sent { failed: Some(error), ..Sent::default() },
            }
        }
        let mut sent = Sent { refused, ..Sent::default() };
        for datagram in piece.datagrams() {
            match self.transmit(socket, course, datagram) {
                Ok(()) => sent.add(datagram),
                Err(error) => {
                    sent.failed = Some(error);
                    break;
                }
            }
        }
        sent
    }

    fn transmit(&self, socket: &impl AsFd, course: Course, piece: Piece<'_>) -> io::Result<()> {
        if piece.count() == 1 && piece.ecn.is_none() && course.from.is_none() {
            return os::send_datagram_to(socket, piece.bytes, course.to);
        }
        let segment_size = (piece.count() > 1).then_some(piece.segment);
        let transmit = Transmit {
            destination: course.to,
            ecn: piece.ecn,
            contents: piece.bytes,
            segment_size,
            src_ip: course.from,
        };
        self.state.try_send(UdpSockRef::from(socket), &transmit)
    }

    /// The state remembers a refusal for good, and marks no datagram any more: a new one has to be made.
    fn go_one_by_one(&mut self, to: SocketAddr, now: Instant) {
        self.one_by_one_until = Some(now + ONE_BY_ONE);
        if let Ok(state) = fresh(to) {
            self.state = state;
        }
    }
}

/// What the system can do on sockets of this family, asked of one that is not used.
pub(crate) fn fresh(to: SocketAddr) -> io::Result<UdpSocketState> {
    let any: SocketAddr = if to.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    UdpSocketState::new(UdpSockRef::from(&UdpSocket::bind(any)?))
}

/// EMSGSIZE, in older kernels EINVAL: the datagrams do not fit the path's packets; EIO: the device cannot make sums of several.
fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::MSGSIZE, Errno::INVAL, Errno::IO];
    Errno::from_io_error(error).is_some_and(|it| refusals.contains(&it))
}

impl Sent {
    fn all(piece: Piece<'_>) -> Self {
        Self { datagrams: piece.count(), bytes: piece.bytes.len(), ..Self::default() }
    }

    /// One datagram, as the system says.
    pub(crate) fn of<T>(result: io::Result<T>, datagram: &Piece<'_>) -> Self {
        match result {
            Ok(_) => Self::all(*datagram),
            Err(error) => Self { failed: Some(error), ..Self::default() },
        }
    }

    const fn add(&mut self, datagram: Piece<'_>) {
        self.datagrams += 1;
        self.bytes += datagram.bytes.len();
    }
}

/// The ways out to backends, by address: each may lead through another device.
#[derive(Default)]
pub(crate) struct Outlets(HashMap<SocketAddr, Outlet>);

/// Names may move: what is remembered of addresses that are no longer used is forgotten with all the rest.
const MOST_ADDRESSES: usize = 1024;

impl Outlets {
    /// The way out to this address; an error if not even a socket can be had.
    pub(crate) fn to(&mut self, address: SocketAddr) -> io::Result<&mut Outlet> {
        if !self.0.contains_key(&address) {
            if self.0.len() >= MOST_ADDRESSES {
                self.0.clear();
            }
            self.0.insert(address, Outlet::new(fresh(address)?));
        }
        self.0.get_mut(&address).ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}
