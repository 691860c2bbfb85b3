//! How the program lives: the signals it hears, its end, and who comes after it.

mod activation;
mod drain;
mod harsh;
mod signals;
mod systemd;
mod upgrade;

use std::io::{Read, Write};
use std::net::TcpStream;

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

/// A client that is joined to its echo, and so has no time-out that is short.
fn joined(proxy: &Proxy) -> TcpStream {
    let mut client = proxy.connect();
    client.write_all(SSH).expect("room");
    client.read_exact(&mut [0; 16]).expect("an answer");
    client
}
