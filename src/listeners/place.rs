//! Where something is to be bound.

use std::net::SocketAddr;

use refractium_protocol::Transport;

use crate::own::Reach;

/// An address, how it is bound, and what for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// Port 0 lets the system choose one.
    pub(crate) address: SocketAddr,
    /// What was said of it.
    pub(crate) asked: SocketAddr,
    pub(crate) is_dual: bool,
    pub(crate) transports: Vec<Transport>,
    /// Those of them for which it meets what is bound already and is to go.
    pub(crate) shared: Vec<Transport>,
}

impl Place {
    pub(crate) const fn new(asked: SocketAddr, is_dual: bool) -> Self {
        Self { address: asked, asked, is_dual, transports: Vec::new(), shared: Vec::new() }
    }

    pub(crate) const fn reach(&self) -> Reach {
        Reach { address: self.address, is_dual: self.is_dual }
    }

    /// Takes note of a socket that nobody wants any more.
    pub(crate) fn meet(&mut self, transport: Transport, other: Reach) {
        if self.transports.contains(&transport) && self.reach().meets(other) {
            self.shared.push(transport);
        }
    }
}
