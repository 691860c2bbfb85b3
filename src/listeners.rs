//! Bound sockets.

use std::iter;
use std::net::{SocketAddr, TcpListener as StdListener};

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use tokio::net::TcpListener;

use crate::error::Error;
use crate::keepalive;
use crate::limits::Limits;

/// Bound sockets, ready to be served.
#[derive(Debug)]
pub struct Listeners {
    /// Each with the address it is bound to.
    tcp: Vec<(SocketAddr, StdListener)>,
}

impl Listeners {
    /// Binds every address, or none. Port 0 lets the system choose one.
    ///
    /// `::` takes IPv4 as well, unless an IPv4 address of the same port stands beside it.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] with the first address that cannot be listened on.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, Error> {
        Self::bind_as(addresses, Sharing::None)
    }

    fn bind_as(addresses: &[SocketAddr], sharing: Sharing) -> Result<Self, Error> {
        let bind = |&address: &SocketAddr| {
            listen(address, is_dual(address, addresses), sharing)
                .map_err(|source| Error::Bind { address, source })
        };
        Ok(Self { tcp: addresses.iter().map(bind).collect::<Result<_, _>>()? })
    }

    /// Binds every address once for each worker, or none: the system spreads clients over them. No worker means one.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] with the first address that cannot be listened on, because another process, or another engine,
    /// has it, say.
    pub fn bind_each(addresses: &[SocketAddr], workers: usize) -> Result<Vec<Self>, Error> {
        let first = Self::bind_as(addresses, Sharing::Begins)?;
        let join = |(local, listener): &(SocketAddr, StdListener)| {
            // The port may be one that the system chose: whether IPv4 is taken as well was decided before.
            let dual = local.is_ipv6() && !SockRef::from(listener).only_v6().unwrap_or(true);
            listen(*local, dual, Sharing::Joins)
                .map_err(|source| Error::Bind { address: *local, source })
        };
        let joined = (1..workers).map(|_| first.tcp.iter().map(join).collect());
        let joined: Vec<_> =
            joined.map(|tcp: Result<_, _>| Ok(Self { tcp: tcp? })).collect::<Result<_, _>>()?;
        Ok(iter::once(first).chain(joined).collect())
    }

    /// Takes sockets that are bound and listen already.
    ///
    /// # Errors
    ///
    /// [`Error::Listener`] if one is no listening socket.
    pub fn from_std(listeners: impl IntoIterator<Item = StdListener>) -> Result<Self, Error> {
        let take = |listener: StdListener| {
            listener.set_nonblocking(true)?;
            prepare(&SockRef::from(&listener))?;
            Ok((listener.local_addr()?, listener))
        };
        let tcp = listeners.into_iter().map(take).collect::<std::io::Result<_>>();
        Ok(Self { tcp: tcp.map_err(Error::Listener)? })
    }

    /// Where they listen, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().map(|(local, _)| *local).collect()
    }

    /// Hands them to the runtime, each with its address. What they accept lives as long as `limits` say.
    pub(crate) fn register(self, limits: &Limits) -> Result<Vec<(SocketAddr, TcpListener)>, Error> {
        let register = |(local, listener)| {
            keepalive::set(SockRef::from(&listener), limits);
            Ok((local, TcpListener::from_std(listener)?))
        };
        self.tcp.into_iter().map(register).collect::<std::io::Result<_>>().map_err(Error::Listener)
    }
}

/// What accepted sockets inherit, for which each would cost a system call.
fn prepare(listener: &SockRef<'_>) -> std::io::Result<()> {
    listener.set_tcp_nodelay(true)?;
    // An urgent byte (FTP's ABOR sends one) stays in its place among the others.
    listener.set_out_of_band_inline(true)
}

/// Whether an address takes IPv4 as well.
fn is_dual(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let port = address.port();
    let has_v4 = all.iter().any(|it| it.is_ipv4() && it.port() == port);
    address.is_ipv6() && address.ip().is_unspecified() && !has_v4
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
    /// It joins the one that began.
    Joins,
}

fn listen(
    address: SocketAddr,
    dual_stack: bool,
    sharing: Sharing,
) -> std::io::Result<(SocketAddr, StdListener)> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual_stack)?;
    }
    socket.set_reuse_address(true)?;
    prepare(&SockRef::from(&socket))?;
    socket.set_nonblocking(true)?;
    socket.set_reuse_port(sharing == Sharing::Joins)?;
    socket.bind(&address.into())?;
    socket.set_reuse_port(sharing != Sharing::None)?;
    socket.listen(BACKLOG)?;
    let listener = StdListener::from(socket);
    Ok((listener.local_addr()?, listener))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A port that is free in both families now.
    fn port() -> u16 {
        let bound = Listeners::bind(&[SocketAddr::from(([0, 0, 0, 0], 0))]).expect("a port");
        bound.addresses().first().expect("an address").port()
    }

    /// Mission: `::` alone is dual stack, with an IPv4 address beside it IPv6 only. Were it not, they would collide.
    #[test]
    fn the_ipv6_wildcard_leaves_ipv4_to_an_address_beside_it() {
        for beside in ["0.0.0.0", "127.0.0.1"] {
            let bound = (0..20).find_map(|_| {
                let port = port();
                let addresses =
                    ["::", beside].map(|ip| SocketAddr::new(ip.parse().expect(ip), port));
                Listeners::bind(&addresses).ok()
            });
            let is_v6_only = |(local, listener): &(SocketAddr, StdListener)| {
                local.is_ipv6().then(|| socket2::SockRef::from(listener).only_v6().ok())
            };
            let bound = bound.expect("a free port in twenty");
            assert_eq!(bound.tcp.iter().find_map(is_v6_only), Some(Some(true)), "beside {beside}");
        }
        let alone = Listeners::bind(&["[::]:0".parse().expect("an address")]).expect("a port");
        let (_, listener) = alone.tcp.first().expect("a listener");
        assert!(!socket2::SockRef::from(listener).only_v6().expect("an open socket"));
    }
}
