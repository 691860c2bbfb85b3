//! Everything that can be seen from outside.

mod word;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use refractium_protocol::{Opening, Transport};

use crate::admission::Open;
use crate::backend::Backend;
use crate::changes::Changes;
use crate::endpoint::Endpoint;
use crate::handover::HandOverError;
use crate::plan::Plan;
use crate::proxy_protocol::HeaderFault;
use crate::table::Route;

/// Who speaks with us: in every event of a connection or a session.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conn {
    /// Counts up over the life of an engine. A number may be missing, where the end came before the first event.
    pub id: u64,
    /// The client, as far as is known.
    pub client: SocketAddr,
    /// The other end of the socket.
    pub peer: SocketAddr,
    /// Our end of the socket.
    pub local: SocketAddr,
    /// What carries it.
    pub transport: Transport,
}

/// One thing an operator may want to know.
#[non_exhaustive]
#[derive(Debug)]
pub enum Event<'a> {
    /// What holds from now on. The first of all events.
    Planned {
        /// Routes and limits.
        plan: &'a Plan,
        /// What is open, now and whenever it is asked.
        open: &'a Open,
    },
    /// An address is being served.
    Listening {
        /// The address, with the port that the system chose.
        local: SocketAddr,
        /// What is listened for there.
        transport: Transport,
    },
    /// All addresses are served: clients are taken from now on.
    Serving,
    /// A connection could not be accepted; the listener goes on.
    AcceptFailed {
        /// The listener.
        local: SocketAddr,
        /// What the system says.
        error: &'a io::Error,
        /// How long it waits before it tries again.
        pause: Duration,
    },
    /// More clients came at once than the queue of a listener holds (listen(2), net.core.somaxconn): the system has dropped
    /// some of their packets. They send them again, after a second at first.
    QueueOverflowed {
        /// The listener.
        local: SocketAddr,
        /// How many packets since this was last told.
        packets: u64,
    },
    /// A client connected.
    Accepted {
        /// Who.
        conn: &'a Conn,
    },
    /// The opening was identified and has a route.
    Decided {
        /// Who.
        conn: &'a Conn,
        /// Where it goes.
        route: &'a Route,
        /// What it said so far; [`Route::facts`] reads more from it.
        opening: Opening<'a>,
        /// What brought the decision.
        by: By,
        /// How long that took, from when its worker began with it.
        after: Duration,
    },
    /// A look at what a client said took so long that its worker did nothing else meanwhile: a protocol is slow, or blocks.
    LookedLong {
        /// Who.
        conn: &'a Conn,
        /// How long the longest look took, to a few milliseconds.
        took: Duration,
    },
    /// One backend did not take the connection or the session; another is tried, if there is one. Or it refused what a
    /// session sent it (ICMP): the session's next datagram goes to another.
    ConnectFailed {
        /// Who.
        conn: &'a Conn,
        /// The route.
        route: &'a Route,
        /// Which backend; unless the failure is our own, it is set aside.
        backend: &'a Backend,
        /// Why.
        error: &'a io::Error,
        /// It was alive until now.
        fell: bool,
    },
    /// Client and backend are joined.
    Welded {
        /// Who.
        conn: &'a Conn,
        /// The route.
        route: &'a Route,
        /// The backend of that route.
        backend: &'a Backend,
        /// How long connecting to it took.
        connect: Duration,
    },
    /// A welded connection has ended.
    Closed {
        /// Who.
        conn: &'a Conn,
        /// The route that it went.
        route: &'a Route,
        /// The backend of that route.
        backend: &'a Backend,
        /// What went through.
        moved: Moved,
        /// How it ended.
        ending: Ending,
    },
    /// A UDP session begins.
    SessionOpened {
        /// Who.
        conn: &'a Conn,
        /// The route.
        route: &'a Route,
        /// The backend of that route.
        backend: &'a Backend,
    },
    /// A UDP session goes on with another backend of its route, because the one that it had refused.
    SessionMoved {
        /// Who.
        conn: &'a Conn,
        /// The route.
        route: &'a Route,
        /// The backend that it had.
        from: &'a Backend,
        /// The new backend.
        backend: &'a Backend,
    },
    /// Datagrams of a session were dropped. The session goes on.
    Dropped {
        /// Who.
        conn: &'a Conn,
        /// The route.
        route: &'a Route,
        /// Who did not get them.
        to: Peer,
        /// How many.
        datagrams: usize,
        /// Why.
        loss: &'a Loss,
    },
    /// A UDP session has ended.
    SessionEnded {
        /// Who.
        conn: &'a Conn,
        /// The route.
        route: &'a Route,
        /// The backend that it had last.
        backend: &'a Backend,
        /// What went through.
        exchanged: Exchanged,
        /// Why it ended.
        end: SessionEnd,
    },
    /// The system does not take several datagrams to this address at once (UDP GSO): for a while they are sent one by one.
    SegmentationRefused {
        /// Where they go.
        to: SocketAddr,
        /// What the system says.
        error: &'a io::Error,
    },
    /// Datagrams came faster than they were read, and the system dropped some before anybody saw them.
    Overflowed {
        /// The listener.
        local: SocketAddr,
        /// How many since this was last told.
        datagrams: u64,
    },
    /// A connection was not carried, or a datagram without a session was dropped.
    Refused {
        /// Who.
        conn: &'a Conn,
        /// Why.
        refusal: &'a Refusal,
    },
    /// Enough checks of a backend failed, one after the other: clients go to others while some live.
    BackendDown {
        /// Which one.
        backend: &'a Backend,
        /// Why the last one failed.
        error: &'a io::Error,
    },
    /// Enough checks of a backend that was down passed, one after the other.
    BackendUp {
        /// Which one.
        backend: &'a Backend,
    },
    /// A name has other addresses than before.
    Resolved {
        /// The name.
        endpoint: &'a Endpoint,
        /// All of them. Each is a backend.
        addresses: &'a [SocketAddr],
    },
    /// A backend is an address that we listen on, or its name has one that we do: it is not used, for everything would go
    /// round in circles.
    LeadsBack {
        /// What was said of it.
        endpoint: &'a Endpoint,
        /// The address.
        address: SocketAddr,
    },
    /// A name could not be resolved. It keeps the addresses it had; while it has none it counts as down.
    Unresolved {
        /// The name, or a target of its SRV records.
        endpoint: &'a Endpoint,
        /// How many addresses it keeps.
        kept: usize,
        /// What the resolver says.
        error: &'a io::Error,
    },
    /// A worker has not come round for a while: what it carries stands still, and so do those who connect to it. A
    /// protocol or an observer that blocks does that. Told once, until it comes round.
    WorkerStalled {
        /// Which one, from 0.
        worker: usize,
        /// For how long already.
        stalled: Duration,
    },
    /// A worker that had stalled has come round.
    WorkerResumed {
        /// Which one.
        worker: usize,
        /// For how long it had stalled, to the second.
        stalled: Duration,
    },
    /// This process has taken over from the one before it.
    TookOver {
        /// How many UDP sessions go on here.
        sessions: usize,
        /// How many do not, because their route or their backend is no more.
        lost: usize,
    },
    /// Another process has taken over: clients come to it from now on.
    HandedOver {
        /// The number of the process.
        process: u32,
        /// How many UDP sessions it was given.
        sessions: usize,
        /// How many connections and sessions were open. Connections go on here.
        open: usize,
    },
    /// No other process has taken over, and this one goes on.
    HandOverFailed {
        /// Why.
        error: &'a HandOverError,
    },
    /// No new connections are taken; the open ones may finish.
    Draining {
        /// How many are open.
        open: usize,
        /// How long they are given.
        limit: Duration,
    },
    /// What has not finished yet: told when the engine is told to end, and every few seconds until all has ended.
    Waiting {
        /// How many connections and sessions are open.
        open: usize,
        /// How many of them each route has, those with the most first. Others are undecided, or on routes that are no more.
        routes: &'a [(&'a Route, usize)],
        /// For how long they may go on.
        left: Duration,
    },
    /// Something in the configuration is accepted and probably not meant, or not followed as it might be.
    Warned {
        /// What.
        warning: &'a str,
    },
    /// The engine follows another plan.
    Reloaded {
        /// What that changed.
        changes: &'a Changes,
    },
    /// Another plan was to be followed, and is not: nothing has changed.
    ReloadFailed {
        /// Why.
        error: &'a (dyn std::error::Error + 'static),
    },
    /// Everything has ended.
    Drained {
        /// How many connections had to be cut.
        cut: usize,
    },
}

