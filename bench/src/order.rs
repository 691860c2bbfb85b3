//! What the comparison asks of its load generator and its backends, one JSON value a line.

use std::cmp::Ordering;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

/// What the backends are told beside being asked for their status: to call the sessions that are kept.
pub(crate) const CALL: &str = "call";

/// Kind of an opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    Http,
    Ssh,
    /// A ClientHello of 517 bytes.
    Tls,
    /// A ClientHello of 1981 bytes.
    TlsBig,
}

/// What the load generator is to do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Load {
    /// Open `count` connections, `at_once` at a time; on each send an opening, take the answer, close.
    Connect { kind: Kind, count: u64, at_once: u64 },
    /// Open `kept` connections; on each send messages of 64 bytes, one at a time, and take `answer` bytes for each;
    /// `count` messages in all.
    Exchange { kept: u64, count: u64, answer: u64 },
    /// Take `bytes` in all over `connections`.
    Pull { connections: u64, bytes: u64 },
    /// Send `bytes` in all over `connections`.
    Push { connections: u64, bytes: u64 },
    /// Send 64 KiB, end the sending side, then take `bytes`.
    Half { bytes: u64 },
    /// Open `count` connections more and keep them.
    Hold { count: u64 },
    /// Fail unless all connections that are kept are open, and silent.
    Kept,
    /// Close what is kept.
    Release,
    /// Datagrams.
    Udp(Udp),
}

/// What is to be done with datagrams. A client is an address of its own; questions and answers have 64 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Udp {
    /// `clients`, each with a socket, ask one question at a time; `count` in all.
    Exchange { clients: u64, count: u64 },
    /// One flow of `count` datagrams of 1,200 bytes, at most `window` of them under way.
    Bulk { way: Way, manner: Manner, count: u64, window: u64 },
    /// `count` new clients ask one question each, `at_once` at a time.
    Sessions { count: u64, at_once: u64 },
    /// `count` new clients ask one question each, `rate` in a second, whatever comes of it.
    Paced { count: u64, rate: u64 },
    /// `count` new clients more ask one question each and are remembered.
    Hold { count: u64 },
    /// Those that are remembered are called by the backend; all that are not are told.
    Called,
    /// Those that are remembered ask in turn, `at_once` at a time; `count` questions in all.
    Turns { count: u64, at_once: u64 },
}

impl Udp {
    /// A flow of which no more is under way than every kernel holds for a proxy.
    pub(crate) fn flow(way: Way, manner: Manner, count: u64) -> Self {
        let window = match way {
            Way::Push => PUSH_WINDOW,
            Way::Pull => PULL_WINDOW,
        };
        Self::Bulk { way, manner, count, window }
    }
}

/// Datagrams of a flow from a client that may be under way: proxies can have room for them made.
const PUSH_WINDOW: u64 = 512;

/// The same from a backend: nginx takes these with the room that Linux gives every socket, 208 KiB, of which a datagram
/// of 1,200 bytes takes 2.
const PULL_WINDOW: u64 = 64;

/// Which way a flow goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Way {
    /// From the client.
    Push,
    /// To the client.
    Pull,
}

/// How the sender of a flow gives its datagrams to the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Manner {
    /// One by one.
    Plain,
    /// Many in one call, for the kernel to divide (GSO).
    Joined,
}

/// What the side channel is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Flow {
    pub(crate) session: u64,
    pub(crate) way: Way,
    pub(crate) manner: Manner,
    pub(crate) count: u64,
    pub(crate) window: u64,
}

/// A load and where it is to be put.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) to: SocketAddr,
    /// Where the backends take what is not to go through a proxy.
    pub(crate) side: u16,
    pub(crate) load: Load,
    /// After so many seconds the load has failed.
    pub(crate) within: u64,
}

/// What came of a load.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    Done(Done),
    Failed(String),
}

/// What the load generator saw of a load that it carried out, every byte being right.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Done {
    /// From the first connect to the last byte.
    pub(crate) seconds: f64,
    /// Connections, messages or bytes.
    pub(crate) units: u64,
    /// Latency in microseconds, from the start of a connect or a message to the last byte of its answer; 0: not taken.
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    /// Questions without an answer, where losing is not failing.
    pub(crate) lost: u64,
    /// Answers that came to another client, of those that were lost.
    pub(crate) astray: u64,
}

/// Where the backends listen.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) http: u16,
    pub(crate) ssh: u16,
    /// TLS for `a.example`.
    pub(crate) tls: u16,
    /// Other TLS; whatever arrives here was routed wrongly.
    pub(crate) other: u16,
    /// HTTP and SSH, for a proxy that cannot tell them apart.
    pub(crate) plain: u16,
    pub(crate) udp: u16,
    /// Whatever datagram arrives here was routed wrongly.
    pub(crate) udp_other: u16,
    /// What receivers of a flow tell its sender, beside the proxy.
    pub(crate) side: u16,
}

/// What the backends have seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Connections that are open now.
    pub(crate) open: u64,
    /// What was wrong since the last time of asking; at most a few.
    pub(crate) errors: Vec<String>,
}

impl Status {
    /// Whether all was right, and `open` connections are left: no more, and no fewer.
    pub(crate) fn check(&self, open: u64) -> Result<(), String> {
        if !self.errors.is_empty() {
            return Err(self.errors.join("; "));
        }
        match self.open.cmp(&open) {
            Ordering::Equal => Ok(()),
            Ordering::Greater => Err(format!("{} connections were not ended", self.open - open)),
            Ordering::Less => Err(format!("{} connections were ended early", open - self.open)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_that_the_proxy_ended_is_missed() {
        let status = |open| Status { open, errors: Vec::new() };
        assert_eq!(status(8_000).check(8_000), Ok(()));
        assert_eq!(status(8_001).check(8_000), Err("1 connections were not ended".to_owned()));
        assert_eq!(status(0).check(8_000), Err("8000 connections were ended early".to_owned()));
        let wrong = Status { open: 0, errors: vec!["a byte".to_owned()] };
        assert_eq!(wrong.check(0), Err("a byte".to_owned()));
    }
}
