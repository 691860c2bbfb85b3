//! Everything at once, for long: what is kept must not grow.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::address::leave;
use super::{Over, call, open};
use crate::harness::udp::{Backend as Datagrams, Client};
use crate::harness::{Backend, Proxy, connect, pause, refusing, route, until};

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

/// What the program holds at one moment.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    memory: u64,
    descriptors: usize,
    threads: usize,
}

impl Sample {
    fn of(proxy: &Proxy, start: Instant) -> Self {
        let tasks = fs::read_dir(format!("/proc/{}/task", proxy.id())).expect("alive");
        Self {
            at: start.elapsed(),
            memory: proxy.memory(),
            descriptors: proxy.descriptors(),
            threads: tasks.count(),
        }
    }
}

/// How long, unless `REFRACTIUM_SOAK_MINUTES` says something else.
const MINUTES: u64 = 30;

const BULK: usize = 4 << 20;

fn minutes() -> u64 {
    std::env::var("REFRACTIUM_SOAK_MINUTES").map_or(MINUTES, |it| it.parse().expect("minutes"))
}

/// Row Q5: sessions that last, short ones, bulk, datagrams and clients that leave in any way, while backends are killed and
/// the configuration is reloaded. What lasts is never disturbed, and memory, descriptors and threads stay flat.
#[test]
#[ignore = "half an hour, on a machine that does nothing else"]
fn half_an_hour_of_everything_leaves_nothing_behind() {
    let time = Duration::from_secs(60 * minutes());
    let (lasting, datagrams) = (Backend::echo("lasting"), Datagrams::echo("app"));
    let bulk = Backend::serving(|mut stream| {
        let mut head = [0; 4];
        let _ = stream.read_exact(&mut head).and_then(|()| stream.write_all(&vec![b'x'; BULK]));
    });
    let mortal = [refusing(), refusing()];
    let patterns = |name: &str, more: &str| format!("patterns = [\"{name}\"]\n{more}");
    let ssh = format!(
        "[[protocols]]\nname = \"ssh\"\nforward_to = [\"{}\", \"{}\"]\n\n",
        mortal[0], mortal[1]
    );
    let routes = route("lasting", &patterns("LAST", ""), lasting.address())
        + &route("bulk", &patterns("BULK", ""), bulk.address())
        + &route("app", &patterns("APP", "transport = \"udp\""), datagrams.address())
        + &ssh;
    let server = "workers = 2\nudp_idle_timeout_ms = 1000\npeek_timeout_ms = 500\n\
                  max_connections_per_ip = 1000\nmax_connection_rate_per_ip = 100000";
    let proxy = Proxy::start_with(server, &routes, &[]);
    let (to, is_over) = (proxy.address(), AtomicBool::new(false));
    let (short, moved, asked) = (Count::default(), Count::default(), Count::default());
    let file = fs::read_to_string(proxy.folder().join("refractium.toml")).expect("a file");
    let start = Instant::now();
    let samples = thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| last(to, &is_over));
        }
        scope.spawn(|| until_over(&is_over, || short.note(call(None, to).is_served())));
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
        disturb(&proxy, &file, mortal, start + time)
    });
    println!("short: {}; bulk: {}; datagrams: {}", short.text(), moved.text(), asked.text());
    until("all to be gone", || (proxy.descriptors() <= samples[0].descriptors).then_some(()));
    is_flat(&samples);
    assert_eq!(moved.failed.load(Ordering::Relaxed), 0, "its backend was never killed");
    assert!(proxy.terminate().0.success());
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
        let more =
            if round.is_multiple_of(2) { route("http", "", mortal[0]) } else { String::new() };
        fs::write(proxy.folder().join("refractium.toml"), format!("{file}{more}")).expect("room");
        let before = reloads(proxy);
        proxy.signal("HUP");
        until("the reload", || (reloads(proxy) > before).then_some(()));
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

fn download(to: SocketAddr) -> io::Result<usize> {
    let mut client = open(None, to)?;
    client.write_all(b"BULK")?;
    let mut all = Vec::with_capacity(BULK);
    client.read_to_end(&mut all)
}

/// A session over UDP of its own.
fn ask_all(to: SocketAddr) -> bool {
    let client = Client::of(to);
    (0..3).for_each(|at| client.reaches("app", format!("APP {at}").as_bytes()));
    pause(Duration::from_millis(20));
    true
}

/// The slope of memory after a fifth of the time, by least squares, and that nothing else grows at all.
fn is_flat(samples: &[Sample]) {
    let warm = &samples[samples.len() / 5..];
    let point = |it: &Sample| (it.at.as_secs_f64() / 3600.0, it.memory as f64 / f64::from(1 << 20));
    let points: Vec<_> = warm.iter().map(point).collect();
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|it| it.0), mean(|it| it.1));
    let along = points.iter().map(|it| (it.0 - x).powi(2)).sum::<f64>();
    let slope = points.iter().map(|it| (it.0 - x) * (it.1 - y)).sum::<f64>() / along;
    let most = |of: fn(&Sample) -> usize, part: &[Sample]| part.iter().map(of).max().expect("some");
    let (first, second) = warm.split_at(warm.len() / 2);
    println!(
        "{slope:.2} MiB/h of {y:.1} MiB; descriptors {} and then {}; threads {} and then {}",
        most(|it| it.descriptors, first),
        most(|it| it.descriptors, second),
        most(|it| it.threads, first),
        most(|it| it.threads, second),
    );
    assert!(slope < 1.0, "{slope} MiB an hour");
    assert!(most(|it| it.threads, second) <= most(|it| it.threads, first));
    assert!(most(|it| it.descriptors, second) <= most(|it| it.descriptors, first) + 32);
}
