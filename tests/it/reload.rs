//! Another configuration while clients come and go.

mod api;
mod files;
mod lasting;
mod listeners;
mod mistakes;
mod overlap;
mod program;
mod races;
mod sessions;
mod storm;

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};

use refractium::protocol::Transport;
use refractium::{Builder, Error, Event, Listeners, Plan, Refractium};

use crate::harness::{Backend, DEADLINE, Proxy, Running, connect, loopback, until};

const SSH: &[u8] = b"SSH-2.0-x\r\n";

/// What `refractium.toml` of the harness says before more keys of `[server]` and the routes.
pub(crate) fn text(server: &str, routes: &str) -> String {
    format!("[server]\nbind = \"127.0.0.1\"\nport = 0\n{server}\n{routes}")
}

/// Puts another file in the place of the configuration, as editors do.
pub(crate) fn save(proxy: &Proxy, text: &str) {
    let new = proxy.folder().join("new.toml");
    fs::write(&new, text).expect("room");
    fs::rename(new, proxy.folder().join("refractium.toml")).expect("a file");
}

/// How often it has said that it reloaded.
fn reloads(proxy: &Proxy) -> usize {
    proxy.stderr().matches(" reloaded routes_added=").count()
}

/// How often it has said that it could not.
fn failures(proxy: &Proxy) -> usize {
    proxy.stderr().matches(" cannot reload ").count()
}

/// Has it reload, which must work.
pub(crate) fn hang_up(proxy: &Proxy) {
    let before = reloads(proxy);
    proxy.signal("HUP");
    until("a reload", || (reloads(proxy) > before).then_some(()));
}

/// Has it reload, which must fail; what it says.
fn hang_up_in_vain(proxy: &Proxy) -> String {
    let (before, length) = (failures(proxy), proxy.stderr().len());
    proxy.signal("HUP");
    until("a refusal", || (failures(proxy) > before).then_some(()));
    proxy.stderr()[length..].to_owned()
}

/// A client that is joined to the echo of this name.
fn joined(address: SocketAddr, name: &str) -> TcpStream {
    let mut client = connect(address);
    client.write_all(SSH).expect("room");
    expect(&mut client, &[name.as_bytes(), b": ", SSH].concat());
    client
}

/// A client that goes on being carried.
fn echoes(client: &mut TcpStream) {
    client.write_all(b"still here\n").expect("room");
    expect(client, b"still here\n");
}

fn expect(client: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    client.read_exact(&mut read).expect("an answer");
    assert_eq!(String::from_utf8_lossy(&read), String::from_utf8_lossy(bytes));
}

/// A builder with these routes.
fn builder(routes: &[(&str, SocketAddr)]) -> Builder {
    let mut builder = Refractium::builder();
    for (left, to) in routes {
        builder = builder.forward(format!("{left}={to}").parse().expect("a forward"));
    }
    builder
}

fn plan(routes: &[(&str, SocketAddr)]) -> Plan {
    builder(routes).plan().expect("sound routes")
}

/// The socket that listens there (proc_net_tcp(5)).
fn inode(address: SocketAddr) -> Option<u64> {
    let table = fs::read_to_string("/proc/net/tcp").expect("a table");
    let port = format!(":{:04X}", address.port());
    let row = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let mut rows = row.filter(|row| row[1].ends_with(&port) && row[3] == "0A");
    rows.next().map(|row| row[9].parse().expect("a number"))
}
