//! What a reload changed.

use std::net::SocketAddr;

use refractium_protocol::Transport;

/// What a reload changed. Routes are named by what they take: `https:a.example/tcp`.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Routes that there were not before.
    pub routes_added: Vec<String>,
    /// Routes that there are no more. What they carry goes on.
    pub routes_removed: Vec<String>,
    /// How many backends there were not before; a name counts as one.
    pub backends_added: usize,
    /// How many backends there are no more.
    pub backends_removed: usize,
    /// What is listened on that was not before.
    pub opened: Vec<(SocketAddr, Transport)>,
    /// What is not listened on any more.
    pub closed: Vec<(SocketAddr, Transport)>,
}
