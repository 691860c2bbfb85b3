//! What is kept must not grow, and in the end nothing may be left.

use std::fs;
use std::time::{Duration, Instant};

use crate::admin::{admin_of, status};
use crate::harness::{Proxy, until};

/// What the program holds at one moment.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sample {
    pub(super) at: Duration,
    memory: u64,
    descriptors: usize,
    /// Of those.
    pub(super) sockets: usize,
    threads: usize,
}

impl Sample {
    pub(super) fn of(proxy: &Proxy, start: Instant) -> Self {
        let tasks = fs::read_dir(format!("/proc/{}/task", proxy.id())).expect("alive");
        Self {
            at: start.elapsed(),
            memory: proxy.memory(),
            descriptors: proxy.descriptors(),
            sockets: sockets(proxy),
            threads: tasks.count(),
        }
    }
}

pub(super) fn sockets(proxy: &Proxy) -> usize {
    let all = fs::read_dir(format!("/proc/{}/fd", proxy.id())).expect("alive");
    // One may be gone before it is looked at.
    let kinds = all.filter_map(|it| fs::read_link(it.ok()?.path()).ok());
    kinds.filter(|kind| kind.to_string_lossy().starts_with("socket:")).count()
}

/// The slope of memory after a fifth of the time, by least squares, and that nothing else grows at all.
pub(super) fn is_flat(samples: &[Sample]) {
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

/// Every connection that came has ended or was refused, and nobody has a place any more; how many there were. Needs an
/// admin.
pub(super) fn nothing_counts_as_open(proxy: &Proxy) -> u64 {
    let seen = until("all to be counted as gone", || {
        let seen = status(admin_of(proxy));
        let routes = seen.routes.iter().map(|it| it.open).sum::<u64>();
        let backends = seen.routes.iter().flat_map(|it| &it.backends);
        let at_backends = backends.map(|it| it.open).sum::<u64>();
        let open = seen.connections.open + seen.sessions.open + seen.undecided;
        (open == 0 && routes == 0 && at_backends == 0).then_some(seen)
    });
    let of_tcp = seen.routes.iter().filter(|it| it.transport == "tcp");
    let ended = of_tcp.flat_map(|it| it.ended.values()).sum::<u64>();
    let refused = seen.connections.refused.values().sum::<u64>();
    // Who is turned away at the door is none of those that came in.
    let at_the_door = ["full", "full_for_address", "too_fast"];
    let at_the_door = at_the_door.iter().filter_map(|it| seen.connections.refused.get(*it));
    let total = seen.connections.total + at_the_door.sum::<u64>();
    println!(
        "{total} connections, {ended} ended and {refused} refused; {} sessions",
        seen.sessions.total
    );
    assert_eq!(total, ended + refused, "{seen:?}");
    let backends = seen.routes.iter().flat_map(|it| &it.backends);
    let places = backends.flat_map(|it| &it.addresses).map(|it| it.open).sum::<usize>();
    assert_eq!(places, 0, "{seen:?}");
    total
}
