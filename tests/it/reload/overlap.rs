//! Row C9: an address is exchanged for one that overlaps with it.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use super::*;
use crate::harness::udp::{self, Client};
use crate::harness::{Elsewhere, Family, ask, need, route, run_command, unchosen_port};

const SERVER: &str = "hot_reload = false\nworkers = 2";

/// The program at an address, and later at others of the same port.
struct Moving {
    proxy: Proxy,
    routes: String,
}

impl Moving {
    fn start(bind: &str, routes: String) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let text = Self::text(bind, unchosen_port(), &routes);
        fs::write(folder.path().join("refractium.toml"), text).expect("room");
        Self { proxy: Proxy::spawn(folder, &["-c", "refractium.toml"]), routes }
    }

    fn text(bind: &str, port: u16, routes: &str) -> String {
        let text = text(SERVER, routes).replace("port = 0", &format!("port = {port}"));
        text.replace("127.0.0.1\"\nport", &format!("{bind}\"\nport"))
    }

    fn to(&self, bind: &str) {
        save(&self.proxy, &Self::text(bind, self.proxy.port(), &self.routes));
        hang_up(&self.proxy);
    }

    fn at(&self, last: u8) -> SocketAddr {
        (Ipv4Addr::new(127, 0, 0, last), self.proxy.port()).into()
    }
}

/// Clients of 127.0.0.1 come all the time, each once, while the program goes from one address to the other and back.
fn nobody_is_refused(binds: [&str; 2]) {
    let ssh = Backend::echo("ssh");
    let moving = Moving::start(binds[0], route("ssh", "", ssh.address()));
    let mut client = joined(moving.at(1), "ssh");
    let (is_over, served, start) = (AtomicBool::new(false), AtomicUsize::new(0), Instant::now());
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) && start.elapsed() < DEADLINE {
                    assert_eq!(ask(moving.at(1), SSH), [b"ssh: ", SSH].concat());
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for bind in [binds[1], binds[0], binds[1]] {
            moving.to(bind);
            let before = served.load(Ordering::Relaxed);
            until("others", || (served.load(Ordering::Relaxed) > before + 20).then_some(()));
            if bind == "0.0.0.0" {
                joined(moving.at(2), "ssh");
            } else {
                // Not at once, because of those whose handshake may have begun.
                until("the rest to be refused", || TcpStream::connect(moving.at(2)).err());
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    println!("{served:?} served");
    echoes(&mut client);
    assert_eq!(failures(&moving.proxy), 0, "{}", moving.proxy.stderr());
}

#[test]
fn an_address_is_exchanged_for_a_wildcard_without_a_client_refused() {
    nobody_is_refused(["127.0.0.1", "0.0.0.0"]);
}

#[test]
fn a_wildcard_is_exchanged_for_an_address_without_a_client_refused() {
    nobody_is_refused(["0.0.0.0", "127.0.0.1"]);
}

/// The last packet of a client's handshake is on its way while its listener is closed.
#[test]
fn whose_handshake_has_begun_at_a_wildcard_that_goes_is_served() {
    let Some(network) = Elsewhere::new().filter(|_| need(&["nft"])) else { return };
    let ssh = Backend::echo("ssh");
    let moving = Moving::start("0.0.0.0", route("ssh", "", ssh.address()));
    let here = network.here(Family::V4);
    let to = SocketAddr::new(here, moving.proxy.port());
    // What acknowledges alone is lost; the first bytes do so as well.
    let rules = "add table ip rf; add chain ip rf out { type filter hook output priority 0; }; \
                 add rule ip rf out tcp flags & (fin | syn | psh | ack) == ack drop";
    let mut nft = Command::new("ip");
    nft.args(["netns", "exec", network.name(), "nft", rules]);
    let (code, _, stderr) = run_command(nft);
    assert_eq!(code, 0, "{stderr}");
    let mut client = network.inside(|| connect(to));
    moving.to(&here.to_string());
    client.write_all(SSH).expect("room");
    expect(&mut client, &[b"ssh: ", SSH].concat());
    assert!(moving.proxy.stderr().contains("not listening any more"));
}

/// One that takes IPv4 as well for one that does not, and an IPv4 address beside it.
#[test]
fn a_wildcard_of_both_families_is_exchanged_for_one_of_each() {
    let ssh = Backend::echo("ssh");
    let moving = Moving::start("::", route("ssh", "", ssh.address()));
    let v6 = SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, moving.proxy.port()));
    for bind in ["0.0.0.0\", \"::", "::", "0.0.0.0", "::"] {
        let text = Moving::text("@", moving.proxy.port(), &moving.routes);
        save(&moving.proxy, &text.replace("\"@\"", &format!("[\"{bind}\"]")));
        hang_up(&moving.proxy);
        joined(moving.at(1), "ssh");
        if bind == "0.0.0.0" {
            until("IPv6 to be refused", || TcpStream::connect(v6).err());
        } else {
            joined(v6, "ssh");
        }
    }
}

/// A session goes on where a wildcard takes the place of its address. Where it is the other way round the client is
/// served on, by another session.
#[test]
fn sessions_are_served_whatever_is_exchanged() {
    let app = udp::Backend::echo("app");
    let patterns = "patterns = [\"APP\"]\ntransport = \"udp\"";
    let moving = Moving::start("127.0.0.1", route("app", patterns, app.address()));
    let client = Client::of(moving.at(1));
    client.reaches("app", b"APP one");
    for bind in ["0.0.0.0", "127.0.0.1", "0.0.0.0"] {
        moving.to(bind);
        client.reaches("app", b"APP two");
        // And who comes now is not left to one that takes nobody any more.
        Client::of(moving.at(1)).reaches("app", b"APP new");
    }
    let all = app.rest();
    let of_client = all.iter().filter(|it| it.bytes != b"APP new");
    let ports: BTreeSet<_> = of_client.map(|it| it.peer.port()).collect();
    assert_eq!(ports.len(), 1, "one session all the time");
    let other = Client::of(moving.at(2));
    other.reaches("app", b"APP three");
    moving.to("127.0.0.2");
    other.reaches("app", b"APP four");
    Client::of(moving.at(2)).reaches("app", b"APP five");
    client.reaches("app", b"APP six");
    assert_eq!(failures(&moving.proxy), 0, "{}", moving.proxy.stderr());
}
