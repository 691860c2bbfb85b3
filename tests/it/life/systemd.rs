//! What systemd is told.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

use tempfile::TempDir;

use super::told;
use super::upgrade::heir::Upgradable;
use crate::harness::{Backend, Process, Proxy, need, need_root, program, route};

/// Hears what systemd would, under this name.
struct Manager {
    socket: UnixDatagram,
    name: String,
}

impl Manager {
    fn on(folder: &TempDir) -> Self {
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        Self::new(socket, path.to_str().expect("text").to_owned())
    }

    fn without_a_file() -> Self {
        let name = format!("refractium-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("a name");
        Self::new(UnixDatagram::bind_addr(&address).expect("a socket"), format!("@{name}"))
    }

    fn new(socket: UnixDatagram, name: String) -> Self {
        socket.set_read_timeout(Some(crate::harness::DEADLINE)).expect("an open socket");
        Self { socket, name }
    }

    fn next(&self) -> String {
        let mut buffer = [0; 4096];
        let length = self.socket.recv(&mut buffer).expect("a word");
        String::from_utf8(buffer[..length].to_vec()).expect("text")
    }
}

fn start(folder: TempDir, manager: &Manager, variables: &[(&str, &str)]) -> (Proxy, Backend) {
    let ssh = Backend::echo("ssh");
    let mut command = program(folder.path(), &["-c", "refractium.toml"]);
    command.env("NOTIFY_SOCKET", &manager.name).envs(variables.iter().copied());
    let routes = route("ssh", "", ssh.address());
    (Proxy::spawn_command(command, folder, "workers = 2\nhot_reload = false", &routes), ssh)
}

/// P5: ready only when clients are served, and stopping while the last ones are; by a path and by an abstract name.
#[test]
fn systemd_hears_of_the_start_and_of_the_end() {
    for is_abstract in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let manager = if is_abstract { Manager::without_a_file() } else { Manager::on(&folder) };
        let (proxy, _ssh) = start(folder, &manager, &[]);
        assert_eq!(manager.next(), "READY=1\nSTATUS=serving");
        // The only one: of another the end might still be on its way when it is counted.
        let open = super::joined(&proxy);
        proxy.signal("TERM");
        let stopping = "STOPPING=1\nEXTEND_TIMEOUT_USEC=40000000\nSTATUS=draining: 1 open";
        assert_eq!(manager.next(), stopping);
        let waiting = manager.next();
        assert!(waiting.starts_with("STATUS=draining: 1 open, "), "{waiting}");
        drop(open);
        assert_eq!(proxy.wait().0.code(), Some(0));
    }
}

/// P5: with `Type=notify-reload` systemd waits for both words, and the first has the time of a clock that it knows as well.
#[test]
fn systemd_hears_of_a_reload_whether_it_works_or_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::on(&folder);
    let (proxy, _ssh) = start(folder, &manager, &[]);
    assert_eq!(manager.next(), "READY=1\nSTATUS=serving");
    let file = proxy.folder().join("refractium.toml");
    for outcome in [" reloaded routes_added=", " cannot reload "] {
        let before = monotonic();
        proxy.signal("HUP");
        let reloading = manager.next();
        let time = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .and_then(|rest| rest.strip_suffix("\nSTATUS=reloading"));
        let time: u128 = time.and_then(|it| it.parse().ok()).expect(&reloading);
        assert!((before..=monotonic()).contains(&time), "{time}");
        assert_eq!(manager.next(), "READY=1\nSTATUS=serving");
        told(&proxy, &[outcome]);
        // The next is one with a mistake.
        std::fs::write(&file, "[[").expect("room");
    }
}

/// Microseconds of the clock that systemd means.
fn monotonic() -> u128 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    std::time::Duration::try_from(now).expect("a time").as_micros()
}

/// The process that takes over is the service from then on, and speaks only then.
#[test]
fn systemd_hears_who_has_taken_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::on(&folder);
    let ssh = Backend::echo("ssh");
    let variables = [("NOTIFY_SOCKET", manager.name.as_str())];
    let proxy = Upgradable::start_with("", &route("ssh", "", ssh.address()), &variables);
    assert_eq!(manager.next(), "READY=1\nSTATUS=serving");
    let open = super::joined(&proxy);
    let heir = proxy.upgrade();
    assert_eq!(manager.next(), format!("MAINPID={}", heir.id()));
    assert_eq!(manager.next(), "READY=1\nSTATUS=serving");
    // The old one ends, and it is nobody's business.
    drop(open);
    proxy.until_it_ends();
    heir.terminate();
    assert!(manager.next().starts_with("STOPPING=1\n"));
    proxy.finish();
}

/// P5: a program that cannot serve never says that it is ready.
#[test]
fn a_taken_port_is_never_ready() {
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::on(&folder);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("an address").port().to_string();
    let words = ["-b", "127.0.0.1", "-p", &port, "-f", "ssh=127.0.0.1:9"];
    let mut command = program(folder.path(), &words);
    command.env("NOTIFY_SOCKET", &manager.name);
    let status = Process(command.spawn().expect("the program")).0.wait().expect("its end");
    assert_eq!(status.code(), Some(1));
    manager.socket.set_nonblocking(true).expect("an open socket");
    let error = manager.socket.recv(&mut [0; 16]).expect_err("nothing was said");
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

/// P5: signs of life come only while every worker comes round.
#[test]
fn a_worker_that_stands_still_ends_the_signs_of_life() {
    if !need(&["strace"]) || !need_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let manager = Manager::on(&folder);
    let (proxy, _ssh) = start(folder, &manager, &[("WATCHDOG_USEC", "400000")]);
    let words = || std::iter::repeat_with(|| manager.next());
    assert_eq!(words().take(20).filter(|it| it == "WATCHDOG=1").count(), 19, "and ready once");
    let worker = worker(proxy.id()).to_string();
    let stall = ["-q", "-p", &worker, "-e", "trace=epoll_wait"];
    let delay = ["-e", "inject=epoll_wait:delay_enter=6000000", "-o", "/dev/null"];
    let strace = Command::new("strace").args(stall).args(delay).spawn().expect("strace");
    let strace = Process(strace);
    told(&proxy, &["a worker stands still"]);
    // One may have been on its way.
    manager.socket.set_read_timeout(Some(std::time::Duration::from_secs(2))).expect("open");
    let mut buffer = [0; 64];
    let late = std::iter::from_fn(|| manager.socket.recv(&mut buffer).ok()).take(12).count();
    assert!(late < 12, "it went on");
    drop(strace);
    told(&proxy, &["a worker goes on"]);
    manager.socket.set_read_timeout(Some(crate::harness::DEADLINE)).expect("an open socket");
    assert_eq!(manager.next(), "WATCHDOG=1");
}

/// The thread of a worker.
fn worker(process: u32) -> u32 {
    let tasks = std::fs::read_dir(format!("/proc/{process}/task")).expect("alive");
    let mut names = tasks.map(|task| {
        let path = task.expect("a task").path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        (name, path.file_name().and_then(|it| it.to_str()?.parse().ok()).expect("a number"))
    });
    names.find(|(name, _)| name.starts_with("refractium-")).expect("a worker").1
}
