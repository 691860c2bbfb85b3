//! Speaking to a backend under the client's own address.

use std::io;
use std::net::SocketAddr;

use socket2::Socket;

use crate::os;

/// Why that cannot be done. It says nothing of the backend.
#[derive(Debug, thiserror::Error)]
enum Hindrance {
    #[error("cannot speak under the client's address: {0}")]
    System(#[source] io::Error),
    #[error("cannot speak under the client's address: it is not of the backend's family")]
    Family,
}

/// Gives a socket that is to be connected to `backend` the client's address. Port 0: the system chooses one.
pub(crate) fn stand_in(socket: &Socket, client: SocketAddr, backend: SocketAddr) -> io::Result<()> {
    if client.is_ipv4() != backend.is_ipv4() {
        return Err(io::Error::other(Hindrance::Family));
    }
    let bound = os::be_transparent(socket, client).and_then(|()| socket.bind(&client.into()));
    bound.map_err(|error| io::Error::other(Hindrance::System(error)))
}

/// Whether an error is of that kind.
pub(crate) fn is_hindrance(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|it| it.is::<Hindrance>())
}

/// Whether this program may speak under addresses of this family that are not its own.
///
/// # Errors
///
/// What the system says, if it may not.
pub fn can_stand_in(family: SocketAddr) -> io::Result<()> {
    os::be_transparent(&os::datagram_socket(family)?, family)
}
