//! Trying to move bytes on a socket that the runtime watches.

use std::io::{self, ErrorKind};

use tokio::io::Interest;
use tokio::net::TcpStream;

/// Tries `work`, which may move as much as there is `room` for. If it moves less, the runtime takes the socket for
/// exhausted.
///
/// The runtime's own reads and writes do the same, but ask to be woken before they try.
pub(super) fn attempt(
    stream: &TcpStream,
    interest: Interest,
    room: usize,
    work: impl FnOnce() -> io::Result<usize>,
) -> io::Result<usize> {
    let mut moved = 0;
    let tried = stream.try_io(interest, || {
        moved = work()?;
        if (1..room).contains(&moved) { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
    });
    match tried {
        Err(error) if moved == 0 => Err(error),
        Ok(()) | Err(_) => Ok(moved),
    }
}

pub(super) fn would_block(error: &io::Error) -> bool {
    error.kind() == ErrorKind::WouldBlock
}

/// What was moved: nothing if it would have to wait.
pub(super) fn or_nothing(moved: io::Result<usize>) -> io::Result<usize> {
    moved.or_else(|error| if would_block(&error) { Ok(0) } else { Err(error) })
}
