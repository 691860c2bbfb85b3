//! Bound sockets.

mod given;
mod place;

use std::io;
use std::iter;
use std::net::{SocketAddr, TcpListener as StdListener, UdpSocket};
use std::sync::Arc;

use refractium_protocol::Transport;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;

use crate::crew::Shared;
use crate::error::Error;
use crate::keepalive;
use crate::own::is_dual;
use crate::udp::Port;
pub use given::Given;
pub(crate) use place::Place;

/// Bound sockets, ready to be served.
#[derive(Debug, Default)]
pub struct Listeners {
    /// Each with the address it is bound to.
    tcp: Vec<(SocketAddr, StdListener)>,
    udp: Vec<(SocketAddr, UdpSocket)>,
    /// What was asked for, of those addresses whose port the system chose.
    asked: Vec<(SocketAddr, SocketAddr)>,
}

/// The same, known to the runtime that is to serve them.
pub(crate) struct Registered {
    pub(crate) tcp: Vec<(SocketAddr, TcpListener)>,
    pub(crate) udp: Vec<Port>,
    asked: Vec<(SocketAddr, SocketAddr)>,
}

impl Registered {
    /// What was asked for when this address was bound.
    pub(crate) fn asked(&self, local: SocketAddr) -> SocketAddr {
        let asked = self.asked.iter().find(|(bound, _)| *bound == local);
        asked.map_or(local, |(_, asked)| *asked)
    }
}

impl Listeners {
    /// Binds every address for each of the transports, or none. Port 0 lets the system choose one, the same for both.
    ///
    /// `::` takes IPv4 as well, unless an IPv4 address of the same port stands beside it.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] with the first address that cannot be listened on.
    pub fn bind(addresses: &[SocketAddr], transports: &[Transport]) -> Result<Self, Error> {
        Self::bind_as(addresses, transports, Sharing::None)
    }

    fn bind_as(
        addresses: &[SocketAddr],
        transports: &[Transport],
        sharing: Sharing,
    ) -> Result<Self, Error> {
        let mut bound = Self::default();
        for &address in addresses {
            let dual_stack = is_dual(address, addresses);
            bound.add(&Binding { address, dual_stack, sharing }, transports, &[])?;
        }
        Ok(bound)
    }

    /// Binds one address. A port that the system chose for TCP may be taken for UDP: then another is asked for.
    fn add(
        &mut self,
        binding: &Binding,
        transports: &[Transport],
        shared: &[Transport],
    ) -> Result<(), Error> {
        let sharing = |of| if shared.contains(&of) { Sharing::Joins } else { binding.sharing };
        let (of_tcp, of_udp) = (sharing(Transport::Tcp), sharing(Transport::Udp));
        let (has_tcp, has_udp) =
            (transports.contains(&Transport::Tcp), transports.contains(&Transport::Udp));
        let mut tries = if binding.address.port() == 0 && has_tcp && has_udp { CHOICES } else { 1 };
        loop {
            tries -= 1;
            let listen = || Binding { sharing: of_tcp, ..*binding }.listen();
            let tcp = if has_tcp { Some(listen()?) } else { None };
            let address = tcp.as_ref().map_or(binding.address, |(local, _)| *local);
            let receive = || Binding { address, sharing: of_udp, ..*binding }.receive();
            let udp = if has_udp { Some(receive()) } else { None };
            match udp.transpose() {
                Err(Error::Bind { source, .. })
                    if tries > 0 && source.kind() == io::ErrorKind::AddrInUse => {}
                udp => {
                    let udp = udp?;
                    let bound = tcp.iter().map(|(local, _)| *local);
                    let bound = bound.chain(udp.iter().map(|(local, _)| *local)).next();
                    self.asked.extend(bound.map(|local| (local, binding.address)));
                    self.udp.extend(udp);
                    self.tcp.extend(tcp);
                    return Ok(());
                }
            }
        }
    }

    /// Binds every address once for each worker, or none: the system spreads clients over them. No worker means one.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] with the first address that cannot be listened on, because another process, or another engine,
    /// has it, say.
    pub fn bind_each(
        addresses: &[SocketAddr],
        transports: &[Transport],
        workers: usize,
    ) -> Result<Vec<Self>, Error> {
        Self::bind_as(addresses, transports, Sharing::Begins)?.for_each(workers)
    }

    /// Binds these places once for each worker, or none.
    pub(crate) fn bind_places(places: &[Place], workers: usize) -> Result<Vec<Self>, Error> {
        let mut first = Self::default();
        for &Place { address, asked, is_dual, ref transports, ref shared } in places {
            let binding = Binding { address, dual_stack: is_dual, sharing: Sharing::Begins };
            first.add(&binding, transports, shared)?;
            first.asked.last_mut().into_iter().for_each(|last| last.1 = asked);
        }
        first.for_each(workers)
    }

