//! The lines of README.md that make backends see clients, typed as they stand there on a machine between clients and
//! backends: real clients, real servers, both transports.

use std::fs;
use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;

use super::real::Nginx;
use crate::clients::servers::{Shell, succeed};
use crate::harness::udp::{Backend, Client};
use crate::harness::{Elsewhere, Family, Proxy, connect, ip, need, program, route};

/// The block of README.md that begins so, line by line.
fn printed(begins: &str) -> Vec<String> {
    let readme = include_str!("../../../README.md");
    let mut blocks = readme.split("```text\n").skip(1).filter_map(|rest| rest.split("```").next());
    let block = blocks.find(|block| block.starts_with(begins)).expect("a block");
    block.lines().map(str::to_owned).collect()
}

/// A machine of its own, with a cable to the clients and one to the backends.
struct Between {
    machine: Elsewhere,
    clients: Elsewhere,
    backends: Elsewhere,
}

impl Between {
    fn new() -> Option<Self> {
        let (machine, clients, backends) =
            (Elsewhere::new()?, Elsewhere::new()?, Elsewhere::new()?);
        let name = machine.name();
        for network in [&clients, &backends] {
            let device = format!("{}a", network.name());
            ip(&format!("link set {device} netns {name}")).expect("a cable");
            for (family, length, more) in [(Family::V4, 30, ""), (Family::V6, 80, " nodad")] {
                let address = network.here(family);
                ip(&format!("-n {name} address add {address}/{length} dev {device}{more}"))
                    .expect("an address");
            }
            ip(&format!("-n {name} link set {device} up")).expect("a cable");
        }
        for (family, option) in [(Family::V4, "-4"), (Family::V6, "-6")] {
            let (name, here) = (backends.name(), backends.here(family));
            ip(&format!("-n {name} {option} route add default via {here}")).expect("a route");
        }
        Some(Self { machine, clients, backends })
    }

    /// Types a line there, for IPv6 as well if it is one of `ip`.
    fn types(&self, line: &str, family: Family) {
        let line = match family {
            Family::V4 => line.to_owned(),
            Family::V6 => line.replacen("ip ", "ip -6 ", 1),
        };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.machine.name(), "sh", "-c", &line]);
        succeed(command);
    }

    /// What `check` has to say there about these routes.
    fn lacks(&self, routes: &str, family: Family) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("refractium.toml"), routes).expect("a file");
        let bind = self.clients.here(family).to_string();
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.machine.name()]);
        command.arg(program(folder.path(), &[]).get_program()).args(["check", "-b", &bind]);
        command.current_dir(folder.path());
        let said = succeed(command);
        let lines = said.lines().filter(|line| line.starts_with("warning: `transparent`"));
        lines.map(str::to_owned).collect()
    }

    fn proxy(&self, routes: &str, family: Family) -> Proxy {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.machine.name(), env!("CARGO_BIN_EXE_refractium")]);
        let bind = self.clients.here(family).to_string();
        command.args(["-c", "refractium.toml", "--debug", "-b", &bind]);
        Proxy::spawn_command(command, tempfile::tempdir().expect("a folder"), "", routes)
    }

    /// ssh logs in through us, and sshd says who came.
    fn logs_in(&self, shell: &Shell, to: SocketAddr, family: Family) {
        let mut ssh = shell.client("ssh", to.port());
        ssh.args([&to.ip().to_string(), "echo $SSH_CONNECTION"]);
        let said = succeed(self.among_clients(&ssh));
        let client = self.clients.there(family).to_string();
        assert_eq!(said.split(' ').next(), Some(&*client), "{said}");
        let line = format!(" from {client} port ");
        let log = shell.log();
        assert!(log.lines().any(|it| it.contains("Accepted") && it.contains(&line)), "{log}");
    }

    fn among_clients(&self, command: &Command) -> Command {
        let mut there = Command::new("ip");
        there.args(["netns", "exec", self.clients.name()]);
        there.arg(command.get_program()).args(command.get_args());
        there
    }
}

