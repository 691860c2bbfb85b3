//! The program with several workers.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;

use crate::harness::{Backend, Proxy, ask, read_once, route, run, until};

const OPENING: &[u8] = b"SSH-2.0-x\r\n";
const ANSWER: &[u8] = b"ssh: SSH-2.0-x\r\n";

fn start(server: &str) -> (Proxy, Backend) {
    let ssh = Backend::echo("ssh");
    let routes = route("ssh", "", ssh.address());
    (Proxy::start_with(server, &routes, &["--debug"]), ssh)
}

/// Clients that are joined to their echo, of which each worker carries some.
fn joined(proxy: &Proxy, count: usize) -> Vec<TcpStream> {
    let join = |_| {
        let mut client = proxy.connect();
        client.write_all(OPENING).expect("room");
        let mut answer = [0; ANSWER.len()];
        client.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, ANSWER);
        client
    };
    (0..count).map(join).collect()
}

/// Time on a processor of each worker, in nanoseconds (proc(5), schedstat).
fn work(proxy: &Proxy) -> Vec<u64> {
    let tasks = fs::read_dir(format!("/proc/{}/task", proxy.id())).expect("alive");
    let mut workers: Vec<_> = tasks
        .filter_map(|task| {
            let path = task.ok()?.path();
            let name = fs::read_to_string(path.join("comm")).ok()?;
            name.starts_with("refractium-").then(|| {
                let time = fs::read_to_string(path.join("schedstat")).expect("a thread");
                (name, time.split(' ').next().and_then(|it| it.parse().ok()).expect("a time"))
            })
        })
        .collect();
    workers.sort();
    workers.into_iter().map(|(_, time)| time).collect()
}

#[test]
fn any_number_of_workers_serves() {
    for workers in [1, 2, 5] {
        let (proxy, _ssh) = start(&format!("workers = {workers}"));
        assert_eq!(work(&proxy).len(), workers);
        for _ in 0..20 {
            assert_eq!(ask(proxy.address(), OPENING), ANSWER);
        }
        let (status, stdout, _) = proxy.terminate();
        assert_eq!(status.code(), Some(0));
        assert_eq!(stdout.matches("listening on").count(), 1, "{stdout}");
    }
}

/// The kernel alone would give all eight to one of two in one case of 128, and seven of them in one of 16.
#[test]
fn a_few_bulk_connections_are_spread_over_the_workers() {
    const EACH: usize = 32 << 20;
    let backend = Backend::serving(|mut stream| {
        let block = vec![b'x'; 1 << 20];
        let mut one = [0; 1];
        stream.read_exact(&mut [0; OPENING.len()]).expect("the opening");
        stream.write_all(b"!").expect("a client");
        stream.read_exact(&mut one).expect("the word to begin");
        for _ in 0..EACH / block.len() {
            stream.write_all(&block).expect("a client");
        }
    });
    let proxy = Proxy::start_with("workers = 2", &route("ssh", "", backend.address()), &[]);
    for round in 0..6 {
        let mut clients: Vec<_> = (0..8).map(|_| proxy.connect()).collect();
        for client in &mut clients {
            client.write_all(OPENING).expect("room");
            client.read_exact(&mut [0]).expect("a join");
        }
        let before = work(&proxy);
        let downloads = clients.into_iter().map(|mut client| {
            thread::spawn(move || {
                client.write_all(b"!").expect("room");
                std::io::copy(&mut client, &mut std::io::sink()).expect("a download")
            })
        });
        for download in downloads.collect::<Vec<_>>() {
            assert_eq!(usize::try_from(download.join().expect("a client")), Ok(EACH));
        }
        let done: Vec<_> = work(&proxy).iter().zip(&before).map(|(now, then)| now - then).collect();
        let (least, all) = (done.iter().min().expect("two"), done.iter().sum::<u64>());
        // Three of eight connections at least, whose bytes do not all cost the same.
        assert!(least * 6 >= all, "round {round}: {done:?}");
    }
}

#[test]
fn a_drain_waits_for_the_connections_of_every_worker() {
    let (proxy, _ssh) = start("workers = 3");
    let clients = joined(&proxy, 24);
    proxy.signal("TERM");
    until("new connections to be refused", || TcpStream::connect(proxy.address()).err());
    for mut client in clients {
        client.write_all(b"the last").expect("an open connection");
        client.shutdown(Shutdown::Write).expect("an open socket");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("the rest");
        assert_eq!(rest, b"the last");
    }
    let (status, _, stderr) = proxy.wait();
    assert_eq!(status.code(), Some(0));
    assert!(stderr.contains("ended cut=0"), "{stderr}");
}

#[test]
fn a_drain_that_takes_too_long_cuts_the_connections_of_every_worker() {
    let (proxy, _ssh) = start("workers = 3\ndrain_timeout_ms = 200");
    let clients = joined(&proxy, 24);
    proxy.signal("TERM");
    are_reset(clients);
    let (status, _, stderr) = proxy.wait();
    assert_eq!(status.code(), Some(0));
    assert!(stderr.contains("ended cut=24"), "{stderr}");
}

#[test]
fn a_second_signal_cuts_the_connections_of_every_worker() {
    let log = "\n[log]\nconnections = \"text\"\n\n";
    let (proxy, _ssh) = start(&format!("workers = 3\ndrain_timeout_ms = 3600000\n{log}"));
    let clients = joined(&proxy, 60);
    proxy.signal("TERM");
    until("the drain", || proxy.stderr().contains("draining").then_some(()));
    proxy.signal("TERM");
    are_reset(clients);
    let (status, stdout, stderr) = proxy.wait();
    assert_eq!(status.code(), Some(1));
    assert!(stderr.contains("second signal"), "{stderr}");
    assert_eq!(stdout.matches(" end=cut").count(), 60, "each has its line: {stdout}");
}

/// A stream that is cut must not look like a whole one.
fn are_reset(clients: Vec<TcpStream>) {
    for mut client in clients {
        let error = read_once(&mut client, &mut [0]).expect_err("a reset");
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

/// Sockets of several workers share a port; those of another program must not join them.
#[test]
fn a_second_program_on_the_port_ends_with_1_and_takes_no_client() {
    let (proxy, ssh) = start("workers = 2");
    let folder = tempfile::tempdir().expect("a folder");
    let (port, to) = (proxy.port().to_string(), format!("ssh={}", ssh.address()));
    for bind in ["127.0.0.1", "0.0.0.0"] {
        let words = ["-b", bind, "-p", &port, "-f", &to];
        let (code, stdout, stderr) = run(folder.path(), &words);
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains(&format!("{bind}:{port}")), "{stderr}");
        assert!(stderr.contains("in use"), "{stderr}");
        assert!(!stdout.contains("listening"), "{stdout}");
    }
    for _ in 0..50 {
        assert_eq!(ask(proxy.address(), OPENING), ANSWER);
    }
    let seen = || proxy.stderr().matches(" accepted ").count();
    until("all of them to be told", || (seen() == 50).then_some(()));
}
