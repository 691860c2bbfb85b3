//! Connect to the backend whose turn it is, or to the next that takes us.

use std::io;
use std::io::ErrorKind::{TimedOut, WouldBlock};
use std::net::{SocketAddr, TcpStream as StdStream};
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use crate::backend::{Backend, Lease};
use crate::event::{Conn, Event, Observer, Refusal};
use crate::limits::Limits;
use crate::os;
use crate::pool::{Pick, Tried};
use crate::stand_in::{is_hindrance, stand_in};
use crate::table::Route;
use crate::weld::drop_spares;

/// A backend that took the connection.
pub(crate) struct Dialed {
    pub(crate) stream: TcpStream,
    /// How much of the opening it has been sent.
    pub(crate) sent: usize,
    pub(crate) lease: Lease,
}

/// Tries each backend of the route once, the living first. Each may take the connect time-out. Those that were set
/// aside share one, so that a route that is all down answers within it; so do all waits for a place.
pub(crate) async fn dial(
    route: &Route,
    opening: &[u8],
    conn: &Conn,
    limits: &Limits,
    observer: &dyn Observer,
) -> Result<Dialed, Refusal> {
    let mut tried = Tried::default();
    let whole = route.connect_timeout().unwrap_or(limits.connect_timeout);
    let mut last_resort = Shared { limit: whole, until: None };
    let mut places = Shared { limit: whole, until: None };
    let (pool, client) = (route.pool(), conn.client.ip());
    loop {
        let mut pick = pool.pick(client, &tried);
        if matches!(pick, Pick::Full) {
            // In a box, so that connections do not keep room for what few need.
            let found = Box::pin(timeout_at(places.until(), pool.pick_in_turn(client, &tried)));
            pick = found.await.map_err(|_| Refusal::BackendsFull)?;
        }
        let (lease, limit) = match pick {
            Pick::Alive(lease) => (lease, whole),
            Pick::LastResort(lease) => {
                let left = u32::try_from(pool.left(&tried)).unwrap_or(u32::MAX).max(1);
                (lease, last_resort.until().saturating_duration_since(Instant::now()) / left)
            }
            Pick::Full => return Err(Refusal::BackendsFull),
            Pick::None => return Err(Refusal::NoBackend),
        };
        let backend = lease.backend();
        let way = Way { backend, under: route.is_transparent().then_some(conn) };
        match connect_to(way, opening, limit).await {
            Ok(Connected { stream, sent }) => {
                backend.found_alive();
                return Ok(Dialed { stream, sent, lease });
            }
            Err(error) => {
                let fell = is_its(&error) && backend.set_aside();
                let error = &error;
                observer.on(&Event::ConnectFailed { conn, route, backend, error, fell });
                tried.push(lease);
            }
        }
    }
}

/// A time that several waits share, counted from the first of them.
struct Shared {
    limit: Duration,
    until: Option<Instant>,
}

impl Shared {
    fn until(&mut self) -> Instant {
        *self.until.get_or_insert_with(|| Instant::now() + self.limit)
    }
}

/// Whether a failure says something of the backend.
pub(crate) fn is_its(error: &io::Error) -> bool {
    !is_ours(error) && !is_hindrance(error)
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

/// Where a connection leads, and under whose address, if not ours.
#[derive(Clone, Copy)]
struct Way<'a> {
    backend: &'a Backend,
    under: Option<&'a Conn>,
}

struct Connected {
    stream: TcpStream,
    /// How much of the opening is on its way.
    sent: usize,
}

/// Connects. The opening is sent at once to a server on this machine: it has shaken hands by the time connect(2)
/// returns, so neither its readiness nor its error has to be asked for.
async fn connect_to(way: Way<'_>, opening: &[u8], limit: Duration) -> io::Result<Connected> {
    // In a block and in a box, so that connections do not keep room for what few need.
    let waiting = {
        let again = |error| {
            let may_help = is_ours(&error) && drop_spares();
            if may_help { start(way, opening) } else { Err(error) }
        };
        // Registered before anything is sent: a failure of ours must not let the opening go to another as well.
        let stream = TcpStream::from_std(start(way, opening).or_else(again)?)?;
        let is_near = way.backend.address().ip().is_loopback() && !opening.is_empty();
        let sent = if is_near { os::send(&stream, opening) } else { Err(WouldBlock.into()) };
        match sent {
            Ok(sent) => return Ok(Connected { stream, sent }),
            Err(error) if error.kind() == WouldBlock => Box::pin(finish(stream, limit)),
            Err(error) => return Err(error),
        }
    };
    waiting.await
}

fn start(Way { backend, under }: Way<'_>, opening: &[u8]) -> io::Result<StdStream> {
    let to = backend.address();
    let socket = os::stream_socket(to)?;
    if let Some(conn) = under {
        stand_in(&socket, SocketAddr::new(conn.client.ip(), 0), to)?;
    }
    if !opening.is_empty() {
        os::spare_an_acknowledgement(&socket);
    }
    if opening.len() > SMALL {
        socket.set_tcp_nodelay(true)?;
    }
    match socket.connect(&to.into()) {
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