/// What brought a decision.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The bytes themselves.
    Verdict,
    /// Silence for as long as a server-first route asks.
    Silence,
    /// The client ended its stream.
    EndOfStream,
    /// As many bytes as may be looked at.
    FullBuffer,
    /// The time a client may stay undecided.
    Deadline,
}

impl By {
    /// Whether it means that nothing more comes or is waited for.
    pub const fn is_the_end(self) -> bool {
        !matches!(self, Self::Verdict)
    }
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Verdict => "verdict",
            Self::Silence => "silence",
            Self::EndOfStream => "end of stream",
            Self::FullBuffer => "full buffer",
            Self::Deadline => "deadline",
        })
    }
}

/// Bytes that went through.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// From client to backend, the opening included.
    pub up: u64,
    /// From backend to client.
    pub down: u64,
    /// Those of both ways that passed through the kernel alone.
    pub spliced: u64,
    /// How often no pipe was to be had for that, or the system refused to splice; the bytes were copied then.
    pub pipes_refused: u64,
}

/// One end of a welded connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// The one who connected to us.
    Client,
    /// The one we connected to.
    Backend,
}

impl Peer {
    pub(crate) const fn other(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }
}

/// How a welded connection ended.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Both sides closed; each got every byte that it still took.
    Closed,
    /// One side failed; the other was told so by a reset.
    Reset(Peer),
    /// One side closed and the other moved nothing for too long.
    HalfCloseTimeout,
    /// Nothing moved either way for too long; who still waited was reset.
    IdleTimeout,
    /// One side took none of the bytes that waited for it for too long; both were reset.
    WriteStall(Peer),
    /// The checks of its backend failed, and its route says that this ends it; both were reset.
    BackendDown,
    /// The engine ended first; both were reset.
    Cut,
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Closed => "closed",
            Self::Reset(Peer::Client) => "reset by client",
            Self::Reset(Peer::Backend) => "reset by backend",
            Self::HalfCloseTimeout => "half-closed too long",
            Self::IdleTimeout => "idle too long",
            Self::WriteStall(Peer::Client) => "write stalled by client",
            Self::WriteStall(Peer::Backend) => "write stalled by backend",
            Self::BackendDown => "its backend is down",
            Self::Cut => "cut at shutdown",
        })
    }
}

