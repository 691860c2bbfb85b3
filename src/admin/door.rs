//! Who may ask, and for how long.

use std::convert::Infallible as Never;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsFd, OwnedFd};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::Admin;
use super::history::History;
use super::live::Polls;
use super::reply::{Names, Reply};
use super::spare::Spare;
use crate::host::Host;

/// Where the admin is asked: bound sockets, and the names that it is known by.
#[derive(Debug)]
pub struct Door {
    listeners: Vec<(SocketAddr, StdListener)>,
    names: Names,
}

/// An address of the admin cannot be listened on.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address} for the admin")]
pub struct DoorError {
    /// The address.
    pub address: SocketAddr,
    /// What the system says.
    #[source]
    pub source: io::Error,
}

impl Door {
    /// Most connections that are open at a time; others wait in the queue of the system.
    pub const MOST_CONNECTIONS: usize = 32;

    /// Binds these addresses, or none.
    ///
    /// # Errors
    ///
    /// The first address that cannot be listened on.
    pub fn bind(addresses: &[SocketAddr]) -> Result<Self, DoorError> {
        let bind = |&address: &SocketAddr| {
            let bound = StdListener::bind(address).and_then(|listener| {
                listener.set_nonblocking(true)?;
                Ok((listener.local_addr()?, listener))
            });
            bound.map_err(|source| DoorError { address, source })
        };
        let listeners = addresses.iter().map(bind).collect::<Result<_, _>>()?;
        Ok(Self { listeners, names: Names::default() })
    }

    /// The same, where sockets that another process has bound stand for the addresses that they are bound to; others of
    /// them are closed.
    ///
    /// # Errors
    ///
    /// The first address that cannot be listened on.
    pub fn bind_beside(given: Vec<OwnedFd>, addresses: &[SocketAddr]) -> Result<Self, DoorError> {
        let mut given: Vec<_> = given.into_iter().map(StdListener::from).collect();
        let mut door = Self { listeners: Vec::new(), names: Names::default() };
        for &address in addresses {
            let is_it = |it: &StdListener| it.local_addr().is_ok_and(|local| fits(local, address));
            match given.iter().position(is_it) {
                Some(at) => {
                    let listener = given.swap_remove(at);
                    let local = listener.local_addr();
                    let local = local.map_err(|source| DoorError { address, source })?;
                    door.listeners.push((local, listener));
                }
                None => door.listeners.extend(Self::bind(&[address])?.listeners),
            }
        }
        Ok(door)
    }

    /// Its sockets once more, for another process.
    ///
    /// # Errors
    ///
    /// No descriptor is left.
    pub fn copies(&self) -> io::Result<Vec<OwnedFd>> {
        self.listeners.iter().map(|(_, it)| it.as_fd().try_clone_to_owned()).collect()
    }

    /// How many descriptors it needs at most, with so many addresses: each has a spare one.
    pub const fn descriptors(addresses: usize) -> usize {
        if addresses == 0 {
            0
        } else {
            addresses.saturating_mul(2).saturating_add(Self::MOST_CONNECTIONS)
        }
    }

    /// Takes requests for these host names as well. Without them only addresses and `localhost` are: a page that a
    /// browser got elsewhere must not be able to ask under a name of its own that leads here (DNS rebinding).
    #[must_use]
    pub fn known_as(mut self, names: impl IntoIterator<Item = Host>) -> Self {
        self.names.extend(names);
        self
    }

    /// Where it listens, with the ports that the system chose.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|(local, _)| *local).collect()
    }
}

/// Whether a socket there is what is meant by this address. Port 0 lets the system choose.
fn fits(local: SocketAddr, wanted: SocketAddr) -> bool {
    local == wanted || wanted.port() == 0 && local.ip() == wanted.ip()
}

impl Admin {
    /// Answers at this door until the future is dropped; at one without addresses, nobody. Needs a tokio runtime with I/O and time: best one that carries no
    /// connections, for putting an answer together may take some milliseconds.
    ///
    /// # Errors
    ///
    /// A socket cannot be given to the runtime.
    pub async fn serve(&self, door: Door) -> io::Result<Never> {
        let Door { listeners, names } = door;
        let reply = Arc::new(Reply::new(self.clone(), names));
        let places = Arc::new(Semaphore::new(Door::MOST_CONNECTIONS));
        let mut tasks = JoinSet::new();
        for (_, listener) in listeners {
            let listener = TcpListener::from_std(listener)?;
            tasks.spawn(answer_all(listener, Arc::clone(&reply), Arc::clone(&places)));
        }
        let mut steps = interval(History::STEP);
        steps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            steps.tick().await;
            self.0.step();
        }
    }
}

/// Accepts for ever. Who comes while all places are taken waits, and is the system's to keep.
async fn answer_all(listener: TcpListener, reply: Arc<Reply>, places: Arc<Semaphore>) {
    let mut tasks = JoinSet::new();
    let mut spare = Spare::of(&listener);
    loop {
        // The semaphore is never closed: then nobody could be answered.
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        match listener.accept().await {
            Ok((mut stream, _)) => {
                let reply = Arc::clone(&reply);
                tasks.spawn(async move {
                    answer(&mut stream, &reply).await;
                    drop(place);
                });
            }
            // Descriptors ran out, say. One after the other is answered then, and none for long.
            Err(_) => {
                let one = async |stream: &mut TcpStream| {
                    // Who takes longer is let go.
                    let _ = timeout(PATIENCE, answer(stream, &reply)).await;
                };
                spare.lend(&listener, one).await;
            }
        }
        while tasks.try_join_next().is_some() {}
    }
}

/// Answers one request, and closes: a client that asks again connects again, which costs little beside an answer, and so
/// none can hold a place by doing nothing.
async fn answer(stream: &mut TcpStream, reply: &Reply) {
    let polls = Polls::default();
    let service = service_fn(|request| {
        let response = reply.to(&request, &polls);
        async move { Ok::<_, Never>(response) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .max_headers(MOST_HEADERS)
        .max_buf_size(MOST_HEAD)
        .keep_alive(false);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    let mut last = 0;
    // More of an answer is asked for only while the client takes it.
    while timeout(PATIENCE, connection.as_mut()).await.is_err() {
        let now = polls.count();
        if now == last {
            return;
        }
        last = now;
    }
}

/// How long a client may take to ask, and to take some of the answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the head of a request may have: browsers send about a kilobyte in twenty lines.
const MOST_HEADERS: usize = 64;
const MOST_HEAD: usize = 16 * 1024;