#[test]
fn with_nftables_as_printed_sshd_nginx_and_datagrams_see_clients() {
    if !need(&["nft", "nginx", "curl", "sshd", "ssh", "ssh-keygen"]) {
        return;
    }
    let Some(between) = Between::new() else { return };
    for family in [Family::V4, Family::V6] {
        let there = between.backends.there(family);
        let nginx = Nginx::plain_in(&between.backends, family);
        let shell = Shell::start_in(&between.backends, SocketAddr::new(there, 22));
        let socket = between.backends.inside(move || UdpSocket::bind((there, 0)).expect("a port"));
        let udp = Backend::on(socket, |got, answer| answer(&got.bytes));
        let keys = "transparent = true";
        let game = format!("patterns = \"GAME\"\ntransport = \"udp\"\n{keys}");
        let routes = route("http", keys, nginx.address)
            + &route("ssh", keys, shell.address())
            + &route("game", &game, udp.address());
        let lacks = between.lacks(&routes, family);
        assert!(lacks.len() == 1 && lacks[0].contains("no routing rule leads to"), "{lacks:?}");
        let lines = printed("nft add table");
        let (marks, rules): (Vec<_>, Vec<_>) = lines.iter().partition(|it| it.starts_with("nft "));
        assert!(!marks.is_empty() && !rules.is_empty());
        for line in rules {
            between.types(line, family);
        }
        if family == Family::V4 {
            let lacks = between.lacks(&routes, family);
            assert!(lacks.iter().all(|it| it.contains("nftables marks nothing")), "{lacks:?}");
            assert_eq!(lacks.len(), 3, "{lacks:?}");
            for line in marks {
                between.types(line, family);
            }
        }
        assert_eq!(between.lacks(&routes, family), [""; 0]);
        let proxy = between.proxy(&routes, family);
        let addresses = proxy.addresses(2);
        let client = between.clients.there(family);
        let path = format!("/from-{family:?}");
        let mut curl = Command::new("curl");
        curl.args(["-gsS", "--max-time", "20", &format!("http://{}{path}", addresses[0])]);
        assert_eq!(succeed(between.among_clients(&curl)).trim_end(), client.to_string());
        assert_eq!(nginx.saw(&path), format!("{client} {path}"));
        between.logs_in(&shell, addresses[0], family);
        let socket = between.clients.inside(move || UdpSocket::bind((client, 0)).expect("a port"));
        let player = Client::on(socket, addresses[1]);
        assert_eq!(player.ask(b"GAME on"), b"GAME on");
        assert_eq!(udp.next().peer, player.address());
    }
}

#[test]
fn with_rules_as_printed_sshd_sees_clients() {
    if !need(&["sshd", "ssh", "ssh-keygen"]) {
        return;
    }
    let Some(between) = Between::new() else { return };
    for family in [Family::V4, Family::V6] {
        let there = between.backends.there(family);
        let shell = Shell::start_in(&between.backends, SocketAddr::new(there, 22));
        let routes = route("ssh", "transparent = true", shell.address());
        for line in printed("ip rule add from 10.0.0.2") {
            between.types(&line.replace("10.0.0.2", &there.to_string()), family);
        }
        assert_eq!(between.lacks(&routes, family), [""; 0]);
        let elsewhere = route("ssh", "transparent = true", SocketAddr::new(there, 2222));
        let lacks = between.lacks(&elsewhere, family);
        assert!(
            lacks.len() == 1 && lacks[0].contains("no rule that leads here is for"),
            "{lacks:?}"
        );
        let proxy = between.proxy(&routes, family);
        between.logs_in(&shell, proxy.address(), family);
    }
}

/// Backends on the same machine; who connects to them without us is answered as before.
#[test]
fn with_rules_as_printed_backends_on_loopback_see_clients() {
    if !need(&["sshd", "ssh", "ssh-keygen"]) {
        return;
    }
    let Some(between) = Between::new() else { return };
    for family in [Family::V4, Family::V6] {
        let here: IpAddr = match family {
            Family::V4 => Ipv4Addr::LOCALHOST.into(),
            Family::V6 => Ipv6Addr::LOCALHOST.into(),
        };
        let shell = Shell::start_in(&between.machine, SocketAddr::new(here, 22));
        let socket = between.machine.inside(move || UdpSocket::bind((here, 0)).expect("a port"));
        let udp = Backend::on(socket, |got, answer| answer(&got.bytes));
        let keys = "transparent = true";
        let game = format!("patterns = \"GAME\"\ntransport = \"udp\"\n{keys}");
        let routes = route("ssh", keys, shell.address()) + &route("game", &game, udp.address());
        assert_ne!(between.lacks(&routes, family), [""; 0]);
        for line in printed("ip rule add from 127.0.0.1") {
            between.types(&line.replace("127.0.0.1", &here.to_string()), family);
        }
        assert_eq!(between.lacks(&routes, family), [""; 0]);
        let proxy = between.proxy(&routes, family);
        let addresses = proxy.addresses(2);
        between.logs_in(&shell, addresses[0], family);
        let client = between.clients.there(family);
        let socket = between.clients.inside(move || UdpSocket::bind((client, 0)).expect("a port"));
        let player = Client::on(socket, addresses[1]);
        assert_eq!(player.ask(b"GAME on"), b"GAME on");
        assert_eq!(udp.next().peer, player.address());
        let direct = between.machine.inside(|| connect(shell.address()));
        let mut banner = [0; 4];
        (&direct).read_exact(&mut banner).expect("an answer");
        assert_eq!(&banner, b"SSH-");
    }
}

/// A name may have addresses of whatever family clients come over.
#[test]
fn check_looks_at_what_a_name_may_be() {
    let Some(between) = Between::new() else { return };
    let routes = "[[protocols]]\nname = \"ssh\"\nforward_to = [\"a.test:22\", \"srv+b.test\"]\ntransparent = true\n";
    let lines = printed("ip rule add from 10.0.0.2");
    for (family, option) in [(Family::V4, "-4"), (Family::V6, "-6")] {
        let lacks = between.lacks(routes, family);
        let rules = format!("`ip {option} rule`");
        assert!(lacks.len() == 1 && lacks[0].contains(&rules), "{lacks:?}");
        for line in &lines {
            between.types(&line.replace("from 10.0.0.2", "from all"), family);
        }
        assert_eq!(between.lacks(routes, family), [""; 0]);
    }
}
