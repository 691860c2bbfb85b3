//! A socket for a session, connected to a living backend of its route.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use socket2::SockRef;
use tokio::time::Instant;

use super::outlet::Alone;
use super::session::Upstream;
use super::spare::Spares;
use crate::backend::Backend;
use crate::connect::connect_datagrams;
use crate::dial::{is_its, is_ours};
use crate::event::{Conn, Event, Observer};
use crate::os;
use crate::pool::{Pick, Tried};
use crate::stand_in::stand_in;
use crate::table::Route;

/// What choosing a backend depends on.
pub(crate) struct Choice<'a> {
    pub(crate) route: &'a Route,
    pub(crate) conn: &'a Conn,
    /// Who is to tell, by this token, when something comes.
    pub(crate) registry: &'a Registry,
    pub(crate) token: Token,
    pub(crate) spares: &'a mut Spares,
    pub(crate) now: Instant,
    pub(crate) observer: &'a dyn Observer,
}

/// What became of choosing.
pub(crate) enum Chosen {
    /// A new way, to this backend.
    New(Upstream),
    /// The old way is the best there is.
    Same,
    None(Lack),
}

/// Why there is no way to a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lack {
    /// No backend takes anything.
    Backends,
    /// All that live have as many sessions as they may.
    Places,
    /// Descriptors, ports or memory of our own ran out.
    Own,
}

impl Choice<'_> {
    /// Tries the backends in turn, the living first. Nothing is sent, and so nothing waited for: what fails here fails at
    /// once.
    pub(crate) fn make(&mut self, old: Option<&Upstream>) -> Chosen {
        let mut tried = Tried::default();
        let mut lack = Lack::Backends;
        loop {
            let lease = match self.route.pool().pick(self.conn.client.ip(), &tried) {
                Pick::Alive(lease) | Pick::LastResort(lease) => lease,
                Pick::Full => return Chosen::None(Lack::Places),
                Pick::None => return Chosen::None(lack),
            };
            let address = lease.backend().address();
            if old.is_some_and(|it| it.address() == address) {
                return Chosen::Same;
            }
            match self.connect(address) {
                Ok((socket, is_watched)) => {
                    let upstream = Upstream {
                        socket,
                        lease,
                        gathers: false,
                        path: Alone::default(),
                        stands_in: self.route.is_transparent(),
                    };
                    return self.watched(upstream, is_watched);
                }
                Err(error) => {
                    self.fails(lease.backend(), &error);
                    if is_ours(&error) {
                        lack = Lack::Own;
                    }
                    tried.push(lease);
                }
            }
        }
    }

    /// The same way, of which the registry tells. Closing its socket ends that.
    fn watched(&self, upstream: Upstream, is_watched: bool) -> Chosen {
        let (fd, readable) = (upstream.socket.as_raw_fd(), Interest::READABLE);
        let watched = if is_watched {
            self.registry.reregister(&mut SourceFd(&fd), self.token, readable)
        } else {
            self.registry.register(&mut SourceFd(&fd), self.token, readable)
        };
        match watched {
            Ok(()) => {
                upstream.follow_for(self.route);
                Chosen::New(upstream)
            }
            Err(error) => {
                self.fails(upstream.backend(), &error);
                Chosen::None(Lack::Own)
            }
        }
    }

    fn fails(&self, backend: &Backend, error: &io::Error) {
        let &Self { conn, route, observer, .. } = self;
        Failing { conn, route, backend }.note(error, observer);
    }

    /// A socket that is connected, and whether it is watched already, for the session that had it before.
    fn connect(&mut self, address: SocketAddr) -> io::Result<(UdpSocket, bool)> {
        if self.route.is_transparent() {
            let socket = under(self.conn.client, address)?;
            connect_datagrams(&socket, address)?;
            return Ok((socket, false));
        }
        let spare = self.spares.take(address, self.now);
        let is_watched = spare.is_some();
        let socket = spare.map_or_else(|| prepared(address), Ok)?;
        connect_datagrams(&socket, address)?;
        Ok((socket, is_watched))
    }
}

/// Who was to take something, and for whom.
pub(crate) struct Failing<'a> {
    pub(crate) conn: &'a Conn,
    pub(crate) route: &'a Route,
    pub(crate) backend: &'a Backend,
}

impl Failing<'_> {
    /// Notes that a backend takes nothing: it is set aside, unless the failure is our own.
    pub(crate) fn note(self, error: &io::Error, observer: &dyn Observer) {
        let Self { conn, route, backend } = self;
        let fell = is_its(error) && backend.set_aside();
        observer.on(&Event::ConnectFailed { conn, route, backend, error, fell });
    }
}

/// A socket with the client's address, and its port if that is free: for it may be in use already, by another session of the
/// client's.
fn under(client: SocketAddr, address: SocketAddr) -> io::Result<UdpSocket> {
    let same = prepared(address)?;
    if stand_in(&SockRef::from(&same), client, address).is_ok() {
        return Ok(same);
    }
    let other = prepared(address)?;
    stand_in(&SockRef::from(&other), SocketAddr::new(client.ip(), 0), address)?;
    Ok(other)
}

fn prepared(address: SocketAddr) -> io::Result<UdpSocket> {
    let socket = os::datagram_socket(address)?;
    os::hear_ecn(&socket, address);
    os::keep_answers(&socket);
    if !address.ip().is_loopback() {
        os::let_fragment(&socket, address);
    }
    Ok(socket.into())
}

impl Upstream {
    /// Has the backend checked while the session lasts, if it is to leave one that is down.
    pub(super) fn follow_for(&self, route: &Route) {
        if route.close_on_down() {
            self.backend().follow();
        }
    }

    /// Much comes: the system is to keep more of it, and to hand it over together.
    pub(crate) fn gather(&mut self) {
        if !self.gathers {
            self.gathers = true;
            os::gather(&self.socket);
        }
    }
}