    fn for_each(self, workers: usize) -> Result<Vec<Self>, Error> {
        let joined: Vec<_> = (1..workers).map(|_| self.join()).collect::<Result<_, _>>()?;
        Ok(iter::once(self).chain(joined).collect())
    }

    /// Binds the same addresses once more.
    fn join(&self) -> Result<Self, Error> {
        let join = |address, socket: SockRef<'_>| {
            // The port may be one that the system chose: whether IPv4 is taken as well was decided before.
            let dual_stack = address_is_dual(address, &socket);
            Binding { address, dual_stack, sharing: Sharing::Joins }
        };
        let tcp = self.tcp.iter().map(|(local, it)| join(*local, it.into()).listen());
        let udp = self.udp.iter().map(|(local, it)| join(*local, it.into()).receive());
        let (tcp, udp) = (tcp.collect::<Result<_, _>>()?, udp.collect::<Result<_, _>>()?);
        Ok(Self { tcp, udp, asked: self.asked.clone() })
    }

    /// Takes sockets that are bound and listen already.
    ///
    /// # Errors
    ///
    /// [`Error::Listener`] if one is no listening socket.
    pub fn from_std(
        listeners: impl IntoIterator<Item = StdListener>,
        datagrams: impl IntoIterator<Item = UdpSocket>,
    ) -> Result<Self, Error> {
        let listener = |listener: StdListener| {
            listener.set_nonblocking(true)?;
            prepare(&SockRef::from(&listener))?;
            Ok((listener.local_addr()?, listener))
        };
        let socket = |socket: UdpSocket| {
            socket.set_nonblocking(true)?;
            Ok((socket.local_addr()?, socket))
        };
        let tcp = listeners.into_iter().map(listener).collect::<io::Result<_>>();
        let udp = datagrams.into_iter().map(socket).collect::<io::Result<_>>();
        let (tcp, udp) = (tcp.map_err(Error::Listener)?, udp.map_err(Error::Listener)?);
        Ok(Self { tcp, udp, asked: Vec::new() })
    }

    /// Where they listen, with the ports that the system chose; an address that is listened on for both transports, once.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let mut addresses = self.addresses_of(Transport::Tcp);
        for local in self.addresses_of(Transport::Udp) {
            if !addresses.contains(&local) {
                addresses.push(local);
            }
        }
        addresses
    }

    /// Where they listen for one transport.
    pub fn addresses_of(&self, transport: Transport) -> Vec<SocketAddr> {
        match transport {
            Transport::Tcp => self.tcp.iter().map(|(local, _)| *local).collect(),
            Transport::Udp => self.udp.iter().map(|(local, _)| *local).collect(),
        }
    }

    /// Hands them to the runtime of a worker. What they accept lives as long as its limits say.
    pub(crate) fn register(self, worker: &Arc<Shared>) -> Result<Registered, Error> {
        let listener = |(local, listener)| {
            keepalive::set_anew(SockRef::from(&listener), &worker.terms().limits);
            Ok((local, TcpListener::from_std(listener)?))
        };
        let port = |(_, socket)| Port::new(socket, Arc::clone(worker));
        let tcp = self.tcp.into_iter().map(listener).collect::<io::Result<_>>();
        let udp = self.udp.into_iter().map(port).collect::<io::Result<_>>();
        let (tcp, udp) = (tcp.map_err(Error::Listener)?, udp.map_err(Error::Listener)?);
        Ok(Registered { tcp, udp, asked: self.asked })
    }
}

/// How many ports the system is asked to choose until one is free for both transports.
const CHOICES: usize = 64;

/// What accepted sockets inherit, for which each would cost a system call.
fn prepare(listener: &SockRef<'_>) -> io::Result<()> {
    listener.set_tcp_nodelay(true)?;
    // An urgent byte (FTP's ABOR sends one) stays in its place among the others.
    listener.set_out_of_band_inline(true)
}

/// Whether a socket that is bound to this address takes IPv4 as well.
pub(crate) fn address_is_dual(address: SocketAddr, socket: &SockRef<'_>) -> bool {
    address.is_ipv6() && !socket.only_v6().unwrap_or(true)
}

/// As long as the system allows: it cuts this to its own limit.
const BACKLOG: i32 = 65_535;

/// Whether an address has one socket or several.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sharing {
    /// One.
    None,
    /// Others will join. It is bound alone all the same, so that a second process is refused.
    Begins,
    /// It joins the one that began, or takes its place where their addresses overlap. No other program of this user loses
    /// anything by that: it has not what is ours, and keeps what is more specific.
    Joins,
}

