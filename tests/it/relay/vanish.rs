//! Peers that are gone without a word: no end, no reset, no answer to any packet. How bytes were moved is nothing to it.

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::stream::{OPENING, backend, open, open_slow, read_blocks, result, write_blocks};
use crate::harness::{
    Backend, Elsewhere, Family, Process, Proxy, need, pause, read_until, route, until,
};

/// The kernel counts in seconds here; the last probe is sent one before.
const KEEPALIVE: Duration = Duration::from_secs(3);

/// The program, also reachable from elsewhere.
fn proxy(backend: SocketAddr) -> Proxy {
    let server = format!("keepalive_ms = {}\nwrite_stall_timeout_ms = 1000", KEEPALIVE.as_millis());
    let routes = route("ssh", "", backend);
    Proxy::start_with(&Engine::Splice.server(&server), &routes, &["--debug", "-b", "0.0.0.0"])
}

fn elsewhere() -> Option<Elsewhere> {
    if need(&["bash", "perl"]) { Elsewhere::new() } else { None }
}

/// A client elsewhere that says the opening and then reads all it gets.
fn client(elsewhere: &Elsewhere, proxy: &Proxy) -> Process {
    let opening = String::from_utf8_lossy(OPENING).trim_end().to_owned();
    let script = format!(
        "exec 3<>/dev/tcp/{}/{}; printf '{opening}\\r\\n' >&3; exec cat <&3",
        elsewhere.here(Family::V4),
        proxy.port()
    );
    elsewhere.run(&["bash", "-c", &script])
}

fn is_given_up(proxy: &Proxy, since: Instant, peer: &str) {
    let told = format!("reset by {peer}");
    until("it to be given up", || proxy.stderr().contains(&told).then_some(()));
    let took = since.elapsed();
    assert!(took >= KEEPALIVE / 3 && took < KEEPALIVE * 4, "{took:?}");
}

/// Row T10.
#[test]
fn a_client_that_vanishes_is_given_up() {
    let Some(elsewhere) = elsewhere() else { return };
    let backend = Backend::echo("ssh");
    let proxy = proxy(backend.address());
    let before = proxy.descriptors();
    let mut gone = client(&elsewhere, &proxy);
    read_until("ssh: SSH-2.0", gone.0.stdout.take().expect("a pipe"));
    elsewhere.cut();
    let since = Instant::now();
    // As quiet, and there: its kernel answers.
    let mut quiet = open(&proxy);
    quiet.read_exact(&mut [0; 5]).expect("an answer");
    is_given_up(&proxy, since, "client");
    pause(KEEPALIVE);
    quiet.write_all(b"still here").expect("an open connection");
    quiet.read_exact(&mut [0; OPENING.len() + 10]).expect("an answer");
    drop(quiet);
    until("the sockets to be freed", || (proxy.descriptors() <= before).then_some(()));
}

/// Row T10, with bytes on their way that nobody acknowledges.
#[test]
fn a_client_that_vanishes_in_a_download_is_given_up() {
    let Some(elsewhere) = elsewhere() else { return };
    let (backend, at_backend) = backend(|mut stream| {
        stream.write_all(b"ready\n").expect("a client");
        pause(Duration::from_millis(500));
        // Few enough for the first buffer of a socket: it is not the write-stall time-out that ends this.
        let _ = write_blocks(&mut stream, 30_000);
        stream.read_to_end(&mut Vec::new()).map_err(|error| error.kind())
    });
    let proxy = proxy(backend.address());
    let mut gone = client(&elsewhere, &proxy);
    read_until("ready", gone.0.stdout.take().expect("a pipe"));
    elsewhere.cut();
    is_given_up(&proxy, Instant::now(), "client");
    result(&at_backend).expect_err("a reset");
}

/// Row T10, on the other side.
#[test]
fn a_backend_that_vanishes_is_given_up() {
    let Some(elsewhere) = elsewhere() else { return };
    let script = r#"$| = 1; $s = IO::Socket::INET->new(Listen => 9) or die; print $s->sockport, " is it\n";
                    while ($c = $s->accept) { push @k, $c; syswrite $c, "ready\n" }"#;
    let mut server = elsewhere.run(&["perl", "-MIO::Socket::INET", "-e", script]);
    let said = read_until("is it", server.0.stdout.take().expect("a pipe"));
    let port = said.split(' ').next().and_then(|it| it.parse().ok()).expect("a port");
    let proxy = proxy((elsewhere.there(Family::V4), port).into());
    let mut client = open(&proxy);
    client.read_exact(&mut [0; 6]).expect("an answer");
    elsewhere.cut();
    is_given_up(&proxy, Instant::now(), "backend");
    client.read_exact(&mut [0]).expect_err("a reset");
}

/// Row T10, the other half: who answers is there, though it has no room.
#[test]
fn a_client_that_is_full_and_answers_is_not_given_up() {
    const SIZE: usize = 1 << 20;
    let (backend, at_backend) = backend(|mut stream| write_blocks(&mut stream, SIZE).is_ok());
    let server = "keepalive_ms = 1000\nwrite_stall_timeout_ms = 20000";
    let proxy = Engine::Splice.proxy(&backend, server);
    let mut client = open_slow(&proxy);
    assert!(result(&at_backend), "all of it is on its way");
    pause(Duration::from_secs(4));
    let (count, end) = read_blocks(&mut client);
    assert_eq!((count, end.is_ok()), (SIZE, true));
}
