//! dig to dnsmasq.

use std::fs;
use std::net::SocketAddr;
use std::process::Command;

use tempfile::TempDir;

use super::servers::{folder, listening, program, succeed};
use super::world::World;
use crate::harness::{Process, is_root, need, until};

/// dnsmasq, which knows a few names by heart and asks nobody.
pub(super) struct Names {
    _dnsmasq: Process,
    folder: TempDir,
    address: SocketAddr,
}

const PROGRAMS: &[&str] = &["dnsmasq", "dig"];

/// Nearly the 4,096 bytes that EDNS recommends to allow (RFC 6891, section 6.2.5).
const LARGE: usize = 4090;

impl Names {
    pub(super) fn start() -> Self {
        let folder = folder();
        let log = folder.path().join("log");
        let (dnsmasq, addresses) = listening(folder.path(), 1, |addresses| {
            let (ip, port) = (addresses[0].ip(), addresses[0].port());
            let mut text = format!(
                "port={port}\nlisten-address={ip}\nbind-interfaces\nno-resolv\nno-hosts\nno-poll\n\
                 pid-file=\nlog-queries=extra\nlog-facility={}\nedns-packet-max=4096\n\
                 address=/names.example/192.0.2.7\n",
                log.display()
            );
            if is_root() {
                text += "user=root\n";
            }
            for letter in 'a'..='p' {
                let letters = letter.to_string().repeat(240);
                text += &format!("txt-record=large.example,\"{letters}\"\n");
            }
            fs::write(folder.path().join("dnsmasq.conf"), text).expect("room");
            let mut command = program("dnsmasq");
            command.arg("--keep-in-foreground");
            command.arg(format!("--conf-file={}", folder.path().join("dnsmasq.conf").display()));
            command
        });
        Self { _dnsmasq: dnsmasq, address: addresses[0], folder }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The server says that it was asked for this name.
    fn saw(&self, kind: &str, name: &str) {
        let asked = format!("query[{kind}] {name} from 127.0.0.1");
        until(&asked, || {
            let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            log.lines().any(|line| line.ends_with(&asked)).then_some(())
        });
    }
}

/// dig without the user's settings, under a deadline.
fn dig(port: u16, words: &[&str]) -> Command {
    let mut command = program("dig");
    // From an address that no other client of UDP has: a port that the system gives anew is none of a session then.
    command.args(["-b", "127.0.5.1", "-r", "@127.0.0.1", "-p", &port.to_string()]);
    command.args(["+tries=2", "+time=5"]);
    command.args(words);
    command
}

/// A name that nobody else asks for.
pub(super) fn dig_resolves(world: &World, label: &str) {
    let name = format!("{label}.names.example");
    let said = succeed(dig(world.proxy.port(), &[&name, "A", "+short"]));
    assert_eq!(said, "192.0.2.7\n");
    world.names().saw("A", &name);
}

/// An answer of several packets' size, whole and over UDP.
pub(super) fn dig_gets_a_large_answer(world: &World) {
    let words = ["large.example", "TXT", "+bufsize=4096", "+ignore"];
    let said = succeed(dig(world.proxy.port(), &words));
    for letter in 'a'..='p' {
        assert!(said.contains(&letter.to_string().repeat(240)), "{letter} is missing: {said}");
    }
    assert!(said.contains(&format!("MSG SIZE  rcvd: {LARGE}")), "{said}");
    assert!(said.contains("(UDP)") && !said.contains(" tc "), "{said}");
}

#[test]
fn dig_is_answered_by_its_own_server() {
    if !need(PROGRAMS) {
        return;
    }
    let world = World::shared();
    for label in ["one", "two", "three"] {
        dig_resolves(&world, label);
    }
}

#[test]
fn large_answers_pass_whole_and_small_buffers_are_told_that_they_are_cut() {
    if !need(PROGRAMS) {
        return;
    }
    let world = World::shared();
    dig_gets_a_large_answer(&world);
    world.names().saw("TXT", "large.example");
    let words = ["large.example", "TXT", "+bufsize=1232", "+ignore"];
    let said = succeed(dig(world.proxy.port(), &words));
    assert!(said.contains(" tc "), "{said}");
}

/// As a resolver's library asks: many names, one after the other, from few sockets.
#[test]
fn a_list_of_names_is_resolved() {
    if !need(PROGRAMS) {
        return;
    }
    let world = World::shared();
    let list = world.proxy.folder().join("list-of-names");
    let names: Vec<_> = (0..50).map(|at| format!("list-{at}.names.example")).collect();
    fs::write(&list, names.join("\n")).expect("room");
    let said = succeed(dig(world.proxy.port(), &["+short", "-f", &list.display().to_string()]));
    assert_eq!(said, "192.0.2.7\n".repeat(names.len()));
    world.names().saw("A", &names[49]);
}
