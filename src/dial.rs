//! Connect to the backend whose turn it is, or to the next that takes us.

use std::io;
use std::io::ErrorKind::{TimedOut, WouldBlock};
use std::net::{IpAddr, SocketAddr, TcpStream as StdStream};
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::backend::{Backend, Lease};
use crate::connect::connect;
use crate::event::{Conn, Event, Observer, Refusal};
use crate::limits::Limits;
use crate::os;
use crate::pool::{Pick, Pool, Tried};
use crate::stand_in::{is_hindrance, stand_in};
use crate::table::Route;
use crate::weld::drop_spares;

/// A backend that took the connection.
pub(crate) struct Dialed {
    pub(crate) stream: TcpStream,
    /// How much of the opening it has been sent.
    pub(crate) sent: usize,
    pub(crate) lease: Lease,
    /// Cancelled when the backend goes down, where the connection is to end with it.
    pub(crate) fall: Option<CancellationToken>,
}

/// Who is to be connected with whom.
pub(crate) struct Call<'a> {
    pub(crate) route: &'a Route,
    pub(crate) opening: &'a [u8],
    pub(crate) conn: &'a Conn,
    pub(crate) limits: &'a Limits,
    pub(crate) observer: &'a dyn Observer,
}

/// Tries each backend of the route once, the living first. Each may take the connect time-out. Those that were set
/// aside share one, so that a route that is all down answers within it; so do all waits for a place.
///
/// No `async fn`: it would keep room for what it is given twice.
#[allow(clippy::manual_async_fn)]
pub(crate) fn dial(call: Call<'_>) -> impl Future<Output = Result<Dialed, Refusal>> {
    async move {
        let mut tried = Tried::default();
        let mut last_resort = Shared(None);
        let mut places = Shared(None);
        loop {
            let mut pick = call.pool().pick(call.client(), &tried);
            if matches!(pick, Pick::Full) {
                let until = places.until(call.limit());
                // In a box, so that connections do not keep room for what few need.
                let turn =
                    Box::pin(timeout_at(until, call.pool().pick_in_turn(call.client(), &tried)));
                pick = turn.await.map_err(|_| Refusal::BackendsFull)?;
            }
            let fall = call.next_fall(&pick);
            let (lease, limit) = match pick {
                // It went down since it was chosen, and nobody would be told.
                Pick::Alive(lease) if fall.is_some() && lease.backend().is_down() => continue,
                Pick::Alive(lease) => (lease, call.limit()),
                Pick::LastResort(lease) => {
                    let left = u32::try_from(call.pool().left(&tried)).unwrap_or(u32::MAX).max(1);
                    let until = last_resort.until(call.limit());
                    (lease, until.saturating_duration_since(Instant::now()) / left)
                }
                Pick::Full => return Err(Refusal::BackendsFull),
                Pick::None => return Err(Refusal::NoBackend),
            };
            let connected = match call.begin(lease.backend()) {
                Ok(Begun::Connected(connected)) => Ok(connected),
                Ok(Begun::Waits(stream)) => Box::pin(finish(stream, limit)).await,
                Err(error) => Err(error),
            };
            match connected {
                Ok(Connected { stream, sent }) => {
                    lease.backend().found_alive();
                    return Ok(Dialed { stream, sent, lease, fall });
                }
                Err(error) => {
                    call.failed(lease.backend(), &error);
                    tried.push(lease);
                }
            }
        }
    }
}

/// A time that several waits share, counted from the first of them.
struct Shared(Option<Instant>);

impl Shared {
    fn until(&mut self, limit: Duration) -> Instant {
        *self.0.get_or_insert_with(|| Instant::now() + limit)
    }
}

/// How far connecting has come.
enum Begun {
    Connected(Connected),
    Waits(TcpStream),
}

struct Connected {
    stream: TcpStream,
    /// How much of the opening is on its way.
    sent: usize,
}

impl Call<'_> {
    fn pool(&self) -> &Pool {
        self.route.pool()
    }

    fn client(&self) -> IpAddr {
        self.conn.client.ip()
    }

    fn limit(&self) -> Duration {
        self.route.connect_timeout().unwrap_or(self.limits.connect_timeout)
    }

    /// What is cancelled when this one goes down. It is asked for before anything is waited for: who falls meanwhile is
    /// not missed.
    fn next_fall(&self, pick: &Pick) -> Option<CancellationToken> {
        match pick {
            Pick::Alive(lease) | Pick::LastResort(lease) if self.route.close_on_down() => {
                Some(lease.backend().next_fall())
            }
            _ => None,
        }
    }

    /// Begins to connect. The opening is sent at once to a server on this machine: it has shaken hands by the time
    /// connect(2) returns, so neither its readiness nor its error has to be asked for.
    fn begin(&self, backend: &Backend) -> io::Result<Begun> {
        let again = |error| {
            let may_help = is_ours(&error) && drop_spares();
            if may_help { self.start(backend) } else { Err(error) }
        };
        // Registered before anything is sent: a failure of ours must not let the opening go to another as well.
        let stream = TcpStream::from_std(self.start(backend).or_else(again)?)?;
        if !backend.address().ip().is_loopback() || self.opening.is_empty() {
            return Ok(Begun::Waits(stream));
        }
        match os::send(&stream, self.opening) {
            Ok(sent) => Ok(Begun::Connected(Connected { stream, sent })),
            Err(error) if error.kind() == WouldBlock => Ok(Begun::Waits(stream)),
            Err(error) => Err(error),
        }
    }

    fn start(&self, backend: &Backend) -> io::Result<StdStream> {
        let to = backend.address();
        let socket = os::stream_socket(to)?;
        if self.route.is_transparent() {
            stand_in(&socket, SocketAddr::new(self.client(), 0), to)?;
        }
        if !self.opening.is_empty() {
            os::spare_an_acknowledgement(&socket);
        }
        if self.opening.len() > SMALL {
            socket.set_tcp_nodelay(true)?;
        }
        connect(&socket, to)?;
        Ok(socket.into())
    }

    fn failed(&self, backend: &Backend, error: &io::Error) {
        let (conn, route) = (self.conn, self.route);
        let fell = is_its(error) && backend.set_aside();
        self.observer.on(&Event::ConnectFailed { conn, route, backend, error, fell });
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

async fn finish(stream: TcpStream, limit: Duration) -> io::Result<Connected> {
    timeout(limit, stream.writable()).await.unwrap_or_else(|_| Err(TimedOut.into()))?;
    stream.take_error()?.map_or(Ok(Connected { stream, sent: 0 }), Err)
}

/// What fits into one segment on any path (RFC 9293, section 3.7.1). The rest of a longer opening must not wait until
/// the first of it is acknowledged, so TCP_NODELAY is set before; else the weld sets it before it writes again.
const SMALL: usize = 536;
