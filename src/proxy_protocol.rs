//! The PROXY protocol: a header in front of a stream, or of a datagram, that says who the client is.
//!
//! The specification is `doc/proxy-protocol.txt` of HAProxy. Reading and writing are pure and total; who may be believed,
//! and when a header is due, is decided by who calls.

mod read;
#[cfg(test)]
mod tests;
mod wire;
mod write;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use refractium_protocol::{Facts, Opening};

pub use read::HeaderFault;
pub(crate) use read::{Heard, LONGEST_HEADER, read};
pub(crate) use write::nobody;

use crate::event::Conn;
use crate::scratch;
use crate::table::Route;
use write::{Told, header};

/// A version of the PROXY protocol, in which a backend is told who the client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ProxyProtocol {
    /// A line of text, for streams alone.
    V1,
    /// Binary, for datagrams as well, with the host and the application protocols that the client asks for.
    V2,
}

/// A text is no version of the PROXY protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such version of the PROXY protocol")]
pub struct ProxyProtocolError;

impl ProxyProtocol {
    /// All there are.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

    /// Its word in `refractium.toml`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::V1 => "v1",
            Self::V2 => "v2",
        }
    }
}

impl FromStr for ProxyProtocol {
    type Err = ProxyProtocolError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|it| it.word() == text).ok_or(ProxyProtocolError)
    }
}

impl fmt::Display for ProxyProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// What a backend of this route is sent before it is sent what the client said; empty: nothing.
pub(crate) fn introduction(route: &Route, conn: &Conn, opening: &Opening<'_>) -> Vec<u8> {
    let Some(version) = route.proxy_protocol() else { return Vec::new() };
    let &Conn { client, local, transport, .. } = conn;
    let unread = Told { client, local, transport, facts: Facts::NONE };
    let read = || {
        scratch::with_facts(|room| {
            let facts = route.facts(opening, room);
            header(version, &Told { facts, ..unread })
        })
    };
    match version {
        ProxyProtocol::V1 => header(version, &unread),
        // A protocol that panics gives nothing away.
        ProxyProtocol::V2 => {
            catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| header(version, &unread))
        }
    }
}

const TYPE_ALPN: u8 = 0x01; // PP2_TYPE_ALPN
const TYPE_AUTHORITY: u8 = 0x02; // PP2_TYPE_AUTHORITY
