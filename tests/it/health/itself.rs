//! A dead backend whose port the system may choose for whoever connects: nobody is connected with himself.

use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::time::Duration;

use super::{DOWN, OPENING, REFUSES, UP, route, told, until_told};
use crate::harness::{Backend, DEADLINE, Elsewhere, Proxy, pause};

/// In a network of their own, whose ports nobody else has. Even ones are chosen before odd ones.
const PROXY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080);
const BACKEND: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 40_002);

/// Row H14: a network where the system chooses one of four ports, and the program in it.
fn start(routes: &str) -> Option<(Elsewhere, Proxy)> {
    let network = Elsewhere::new()?;
    network.inside(|| {
        let range = "/proc/sys/net/ipv4/ip_local_port_range";
        fs::write(range, "40000 40003").expect("a network of our own");
    });
    let folder = tempfile::tempdir().expect("a folder");
    let server = "bind = \"127.0.0.1\"\nport = 8080\nworkers = 1";
    let text = format!("[server]\n{server}\n{routes}");
    fs::write(folder.path().join("refractium.toml"), text).expect("room");
    let mut command = Command::new("ip");
    command.args(["netns", "exec", network.name(), env!("CARGO_BIN_EXE_refractium")]);
    command.args(["-c", "refractium.toml"]);
    Some((network, Proxy::watch(command, folder)))
}

/// Says this from a port that is not among those four, and gives what comes back until it is turned away.
fn ask_from(port: u16) -> Vec<u8> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into()).expect("a port");
    socket.connect(&PROXY.into()).expect("a connection");
    let mut client: TcpStream = socket.into();
    client.set_read_timeout(Some(DEADLINE)).expect("an open socket");
    let mut answer = Vec::new();
    // It may be reset before it has said all.
    let _ = client.write_all(OPENING).and_then(|()| client.shutdown(Shutdown::Write));
    let _ = client.read_to_end(&mut answer);
    answer
}

#[test]
fn no_client_of_a_dead_backend_is_answered_by_its_own_bytes() {
    let Some((network, proxy)) = start(&route(&[BACKEND], "", "kind = \"none\"")) else { return };
    network.inside(|| {
        for port in 20_000..20_100 {
            assert_eq!(ask_from(port), b"", "client {port}");
            TcpListener::bind(BACKEND).expect("its port is free");
        }
    });
    assert!(told(&proxy, REFUSES, BACKEND) > 0, "{}", proxy.stderr());
}

#[test]
fn no_datagram_for_a_dead_backend_comes_back() {
    let routes = datagrams("idle_timeout_ms = 100");
    let Some((network, _proxy)) = start(&routes) else { return };
    network.inside(|| {
        for port in 20_000..20_030 {
            let client = UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).expect("a port");
            client.set_read_timeout(Some(Duration::from_millis(150))).expect("an open socket");
            client.send_to(b"APP", PROXY).expect("room");
            let answer = client.recv_from(&mut [0; 64]);
            assert!(answer.is_err(), "client {port}: {answer:?}");
        }
    });
}

#[test]
fn no_check_by_datagrams_of_a_dead_backend_passes() {
    let health = "[protocols.health]\nkind = \"payload\"\nsend = \"ping\"\ninterval_ms = 100\n\
                  fall = 1\nrise = 1";
    let Some((_network, proxy)) = start(&datagrams(health)) else { return };
    until_told(&proxy, DOWN, BACKEND, 1);
    pause(Duration::from_secs(2));
    assert_eq!(told(&proxy, UP, BACKEND), 0);
}

fn datagrams(more: &str) -> String {
    format!(
        "[[protocols]]\nname = \"app\"\npatterns = [\"APP\"]\ntransport = \"udp\"\n\
         forward_to = \"{BACKEND}\"\n{more}\n"
    )
}

#[test]
fn no_check_of_a_dead_backend_passes() {
    for kind in ["kind = \"tcp\"", "kind = \"payload\"\nsend = \"ping\""] {
        let health = format!("{kind}\ninterval_ms = 100\nfall = 1\nrise = 1");
        let Some((network, proxy)) = start(&route(&[BACKEND], "", &health)) else { return };
        until_told(&proxy, DOWN, BACKEND, 1);
        // Some twenty checks.
        pause(Duration::from_secs(2));
        assert_eq!(told(&proxy, UP, BACKEND), 0, "{kind}");
        network.inside(|| {
            let _backend = Backend::echo_at(BACKEND, "ssh");
            until_told(&proxy, UP, BACKEND, 1);
        });
    }
}
