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
use super::train::LONGEST;
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
    /// The device takes no several at once.
    alone: Alone,
}

/// For a while datagrams go one by one: a route or a device may change.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Alone {
    until: Option<Instant>,
}

impl Alone {
    /// For how long.
    const TIME: Duration = Duration::from_secs(30);

    pub(crate) fn begin(&mut self, now: Instant) {
        self.until = Some(now + Self::TIME);
    }

    /// How many may be sent with one call.
    pub(crate) fn most(self, now: Instant) -> usize {
        if self.until.is_some_and(|until| now < until) { 1 } else { usize::MAX }
    }
}

impl Outlet {
    pub(crate) fn new(state: UdpSocketState) -> Self {
        Self { state, alone: Alone::default() }
    }

    pub(crate) const fn state(&self) -> &UdpSocketState {
        &self.state
    }

    /// How many datagrams may be sent with one call.
    pub(crate) fn most(&self, now: Instant) -> usize {
        self.alone.most(now).min(self.state.max_gso_segments())
    }

    /// Sends what the piece holds: at once if it is at most so many, or one by one where that is refused.
    pub(crate) fn send(
        &mut self,
        socket: &impl AsFd,
        course: Course,
        piece: Piece<'_>,
        most: usize,
    ) -> Sent {
        let mut sent = Sent::default();
        if piece.count() == 1 || piece.count() <= most && piece.segment <= LONGEST {
            match self.transmit(socket, course, piece) {
                Ok(()) => return Sent::all(piece),
                Err(error) if piece.count() > 1 && is_refusal(&error) => {
                    sent.refused = Some(error);
                }
                Err(error) => return Sent { failed: Some(error), ..sent },
            }
        }
        for datagram in piece.datagrams() {
            if let Err(error) = self.transmit(socket, course, datagram) {
                sent.failed = Some(error);
                break;
            }
            sent.add(datagram);
        }
        sent
    }

    fn transmit(&mut self, socket: &impl AsFd, course: Course, piece: Piece<'_>) -> io::Result<()> {
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
        let sent = self.state.try_send(UdpSockRef::from(socket), &transmit);
        // The state takes these for good for a system that can neither send several at once nor mark: a new one has to be
        // made. A sender whose port is 0 brings that about.
        if sent.as_ref().is_err_and(spoils)
            && let Ok(state) = fresh(course.to)
        {
            self.state = state;
        }
        sent
    }

    /// Notes that several at once were refused. A device that cannot make their sums cannot for anybody; a path that is
    /// too small for them is one client's or one backend's.
    pub(crate) fn note(&mut self, refused: &io::Error, path: &mut Alone, now: Instant) {
        let is_of_device = Errno::from_io_error(refused) == Some(Errno::IO);
        if is_of_device { &mut self.alone } else { path }.begin(now);
    }
}

fn spoils(error: &io::Error) -> bool {
    [Some(Errno::INVAL), Some(Errno::IO)].contains(&Errno::from_io_error(error))
}

/// What the system can do on sockets of this family, asked of one that is not used.
fn fresh(to: SocketAddr) -> io::Result<UdpSocketState> {
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

#[cfg(test)]
mod tests {
    use quinn_udp::EcnCodepoint;

    use super::*;

    /// A stranger's datagram may come from port 0, to which nothing can be sent.
    #[cfg(target_os = "linux")]
    #[test]
    fn what_cannot_be_sent_to_one_changes_nothing_for_others() {
        let to: SocketAddr = ([127, 0, 0, 1], 0).into();
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a socket");
        let mut outlet = Outlet::new(fresh(to).expect("a state"));
        let (before, now) = (outlet.most(Instant::now()), Instant::now());
        let ecn = Some(EcnCodepoint::Ect0);
        let piece = Piece { from: to, to: None, ecn, bytes: b"x", segment: 1 };
        let course = Course { to, from: Some(to.ip()) };
        let sent = outlet.send(&socket, course, piece, before);
        assert!(sent.failed.is_some() && sent.refused.is_none());
        assert_eq!(outlet.most(now), before);
        assert!(before > 1, "the system sends several at once");
    }

    #[test]
    fn a_device_is_everybodys_and_a_path_is_ones_own() {
        let now = Instant::now();
        let to: SocketAddr = ([127, 0, 0, 1], 1).into();
        let mut outlet = Outlet::new(fresh(to).expect("a state"));
        let mut path = Alone::default();
        outlet.note(&Errno::MSGSIZE.into(), &mut path, now);
        assert_eq!(path.most(now), 1);
        assert_eq!(path.most(now + Alone::TIME), usize::MAX);
        let mut other = Alone::default();
        outlet.note(&Errno::IO.into(), &mut other, now);
        assert_eq!((outlet.most(now), other.most(now)), (1, usize::MAX));
    }
}
