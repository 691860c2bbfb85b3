//! `[admin]`: where the admin is asked.

use std::net::SocketAddr;

use crate::host::Host;

/// Where the admin is asked, and under which names. Without an address there is none.
#[non_exhaustive]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdminConfig {
    /// Addresses to listen on.
    pub listen: Vec<SocketAddr>,
    /// Host names that it is asked under, beside its addresses and `localhost`.
    pub hosts: Vec<Host>,
}

impl AdminConfig {
    /// What may not be meant.
    pub(super) fn warnings(&self) -> Vec<String> {
        let is_open = |it: &&SocketAddr| !it.ip().to_canonical().is_loopback();
        let open = self.listen.iter().filter(is_open);
        let warning = |address: &SocketAddr| {
            format!(
                "the admin on {address} can be asked by whoever gets there: it has no password, and shows routes, backends and clients"
            )
        };
        open.map(warning).collect()
    }
}
