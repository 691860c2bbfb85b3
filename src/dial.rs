//! Connect to the backend whose turn it is, or to the next that takes us.

use std::io;
use std::io::ErrorKind::{TimedOut, WouldBlock};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

use crate::backend::Backend;
use crate::event::{Conn, Event, Observer, Refusal};
use crate::limits::Limits;
use crate::os;
use crate::pool::{Pool, Tried};
use crate::weld::drop_spares;

/// A backend that took the connection.
pub(crate) struct Dialed {
    pub(crate) stream: TcpStream,
    /// How much of the opening it has been sent.
    pub(crate) sent: usize,
    pub(crate) backend: Arc<Backend>,
    pub(crate) address: SocketAddr,
}

/// Tries each backend of the pool once, the living first. Each may take the connect time-out; those that were set
/// aside share one, so that a route that is all down answers within it.
pub(crate) async fn dial(
    pool: &Pool,
    opening: &[u8],
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
        match connect(pick.backend, opening, limit).await {
            Ok((Connected { stream, sent }, address)) => {
                pick.backend.found_alive();
                let backend = Arc::clone(pick.backend);
                return Ok(Dialed { stream, sent, backend, address });
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
pub(crate) fn is_ours(error: &io::Error) -> bool {
    let ours = [
        Errno::MFILE,
        Errno::NFILE,
        Errno::NOBUFS,
        Errno::NOMEM,
        Errno::NOSPC, // as many sockets are watched as the user may watch (epoll(7))
        Errno::ADDRNOTAVAIL,
        Errno::AGAIN, // no port is left (inet_autobind)
    ];
    Errno::from_io_error(error).is_some_and(|it| ours.contains(&it))
}

/// Tries the backend's addresses in order. Each gets its share of what is left of the limit, so that one that swallows
/// packets does not hide the next.
async fn connect(
    backend: &Backend,
    opening: &[u8],
    limit: Duration,
) -> io::Result<(Connected, SocketAddr)> {
    let addresses = backend.snapshot();
    let until = Instant::now() + limit;
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name has no address yet");
    for (at, &address) in addresses.iter().enumerate() {
        let left = u32::try_from(addresses.len() - at).unwrap_or(u32::MAX);
        let share = until.saturating_duration_since(Instant::now()) / left;
        match connect_to(address, opening, share).await {
            Ok(connected) => return Ok((connected, address)),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

struct Connected {
    stream: TcpStream,
    /// How much of the opening is on its way.
    sent: usize,
}

/// Connects. The opening is sent at once to a server on this machine: it has shaken hands by the time connect(2)
/// returns, so neither its readiness nor its error has to be asked for.
async fn connect_to(address: SocketAddr, opening: &[u8], limit: Duration) -> io::Result<Connected> {
    // In a block and in a box, so that connections do not keep room for what few need.
    let waiting = {
        let again = |error| {
            let may_help = is_ours(&error) && drop_spares();
            if may_help { start(address, opening) } else { Err(error) }
        };
        // Registered before anything is sent: a failure of ours must not let the opening go to another as well.
        let stream = TcpStream::from_std(start(address, opening).or_else(again)?)?;
        let is_near = address.ip().is_loopback() && !opening.is_empty();
        let sent = if is_near { os::send(&stream, opening) } else { Err(WouldBlock.into()) };
        match sent {
            Ok(sent) => return Ok(Connected { stream, sent }),
            Err(error) if error.kind() == WouldBlock => Box::pin(finish(stream, limit)),
            Err(error) => return Err(error),
        }
    };
    waiting.await
}

fn start(address: SocketAddr, opening: &[u8]) -> io::Result<StdStream> {
    let socket = os::stream_socket(address)?;
    if !opening.is_empty() {
        os::spare_an_acknowledgement(&socket);
    }
    if opening.len() > SMALL {
        socket.set_tcp_nodelay(true)?;
    }
    match socket.connect(&address.into()) {
        Err(error) if Errno::from_io_error(&error) != Some(Errno::INPROGRESS) => Err(error),
        _ => Ok(socket.into()),
    }
}

async fn finish(stream: TcpStream, limit: Duration) -> io::Result<Connected> {
    timeout(limit, stream.writable()).await.unwrap_or_else(|_| Err(TimedOut.into()))?;
    stream.take_error()?.map_or(Ok(Connected { stream, sent: 0 }), Err)
}

/// What fits into one segment on any path (RFC 9293, section 3.7.1). The rest of a longer opening must not wait until
/// the first of it is acknowledged, so TCP_NODELAY is set before; else the weld sets it before it writes again.
const SMALL: usize = 536;
