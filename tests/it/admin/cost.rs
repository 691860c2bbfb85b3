//! What being counted and watched costs those who are carried.
//!
//! `REFRACTIUM_MEASURED` names another build of the program to be measured: an optimised one tells more.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::{ADMIN, admin_of, get};
use crate::harness::{Backend, Proxy, ask, connect, need, pause, read_once, route};

const CONNECTIONS: usize = 2000;

/// What the admin does meanwhile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Watched {
    /// It is off.
    Off,
    /// It counts, is scraped each second, and somebody watches the page.
    On,
}

/// What one run came to.
#[derive(Clone, Copy, Debug)]
struct Cost {
    /// Of the worker, for one connection.
    worker: u64,
    /// Of all threads, the admin's own among them.
    all: u64,
}

/// Runs the program under another one for so many connections, and gives the folder in which that wrote.
fn carried(watched: Watched, under: impl Fn(&Path) -> Vec<String>) -> TempDir {
    let backend = Backend::serving(|mut stream| {
        let _ = read_once(&mut stream, &mut [0; 4096]);
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    });
    let (folder, written) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let own = env!("CARGO_BIN_EXE_refractium").to_owned();
    let measured = std::env::var("REFRACTIUM_MEASURED").unwrap_or(own);
    let words = under(written.path());
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).arg(measured).args(["-c", "refractium.toml"]);
    let admin = if watched == Watched::On { ADMIN } else { "" };
    let routes = format!("{admin}{}", route("ssh", "", backend.address()))
        + &route("http", "host = [\"a.example\", \"b.example\"]", backend.address());
    let proxy = Proxy::spawn_command(command, folder, "workers = 1", &routes);
    let end = AtomicBool::new(false);
    thread::scope(|scope| {
        if watched == Watched::On {
            let admin = admin_of(&proxy);
            let end = &end;
            scope.spawn(move || watch(admin, end));
            scope.spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    assert_eq!(get(admin, "/metrics").code, 200);
                    pause(Duration::from_secs(1));
                }
            });
        }
        for _ in 0..CONNECTIONS {
            let answer = ask(proxy.address(), b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n");
            assert!(answer.ends_with(b"ok"), "{answer:?}");
        }
        end.store(true, Ordering::Relaxed);
    });
    let (status, ..) = proxy.terminate();
    assert!(status.success());
    written
}

/// What a page that is open asks for, and reads.
fn watch(admin: SocketAddr, end: &AtomicBool) {
    let mut stream = connect(admin);
    write!(stream, "GET /events HTTP/1.1\r\nHost: {admin}\r\n\r\n").expect("room");
    let mut told = 0;
    while !end.load(Ordering::Relaxed) {
        told += stream.read(&mut [0; 65_536]).expect("what happens");
    }
    assert!(told > 1000, "{told} bytes");
}

fn instructions(watched: Watched) -> Cost {
    let written = carried(watched, |folder| {
        let file = format!("--callgrind-out-file={}", folder.join("counts").display());
        ["valgrind", "--tool=callgrind", "--separate-threads=yes", &file].map(str::to_owned).into()
    });
    let files = fs::read_dir(written.path()).expect("a folder");
    let of_thread = |file: std::io::Result<fs::DirEntry>| -> u64 {
        let text = fs::read_to_string(file.expect("a file").path()).expect("counts");
        let totals = text.lines().find_map(|line| line.strip_prefix("totals: "));
        totals.map_or(0, |it| it.trim().parse().expect("a number"))
    };
    let of_threads: Vec<_> = files.map(of_thread).collect();
    let each = |all: u64| all / u64::try_from(CONNECTIONS).expect("few");
    // Nobody has as much to do as the worker.
    let worker = each(*of_threads.iter().max().expect("a thread"));
    Cost { worker, all: each(of_threads.iter().sum()) }
}

#[test]
#[ignore = "deep: under valgrind"]
fn being_watched_costs_a_connection_two_percent_of_its_instructions_at_most() {
    if !need(&["valgrind"]) {
        return;
    }
    // What a worker does depends a little on what comes together: the least of three is what a connection costs.
    let least = |watched| {
        let runs = [(); 3].map(|()| instructions(watched));
        println!("{watched:?}: {runs:?}");
        runs.into_iter().min_by_key(|it| it.worker).expect("runs")
    };
    let (off, on) = (least(Watched::Off), least(Watched::On));
    println!(
        "one of {CONNECTIONS} connections: the worker {} instructions when off, {} when on; with all threads {} and {}",
        off.worker, on.worker, off.all, on.all
    );
    assert!(on.worker * 100 <= off.worker * 102, "{} instead of {}", on.worker, off.worker);
}

/// System calls of the thread that makes most of them, which is the worker.
fn system_calls(watched: Watched) -> usize {
    let written = carried(watched, |folder| {
        let file = folder.join("calls").display().to_string();
        ["strace", "-qq", "-ff", "-o", &file].map(str::to_owned).into()
    });
    let files = fs::read_dir(written.path()).expect("a folder");
    let lines = |file: std::io::Result<fs::DirEntry>| {
        let text = fs::read_to_string(file.expect("a file").path()).expect("calls");
        // Whether there is something to wait for is asked as often as things come apart in time.
        text.lines().filter(|line| !line.starts_with("epoll_wait")).count()
    };
    files.map(lines).max().expect("a thread")
}

#[test]
#[ignore = "deep: under strace"]
fn being_watched_costs_a_connection_no_system_call() {
    if !need(&["strace"]) {
        return;
    }
    let (off, on) = (system_calls(Watched::Off), system_calls(Watched::On));
    println!(
        "{off} system calls of the worker when off, {on} when on, for {CONNECTIONS} connections"
    );
    // Its beat, once each half second, is what differs.
    assert!(on <= off + CONNECTIONS / 50, "{on} instead of {off}");
}
