//! Everything at once, for long: what is kept must not grow.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::address::leave;
use super::flat::{Sample, is_flat, nothing_counts_as_open, sockets};
use super::{Over, SSH, open};
use crate::admin::{ADMIN, admin_of, get};
use crate::clients::World;
use crate::clients::everything::{CLIENTS, are_all_here};
use crate::harness::udp::{Backend as Datagrams, Client};
use crate::harness::{Backend, Proxy, connect, pause, read_once, refusing, route, until};

/// What became of the traffic of one kind.
#[derive(Default)]
struct Count {
    done: AtomicU64,
    failed: AtomicU64,
}

impl Count {
    fn note(&self, is_done: bool) {
        let count = if is_done { &self.done } else { &self.failed };
        count.fetch_add(1, Ordering::Relaxed);
    }

    fn text(&self) -> String {
        let [done, failed] = [&self.done, &self.failed].map(|it| it.load(Ordering::Relaxed));
        format!("{done} done, {failed} failed")
    }
}

/// How long, unless `REFRACTIUM_SOAK_MINUTES` says something else.
const MINUTES: u64 = 30;

const BULK: usize = 4 << 20;

fn minutes() -> u64 {
    std::env::var("REFRACTIUM_SOAK_MINUTES").map_or(MINUTES, |it| it.parse().expect("minutes"))
}

/// Row Q5: real clients of every protocol, sessions that last, short ones, bulk, datagrams and clients that leave in any
/// way, while backends are killed, the configuration is reloaded and the admin is asked. What lasts and who comes with a
/// real client is never disturbed; memory, descriptors and threads stay flat, and in the end nothing counts as open.
#[test]
#[ignore = "half an hour, on a machine that does nothing else"]
fn half_an_hour_of_everything_leaves_nothing_behind() {
    if !are_all_here() {
        return;
    }
    let time = Duration::from_secs(60 * minutes());
    let (lasting, datagrams) = (Backend::echo("lasting"), Datagrams::echo("app"));
    let bulk = Backend::serving(|mut stream| {
        let mut head = [0; 4];
        let _ = stream.read_exact(&mut head).and_then(|()| stream.write_all(&vec![b'x'; BULK]));
    });
    let mortal = [refusing(), refusing()];
    let patterns = |name: &str, more: &str| format!("patterns = [\"{name}\"]\n{more}");
    // It takes what the short ones say, and leaves to sshd what `ssh` says.
    let short = format!(
        "[[protocols]]\nname = \"short\"\n{}\nforward_to = [\"{}\", \"{}\"]\n\n",
        patterns(r"SSH-2.0-x\r", ""),
        mortal[0],
        mortal[1]
    );
    let routes = ADMIN.to_owned()
        + &route("lasting", &patterns("LAST", ""), lasting.address())
        + &route("bulk", &patterns("BULK", ""), bulk.address())
        + &route("app", &patterns("APP", "transport = \"udp\""), datagrams.address())
        + &short;
    // Patient, because all clients share the machine: one that has no time to say something is taken for one of FTP.
    let server = "workers = 2\nudp_idle_timeout_ms = 2000\nserver_first_delay_ms = 2000\npeek_timeout_ms = 5000\n\
                  max_connections_per_ip = 1000\nmax_connection_rate_per_ip = 100000";
    let world = World::start(server, &routes);
    let (proxy, is_over) = (&world.proxy, AtomicBool::new(false));
    let to = proxy.address();
    let [short, moved, asked] = [(); 3].map(|()| Count::default());
    let real = CLIENTS.map(|_| AtomicU64::new(0));
    let file = fs::read_to_string(proxy.folder().join("refractium.toml")).expect("a file");
    let start = Instant::now();
    let samples = thread::scope(|scope| {
        for (client, rounds) in CLIENTS.iter().zip(&real) {
            let (is_over, world) = (&is_over, &world);
            scope.spawn(move || {
                for round in 0.. {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    client(world, round);
                    rounds.fetch_add(1, Ordering::Relaxed);
                    pause(Duration::from_millis(500));
                }
            });
        }
        for _ in 0..5 {
            scope.spawn(|| last(to, &is_over));
        }
        scope.spawn(|| until_over(&is_over, || short.note(is_answered(to))));
        scope
            .spawn(|| until_over(&is_over, || moved.note(download(to).is_ok_and(|it| it == BULK))));
        scope.spawn(|| until_over(&is_over, || asked.note(ask_all(to))));
        scope.spawn(|| {
            let mut at = 0;
            until_over(&is_over, || {
                leave(at, Some(Ipv4Addr::new(127, 0, 2, 1).into()), to);
                at += 1;
            });
        });
        let _over = Over(&is_over);
        disturb(proxy, &file, mortal, start + time)
    });
    println!("short: {}; bulk: {}; datagrams: {}", short.text(), moved.text(), asked.text());
    println!("rounds of real clients: {real:?}");
    // Pipes are kept for who comes next, so many and no more.
    until("all to be gone", || (sockets(proxy) <= samples[0].sockets).then_some(()));
    nothing_counts_as_open(proxy);
    is_flat(&samples);
    assert_eq!(moved.failed.load(Ordering::Relaxed), 0, "its backend was never killed");
    let (status, _, stderr) = world.end();
    assert!(status.success());
    assert!(!stderr.contains("panicked"), "{stderr}");
}

