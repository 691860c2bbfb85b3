//! Backends that are checked: what a check takes for alive, and what becomes of clients meanwhile.

mod falls;
mod itself;
mod kinds;
mod sessions;
mod states;

use std::net::SocketAddr;

use crate::harness::{Proxy, until};

/// A route of `ssh` to these backends, and what it says of their health.
fn route(to: &[SocketAddr], more: &str, health: &str) -> String {
    let list: Vec<_> = to.iter().map(|address| format!("\"{address}\"")).collect();
    let to = list.join(", ");
    let health = format!("[protocols.health]\n{health}\n");
    format!("[[protocols]]\nname = \"ssh\"\nforward_to = [{to}]\n{more}\n{health}")
}

/// Waits until so many lines have this word and the backend.
fn until_told(proxy: &Proxy, word: &str, backend: SocketAddr, count: usize) {
    until(&format!("{word}: {backend}"), || (told(proxy, word, backend) >= count).then_some(()));
}

fn told(proxy: &Proxy, word: &str, backend: SocketAddr) -> usize {
    let address = format!("backend={backend} ");
    let stderr = proxy.stderr();
    stderr.lines().filter(|line| line.contains(word) && line.contains(&address)).count()
}

const OPENING: &[u8] = b"SSH-2.0-test\r\n";
const DOWN: &str = "a backend is down";
const UP: &str = "a backend is up";
const REFUSES: &str = "a backend does not take connections";
