//! More addresses than one, and IPv6.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use crate::harness::{Backend, DEADLINE, Proxy, ask, route, skipped, until};

fn has_ipv6() -> bool {
    TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() || skipped("no IPv6 on loopback")
}

fn start(bind: &str, routes: &str) -> Proxy {
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("[server]\nbind = {bind}\nport = 0\n{routes}");
    fs::write(folder.path().join("refractium.toml"), text).expect("room");
    Proxy::spawn(folder, &[])
}

/// Each route is served on this address.
fn serves(address: SocketAddr) {
    assert_eq!(ask(address, b"GET / HTTP/1.1\r\n\r\n"), b"http: GET / HTTP/1.1\r\n\r\n");
    assert_eq!(ask(address, b"SSH-2.0-x\r\n"), b"ssh: SSH-2.0-x\r\n");
}

fn backends() -> ([Backend; 2], String) {
    let (http, ssh) = (Backend::echo("http"), Backend::echo("ssh"));
    let routes = route("http", "", http.address()) + &route("ssh", "", ssh.address());
    ([http, ssh], routes)
}

#[test]
fn an_ipv6_address_serves_every_route() {
    if !has_ipv6() {
        return;
    }
    let (_backends, routes) = backends();
    let proxy = start("\"::1\"", &routes);
    assert_eq!(proxy.address().ip(), Ipv6Addr::LOCALHOST);
    serves(proxy.address());
}

#[test]
fn every_address_of_a_list_serves_every_route() {
    let (_backends, routes) = backends();
    let proxy = start("[\"127.0.0.1\", \"127.0.0.2\"]", &routes);
    let addresses = proxy.addresses(2);
    assert_eq!(addresses[0].ip(), Ipv4Addr::LOCALHOST);
    assert_eq!(addresses[1].ip(), Ipv4Addr::new(127, 0, 0, 2));
    addresses.into_iter().for_each(serves);
}

#[test]
fn two_families_stand_beside_each_other() {
    if !has_ipv6() {
        return;
    }
    let (_backends, routes) = backends();
    start("[\"127.0.0.1\", \"::1\"]", &routes).addresses(2).into_iter().for_each(serves);
}

#[test]
fn the_ipv6_wildcard_alone_takes_ipv4_as_well() {
    if !has_ipv6() {
        return;
    }
    let (_backends, routes) = backends();
    let proxy = start("\"::\"", &routes);
    serves((Ipv4Addr::LOCALHOST, proxy.port()).into());
    serves((Ipv6Addr::LOCALHOST, proxy.port()).into());
}

#[test]
fn an_ipv6_backend_is_reached_from_ipv4() {
    if !has_ipv6() {
        return;
    }
    let ssh = Backend::echo("ssh");
    let six = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).expect("a port");
    six.set_nonblocking(true).expect("an open socket");
    let routes = route("http", "", six.local_addr().expect("an address"));
    let proxy = start("\"127.0.0.1\"", &(routes + &route("ssh", "", ssh.address())));
    let mut client = proxy.connect();
    client.write_all(b"GET / HTTP/1.1\r\n\r\n").expect("room");
    let (mut taken, peer) = until("a connection", || six.accept().ok());
    assert_eq!(peer.ip(), Ipv6Addr::LOCALHOST);
    taken.set_nonblocking(false).expect("an open socket");
    taken.set_read_timeout(Some(DEADLINE)).expect("an open socket");
    let mut bytes = [0; 18];
    taken.read_exact(&mut bytes).expect("the opening");
    assert_eq!(&bytes, b"GET / HTTP/1.1\r\n\r\n");
    assert_eq!(ask(proxy.address(), b"SSH-2.0-x\r\n"), b"ssh: SSH-2.0-x\r\n");
}
