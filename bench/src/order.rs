//! What the comparison asks of its load generator and its backends, one JSON value a line.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

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
    /// Close what is kept.
    Release,
}

/// A load and where it is to be put.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(crate) struct Order {
    pub(crate) to: SocketAddr,
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
}

/// What the backends have seen.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Status {
    /// Connections that are open now.
    pub(crate) open: u64,
    /// What was wrong since the last time of asking; at most a few.
    pub(crate) errors: Vec<String>,
}