/// Datagrams and their bytes, headers not counted.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// How many datagrams.
    pub datagrams: u64,
    /// How many bytes they had.
    pub bytes: u64,
}

/// What a session carried.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exchanged {
    /// From client to backend.
    pub up: Count,
    /// From backend to client.
    pub down: Count,
}

/// Why a UDP session ended.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionEnd {
    /// Nothing came either way for too long.
    Idle,
    /// All its questions have been answered.
    Answered,
    /// There was no room, and its client had never confirmed that it hears the answers.
    Evicted,
    /// Another process goes on with it.
    HandedOver,
    /// The engine ended first.
    Cut,
}

impl fmt::Display for SessionEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Idle => "idle",
            Self::Answered => "answered",
            Self::Evicted => "evicted",
            Self::HandedOver => "handed over",
            Self::Cut => "cut at shutdown",
        })
    }
}

/// Why a datagram of a session was dropped.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Loss {
    /// More of them wait to be sent than the system holds.
    #[error("the send buffer is full")]
    SendBufferFull,
    /// The system does not send it.
    #[error("the system does not send it")]
    Unsent(#[source] io::Error),
    /// The route limits what an unconfirmed client is answered.
    #[error("the amplification limit of an unconfirmed client")]
    Amplification,
    /// No backend of the route takes it.
    #[error("no backend takes it")]
    NoBackend,
}

/// Why a connection was not carried, or a datagram without a session was dropped.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// As many connections or sessions are open as may be.
    #[error("too many connections")]
    Full,
    /// As many connections or sessions are open from this address as may be.
    #[error("too many connections from this address")]
    FullForAddress,
    /// As many connections came from this address within a second as may.
    #[error("too many new connections from this address")]
    TooFast,
    /// It was undecided and made room: others came, and as many were undecided as may be, or as many connections open.
    #[error("still undecided when others needed the room")]
    CrowdedOut,
    /// No route takes the opening, and there is no fallback.
    #[error("no route after {bytes} bytes, decided by {by}")]
    NoRoute {
        /// How much it said.
        bytes: usize,
        /// What brought the decision.
        by: By,
    },
    /// It comes from a trusted sender, and does not begin with a header of the PROXY protocol.
    #[error("no PROXY header from a trusted sender: {0}")]
    NoHeader(HeaderFault),
    /// The client was gone before anything was decided.
    #[error("the client is gone")]
    ClientGone(#[source] io::Error),
    /// The sender is this port itself, or a backend: answers would go round in circles.
    #[error("the sender is this port or a backend")]
    Loop,
    /// A protocol panicked, at the opening or later.
    #[error("a protocol panicked")]
    Panicked,
    /// No backend of the route took the connection or the session.
    #[error("no backend takes the connection")]
    NoBackend,
    /// Every backend that lives has as many connections as it may, and none ended within the connect time-out.
    #[error("every backend has as many connections as it may")]
    BackendsFull,
    /// Nobody is taken at this address any more; only those who are here already are served.
    #[error("this address is about to be closed")]
    Closed,
    /// The engine ended first.
    #[error("cut at shutdown")]
    Cut,
}

/// Something that is told every [`Event`], on the thread where it happens: it must be quick and never block.
///
/// Any `Fn(&Event<'_>)` is one.
pub trait Observer: Send + Sync {
    /// Takes note.
    fn on(&self, event: &Event<'_>);
}

/// Several observers are told one after the other.
impl Observer for Vec<std::sync::Arc<dyn Observer>> {
    fn on(&self, event: &Event<'_>) {
        self.iter().for_each(|observer| observer.on(event));
    }
}

impl<F: Fn(&Event<'_>) + Send + Sync> Observer for F {
    fn on(&self, event: &Event<'_>) {
        self(event);
    }
}
