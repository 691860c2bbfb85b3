//! How it ends, and what it says of that.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::{SSH, folder};
use crate::harness::{
    Backend, Process, Proxy, need, need_root, program, read_once, read_until, route, run,
    run_command, until, until_refused,
};

/// A client that is joined to its echo.
fn joined(proxy: &Proxy) -> TcpStream {
    let mut client = proxy.connect();
    client.write_all(SSH).expect("room");
    expect(&mut client, b"ssh: SSH-2.0-x\r\n");
    client
}

fn expect(client: &mut TcpStream, bytes: &[u8]) {
    let mut read = vec![0; bytes.len()];
    client.read_exact(&mut read).expect("an answer");
    assert_eq!(read, bytes);
}

fn start(server: &str) -> (Proxy, Backend) {
    let ssh = Backend::echo("ssh");
    (Proxy::start_with(server, &route("ssh", "", ssh.address()), &[]), ssh)
}

fn refuses(proxy: &Proxy) {
    // A connection before that would be one more to count.
    until("the drain", || proxy.stderr().contains("draining").then_some(()));
    until_refused(proxy.address());
}

#[test]
fn a_signal_ends_it_with_0() {
    for signal in ["TERM", "INT"] {
        let (proxy, _ssh) = start("");
        drop(joined(&proxy));
        proxy.signal(signal);
        let (status, ..) = proxy.wait();
        assert_eq!(status.code(), Some(0), "{signal}");
    }
}

#[test]
fn an_open_connection_may_finish_while_new_ones_are_refused() {
    let (proxy, _ssh) = start("");
    let mut client = joined(&proxy);
    proxy.signal("TERM");
    refuses(&proxy);
    client.write_all(b"still here\n").expect("room");
    expect(&mut client, b"still here\n");
    client.write_all(b"the last\n").expect("room");
    client.shutdown(Shutdown::Write).expect("an open socket");
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("the rest");
    assert_eq!(rest, b"the last\n");
    let (status, _, stderr) = proxy.wait();
    assert_eq!(status.code(), Some(0));
    assert!(stderr.contains("draining open=1"), "{stderr}");
    assert!(stderr.contains("ended cut=0"), "{stderr}");
}

