//! Every server behind one program, on one port.

use std::fmt::Write;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::dns::Names;
use super::servers::{Files, Shell, Web};
use super::snmp::Agent;
use crate::harness::{Backend, Proxy, installed, is_root, route, udp};

/// What is there of all servers, and the program before them. Its servers end with the last test that uses it.
pub(crate) struct World {
    pub(crate) proxy: Proxy,
    web: Option<Web>,
    shell: Option<Shell>,
    files: Option<Files>,
    names: Option<Names>,
    agent: Option<Agent>,
    _echoes: [Backend; 2],
    _games: [udp::Backend; 2],
}

static SHARED: Mutex<Weak<World>> = Mutex::new(Weak::new());

impl World {
    /// The one that other tests use at this moment, or a new one.
    pub(super) fn shared() -> Arc<Self> {
        // A test that failed to start it leaves nothing half made.
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(world) = shared.upgrade() {
            return world;
        }
        let world = Arc::new(Self::start("server_first_delay_ms = 300", ""));
        *shared = Arc::downgrade(&world);
        world
    }

    /// One of its own, with these keys of `[server]`, and routes that come before the others.
    pub(crate) fn start(server: &str, routes: &str) -> Self {
        let has = |programs: &[&str]| programs.iter().all(|it| installed(it).is_some());
        let web = has(&["nginx", "openssl"]).then(Web::start);
        let shell = has(&["sshd", "ssh-keygen"]).then(Shell::start);
        let files = (has(&["vsftpd"]) && is_root()).then(Files::start);
        let names = has(&["dnsmasq"]).then(Names::start);
        let agent = has(&["snmpd"]).then(Agent::start);
        let echoes = [Backend::echo("custom"), Backend::echo("rest")];
        let games = ["game", "sensor"].map(udp::Backend::echo);
        let mut routes = routes.to_owned();
        if let Some(web) = &web {
            routes += &route("http", "host = \"one.example\"", web.address("one"));
            routes +=
                &route("http", "host = [\"two.example\", \"*.two.example\"]", web.address("two"));
            routes += &route("http", "", web.address("plain"));
            routes += &route("https", "sni = \"a.example\"", web.address("tls-a"));
            routes += &route("tls", "sni = [\"*.b.example\"]", web.address("tls-b"));
            routes += &route("https", "", web.address("tls-any"));
        }
        if let Some(shell) = &shell {
            routes += &route("ssh", "", shell.address());
        }
        if let Some(files) = &files {
            routes += &route("ftp", "", files.address());
        }
        let patterns = r#"patterns = ["\xfe\x01\xff", "MY_PROTO_V1"]"#;
        routes += &route("my_app", patterns, echoes[0].address());
        if let Some(names) = &names {
            routes += &route("dns", "", names.address());
        }
        for (game, patterns) in
            games.iter().zip([r#"["\xfe\x01\xff", "GAME1"]"#, r#"["\x53\x4e"]"#])
        {
            let more = format!("patterns = {patterns}\ntransport = \"udp\"");
            routes += &route(&format!("app_{}", game.address().port()), &more, game.address());
        }
        let mut server = format!("{server}\n");
        writeln!(server, "fallback_tcp = \"{}\"", echoes[1].address()).expect("room");
        if let Some(agent) = &agent {
            writeln!(server, "fallback_udp = \"{}\"", agent.address()).expect("room");
        }
        let proxy = Proxy::start_with(&server, &routes, &[]);
        Self { proxy, web, shell, files, names, agent, _echoes: echoes, _games: games }
    }

    /// Asks the program to end, and then lets the servers go.
    pub(crate) fn end(self) -> (ExitStatus, String, String) {
        self.proxy.terminate()
    }

    pub(super) fn web(&self) -> &Web {
        self.web.as_ref().expect("nginx and openssl: the test needs them")
    }

    pub(super) fn shell(&self) -> &Shell {
        self.shell.as_ref().expect("sshd and ssh-keygen: the test needs them")
    }

    pub(super) fn files(&self) -> &Files {
        self.files.as_ref().expect("vsftpd and root: the test needs them")
    }

    pub(super) fn names(&self) -> &Names {
        self.names.as_ref().expect("dnsmasq: the test needs it")
    }

    pub(super) fn agent(&self) -> &Agent {
        self.agent.as_ref().expect("snmpd: the test needs it")
    }
}
