//! A socket for a session, connected to a living backend of its route.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};

use super::circle::Circle;
use super::session::Upstream;
use crate::backend::Backend;
use crate::dial::is_ours;
use crate::event::{Conn, Event, Observer};
use crate::os;
use crate::pool::{Pick, Pool, Tried};

/// What choosing a backend depends on.
pub(crate) struct Choice<'a> {
    pub(crate) pool: &'a Pool,
    pub(crate) conn: &'a Conn,
    pub(crate) circle: &'a Circle,
    pub(crate) observer: &'a dyn Observer,
}

/// What became of choosing.
pub(crate) enum Chosen {
    /// A new way, to this backend.
    New(Upstream),
    /// The old way is the best there is.
    Same,
    /// All that live have as many sessions as they may.
    Full,
    None,
}

impl Choice<'_> {
    /// Tries the backends in turn, the living first. Nothing is sent, and so nothing waited for: what fails here fails at
    /// once.
    pub(crate) fn make(&self, old: Option<&Upstream>) -> Chosen {
        let mut tried = Tried::default();
        loop {
            let lease = match self.pool.pick(self.conn.client.ip(), &tried) {
                Pick::Alive(lease) | Pick::LastResort(lease) => lease,
                Pick::Full => return Chosen::Full,
                Pick::None => return Chosen::None,
            };
            if old.is_some_and(|it| it.address() == lease.backend().address()) {
                return Chosen::Same;
            }
            match self.connect(lease.backend().address()) {
                Ok(socket) => return Chosen::New(Upstream { socket, lease, gathers: false }),
                Err(error) => {
                    self.fails(lease.backend(), &error);
                    tried.push(lease);
                }
            }
        }
    }

    fn connect(&self, address: SocketAddr) -> io::Result<UdpSocket> {
        if self.circle.is_own(address) {
            return Err(io::Error::other("it is this port itself"));
        }
        let socket = os::datagram_socket(address)?;
        os::hear_ecn(&socket, address);
        if !address.ip().is_loopback() {
            os::let_fragment(&socket, address);
        }
        socket.connect(&address.into())?;
        Ok(socket.into())
    }

    /// Notes that a backend takes nothing: it is set aside, unless the failure is our own.
    pub(crate) fn fails(&self, backend: &Backend, error: &io::Error) {
        let fell = !is_ours(error) && backend.set_aside();
        self.observer.on(&Event::ConnectFailed { conn: self.conn, backend, error, fell });
    }
}

impl Upstream {
    /// Has the registry tell by this token when something comes. Closing the socket ends that.
    pub(crate) fn register(&self, registry: &Registry, token: Token) -> io::Result<()> {
        registry.register(&mut SourceFd(&self.socket.as_raw_fd()), token, Interest::READABLE)
    }

    /// Much comes: the system is to keep more of it, and to hand it over together.
    pub(crate) fn gather(&mut self) {
        if !self.gathers {
            self.gathers = true;
            os::gather(&self.socket);
        }
    }
}