#[test]
fn the_drain_is_bounded_and_cuts_by_reset() {
    let (proxy, _ssh) = start("drain_timeout_ms = 200");
    let mut client = joined(&proxy);
    let start = Instant::now();
    proxy.signal("TERM");
    let error = read_once(&mut client, &mut [0]).expect_err("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    let (status, _, stderr) = proxy.wait();
    assert_eq!(status.code(), Some(0));
    assert!(stderr.contains("ended cut=1"), "{stderr}");
}

#[test]
fn a_second_signal_ends_it_with_1_at_once() {
    for signals in [["TERM", "TERM"], ["INT", "TERM"]] {
        // The drain would last longer than any wait of the tests.
        let (proxy, _ssh) = start("drain_timeout_ms = 3600000");
        let mut client = joined(&proxy);
        proxy.signal(signals[0]);
        refuses(&proxy);
        let second = Instant::now();
        proxy.signal(signals[1]);
        // A stream that is cut must not look like a whole one.
        let error = read_once(&mut client, &mut [0]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        let (status, _, stderr) = proxy.wait();
        let took = second.elapsed();
        println!("{signals:?}: ended {took:?} after the second");
        assert_eq!(status.code(), Some(1), "{signals:?}");
        // 200 ms, twentyfold for a busy machine.
        assert!(took < Duration::from_secs(4), "{took:?}");
        assert!(stderr.contains("second signal"), "{stderr}");
    }
}

#[test]
fn a_taken_port_ends_it_with_1_and_names_the_address() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = taken.local_addr().expect("an address");
    let port = address.port();
    let ssh = route("ssh", "", SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
    let folder =
        folder(&format!("[server]\nbind = [\"127.0.0.2\", \"127.0.0.1\"]\nport = {port}\n{ssh}"));
    let (code, stdout, stderr) = run(folder.path(), &[]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains(&address.to_string()), "{stderr}");
    assert!(stderr.contains("in use"), "{stderr}");
    assert!(stderr.contains("`ss -lntup` shows who"), "{stderr}");
    // The free address of the two is not served either.
    assert!(!stdout.contains("listening"), "{stdout}");
}

#[test]
fn an_address_that_may_not_be_had_ends_it_with_1_and_says_what_helps() {
    let words = ["tcp", "-f", "ssh=127.0.0.1:9", "-p"];
    let (code, _, stderr) = run(Path::new("/"), &[&words[..], &["0", "-b", "192.0.2.1"]].concat());
    assert!(code == 1 && stderr.contains("`ip address` shows those that it has"), "{stderr}");
    if !need_root() || !need(&["setpriv"]) {
        return;
    }
    let mut command = Command::new("setpriv");
    command.args(["--bounding-set=-net_bind_service", env!("CARGO_BIN_EXE_refractium")]);
    command.args([&words[..], &["1", "-b", "127.0.0.1"]].concat()).current_dir("/");
    let (code, _, stderr) = run_command(command);
    assert!(code == 1 && stderr.contains("the capability CAP_NET_BIND_SERVICE"), "{stderr}");
}

/// Clients that the kernel has shaken hands with are served, though nobody had accepted them yet.
#[test]
fn clients_that_wait_to_be_accepted_are_served_before_the_end() {
    const CLIENTS: usize = 400;
    let (proxy, _ssh) = start("drain_timeout_ms = 20000");
    proxy.signal("STOP");
    let clients: Vec<_> = (0..CLIENTS).map(|_| proxy.connect()).collect();
    proxy.signal("TERM");
    proxy.signal("CONT");
    let served = clients.into_iter().filter(|mut client| {
        client.write_all(SSH).is_ok()
            && client.shutdown(Shutdown::Write).is_ok()
            && client.read_to_end(&mut Vec::new()).is_ok_and(|count| count > 0)
    });
    assert_eq!(served.count(), CLIENTS);
    let (status, ..) = proxy.wait();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn a_default_that_does_not_fit_the_descriptor_limit_is_lowered_and_said() {
    let folder = folder(&route("ssh", "", (Ipv4Addr::LOCALHOST, 9).into()));
    let program = env!("CARGO_BIN_EXE_refractium");
    let script = format!("ulimit -n 200; exec {program} -b 127.0.0.1 -p 0");
    let mut command = Command::new("sh");
    command.args(["-c", &script]).current_dir(folder.path()).stdout(Stdio::piped());
    let mut child = Process(command.spawn().expect("a shell"));
    let said = read_until("is lowered", child.0.stdout.take().expect("a pipe"));
    let (_, lowered) = said.split_once("from 10000 to ").expect("a number");
    let (most, because) = lowered.split_once(": ").expect("a reason");
    assert!(because.starts_with("200 descriptors are allowed"), "{said}");
    let most: usize = most.parse().expect("a number");
    assert!((20..90).contains(&most), "two descriptors each, and some besides: {said}");
}

/// What nobody can read was not done; a reader who leaves has read enough.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let text = route("ssh", "", (Ipv4Addr::LOCALHOST, 9).into());
    for words in [&["check"][..], &["explain", "--text", "SSH-2.0-x"], &["init"]] {
        let folder =
            if words == ["init"] { tempfile::tempdir().expect("a folder") } else { folder(&text) };
        let printed = |stdout: Stdio| {
            let mut command = program(folder.path(), words);
            command.stdin(Stdio::null()).stdout(stdout).stderr(Stdio::piped());
            let output = command.spawn().and_then(Child::wait_with_output).expect("a program");
            (output.status.code(), String::from_utf8(output.stderr).expect("text"))
        };
        let full = fs::File::options().write(true).open("/dev/full").expect("a device");
        let (code, stderr) = printed(full.into());
        assert_eq!(code, Some(1), "{words:?}: {stderr}");
        assert!(stderr.contains("cannot write to standard output: No space left"), "{stderr}");
        let _ = fs::remove_file(folder.path().join("refractium.toml"));
        if words != ["init"] {
            fs::write(folder.path().join("refractium.toml"), &text).expect("room");
        }
        let (reader, writer) = io::pipe().expect("a pipe");
        drop(reader);
        assert_eq!(printed(writer.into()), (Some(0), String::new()), "{words:?}");
    }
}

/// Who has begun to end follows nothing any more, and says so.
#[test]
fn what_is_wished_for_too_late_is_answered() {
    let (proxy, _ssh) = start("drain_timeout_ms = 3600000");
    let _client = joined(&proxy);
    proxy.signal("TERM");
    refuses(&proxy);
    let told = |words: &str| {
        until(words, || proxy.stderr().lines().any(|line| line.contains(words)).then_some(()));
    };
    // Rounded up: the whole time is left.
    told("waiting open=1 of=\"1 ssh\" left=3600s");
    proxy.signal("HUP");
    told("cannot reload error=the engine is ending");
    proxy.signal("USR2");
    told("not handed over error=nothing is served that could be handed over");
    proxy.signal("TERM");
    assert_eq!(proxy.wait().0.code(), Some(1));
}

/// What a start here would lower is told before it.
#[test]
fn check_says_what_does_not_fit_the_descriptor_limit() {
    let folder = folder(&route("ssh", "", (Ipv4Addr::LOCALHOST, 9).into()));
    let script = format!("ulimit -n 200; exec {} check", env!("CARGO_BIN_EXE_refractium"));
    let mut command = Command::new("sh");
    let output = command.args(["-c", &script]).current_dir(folder.path()).output();
    let output = output.expect("a shell");
    let said = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success(), "{said}");
    assert!(said.contains("max_connections is lowered from 10000 to "), "{said}");
}
