//! A descriptor for when there are none left: it is then that somebody looks.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Kept for its number alone.
#[derive(Debug)]
pub(super) struct Spare(Option<OwnedFd>);

impl Spare {
    /// Any descriptor will do: here it is a copy of the listener. Without one left it keeps nothing.
    pub(super) fn of(listener: &TcpListener) -> Self {
        Self(listener.as_fd().try_clone_to_owned().ok())
    }

    /// After a failure to accept: gives its number to who waits, and afterwards keeps what is left of that connection. So
    /// the number is free for a moment only in which the clients of the data plane could take it, who want one as well.
    /// Comes back after a pause where nobody waits, or they were quicker.
    pub(super) async fn lend(
        &mut self,
        listener: &TcpListener,
        serve: impl AsyncFnOnce(&mut TcpStream),
    ) {
        // Without a number accept(2) fails before it looks whether there is anybody.
        if has_come(listener) {
            drop(self.0.take());
            if let Ok((mut stream, _)) = listener.accept().await {
                serve(&mut stream).await;
                self.0 = stream.into_std().ok().map(OwnedFd::from);
                return;
            }
        }
        sleep(PAUSE).await;
        if self.0.is_none() {
            *self = Self::of(listener);
        }
    }
}

/// Whether a client waits to be accepted. A failure to find out is told by who accepts.
fn has_come(listener: &TcpListener) -> bool {
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    !matches!(poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&now)), Ok(0))
}

/// After a failure to accept: the connections that we carry come first.
const PAUSE: Duration = Duration::from_millis(100);
