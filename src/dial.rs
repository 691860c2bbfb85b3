//! Connect to the backend whose turn it is, or to the next that takes us.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{Instant, timeout};

use crate::backend::Backend;
use crate::event::{Conn, Event, Observer, Refusal};
use crate::limits::Limits;
use crate::pool::{Pool, Tried};

/// A backend that took the connection.
pub(crate) struct Dialed {
    pub(crate) stream: TcpStream,
    pub(crate) backend: Arc<Backend>,
    pub(crate) address: SocketAddr,
}

/// Tries each backend of the pool once, the living first. Each may take the connect time-out; those that were set
/// aside share one, so that a route that is all down answers within it.
pub(crate) async fn dial(
    pool: &Pool,
    conn: &Conn,
    limits: &Limits,
    observer: &dyn Observer,
) -> Result<Dialed, Refusal> {
    let mut tried = Tried::default();
    let mut last_resort_until = None;
    while let Some(pick) = pool.pick(&mut tried) {
        let limit = if pick.last_resort {
            let until =
                *last_resort_until.get_or_insert_with(|| Instant::now() + limits.connect_timeout);
            let rest = u32::try_from(pool.left(&tried) + 1).unwrap_or(u32::MAX);
            until.saturating_duration_since(Instant::now()) / rest
        } else {
            limits.connect_timeout
        };
        match connect(pick.backend, limit).await {
            Ok((stream, address)) => {
                pick.backend.found_alive();
                return Ok(Dialed { stream, backend: Arc::clone(pick.backend), address });
            }
            Err(error) => {
                let (backend, is_its_own) = (pick.backend, !is_ours(&error));
                let fell = is_its_own && backend.is_alive();
                if is_its_own {
                    backend.set_aside();
                }
                observer.on(&Event::ConnectFailed { conn, backend, error: &error, fell });
            }
        }
    }
    Err(Refusal::NoBackend)
}

/// A failure that says nothing of the backend: descriptors, memory or ports of our own ran out.
fn is_ours(error: &io::Error) -> bool {
    let ours = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM, Errno::ADDRNOTAVAIL];
    Errno::from_io_error(error).is_some_and(|it| ours.contains(&it))
}

/// Tries the backend's addresses in order. Each gets its share of what is left of the limit, so that one that swallows
/// packets does not hide the next.
async fn connect(backend: &Backend, limit: Duration) -> io::Result<(TcpStream, SocketAddr)> {
    let addresses = backend.snapshot();
    let until = Instant::now() + limit;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name has no address yet");
    for (at, &address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        let share = until.saturating_duration_since(Instant::now()) / left;
        match timeout(share, connect_to(address)).await {
            Ok(Ok(stream)) => return Ok((stream, address)),
            Ok(Err(error)) => failed = error,
            Err(_) => failed = io::ErrorKind::TimedOut.into(),
        }
    }
    Err(failed)
}

async fn connect_to(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_nodelay(true)?;
    socket.connect(address).await
}
