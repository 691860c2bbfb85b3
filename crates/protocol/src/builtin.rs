//! The built-in protocols. A new one is a file beside the others, its `mod` line and its line in [`BUILTIN`].

use crate::RefractiumProtocol;

#[cfg(feature = "dns")]
mod dns;
#[cfg(feature = "ftp")]
mod ftp;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "https")]
mod https;
mod silent;
#[cfg(feature = "ssh")]
mod ssh;

#[cfg(feature = "dns")]
pub use dns::Dns;
#[cfg(feature = "ftp")]
pub use ftp::Ftp;
#[cfg(feature = "http")]
pub use http::Http;
#[cfg(feature = "https")]
pub use https::Https;
pub use silent::{Imap, Mysql, Pop3, Smtp};
#[cfg(feature = "ssh")]
pub use ssh::Ssh;

/// Every built-in protocol: what names are looked up in, and what the laws, the fuzz targets and the benches go over.
pub const BUILTIN: &[&dyn RefractiumProtocol] = &[
    #[cfg(feature = "http")]
    &Http,
    #[cfg(feature = "https")]
    &Https,
    #[cfg(feature = "ssh")]
    &Ssh,
    #[cfg(feature = "ftp")]
    &Ftp,
    &Smtp,
    &Imap,
    &Pop3,
    &Mysql,
    #[cfg(feature = "dns")]
    &Dns,
];
