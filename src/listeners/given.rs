//! Sockets that somebody else has bound: a service manager, or the process before this one.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use refractium_protocol::Transport;
use rustix::io::Errno;
use socket2::{SockRef, Socket, Type};

use super::{BACKLOG, Listeners, Place, address_is_dual, prepare};
use crate::error::Error;
use crate::own::{Reach, is_covered, is_dual};

/// A socket that listens already.
#[derive(Debug)]
pub struct Given {
    local: SocketAddr,
    /// What was said when it was bound; port 0 let the system choose.
    asked: SocketAddr,
    transport: Transport,
    is_dual: bool,
    /// Which worker had it; `None`: nobody.
    worker: Option<usize>,
    socket: Socket,
}

impl Given {
    /// Takes a socket for what it is.
    ///
    /// # Errors
    ///
    /// If it is neither a TCP socket that listens nor a UDP socket that is bound.
    pub fn new(socket: impl Into<OwnedFd>) -> io::Result<Self> {
        let socket = Socket::from(socket.into());
        let local = socket.local_addr()?.as_socket();
        let local = local.ok_or_else(|| wrong("it is no socket of TCP or UDP"))?;
        let transport = match socket.r#type()? {
            Type::STREAM if socket.is_listener()? => Transport::Tcp,
            Type::STREAM => return Err(wrong("it does not listen")),
            Type::DGRAM if socket.peer_addr().is_ok() => return Err(wrong("it is connected")),
            Type::DGRAM => Transport::Udp,
            _ => return Err(wrong("it is no socket of TCP or UDP")),
        };
        let is_dual = address_is_dual(local, &SockRef::from(&socket));
        Ok(Self { local, asked: local, transport, is_dual, worker: None, socket })
    }

    /// The same, as a worker of the process before had it.
    pub(crate) fn of_worker(self, worker: usize, asked: SocketAddr) -> Self {
        Self { worker: Some(worker), asked, ..self }
    }

    /// Where it is bound.
    pub const fn local(&self) -> SocketAddr {
        self.local
    }

    /// What it is for.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether it takes IPv4 beside IPv6.
    pub const fn is_dual(&self) -> bool {
        self.is_dual
    }

    /// Whether these addresses are to be served by it, among others.
    pub fn is_among(&self, addresses: &[SocketAddr], transports: &[Transport]) -> bool {
        let is_it =
            |&wanted: &SocketAddr| self.is_for(wanted, is_dual(wanted, addresses), self.transport);
        transports.contains(&self.transport) && addresses.iter().any(is_it)
    }

    const fn reach(&self) -> Reach {
        Reach { address: self.local, is_dual: self.is_dual }
    }

    /// Whether a wildcard among these addresses stands for it as well.
    fn is_covered(&self, addresses: &[SocketAddr], transports: &[Transport]) -> bool {
        transports.contains(&self.transport) && is_covered(self.reach(), addresses)
    }

    fn is_for(&self, wanted: SocketAddr, is_dual: bool, transport: Transport) -> bool {
        let is_there = self.asked == wanted || self.local == wanted;
        is_there && self.is_dual == is_dual && self.transport == transport
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, what)
}

impl Listeners {
    /// Serves these addresses by sockets that are given, once for each worker, and binds what is missing. One that a wildcard
    /// stands for now goes on beside it, so that it loses nobody. Those that nobody asked for come back.
    ///
    /// Where fewer are given than there are workers, a socket of TCP is shared among them; one of UDP has one reader.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] and [`Error::Listener`].
    pub fn bind_beside(
        given: Vec<Given>,
        addresses: &[SocketAddr],
        transports: &[Transport],
        workers: usize,
    ) -> Result<(Vec<Self>, Vec<Given>), Error> {
        let mut groups: Vec<_> = (0..workers.max(1)).map(|_| Self::default()).collect();
        let (mut left, mut missing) = (given, Vec::new());
        for &asked in addresses {
            let is_dual = is_dual(asked, addresses);
            let mut place = Place::new(asked, is_dual);
            for &transport in transports {
                let first = left.iter().find(|it| it.is_for(asked, is_dual, transport));
                let Some(local) = first.map(Given::local) else {
                    place.transports.push(transport);
                    continue;
                };
                place.address = local;
                let is_it = |it: &Given| it.local == local && it.transport == transport;
                let (mine, others) = left.into_iter().partition(is_it);
                left = others;
                share(&mut groups, mine, asked).map_err(Error::Listener)?;
            }
            if !place.transports.is_empty() {
                missing.push(place);
            }
        }
        for place in &mut missing {
            left.iter().for_each(|it| place.meet(it.transport, it.reach()));
        }
        let is_covered = |it: &Given| it.is_covered(addresses, transports);
        let (covered, left): (Vec<_>, _) = left.into_iter().partition(is_covered);
        for given in covered {
            let asked = given.asked;
            share(&mut groups, vec![given], asked).map_err(Error::Listener)?;
        }
        let bound = Self::bind_places(&missing, groups.len())?;
        groups.iter_mut().zip(bound).for_each(|(group, more)| group.append(more));
        Ok((groups, left))
    }