/// Kills backends in turn, reloads, and looks, until then. The first sample is of the program without clients of long.
fn disturb(proxy: &Proxy, file: &str, mortal: [SocketAddr; 2], end: Instant) -> Vec<Sample> {
    let start = Instant::now();
    let mut backends = mortal.map(|address| Some(Backend::echo_at(address, "ssh")));
    let mut samples = vec![Sample::of(proxy, start)];
    let mut round: usize = 0;
    while Instant::now() < end {
        pause(Duration::from_secs(5));
        let at = round % 2;
        match backends[at].take() {
            Some(alive) => drop(alive),
            None => backends[at] = Some(Backend::echo_at(mortal[at], "ssh")),
        }
        // Another route comes and goes.
        let more = route("more", "patterns = [\"MORE\"]", mortal[0]);
        let more = if round.is_multiple_of(2) { more } else { String::new() };
        fs::write(proxy.folder().join("refractium.toml"), format!("{file}{more}")).expect("room");
        let before = reloads(proxy);
        proxy.signal("HUP");
        until("the reload", || (reloads(proxy) > before).then_some(()));
        assert_eq!(get(admin_of(proxy), "/metrics").code, 200);
        samples.push(Sample::of(proxy, start));
        println!("{:?}", samples[samples.len() - 1]);
        round += 1;
    }
    samples
}

fn reloads(proxy: &Proxy) -> usize {
    proxy.stderr().matches(" reloaded").count()
}

fn until_over(is_over: &AtomicBool, mut once: impl FnMut()) {
    while !is_over.load(Ordering::Relaxed) {
        once();
        pause(Duration::from_millis(2));
    }
}

/// A session that says something five times a second, and is always answered.
fn last(to: SocketAddr, is_over: &AtomicBool) {
    let mut client = connect(to);
    client.write_all(b"LAST").expect("room");
    client.read_exact(&mut [0; b"lasting: LAST".len()]).expect("an answer");
    while !is_over.load(Ordering::Relaxed) {
        client.write_all(&[b'?'; 100]).expect("an open connection");
        client.read_exact(&mut [0; 100]).expect("an answer: nothing disturbs it");
        pause(Duration::from_millis(200));
    }
}

/// It may come to backends of which both are dead, or one is dying.
fn is_answered(to: SocketAddr) -> bool {
    let answer = open(None, to).and_then(|mut client| {
        client.write_all(SSH)?;
        read_once(&mut client, &mut [0; 64])
    });
    answer.is_ok_and(|count| count > 0)
}

fn download(to: SocketAddr) -> io::Result<usize> {
    let mut client = open(None, to)?;
    client.write_all(b"BULK")?;
    let mut all = Vec::with_capacity(BULK);
    client.read_to_end(&mut all)
}

/// A session over UDP of its own, from an address that none with another backend has.
fn ask_all(to: SocketAddr) -> bool {
    let client = Client::from(Ipv4Addr::new(127, 0, 3, 1).into(), to);
    (0..3).for_each(|at| client.reaches("app", format!("APP {at}").as_bytes()));
    pause(Duration::from_millis(20));
    true
}
