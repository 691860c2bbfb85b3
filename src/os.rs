//! What Linux does better than others, each with what it is for.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::SendFlags;
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpStream;

/// A socket that does not block, made by one system call.
pub(crate) fn stream_socket(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)
}

/// To be called before connecting, where bytes follow at once: the last packet of the handshake says nothing that the
/// first one with bytes does not say as well.
///
/// The kernel holds the former back when it takes the connection for one that answers what it gets (tcp(7),
/// TCP_QUICKACK); once connected it acknowledges promptly again.
pub(crate) fn spare_an_acknowledgement(socket: &Socket) {
    // A packet more is no harm.
    let _ = socket.set_tcp_quickack(false);
}

/// Gives the peer up once what it was sent is not acknowledged for so long (tcp(7), TCP_USER_TIMEOUT).
pub(crate) fn give_up_after(socket: &SockRef<'_>, unacknowledged: Duration) {
    // It fails only on a socket that is gone.
    let _ = socket.set_tcp_user_timeout(Some(unacknowledged));
}

/// Sends what the socket takes now, whether the runtime counts it as writable or not, and without a signal if the peer is
/// gone.
pub(crate) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

/// Whether everything has left for the peer. With this low-water mark a socket counts as writable only when it holds
/// nothing unsent (tcp(7), TCP_NOTSENT_LOWAT).
pub(crate) fn is_sent(stream: &TcpStream) -> bool {
    if SockRef::from(stream).set_tcp_notsent_lowat(1).is_err() {
        return true;
    }
    let mut asked = [PollFd::new(stream, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    !matches!(poll(&mut asked, Some(&now)), Ok(0))
}
