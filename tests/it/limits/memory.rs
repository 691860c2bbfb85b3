//! Little memory, and an attack on it.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::crowd::{begin, source};
use super::{Over, call};
use crate::harness::udp::Backend as Datagrams;
use crate::harness::{Backend, Proxy, descriptors, many, need_root, pause, route, skipped, until};

/// As much memory as the program may have, the kernel's for its sockets included.
const MEMORY: u64 = 64 << 20;

/// A group of processes that share so much memory. Gone when dropped.
struct Group(PathBuf);

impl Group {
    /// `None`, and the reason is told, where no such group can be had.
    fn new() -> Option<Self> {
        if !need_root() {
            return None;
        }
        let name = format!("refractium-{}", std::process::id());
        // The first version of control groups has a tree for memory alone, the second one for everything.
        let trees = [("memory", "memory.limit_in_bytes"), ("", "memory.max")];
        let made = trees.iter().find_map(|(tree, limit)| {
            let group = PathBuf::from("/sys/fs/cgroup").join(tree).join(&name);
            fs::create_dir(&group).ok()?;
            let group = Self(group);
            fs::write(group.0.join(limit), MEMORY.to_string()).ok().map(|()| group)
        });
        if made.is_none() {
            skipped("no control group with a memory limit is to be had");
        }
        made
    }

    /// The most that was used at a time, where the system tells.
    fn most(&self) -> Option<u64> {
        let files = ["memory.max_usage_in_bytes", "memory.peak"].map(|it| self.0.join(it));
        files.iter().find_map(|it| fs::read_to_string(it).ok()?.trim().parse().ok())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        until("its processes to be gone", || fs::remove_dir(&self.0).ok());
    }
}

/// Row A11, in part: five thousand that begin, with all that may be looked at, and twenty thousand senders.
#[test]
fn little_memory_is_enough_under_attack() {
    attack(Duration::from_secs(6));
}

/// Row A11.
#[test]
#[ignore = "ten minutes"]
fn little_memory_is_enough_under_attack_for_long() {
    attack(Duration::from_secs(600));
}

fn attack(time: Duration) {
    let Some(group) = Group::new() else { return };
    let _alone = many();
    assert!(descriptors() > 8000, "too few for an attack");
    let (backend, datagrams) = (Backend::echo("http"), Datagrams::silent());
    let routes = route("http", "host = \"a.example\"", backend.address())
        + &route("app", "patterns = [\"APP\"]\ntransport = \"udp\"", datagrams.address())
        + &route("ssh", "", backend.address());
    let enter = format!("echo $$ > {}; exec \"$0\" \"$@\"", group.0.join("cgroup.procs").display());
    let server = "workers = 2\npeek_timeout_ms = 10000";
    let proxy = Proxy::start_under(&["sh", "-c", &enter], server, &routes);
    let (to, is_over) = (proxy.address(), AtomicBool::new(false));
    thread::scope(|scope| {
        scope.spawn(|| crowd(to, &is_over));
        scope.spawn(|| flood(to, &is_over));
        let _over = Over(&is_over);
        let end = Instant::now() + time;
        let mut slowest = Duration::ZERO;
        while Instant::now() < end {
            let start = Instant::now();
            assert!(call(None, to).is_served(), "others are served");
            slowest = slowest.max(start.elapsed());
            pause(Duration::from_millis(50));
        }
        println!("the slowest of the others after {slowest:?}");
    });
    let used = group.most().map(|it| it >> 20);
    println!("{} MiB resident, {used:?} MiB in all at most", proxy.memory() >> 20);
    assert!(call(None, to).is_served(), "it is alive");
    drop(proxy);
}

/// Clients that begin and wait, again and again, of whom five thousand stay.
fn crowd(to: SocketAddr, is_over: &AtomicBool) {
    let opening = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &[b'x'; 15_000]].concat();
    let mut held = std::collections::VecDeque::new();
    for at in 0.. {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        held.extend(begin(source(at), to, &opening));
        // Memory is what is attacked, and not the processor.
        pause(Duration::from_millis(1));
        if held.len() > 5000 {
            held.pop_front();
        }
    }
}

/// A datagram from each of twenty thousand addresses, again and again.
fn flood(to: SocketAddr, is_over: &AtomicBool) {
    for at in (0..20_000u32).cycle() {
        if is_over.load(Ordering::Relaxed) {
            return;
        }
        let [_, high, middle, low] = at.to_be_bytes();
        let from = Ipv4Addr::new(127, 16 + high, middle, low.max(1));
        let socket = UdpSocket::bind((from, 0)).expect("an address");
        // What the system drops is part of it.
        let _ = socket.send_to(b"APP", to);
    }
}
