//! From one process to the next: all listeners, and the sessions of datagrams.
//!
//! ```text
//! the one that is there                   the one that takes over
//!   "sockets", with every listener  ──►     reads the configuration, binds what is missing
//!                                   ◄──   "ready"
//!   reads no datagrams any more
//!   "sessions", with their sockets  ──►     serves
//!                                   ◄──   "serving"
//!   accepts nobody any more
//!   hangs up                        ──►     says that it serves
//! ```
//!
//! Until "serving" nothing is final: should the other end, or fall silent, the one that is there goes on.

mod link;
mod predecessor;
mod successor;

use std::io;

pub(crate) use link::MOST_DESCRIPTORS as MOST_AT_ONCE;
pub(crate) use predecessor::Adopted;
pub use predecessor::Predecessor;
pub(crate) use successor::{Going, Owned, Request, Socket, Sockets};
pub use successor::{Rest, Successor};

/// Why no other process has taken over. Nothing has changed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum HandOverError {
    /// It cannot be started.
    #[error("the program cannot be started")]
    Start(#[source] io::Error),
    /// It ended before it served.
    #[error("it has ended before it served: {0}")]
    Ended(String),
    /// It did not do in time what was waited for.
    #[error("it has not come so far in {0} s")]
    Late(u64),
    /// What it said is not what was waited for, or cannot be heard.
    #[error("it cannot be understood")]
    Talk(#[source] io::Error),
    /// The sessions could not be given away.
    #[error("the sockets of sessions cannot be handed over")]
    Sockets(#[source] io::Error),
    /// A hand-over is under way, or everything has been handed over already.
    #[error("another one is under way, or has taken over already")]
    UnderWay,
    /// There is nothing to hand over: no run, or several, or one that has begun to end.
    #[error("nothing is served that could be handed over")]
    NothingServed,
}

/// What stands before a list of listeners. With it begins all that is said, so it says how: one who does not know it ends,
/// and the other goes on.
const SOCKETS: &str = "refractium 1: sockets";

/// Before a list of sessions.
const SESSIONS: &str = "sessions";

/// Before a socket that is none of the engine's.
const BESIDES: &str = "besides";

/// Nothing more comes of what was listed; after listeners, how many workers there are.
const END: &str = "end";

/// The other has bound all that it is to have.
const READY: &str = "ready";

/// The other serves.
const SERVING: &str = "serving";

/// The variable that tells a process who is about to hand over to it: the number of that process, which is its parent.
const FROM: &str = "REFRACTIUM_HAND_OVER_FROM";
