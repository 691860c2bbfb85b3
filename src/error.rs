//! What a caller of the library can act on.

use std::io;
use std::net::SocketAddr;

use refractium_protocol::Transport;

use crate::table::RouteError;

/// Why an engine cannot be built or run.
///
/// What befalls one connection is never among them: that is an [`Event`](crate::Event).
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} ({transport})")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What was to be listened for.
        transport: Transport,
        /// What the system says.
        source: io::Error,
    },
    /// A bound socket cannot be used by the runtime.
    #[error("cannot accept on the listener")]
    Listener(#[source] io::Error),
    /// A thread that is to carry connections cannot be started.
    #[error("cannot start a worker")]
    Worker(#[source] io::Error),
    /// The process that is to hand over has fallen silent, or cannot be understood. It goes on.
    #[error("the process that was to hand over cannot be understood")]
    Predecessor(#[source] io::Error),
    /// The engine is ending already.
    #[error("the engine is ending")]
    Ending,
    /// The engine serves several sets of listeners, or none: it is not clear which of them are to listen elsewhere.
    #[error("addresses can be changed only where one set of listeners is served")]
    Listens,
    /// The routes contradict each other or the protocols there are.
    #[error("{}", all(.0))]
    Routes(Vec<RouteError>),
}

fn all(errors: &[RouteError]) -> String {
    let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
    lines.join("; ")
}
