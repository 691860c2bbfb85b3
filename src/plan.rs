//! What an engine does.

use std::net::IpAddr;

use crate::limits::Limits;
use crate::network::Network;
use crate::table::Table;

/// The routes and the limits of an engine. A value; nothing happens by making one.
#[derive(Debug, Default)]
pub struct Plan {
    /// Where openings go.
    pub table: Table,
    /// What is allowed.
    pub limits: Limits,
    /// Whose TCP connections begin with a header of the PROXY protocol that says who the client is. They must have one; what
    /// anybody else sends is never taken for one.
    pub proxy_protocol_from: Vec<Network>,
}

impl Plan {
    /// The same, with no time so long that it could not be added to another.
    pub(crate) fn bounded(mut self) -> Self {
        self.limits = self.limits.bounded();
        self
    }

    /// Whether this peer says who its client is.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.proxy_protocol_from.iter().any(|network| network.has(peer))
    }
}
