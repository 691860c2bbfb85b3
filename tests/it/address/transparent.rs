//! Backends that see the client's own address, in networks of their own: clients in one, backends in another.

use std::fs;
use std::io::Write;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicU16, Ordering};

use super::real::Nginx;
use crate::harness::udp::{Backend, Client};
use crate::harness::{Elsewhere, Family, Proxy, ip, need, program, route, run_command, until};

/// The routes that bring the answers of one backend back to us: those of the README. Gone when dropped.
struct WayBack(Vec<String>);

impl WayBack {
    fn of(backend: SocketAddr, transport: &str) -> Self {
        static MADE: AtomicU16 = AtomicU16::new(0);
        let [_, _, high, low] = std::process::id().to_be_bytes();
        let number =
            u16::from_be_bytes([high, low]) % 6000 * 8 + MADE.fetch_add(1, Ordering::Relaxed);
        let table = 1000 + number;
        let family = if backend.is_ipv4() { "-4" } else { "-6" };
        let (from, port) = (backend.ip(), backend.port());
        let rule = format!("from {from} ipproto {transport} sport {port} lookup {table}");
        ip(&format!("{family} route add local default dev lo table {table}")).expect("a route");
        ip(&format!("{family} rule add {rule}")).expect("a rule");
        Self(vec![
            format!("{family} rule del {rule}"),
            format!("{family} route flush table {table}"),
        ])
    }
}

impl Drop for WayBack {
    fn drop(&mut self) {
        for undo in &self.0 {
            let _ = ip(undo);
        }
    }
}

/// Where clients are, and where backends are that answer through us.
fn networks() -> Option<(Elsewhere, Elsewhere)> {
    let (clients, backends) = (Elsewhere::new()?, Elsewhere::new()?);
    for (family, option) in [(Family::V4, "-4"), (Family::V6, "-6")] {
        let (name, here) = (backends.name(), backends.here(family));
        ip(&format!("-n {name} {option} route add default via {here}")).expect("a route");
    }
    Some((clients, backends))
}

/// The program, on our end of the cable to the clients.
fn proxy(on: IpAddr, routes: &str) -> Proxy {
    Proxy::start_with("", routes, &["--debug", "-b", &on.to_string()])
}

#[test]
fn nginx_logs_the_clients_own_address() {
    if !need(&["nginx", "curl"]) {
        return;
    }
    let Some((clients, backends)) = networks() else { return };
    for family in [Family::V4, Family::V6] {
        let nginx = Nginx::plain_in(&backends, family);
        let _way = WayBack::of(nginx.address, "tcp");
        let proxy =
            proxy(clients.here(family), &route("http", "transparent = true", nginx.address));
        let path = format!("/from-{family:?}");
        let mut command = Command::new("ip");
        command.args(["netns", "exec", clients.name(), "curl", "-gsS", "--max-time", "20"]);
        command.arg(format!("http://{}{path}", proxy.address()));
        let (code, said, error) = run_command(command);
        assert_eq!(code, 0, "{error}");
        let client = clients.there(family);
        assert_eq!(said.trim_end(), client.to_string());
        assert_eq!(nginx.saw(&path), format!("{client} {path}"));
    }
}

/// The client's port too, which matters where it is told to others (TURN).
#[test]
fn a_udp_backend_sees_the_clients_own_address_and_port() {
    let Some((clients, backends)) = networks() else { return };
    for family in [Family::V4, Family::V6] {
        let bind = |network: &Elsewhere| {
            let there = network.there(family);
            network.inside(move || UdpSocket::bind((there, 0)).expect("a port"))
        };
        let backend = Backend::on(bind(&backends), |got, answer| answer(&got.bytes));
        let _way = WayBack::of(backend.address(), "udp");
        let keys = "patterns = \"GAME\"\ntransport = \"udp\"\ntransparent = true\nresponses = 1";
        let proxy = proxy(clients.here(family), &route("game", keys, backend.address()));
        let several: Vec<_> = (0..5).map(|_| Client::on(bind(&clients), proxy.address())).collect();
        for client in several.iter().chain(&several) {
            assert_eq!(client.ask(b"GAME on"), b"GAME on");
            assert_eq!(backend.next().peer, client.address());
        }
    }
}

/// It is not the backend's fault: it serves others on.
#[test]
fn a_client_of_another_family_is_refused_and_told_of() {
    let Some((clients, backends)) = networks() else { return };
    let nowhere = SocketAddr::new(backends.there(Family::V6), 9);
    let proxy = proxy(clients.here(Family::V4), &route("http", "transparent = true", nowhere));
    let to = proxy.address();
    let mut stream = clients.inside(|| TcpStream::connect(to).expect("a connection"));
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").expect("room");
    let _ = stream.shutdown(Shutdown::Write);
    until("a word of it", || {
        let log = proxy.stderr();
        assert!(!log.contains("WARN a backend"), "{log}");
        log.contains("it is not of the backend's family").then_some(())
    });
}

/// What `check` says is missing here, and no more once it is there.
#[test]
fn check_says_what_is_missing() {
    let Some((_, backends)) = networks() else { return };
    let backend = SocketAddr::new(backends.there(Family::V4), 80);
    let folder = tempfile::tempdir().expect("a folder");
    let text = route("http", "transparent = true", backend);
    fs::write(folder.path().join("refractium.toml"), text).expect("a file");
    let missing = "warning: `transparent`:";
    // In a network without any rule, and without the right.
    let check = |words: &[&str]| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", backends.name()]).args(words);
        let ours = program(folder.path(), &["check"]);
        command.arg(ours.get_program()).arg("check").current_dir(folder.path());
        let (code, stdout, stderr) = run_command(command);
        assert_eq!(code, 0, "{stdout}{stderr}");
        stdout
    };
    let said = check(&[]);
    assert!(
        said.contains(&format!("{missing} no routing rule leads to a table with `local default`")),
        "{said}"
    );
    let said = check(&["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"]);
    assert!(
        said.contains(&format!("{missing} the right to speak under other addresses")),
        "{said}"
    );
    let name = backends.name();
    ip(&format!("-n {name} route add local default dev lo table 100")).expect("a route");
    ip(&format!("-n {name} rule add from {} ipproto tcp sport 80 lookup 100", backend.ip()))
        .expect("a rule");
    let said = check(&[]);
    assert!(!said.contains(missing), "{said}");
}