/// One address and how it is bound.
#[derive(Clone, Copy)]
struct Binding {
    address: SocketAddr,
    dual_stack: bool,
    sharing: Sharing,
}

impl Binding {
    fn listen(&self) -> Result<(SocketAddr, StdListener), Error> {
        let listen = || {
            let socket = self.socket(Type::STREAM, Protocol::TCP)?;
            socket.set_reuse_address(true)?;
            prepare(&SockRef::from(&socket))?;
            self.bind(&socket)?;
            socket.listen(BACKLOG)?;
            let listener = StdListener::from(socket);
            Ok((listener.local_addr()?, listener))
        };
        listen().map_err(|source| self.failed(Transport::Tcp, source))
    }

    /// SO_REUSEADDR would let a stranger have the same port for UDP.
    fn receive(&self) -> Result<(SocketAddr, UdpSocket), Error> {
        let receive = || {
            let socket = self.socket(Type::DGRAM, Protocol::UDP)?;
            self.bind(&socket)?;
            let socket = UdpSocket::from(socket);
            Ok((socket.local_addr()?, socket))
        };
        receive().map_err(|source| self.failed(Transport::Udp, source))
    }

    const fn failed(&self, transport: Transport, source: io::Error) -> Error {
        Error::Bind { address: self.address, transport, source }
    }

    fn socket(&self, kind: Type, protocol: Protocol) -> io::Result<Socket> {
        let socket = Socket::new(Domain::for_address(self.address), kind, Some(protocol))?;
        if self.address.is_ipv6() {
            socket.set_only_v6(!self.dual_stack)?;
        }
        socket.set_nonblocking(true)?;
        Ok(socket)
    }

    fn bind(&self, socket: &Socket) -> io::Result<()> {
        socket.set_reuse_port(self.sharing == Sharing::Joins)?;
        socket.bind(&self.address.into())?;
        socket.set_reuse_port(self.sharing != Sharing::None)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::engine::Refractium;
    use crate::event::Event;
    use crate::limits::Limits;

    use super::*;

    const BOTH: &[Transport] = &[Transport::Tcp, Transport::Udp];

    /// A port that is free in both families now.
    fn port() -> u16 {
        let bound = Listeners::bind(&[SocketAddr::from(([0, 0, 0, 0], 0))], BOTH).expect("a port");
        bound.addresses().first().expect("an address").port()
    }

    /// A listener may come from a process with other limits, and its clients have what it has.
    #[tokio::test]
    async fn nothing_is_kept_of_what_a_listener_had_before() {
        let bound = Listeners::bind(&[SocketAddr::from(([127, 0, 0, 1], 0))], &BOTH[..1]);
        let bound = bound.expect("a port");
        let [(_, listener)] = &bound.tcp[..] else { panic!("{bound:?}") };
        keepalive::set(SockRef::from(listener), &Limits::default());
        assert!(SockRef::from(listener).keepalive().expect("an open socket"));
        let limits = Limits { keepalive: Duration::ZERO, ..Limits::default() };
        let plan = Refractium::builder().limits(limits).plan().expect("sound routes");
        let worker = Shared::alone(plan, |_: &Event<'_>| {});
        let registered = bound.register(&worker).expect("sockets");
        let [(_, listener)] = &registered.tcp[..] else { panic!("one") };
        assert!(!SockRef::from(listener).keepalive().expect("an open socket"));
    }

    /// Mission: `::` alone is dual stack, with an IPv4 address beside it IPv6 only. Were it not, they would collide.
    #[test]
    fn the_ipv6_wildcard_leaves_ipv4_to_an_address_beside_it() {
        for beside in ["0.0.0.0", "127.0.0.1"] {
            let bound = (0..20).find_map(|_| {
                let port = port();
                let addresses =
                    ["::", beside].map(|ip| SocketAddr::new(ip.parse().expect(ip), port));
                Listeners::bind(&addresses, BOTH).ok()
            });
            let is_v6_only = |(local, listener): &(SocketAddr, StdListener)| {
                local.is_ipv6().then(|| socket2::SockRef::from(listener).only_v6().ok())
            };
            let bound = bound.expect("a free port in twenty");
            assert_eq!(bound.tcp.iter().find_map(is_v6_only), Some(Some(true)), "beside {beside}");
        }
        let alone =
            Listeners::bind(&["[::]:0".parse().expect("an address")], BOTH).expect("a port");
        let (_, listener) = alone.tcp.first().expect("a listener");
        assert!(!socket2::SockRef::from(listener).only_v6().expect("an open socket"));
    }
}
