//! Fault rows S4 and P12: what floods and slow readers make of the logs.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::{fields, proxy};
use crate::calm::free_port;
use crate::harness::udp::Client;
use crate::harness::{
    Backend, Process, ask, connect, need, program, read_until, refusing, route, run_command, until,
};

const SSH: &[u8] = b"SSH-2.0-x\r\n";

/// Clients that nobody expects, one after the other; how many.
fn garbage(to: std::net::SocketAddr, end: Instant) -> u64 {
    let mut count = 0;
    while Instant::now() < end {
        let mut client = connect(to);
        // It may be reset before all is taken.
        let _ = client.write_all(&[0xff; 100]);
        let _ = client.read_to_end(&mut Vec::new());
        count += 1;
    }
    count
}

/// Strangers that no route takes, no descriptors, datagrams that a backend refuses: all at once for so long.
fn a_flood_is_summed_up(length: Duration) {
    if !need(&["prlimit"]) {
        return;
    }
    let routes = route("ssh", "", refusing())
        + &route("game", "patterns = \"GAME\"\ntransport = \"udp\"", refusing());
    let proxy = proxy("json", "drain_timeout_ms = 100", &routes, &[]);
    let (address, began) = (proxy.address(), Instant::now());
    let end = began + length;
    let limit = |descriptors: &str| {
        let mut command = Command::new("prlimit");
        command.args(["--pid", &proxy.id().to_string(), &format!("--nofile={descriptors}:")]);
        assert_eq!(run_command(command).0, 0);
    };
    let strangers = thread::scope(|scope| {
        let strangers: Vec<_> = (0..3).map(|_| scope.spawn(|| garbage(address, end))).collect();
        scope.spawn(|| {
            let mut at = 0_u32;
            while Instant::now() < end {
                let client = Client::of(address);
                (0..100).for_each(|_| client.send(format!("GAME {at}").as_bytes()));
                at += 1;
                thread::park_timeout(Duration::from_millis(5));
            }
        });
        scope.spawn(|| {
            while Instant::now() + Duration::from_secs(2) < end {
                limit("4");
                thread::park_timeout(Duration::from_millis(700));
                limit("20000");
                thread::park_timeout(Duration::from_secs(1));
            }
        });
        strangers.into_iter().map(|it| it.join().expect("strangers")).sum::<u64>()
    });
    let seconds = began.elapsed().as_secs_f64();
    let (_, stdout, stderr) = proxy.terminate();
    let all: Vec<_> = stdout.lines().map(fields).collect();
    let single = all.iter().filter(|it| it["end"] == "no_route").count();
    let summed: u64 = all.iter().filter_map(|it| it["no_route"].as_u64()).sum();
    let told = u64::try_from(single).expect("few") + summed;
    println!(
        "{seconds} s, {strangers} strangers, {} and {} lines, {} and {} bytes",
        stdout.lines().count(),
        stderr.lines().count(),
        stdout.len(),
        stderr.len()
    );
    assert_eq!(told, strangers, "everyone is told of once, alone or in a sum");
    assert!(strangers > 500 && single > 20, "{strangers} strangers, {single} lines");
    let lines = u32::try_from(stdout.lines().chain(stderr.lines()).count()).expect("few");
    assert!(f64::from(lines) < 100.0 * seconds, "{lines} lines in {seconds} s\n{stderr}");
    let bytes = u32::try_from(stdout.len() + stderr.len()).expect("few");
    assert!(f64::from(bytes) < 1_000_000.0 / 60.0 * seconds, "{bytes} bytes in {seconds} s");
    for what in ["cannot accept", "a backend does not take connections"] {
        let said: Vec<_> = stderr.lines().filter(|it| it.contains(what)).collect();
        let count = u32::try_from(said.len()).expect("few");
        assert!(count > 0 && f64::from(count) < 12.0 + seconds, "{what}: {count}\n{stderr}");
    }
    assert!(stderr.contains("suppressed="), "{stderr}");
}

#[test]
fn a_flood_is_summed_up_and_everyone_in_it_counted() {
    a_flood_is_summed_up(Duration::from_secs(5));
}

#[test]
#[ignore = "takes a minute"]
fn a_minute_of_flood_is_summed_up_and_everyone_in_it_counted() {
    a_flood_is_summed_up(Duration::from_secs(60));
}

const CLIENTS: usize = 50;
const LOST: &str = "lines of this log are lost";

/// Row P12: two pipes that nobody reads until far more was said than they and the queues hold.
#[test]
fn what_a_slow_reader_loses_is_counted_and_told() {
    let backend = Backend::echo("ssh");
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let routes = route("ssh", "", backend.address())
        + &route("game", "patterns = \"GAME\"\ntransport = \"udp\"", refusing());
    let text = format!(
        "[server]\nbind = \"127.0.0.1\"\nport = {port}\n{routes}[log]\nconnections = \"json\"\n"
    );
    std::fs::write(folder.path().join("refractium.toml"), text).expect("a file");
    let mut child = Process(program(folder.path(), &["--debug"]).spawn().expect("the program"));
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    until("it to serve", || std::net::TcpStream::connect(address).ok());
    let ask_all = || {
        let began = Instant::now();
        for _ in 0..CLIENTS {
            assert_eq!(ask(address, SSH), [b"ssh: ", SSH].concat());
        }
        began.elapsed() / u32::try_from(CLIENTS).expect("few")
    };
    let before = ask_all();
    // A line for each with `--debug`: more than queue and pipe hold, and not more at once than the socket does.
    let strangers = Client::of(address);
    for _ in 0..150 {
        (0..200).for_each(|_| strangers.send(b"nobody's"));
        assert_eq!(ask(address, SSH), [b"ssh: ", SSH].concat());
    }
    let blocked = ask_all();
    println!("{before:?} for a client at first, {blocked:?} beside pipes that nobody reads");
    let stdout = child.0.stdout.take().expect("a pipe");
    let lines = thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map(|it| it.expect("text"));
        lines.filter(|it| fields(it)["end"] == "closed").count()
    });
    let said = read_until(LOST, child.0.stderr.take().expect("a pipe"));
    let lost = said.lines().find(|it| it.contains(LOST)).expect("a word of it");
    let (_, count) = lost.rsplit_once("lines=").expect("a number");
    assert!(count.parse::<usize>().expect("a number") > 1000, "{lost}");
    drop(child);
    let lines = lines.join().expect("lines");
    assert!(lines >= 2 * CLIENTS + 149, "{lines}: those of connections had room");
}

/// Row P12: neither output is there.
#[test]
fn a_program_without_any_output_serves() {
    let backend = Backend::echo("ssh");
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port().to_string();
    let to = format!("ssh={}", backend.address());
    let mut command = Command::new("sh");
    let words = "exec \"$0\" -b 127.0.0.1 -p \"$1\" -f \"$2\" --debug >&- 2>&-";
    command.args(["-c", words, env!("CARGO_BIN_EXE_refractium"), &port, &to]);
    command.current_dir(folder.path()).stdin(Stdio::null());
    let _child = Process(command.spawn().expect("the program"));
    let address = format!("127.0.0.1:{port}").parse().expect("an address");
    until("it to serve", || std::net::TcpStream::connect(address).ok());
    for _ in 0..100 {
        assert_eq!(ask(address, SSH), [b"ssh: ", SSH].concat());
    }
}
