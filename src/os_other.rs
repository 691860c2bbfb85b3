//! What other systems do not tell, or do not do.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use quinn_udp::{UdpSockRef, UdpSocketState};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpStream;

#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick(Instant);

impl Tick {
    pub(crate) fn now() -> Self {
        Self(Instant::now())
    }

    pub(crate) fn elapsed(self) -> Duration {
        self.0.elapsed()
    }
}

pub(crate) fn stream_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Each has another way to tell.
pub(crate) const fn chosen_ports() -> RangeInclusive<u16> {
    0..=u16::MAX
}

pub(crate) fn be_transparent(_socket: &Socket, _address: SocketAddr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) const fn spare_an_acknowledgement(_socket: &Socket) {}

pub(crate) const fn give_up_after(_socket: &SockRef<'_>, _unacknowledged: Duration) {}

pub(crate) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    SockRef::from(stream).send(bytes)
}

pub(crate) const fn set_low_water(_stream: &TcpStream, _bytes: u32) -> bool {
    false
}

pub(crate) const fn is_sent(_stream: &TcpStream) -> bool {
    true
}

pub(crate) fn datagram_socket(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

pub(crate) fn serve_datagrams(socket: &UdpSocket, _: SocketAddr) -> io::Result<UdpSocketState> {
    UdpSocketState::new(UdpSockRef::from(socket))
}

pub(crate) const RECEIVES_MANY: bool = false;

/// A message that says where it goes is refused there.
pub(crate) const MARKS_ON_CONNECTED: bool = false;

pub(crate) fn send_datagram(socket: &impl AsFd, bytes: &[u8]) -> io::Result<()> {
    SockRef::from(socket).send(bytes).map(drop)
}

pub(crate) fn send_datagram_to(socket: &impl AsFd, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
    SockRef::from(socket).send_to(bytes, &to.into()).map(drop)
}

pub(crate) fn disconnect(_socket: &impl AsFd) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

pub(crate) fn empties(_socket: &impl AsFd, _most: usize) -> bool {
    false
}

pub(crate) fn hear_ecn(_socket: &impl AsFd, _address: SocketAddr) {}

pub(crate) fn let_fragment(_socket: &impl AsFd, _address: SocketAddr) {}

pub(crate) fn gather(_socket: &impl AsFd) {}

pub(crate) fn keep_answers(_socket: &impl AsFd) {}