    fn append(&mut self, more: Self) {
        self.tcp.extend(more.tcp);
        self.udp.extend(more.udp);
        self.asked.extend(more.asked);
    }

    fn take(&mut self, given: Given) -> io::Result<()> {
        let Given { local, transport, socket, .. } = given;
        socket.set_nonblocking(true)?;
        match transport {
            Transport::Tcp => {
                prepare(&SockRef::from(&socket))?;
                // Again, because not everybody lets as many wait as the system allows.
                rustix::net::listen(&socket, BACKLOG)?;
                self.tcp.push((local, socket.into()));
            }
            Transport::Udp => self.udp.push((local, socket.into())),
        }
        Ok(())
    }
}

/// Gives the sockets of one address and transport to the workers that had them, or to one after the other.
fn share(groups: &mut [Listeners], sockets: Vec<Given>, asked: SocketAddr) -> io::Result<()> {
    let (all, count) = (groups.len(), sockets.len());
    // Those of UDP go to who has the fewest, for each has one reader.
    let begin = (0..all).min_by_key(|at| groups.get(*at).map(|it| it.udp.len())).unwrap_or(0);
    for (at, given) in sockets.into_iter().enumerate() {
        let (local, worker) = (given.local, given.worker.unwrap_or(begin + at) % all);
        let mut copies = Vec::new();
        if given.transport == Transport::Tcp && given.worker.is_none() {
            for other in (at + count..all).step_by(count) {
                copies.push(((begin + other) % all, given.try_clone()?));
            }
        }
        copies.push((worker, given));
        for (worker, given) in copies {
            let group = groups.get_mut(worker).ok_or(Errno::INVAL)?;
            group.take(given)?;
            if !group.asked.contains(&(local, asked)) {
                group.asked.push((local, asked));
            }
        }
    }
    Ok(())
}

impl Given {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, ..*self })
    }
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::os::unix::net::UnixListener;

    use super::*;

    const BOTH: &[Transport] = &[Transport::Tcp, Transport::Udp];

    fn tcp(address: &str) -> (SocketAddr, Given) {
        let listener = TcpListener::bind(address).expect("a port");
        let local = listener.local_addr().expect("an address");
        (local, Given::new(listener).expect("it listens"))
    }

    fn udp(address: SocketAddr) -> Given {
        Given::new(UdpSocket::bind(address).expect("a port")).expect("it is bound")
    }

    /// How many sockets for TCP and UDP each worker has.
    fn counts(groups: &[Listeners]) -> Vec<(usize, usize)> {
        groups.iter().map(|it| (it.tcp.len(), it.udp.len())).collect()
    }

    #[test]
    fn one_socket_for_three_workers_is_shared_or_has_one_reader() {
        let (address, given) = tcp("127.0.0.1:0");
        let sockets = vec![given, udp(address)];
        let (groups, rest) =
            Listeners::bind_beside(sockets, &[address], BOTH, 3).expect("all is there");
        assert!(rest.is_empty());
        assert_eq!(counts(&groups), [(1, 1), (1, 0), (1, 0)]);
        assert!(groups.iter().all(|it| it.addresses() == [address]));
    }

    #[test]
    fn each_worker_has_again_what_it_had() {
        let (address, given) = tcp("127.0.0.1:0");
        let asked = "127.0.0.1:0".parse().expect("an address");
        let other = given.try_clone().expect("a copy");
        let sockets = vec![other.of_worker(1, asked), given.of_worker(0, asked)];
        let (groups, rest) =
            Listeners::bind_beside(sockets, &[asked], &BOTH[..1], 2).expect("all is there");
        assert!(rest.is_empty());
        assert_eq!(counts(&groups), [(1, 0), (1, 0)]);
        assert!(groups.iter().all(|it| it.asked == [(address, asked)]));
    }

    #[test]
    fn what_is_missing_is_bound_and_what_nobody_asked_for_comes_back() {
        let (address, given) = tcp("127.0.0.1:0");
        let (elsewhere, stranger) = tcp("127.0.0.1:0");
        let (groups, rest) =
            Listeners::bind_beside(vec![stranger, given], &[address], BOTH, 2).expect("a port");
        assert_eq!(counts(&groups), [(1, 1), (1, 1)], "a socket of UDP for each");
        assert_eq!(rest.iter().map(Given::local).collect::<Vec<_>>(), [elsewhere]);
    }

    #[test]
    fn what_does_not_listen_is_refused() {
        let (address, _given) = tcp("127.0.0.1:0");
        let folder = tempfile::tempdir().expect("a folder");
        let unix = UnixListener::bind(folder.path().join("socket")).expect("a socket");
        let datagrams = UdpSocket::bind("127.0.0.1:0").expect("a port");
        datagrams.connect(address).expect("an address");
        let connected = TcpStream::connect(address).expect("a connection");
        let file = std::fs::File::open("/dev/null").expect("a file");
        let refused =
            [Given::new(unix), Given::new(datagrams), Given::new(connected), Given::new(file)];
        assert!(refused.iter().all(Result::is_err), "{refused:?}");
    }
}
