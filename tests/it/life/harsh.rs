//! Hard lives: killed, stopped, or with next to no rights.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
use std::process::Command;
use std::time::Duration;

use super::upgrade::heir::{Heir, signal};
use super::{SSH, told};
use crate::harness::udp::{Backend as Datagrams, Client, own_ip};
use crate::harness::{
    Backend, Proxy, ask, connect, copy_program, need, need_root, pause, program, read_once, route,
    until,
};

const APP: &str = "patterns = [\"APP\"]\ntransport = \"udp\"";

/// P11: nothing that is left of one that was killed keeps the next one from serving the same port.
#[test]
fn a_hundred_kills_leave_nothing_behind() {
    let (ssh, app) = (Backend::echo("ssh"), Datagrams::echo("app"));
    let address = SocketAddr::new(own_ip(), 4000);
    let folder = tempfile::tempdir().expect("a folder");
    let (bind, port) = (address.ip().to_string(), address.port().to_string());
    let routes = route("ssh", "", ssh.address()) + &route("app", APP, app.address());
    std::fs::write(folder.path().join("refractium.toml"), routes).expect("room");
    for _ in 0..100 {
        let words = ["-b", &bind, "-p", &port];
        let again = tempfile::tempdir().expect("a folder");
        let mut command = program(folder.path(), &words);
        command.args(["-c"]).arg(folder.path().join("refractium.toml"));
        let proxy = Proxy::watch(command, again);
        assert_eq!(proxy.address(), address);
        // One that is joined, one that has said nothing, and a session.
        let mut joined = connect(address);
        joined.write_all(SSH).expect("room");
        joined.read_exact(&mut [0; 16]).expect("an answer");
        let _silent = connect(address);
        Client::of(address).reaches("app", b"APP");
        proxy.signal("KILL");
        // A process that is gone closes like one that has ended, or resets: either way it is told at once.
        let told = read_once(&mut joined, &mut [0; 8]);
        assert!(told.is_err() || told.is_ok_and(|it| it == 0));
    }
}

/// P13: who waited while the process was stopped is no idler, whatever the clock says; who did nothing is.
#[test]
fn a_stop_costs_no_active_connection_its_life() {
    stopped_for(Duration::from_secs(3));
}

/// P13 as long as it says there.
#[test]
#[ignore = "half a minute of standing still"]
fn half_a_minute_of_standing_still_costs_no_active_connection_its_life() {
    stopped_for(Duration::from_secs(30));
}

fn stopped_for(length: Duration) {
    // One that waits for longer than those of other tests do.
    let ssh = Backend::serving(|mut stream| {
        stream.set_read_timeout(None).expect("an open socket");
        let mut buffer = [0; 64];
        while let Ok(count @ 1..) = stream.read(&mut buffer) {
            stream.write_all(&buffer[..count]).expect("room");
        }
    });
    let app = Datagrams::echo("app");
    let keys = "idle_timeout_ms = 1500";
    let routes =
        route("ssh", keys, ssh.address()) + &route("app", &format!("{APP}\n{keys}"), app.address());
    let proxy = Proxy::start_with("workers = 2", &routes, &[]);
    let mut clients: Vec<_> = (0..20).map(|_| proxy.connect()).collect();
    for client in &mut clients {
        client.write_all(SSH).expect("room");
        client.read_exact(&mut [0; SSH.len()]).expect("an answer");
    }
    let session = Client::of(proxy.address());
    session.reaches("app", b"APP 1");
    proxy.signal("STOP");
    let mut idle = clients.pop().expect("one of them");
    for client in &mut clients {
        client.write_all(b"meanwhile").expect("room");
    }
    session.send(b"APP 2");
    pause(length);
    proxy.signal("CONT");
    for client in &mut clients {
        let mut answer = [0; 9];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, b"meanwhile");
    }
    assert_eq!(session.receive(), b"app: APP 2");
    let ports: std::collections::BTreeSet<_> =
        app.take(2).iter().map(|it| it.peer.port()).collect();
    assert_eq!(ports.len(), 1, "the session has not ended");
    assert!(read_once(&mut idle, &mut [0]).is_err(), "it did nothing, and is reset");
    assert!(!proxy.stderr().contains("stands still"), "{}", proxy.stderr());
}

/// P14: as in a container: not root, no rights, nothing to write to, a thousand descriptors. It serves, and is followed by
/// another.
#[test]
fn in_a_bare_container_it_serves_and_is_upgraded() {
    if !need(&["unshare", "setpriv", "prlimit", "mount"]) || !need_root() {
        return;
    }
    let (ssh, app) = (Backend::echo("ssh"), Datagrams::echo("app"));
    let folder = tempfile::tempdir().expect("a folder");
    let routes = route("ssh", "", ssh.address()) + &route("app", APP, app.address());
    let text = format!("[server]\nbind = \"127.0.0.1\"\nport = 0\nworkers = 2\n{routes}");
    std::fs::write(folder.path().join("refractium.toml"), text).expect("room");
    copy_program(env!("CARGO_BIN_EXE_refractium"), folder.path().join("refractium"));
    let all: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(folder.path(), all).expect("our folder");
    // Its files are where nothing can be written, and so is everything else.
    let script = "mount --bind \"$0\" /mnt && mount -o remount,bind,ro /mnt && \
        mount -o remount,bind,ro / && cd /mnt && \
        exec setpriv --reuid 65534 --regid 65534 --clear-groups --bounding-set -all \
            --inh-caps -all --no-new-privs prlimit --nofile=1024:1024 \
            /mnt/refractium -c /mnt/refractium.toml";
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-c", script]).arg(folder.path());
    let proxy = Proxy::watch(command, folder);
    let serves = || {
        assert_eq!(ask(proxy.address(), SSH), [b"ssh: ", SSH].concat());
        Client::of(proxy.address()).reaches("app", b"APP");
    };
    serves();
    let status = std::fs::read_to_string(format!("/proc/{}/status", proxy.id())).expect("alive");
    for line in ["Uid:\t65534\t65534", "CapEff:\t0000000000000000", "NoNewPrivs:\t1"] {
        assert!(status.contains(line), "{status}");
    }
    until("the note", || proxy.stdout().contains("1024 descriptors are allowed").then_some(()));
    let mut tunnel = proxy.connect();
    tunnel.write_all(SSH).expect("room");
    tunnel.read_exact(&mut [0; 16]).expect("an answer");
    let heir = Heir::of(&proxy, proxy.id());
    told(&proxy, &["took over"]);
    serves();
    tunnel.write_all(b"still here").expect("an open connection");
    tunnel.read_exact(&mut [0; 10]).expect("an answer");
    tunnel.shutdown(Shutdown::Write).expect("an open socket");
    signal(proxy.id(), "TERM");
    until("the old one to end", || (!super::upgrade::heir::lives(proxy.id())).then_some(()));
    serves();
    heir.terminate();
    assert_eq!(proxy.wait().0.code(), Some(0));
}
