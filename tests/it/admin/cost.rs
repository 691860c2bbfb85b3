//! What being counted and watched costs those who are carried.
//!
//! `REFRACTIUM_MEASURED` names another build of the program to be measured: an optimised one tells more.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use rustix::thread::{CpuSet, gettid, sched_getaffinity, sched_setaffinity};
use tempfile::TempDir;

use super::{ADMIN, admin_of, get};
use crate::harness::{DEADLINE, Proxy, ask, connect, need, pause, read_once, route, until};

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

/// What one run left.
struct Carried {
    /// What the program wrote under which it ran.
    written: TempDir,
    /// Processor time of the proxy.
    time: Duration,
}

/// Runs the program under another one, if any, while so many clients come one after the other, so often.
fn carried(
    watched: Watched,
    under: impl Fn(&Path) -> Vec<String>,
    [clients, times]: [usize; 2],
) -> Carried {
    let backend = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = backend.local_addr().expect("an address");
    let (folder, written) =
        (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
    let own = env!("CARGO_BIN_EXE_refractium").to_owned();
    let measured = std::env::var("REFRACTIUM_MEASURED").unwrap_or(own);
    let words = [under(written.path()), vec![measured]].concat();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).args(["-c", "refractium.toml"]);
    let admin = if watched == Watched::On { ADMIN } else { "" };
    let routes = format!("{admin}{}", route("ssh", "", address))
        + &route("http", "host = [\"a.example\", \"b.example\"]", address);
    let proxy = Proxy::spawn_command(command, folder, "workers = 1", &routes);
    let end = AtomicBool::new(false);
    let time = thread::scope(|scope| {
        scope.spawn(|| serve(&backend, &end));
        let _ending = Ending { end: &end, address };
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
        let before = proxy.processor_time();
        let come = || {
            for _ in 0..times {
                let answer = ask(proxy.address(), b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n");
                assert!(answer.ends_with(b"ok"), "{answer:?}");
            }
        };
        let others: Vec<_> = (1..clients).map(|_| scope.spawn(come)).collect();
        come();
        others.into_iter().for_each(|it| it.join().expect("a client"));
        proxy.processor_time() - before
    });
    let (status, ..) = proxy.terminate();
    assert!(status.success());
    Carried { written, time }
}

/// Ends what goes on beside the clients, however they end.
struct Ending<'a> {
    end: &'a AtomicBool,
    /// Of the server, which waits for one more.
    address: SocketAddr,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        // One that has ended already needs no other.
        drop(TcpStream::connect(self.address));
    }
}

/// Answers one after the other until the end, on one thread: who comes next is not left to chance.
fn serve(backend: &TcpListener, end: &AtomicBool) {
    for stream in backend.incoming() {
        if end.load(Ordering::Relaxed) {
            return;
        }
        let mut stream = stream.expect("a client");
        stream.set_read_timeout(Some(DEADLINE)).expect("an open socket");
        let _ = read_once(&mut stream, &mut [0; 4096]);
        let _ = stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok");
    }
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

/// Puts this thread, and what it starts from now on, on one core, where nobody interrupts who works for one that was woken: so
/// what comes together in one turn of the worker is the same in each run.
fn stay_in_turn() {
    let mine = sched_getaffinity(None).expect("cores");
    let last = (0..CpuSet::MAX_CPU).rev().find(|core| mine.is_set(*core)).expect("a core");
    let mut one = CpuSet::new();
    one.set(last);
    sched_setaffinity(None, &one).expect("one of them");
    let thread = gettid().as_raw_nonzero().to_string();
    let status = Command::new("chrt").args(["--batch", "--pid", "0", &thread]).status();
    assert!(status.expect("chrt").success());
}

fn instructions(watched: Watched) -> Cost {
    let valgrind = |folder: &Path| {
        let file = format!("--callgrind-out-file={}", folder.join("counts").display());
        ["valgrind", "--tool=callgrind", "--separate-threads=yes", &file].map(str::to_owned).into()
    };
    let Carried { written, .. } = carried(watched, valgrind, [1, CONNECTIONS]);
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
    if !need(&["chrt", "valgrind"]) {
        return;
    }
    stay_in_turn();
    // It differs a little still: by where there is room in memory, and how many decisions somebody sees.
    let median = |watched| {
        let mut runs = [(); 5].map(|()| instructions(watched));
        runs.sort_by_key(|it| it.worker);
        println!("{watched:?}: {runs:?}");
        runs[2]
    };
    let (off, on) = (median(Watched::Off), median(Watched::On));
    println!(
        "one of {CONNECTIONS} connections: the worker {} instructions when off, {} when on; with all threads {} and {}",
        off.worker, on.worker, off.all, on.all
    );
    assert!(on.worker * 100 <= off.worker * 102, "{} instead of {}", on.worker, off.worker);
}

/// System calls of the thread that makes most of them, which is the worker.
fn system_calls(watched: Watched) -> usize {
    let strace = |folder: &Path| {
        let file = folder.join("calls").display().to_string();
        ["strace", "-D", "-ff", "-o", &file].map(str::to_owned).into()
    };
    let Carried { written, .. } = carried(watched, strace, [1, CONNECTIONS]);
    let of_threads = until("strace to have written of the end of every thread", || {
        let files = fs::read_dir(written.path()).expect("a folder");
        let text = |file: std::io::Result<fs::DirEntry>| {
            fs::read_to_string(file.expect("a file").path()).expect("calls")
        };
        let texts: Vec<_> = files.map(text).collect();
        texts.iter().all(|text| text.ends_with(" +++\n")).then_some(texts)
    });
    // Whether there is something to wait for is asked as often as things come apart in time.
    let is_one = |line: &&str| !line.starts_with("epoll_wait") && !line.starts_with("+++");
    let of_thread = |text: &String| text.lines().filter(is_one).count();
    of_threads.iter().map(of_thread).max().expect("a thread")
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

/// The aim counts instructions. This is what they take together with everything else: it is for the table of
/// docs/performance.md, on a machine that does nothing else.
#[test]
#[ignore = "deep: half a minute of load"]
fn being_watched_costs_little_processor_time() {
    let run = |watched| carried(watched, |_| Vec::new(), [4, 5000]).time.as_secs_f64();
    let pairs = [(); 7].map(|()| [run(Watched::Off), run(Watched::On)]);
    let mut ratios = pairs.map(|[off, on]| on / off);
    ratios.sort_by(f64::total_cmp);
    println!(
        "seconds of all threads for 20,000 connections, off and on: {pairs:.2?}; on by off {ratios:.3?}"
    );
    assert!(ratios[3] < 1.1, "{}", ratios[3]);
}
