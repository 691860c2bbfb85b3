//! Refractium: a port-multiplexing reverse proxy, as a library.
//!
//! One external port; the engine looks at the first bytes of each connection, knows the protocol, and joins the client
//! to the right backend, which sees every byte in order. The same port does so for datagrams: the first one of a client
//! opens a session with a backend, and the others follow it.
//!
//! [`Refractium::builder`] puts an engine together, [`Refractium::run`] serves [`Listeners`] on the runtime it is
//! called on. Protocols of one's own are types that implement [`RefractiumProtocol`](protocol::RefractiumProtocol), by
//! hand or with [`define_protocol!`]. What happens is told to an [`Observer`] as [`Event`]s.
//!
//! | layer | modules | what they do |
//! |---|---|---|
//! | 5 | `config`, `watch`, and `main`, `cli`, `serve`, `systemd`, `status`, `report`, `way_back`, `explain`, `capture`, `descriptors` of the program | what the user says |
//! | 4 | `builder`, `engine`, `steer`, `reload`, `spots`, `drain`, `handover`, `listeners`, `worker`, `watchdog`, [`log`], `admin` | run, drain; what is seen of it |
//! | 3 | `tcp`, `udp`, `crew`, `terms` | the life of one connection, that of a datagram, and who carries them |
//! | 2 | `admission`, `peek`, `dial`, `weld`, `resolve`, `health`, `own`, `stand_in`, `cut`, `keepalive`, `os` | one verb each |
//! | 1 | `plan`, `succession`, `changes`, `table`, `pool`, `group`, `backend`, `bell`, `check`, `balance`, `target`, `endpoint`, `limits`, `forward`, `host`, `magic`, `network`, `protocols`, `proxy_protocol`, `scratch` | values and decisions |
//! | 0 | [`protocol`] | bytes to verdict |

#[cfg(doctest)]
#[cfg(feature = "protocols")]
#[doc = include_str!("../README.md")]
struct Readme;

pub use refractium_protocol as protocol;
pub use refractium_protocol::define_protocol;

#[cfg(feature = "admin")]
pub mod admin;
mod admission;
mod backend;
mod balance;
mod bell;
mod builder;
mod changes;
mod check;
#[cfg(any(feature = "cli", feature = "watch"))]
pub mod config;
mod connect;
mod crew;
mod crowd;
mod cut;
mod dial;
mod drain;
mod endpoint;
mod engine;
mod error;
mod event;
mod forward;
mod group;
mod handover;
mod health;
mod host;
mod keepalive;
mod limits;
mod listeners;
pub mod log;
mod magic;
mod moment;
mod network;
#[cfg_attr(not(target_os = "linux"), path = "os_other.rs")]
mod os;
mod own;
mod peek;
mod plan;
mod pool;
mod protocols;
mod proxy_protocol;
mod reload;
mod resolve;
mod scratch;
mod spots;
#[cfg_attr(not(feature = "srv"), path = "no_srv.rs")]
mod srv;
mod stand_in;
mod steer;
mod succession;
mod table;
mod target;
mod tcp;
mod terms;
mod udp;
mod unaccepted;
#[cfg(any(feature = "cli", feature = "watch"))]
pub mod watch;
mod watchdog;
mod weld;
mod worker;

pub use admission::Open;
pub use backend::Backend;
pub use balance::{Balance, BalanceError};
pub use builder::Builder;
pub use changes::Changes;
pub use check::{Check, CheckKind};
pub use endpoint::{Endpoint, EndpointError};
pub use engine::Refractium;
pub use error::Error;
pub use event::{
    By, Conn, Count, Ending, Event, Exchanged, Loss, Moved, Observer, Peer, Refusal, SessionEnd,
};
pub use forward::{Forward, ForwardError};
pub use handover::{HandOverError, Predecessor, Rest, Successor};
pub use host::{Host, HostError};
pub use limits::{Limits, ZeroCopy};
pub use listeners::{Given, Listeners};
pub use magic::{Magic, MagicError};
pub use network::{Network, NetworkError};
pub use plan::Plan;
pub use pool::Pool;
pub use protocols::Protocols;
pub use proxy_protocol::{HeaderFault, ProxyProtocol, ProxyProtocolError};
pub use stand_in::can_stand_in;
pub use table::{Decision, Notes, Route, RouteError, RouteErrorKind, Routes, Table};
pub use target::Target;
