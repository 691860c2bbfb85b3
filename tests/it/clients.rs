//! Real clients and real servers, all through one port.
//!
//! One program serves every route at the same time; the tests share it while they overlap, and each client says which
//! server answered it.

mod addresses;
mod dns;
pub(crate) mod everything;
mod ftp;
mod http;
pub(crate) mod servers;
mod silence;
mod snmp;
mod ssh;
mod tls;
mod world;

pub(crate) use world::World;
