//! What must not disturb it: readers of its output that are stuck, signals, absurd settings.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::{Command, Stdio};
use std::time::Duration;

use refractium::{Limits, Listeners, Refractium};

use crate::harness::{
    Backend, DEADLINE, Process, Proxy, ask, connect, program, read_once, refusing, route, run,
    until,
};

const OPENING: &[u8] = b"SSH-2.0-x\r\n";

/// A port that is free now, for a program whose output is not read.
pub(crate) fn free_port() -> u16 {
    refusing().port()
}

/// Fault row P12, in part: standard error is a pipe that nobody reads, and far more is said than it holds.
#[test]
fn a_log_that_nobody_reads_holds_up_no_connection() {
    let backend = Backend::echo("ssh");
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port().to_string();
    let to = format!("ssh={}", backend.address());
    let mut command =
        program(folder.path(), &["-b", "127.0.0.1", "-p", &port, "-f", &to, "--debug"]);
    let mut child = Process(command.stdout(Stdio::null()).spawn().expect("the program"));
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    until("it to serve", || std::net::TcpStream::connect(address).ok());
    for _ in 0..500 {
        assert_eq!(ask(address, OPENING), [b"ssh: ", OPENING].concat());
    }
    let mut kill = Command::new("kill");
    kill.arg(child.0.id().to_string());
    assert!(kill.status().expect("kill").success());
    let status = until("its end", || child.0.try_wait().expect("a child"));
    assert_eq!(status.code(), Some(0));
}

/// Standard output is a pipe that nobody reads, and the routing table does not fit it.
#[test]
fn a_start_whose_output_nobody_reads_serves() {
    let backend = Backend::echo("ssh");
    let folder = tempfile::tempdir().expect("a folder");
    let names: Vec<_> = (0..5000).map(|at| format!("\"host-number-{at}.example\"")).collect();
    let port = free_port();
    let routes = route("ssh", "", backend.address())
        + &route("https", &format!("sni = [{}]", names.join(", ")), backend.address());
    let text = format!("[server]\nbind = \"127.0.0.1\"\nport = {port}\n{routes}");
    std::fs::write(folder.path().join("refractium.toml"), text).expect("a file");
    let _child = Process(program(folder.path(), &[]).spawn().expect("the program"));
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    until("it to serve", || std::net::TcpStream::connect(address).ok());
    assert_eq!(ask(address, OPENING), [b"ssh: ", OPENING].concat());
    let (code, stdout, stderr) = run(folder.path(), &["check"]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.contains("host-number-4999.example"), "the table is shown whole");
}

#[test]
fn signals_that_mean_nothing_end_nothing() {
    let backend = Backend::echo("ssh");
    let proxy = Proxy::start(&route("ssh", "", backend.address()));
    let mut client = proxy.connect();
    client.write_all(OPENING).expect("room");
    for signal in ["HUP", "PIPE", "HUP"] {
        proxy.signal(signal);
        assert_eq!(ask(proxy.address(), OPENING), [b"ssh: ", OPENING].concat());
    }
    client.shutdown(Shutdown::Write).expect("an open socket");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("an answer");
    assert_eq!(answer, [b"ssh: ", OPENING].concat());
}

/// An embedder's time-out that is meant to be none.
#[tokio::test(flavor = "multi_thread")]
async fn times_of_any_length_are_taken() {
    let backend = Backend::echo("ssh");
    let for_ever = Limits {
        peek_timeout: Duration::MAX,
        server_first_delay: Duration::MAX,
        connect_timeout: Duration::MAX,
        half_close_timeout: Duration::MAX,
        drain_timeout: Duration::MAX,
        ..Limits::default()
    };
    let forward = format!("ssh={}", backend.address()).parse().expect("a forward");
    let engine =
        Refractium::builder().forward(forward).limits(for_ever).build().expect("an engine");
    let listeners = Listeners::bind(
        &["127.0.0.1:0".parse().expect("an address")],
        &[refractium::protocol::Transport::Tcp],
    )
    .expect("a port");
    let address = listeners.addresses()[0];
    let asked = tokio::task::spawn_blocking(move || ask(address, OPENING));
    let answer = engine.run(listeners, asked).await.expect("a run").expect("an answer");
    assert_eq!(answer, [b"ssh: ", OPENING].concat());
}

/// FTP's ABOR comes behind an urgent byte (RFC 959, section 4.1.3), and its client waits for the answer.
#[test]
fn an_urgent_command_of_an_ftp_client_needs_nothing_behind_it() {
    let backend = Backend::echo("ftp");
    let proxy = Proxy::start(&route("ftp", "", backend.address()));
    let mut client = connect(proxy.address());
    client.write_all(b"USER me\r\n").expect("room");
    client.read_exact(&mut [0; 14]).expect("an answer");
    for _ in 0..20 {
        // The last byte is the urgent one, and a read stops before it.
        socket2::SockRef::from(&client).send_out_of_band(b"ABOR!").expect("room");
        let mut echoed = [0; 5];
        client.read_exact(&mut echoed).expect("all of it");
        assert_eq!(&echoed, b"ABOR!");
    }
}

/// An urgent byte, as FTP's ABOR sends one, is a byte in its place.
#[test]
fn an_urgent_byte_stays_where_it_stood() {
    let (backend, received) = Backend::recording();
    let proxy = Proxy::start(&route("ssh", "", backend.address()));
    let mut client = connect(proxy.address());
    client.write_all(b"SSH-").expect("room");
    socket2::SockRef::from(&client).send_out_of_band(b"!").expect("room");
    client.write_all(b"rest").expect("room");
    client.shutdown(Shutdown::Write).expect("an open socket");
    assert_eq!(read_once(&mut client, &mut [0]).expect("an end"), 0);
    let bytes = received.recv_timeout(DEADLINE).expect("a connection");
    assert_eq!(bytes, b"SSH-!rest");
}
