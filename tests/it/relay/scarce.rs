//! No pipe to be had: bytes are copied, and nobody notices.

use std::collections::HashMap;
use std::fs;
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::Receiver;
use std::thread;

use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::engine::{Engine, closed, figure};
use super::exchange::{Call, Exchanged, call_slowly, exchanging};
use super::stream::{open_slow, result};
use crate::harness::{Process, Proxy, copy_program, need, need_root, read_until, route, until};

const CALLS: usize = 12;

/// Connections that are through to the backend.
fn connections(proxy: &Proxy) -> Vec<TcpStream> {
    let clients = (0..CALLS).map(|_| open_slow(proxy)).collect();
    until("the welds", || (proxy.stderr().matches(" welded ").count() == CALLS).then_some(()));
    clients
}

/// Calls at the same time; gives how often a pipe was refused.
fn calls(proxy: &Proxy, clients: Vec<TcpStream>, at_backend: &Receiver<Exchanged>) -> u64 {
    let at_clients: Vec<_> = thread::scope(|scope| {
        let call = |(client, seed)| {
            let call = Call { size: 16 << 20, seed };
            scope.spawn(move || call_slowly(client, call))
        };
        let calls: Vec<_> = clients.into_iter().zip(0..).map(call).collect();
        calls.into_iter().map(|it| it.join().expect("a call")).collect()
    });
    let at_backend = at_clients.iter().map(|_| result(at_backend));
    let at_backend: HashMap<_, _> = at_backend.map(|it| (it.call.seed, it)).collect();
    for client in &at_clients {
        client.is_mirrored_by(&at_backend[&client.call.seed]);
    }
    closed(proxy, CALLS).iter().map(|line| figure(line, "pipes_refused")).sum()
}

/// Row T12: as few descriptors as a careful administrator gives.
#[test]
fn with_64_descriptors_everything_arrives() {
    if !need(&["prlimit"]) {
        return;
    }
    let (backend, at_backend) = exchanging();
    let routes = route("ssh", "", backend.address());
    let proxy = Proxy::start_under(&["prlimit", "--nofile=64"], "workers = 2", &routes);
    until("the note", || proxy.stdout().contains("64 descriptors are allowed").then_some(()));
    assert!(
        calls(&proxy, connections(&proxy), &at_backend) > 0,
        "there are not pipes enough for all of them"
    );
}

/// Row T12: the system says EMFILE, which nobody reckoned with at start.
#[test]
fn when_descriptors_run_out_everything_arrives() {
    let (backend, at_backend) = exchanging();
    let proxy = Engine::Splice.proxy(&backend, "");
    let clients = connections(&proxy);
    // Those that are open stay so, and there is no number left for another.
    let limit = Some(3);
    let id = i32::try_from(proxy.id()).ok().and_then(Pid::from_raw);
    prlimit(id, Resource::Nofile, Rlimit { current: limit, maximum: limit }).expect("a limit");
    assert!(calls(&proxy, clients, &at_backend) > 0, "there was no pipe to be had");
}

/// Row T12: an unprivileged user may have 64 MiB of pipes (pipe(7)), and another program of the same user has them all.
#[test]
fn with_the_quota_of_pipes_used_up_everything_arrives() {
    if !need_root() || !need(&["setpriv", "prlimit", "perl"]) {
        return;
    }
    let (backend, at_backend) = exchanging();
    let folder = tempfile::tempdir().expect("a folder");
    let nobody = ["setpriv", "--reuid=65533", "--regid=65533", "--clear-groups"];
    let _other = use_up_pipes(&nobody);
    let program = readable_by_all(folder.path());
    let routes = route("ssh", "", backend.address());
    let mut command = Command::new(nobody[0]);
    command.args(&nobody[1..]).arg(program).args(["-c", "refractium.toml", "--debug"]);
    let proxy = Proxy::spawn_command(command, folder, "", &routes);
    let status = fs::read_to_string(format!("/proc/{}/status", proxy.id())).expect("alive");
    assert!(status.contains("Uid:\t65533\t65533"), "{status}");
    let refused = calls(&proxy, connections(&proxy), &at_backend);
    assert!(refused > 0, "the quota is used up");
    let spliced: u64 = closed(&proxy, CALLS).iter().map(|it| figure(it, "spliced")).sum();
    assert_eq!(spliced, 0, "the quota is used up");
}

/// Takes all pipes that a user may have, until dropped.
fn use_up_pipes(user: &[&str]) -> Process {
    // Over the quota the kernel still gives pipes, of two pages.
    let script = "for (1..1200) { pipe(my $r, my $w) or die $!; push @k, $r, $w } \
                  $| = 1; print \"full\\n\"; sleep 600";
    let mut command = Command::new("prlimit");
    command.arg("--nofile=4096").args(user).args(["perl", "-e", script]);
    let mut child = Process(command.stdout(Stdio::piped()).spawn().expect("perl"));
    read_until("full", child.0.stdout.take().expect("a pipe"));
    child
}

/// The program where every user may run it.
fn readable_by_all(folder: &Path) -> std::path::PathBuf {
    let program = folder.join("program");
    copy_program(env!("CARGO_BIN_EXE_refractium"), &program);
    for path in [folder, &program] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    program
}
