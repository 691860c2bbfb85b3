//! UDP sockets of the load generator and of the backends: many datagrams in one system call, both ways.

use std::io::{ErrorKind, IoSliceMut, Result};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::ops::RangeInclusive;
use std::time::Duration;

use quinn_udp::{BATCH_SIZE, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, set_ip_mtu_discover, set_socket_recv_buffer_size,
    set_socket_recv_buffer_size_force, set_socket_reuseport,
};
use rustix::net::{AddressFamily, SocketType, bind, socket};
use tokio::io::Interest;
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// Bytes that a socket is to hold: what is lost for want of room here would be told of the proxy. Root gets it all.
const ROOM: usize = 64 * 1024 * 1024;

/// The largest datagram, and the most that comes joined (GRO); anything shorter would be cut in silence.
const LARGEST: usize = 65_536;

/// What has not come by then is lost.
pub(crate) const SOON: Duration = Duration::from_secs(2);

/// A socket that sends and takes batches.
#[derive(Debug)]
pub(crate) struct Socket {
    inner: UdpSocket,
    state: UdpSocketState,
}

/// Room for what comes in at once.
pub(crate) struct Buffers {
    bytes: Vec<u8>,
    metas: [RecvMeta; BATCH_SIZE],
    filled: usize,
}

/// One datagram that came in.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) bytes: &'a [u8],
    pub(crate) from: SocketAddr,
    /// The address that it was sent to.
    pub(crate) to: Option<Ipv4Addr>,
}

impl Socket {
    /// One whose port the system chooses.
    pub(crate) fn bind(address: Ipv4Addr) -> Result<Self> {
        Self::new(std::net::UdpSocket::bind((address, 0))?)
    }

    /// So many sockets on one port of loopback, the first of these that is free; the kernel gives each its flows.
    pub(crate) fn group(count: usize, ports: RangeInclusive<u16>) -> Result<Vec<Self>> {
        // The first without the option: with it another program's port would do as well.
        let bound = |port| std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok();
        let first = ports.into_iter().find_map(bound).ok_or(ErrorKind::AddrInUse)?;
        set_socket_reuseport(&first, true)?;
        let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, first.local_addr()?.port());
        let join = || {
            let next = socket(AddressFamily::INET, SocketType::DGRAM, None)?;
            set_socket_reuseport(&next, true)?;
            bind(&next, &address)?;
            Self::new(next.into())
        };
        let mut sockets = vec![Self::new(first)?];
        for _ in 1..count {
            sockets.push(join()?);
        }
        Ok(sockets)
    }

    fn new(inner: std::net::UdpSocket) -> Result<Self> {
        let state = UdpSocketState::new(UdpSockRef::from(&inner))?;
        // `new` forbids fragments; nobody else's datagrams are sent so.
        set_ip_mtu_discover(&inner, Ipv4PathMtuDiscovery::DONT)?;
        make_room(&inner)?;
        Ok(Self { inner: UdpSocket::from_std(inner)?, state })
    }

    pub(crate) fn port(&self) -> Result<u16> {
        Ok(self.inner.local_addr()?.port())
    }

    /// Whether the kernel takes so many datagrams joined.
    pub(crate) fn joins(&self, segments: usize) -> bool {
        segments <= self.state.max_gso_segments()
    }

    /// Waits for datagrams.
    pub(crate) async fn receive(&self, buffers: &mut Buffers) -> Result<()> {
        loop {
            self.inner.readable().await?;
            match self.try_receive(buffers) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                ended => return ended,
            }
        }
    }

    /// The same, or an error after a while.
    pub(crate) async fn receive_soon(&self, buffers: &mut Buffers) -> Result<()> {
        timeout(SOON, self.receive(buffers)).await?
    }

    /// Takes what is there.
    pub(crate) fn try_receive(&self, buffers: &mut Buffers) -> Result<()> {
        buffers.filled = 0;
        let mut chunks = buffers.bytes.chunks_exact_mut(LARGEST);
        let mut slices: [IoSliceMut<'_>; BATCH_SIZE] =
            std::array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        buffers.filled = self.inner.try_io(Interest::READABLE, || {
            self.state.recv(UdpSockRef::from(&self.inner), &mut slices, &mut buffers.metas)
        })?;
        Ok(())
    }

    /// Sends, and waits for room where there is none.
    pub(crate) async fn send(&self, what: &Transmit<'_>) -> Result<()> {
        loop {
            match self.try_send(what) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.inner.writable().await?;
                }
                ended => return ended,
            }
        }
    }

    pub(crate) async fn writable(&self) -> Result<()> {
        self.inner.writable().await
    }

    pub(crate) fn try_send(&self, what: &Transmit<'_>) -> Result<()> {
        self.inner
            .try_io(Interest::WRITABLE, || self.state.try_send(UdpSockRef::from(&self.inner), what))
    }
}

/// All that the system allows this program, up to `ROOM`.
pub(crate) fn make_room(socket: &std::net::UdpSocket) -> Result<()> {
    // Only root may have more than the system's limit; others get that.
    match set_socket_recv_buffer_size_force(socket, ROOM) {
        Ok(()) => Ok(()),
        Err(_) => Ok(set_socket_recv_buffer_size(socket, ROOM)?),
    }
}

impl Buffers {
    pub(crate) fn new() -> Self {
        let metas = [RecvMeta::default(); BATCH_SIZE];
        Self { bytes: vec![0; BATCH_SIZE * LARGEST], metas, filled: 0 }
    }

    /// What the last call took, each datagram by itself.
    pub(crate) fn datagrams(&self) -> impl Iterator<Item = Datagram<'_>> {
        let taken = self.metas.iter().zip(self.bytes.chunks_exact(LARGEST)).take(self.filled);
        taken.flat_map(|(meta, bytes)| {
            let bytes = bytes.get(..meta.len).unwrap_or_default();
            let to = match meta.dst_ip {
                Some(std::net::IpAddr::V4(to)) => Some(to),
                _ => None,
            };
            // An empty datagram has a stride of 0, and no pieces: it would be missed.
            let empty = bytes.is_empty().then_some(bytes);
            let pieces = empty.into_iter().chain(bytes.chunks(meta.stride.max(1)));
            pieces.map(move |bytes| Datagram { bytes, from: meta.addr, to })
        })
    }
}

/// One datagram, or with `segment` several of that size.
pub(crate) fn transmit(to: SocketAddr, contents: &[u8], segment: Option<usize>) -> Transmit<'_> {
    Transmit { destination: to, ecn: None, contents, segment_size: segment, src_ip: None }
}
