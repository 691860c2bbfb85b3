//! How the program lives: the signals it hears, its end, and who comes after it.

mod drain;
mod signals;
mod systemd;

use crate::harness::{Proxy, until};

const SSH: &[u8] = b"SSH-2.0-x\r\n";

/// The lines of the log with these words in it, so far.
fn said(proxy: &Proxy, words: &str) -> Vec<String> {
    let stderr = proxy.stderr();
    stderr.lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
}

/// Waits for a line of the log with all these words.
fn told(proxy: &Proxy, words: &[&str]) {
    let has_all = |line: &&str| words.iter().all(|word| line.contains(word));
    let told = || proxy.stderr().lines().find(has_all).map(drop);
    until(&format!("{words:?} in the log"), told);
}

/// Whether so many clients hold a connection: two descriptors once they are joined, one before.
fn is_open(proxy: &Proxy, clients: usize) -> Option<()> {
    let sockets = std::fs::read_to_string(format!("/proc/{}/net/tcp", proxy.id())).ok()?;
    let local = format!(":{:04X}", proxy.port());
    let is_one = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        // An inode: somebody has accepted it (proc(5)).
        let is_ours = words.get(1).is_some_and(|it| it.ends_with(&local));
        is_ours && words.get(3) == Some(&"01") && words.get(9).is_some_and(|it| *it != "0")
    };
    (sockets.lines().filter(is_one).count() == clients).then_some(())
}
