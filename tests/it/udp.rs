//! Datagrams: every one arrives as it was, from and to whom it should, whatever befalls the others.

mod addresses;
mod bulk;
mod caps;
mod collisions;
mod dns;
mod embedded;
mod flood;
mod idle;
mod loops;
mod paths;
mod program;
mod refusals;
mod restarts;
mod sessions;
mod sizes;

use std::net::SocketAddr;

use crate::harness::udp::Backend;
use crate::harness::{Proxy, route, until};

/// A route over UDP, known by these bytes at the start, with more keys.
fn magic(name: &str, pattern: &str, more: &str, to: SocketAddr) -> String {
    route(name, &format!("patterns = [\"{pattern}\"]\ntransport = \"udp\"\n{more}"), to)
}

/// The key of `[server]` that sends the rest to this backend.
fn fallback(to: &Backend) -> String {
    format!("fallback_udp = \"{}\"\n", to.address())
}

/// The program before one backend that takes everything, with more keys of `[server]`.
fn proxy(to: &Backend, server: &str) -> Proxy {
    proxy_on("127.0.0.1", to, server)
}

/// The same, on this address.
fn proxy_on(bind: &str, to: &Backend, server: &str) -> Proxy {
    Proxy::start_with(&(fallback(to) + server), "", &["--debug", "-b", bind])
}

/// The lines of the log with these words in it, once there are so many.
fn told(proxy: &Proxy, words: &str, count: usize) -> Vec<String> {
    until(&format!("{count} times `{words}` in the log"), || {
        let lines = said(proxy, words);
        (lines.len() >= count).then_some(lines)
    })
}

/// The lines of the log with these words in it, so far.
fn said(proxy: &Proxy, words: &str) -> Vec<String> {
    let stderr = proxy.stderr();
    stderr.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}
