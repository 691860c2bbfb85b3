//! To begin a connection or a session: with anybody but ourselves.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::sync::OnceLock;
use std::time::Duration;

use rustix::io::Errno;
use socket2::{SockRef, Socket};

use crate::{os, own};

/// Begins to connect a socket that does not block.
///
/// Where nobody listens on a port of this machine, the system may choose that very port to connect from. Then the socket
/// is connected with itself (RFC 9293, section 3.5): it hears what it says, and the server cannot have its port back.
/// That is a refusal, and the socket is reset once it is dropped.
pub(crate) fn connect(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    match socket.connect(&to.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => return Err(error),
        _ => {}
    }
    let refused = not_with_itself(socket, to);
    if refused.is_err() {
        // Without it the port would be kept for a minute more (TIME-WAIT).
        let _ = socket.set_linger(Some(Duration::ZERO));
    }
    refused
}

/// Connects a datagram socket. One that is connected with itself would take what it sends for answers.
pub(crate) fn connect_datagrams(socket: &UdpSocket, to: SocketAddr) -> io::Result<()> {
    socket.connect(to)?;
    not_with_itself(&SockRef::from(socket), to)
}

fn not_with_itself(socket: &Socket, to: SocketAddr) -> io::Result<()> {
    if is_with_itself(socket, to) { Err(Errno::CONNREFUSED.into()) } else { Ok(()) }
}

/// The port was chosen before connect(2) sent anything, so this is known at once. Only about a port that may be chosen is
/// the system asked; whether the address is this machine's would take more to find out.
fn is_with_itself(socket: &Socket, to: SocketAddr) -> bool {
    static CHOSEN: OnceLock<RangeInclusive<u16>> = OnceLock::new();
    if !CHOSEN.get_or_init(os::chosen_ports).contains(&to.port()) {
        return false;
    }
    let from = socket.local_addr().ok().and_then(|it| it.as_socket());
    from.is_some_and(|from| own::is_same(from, to))
}
