//! What it costs to do nothing.

use std::fs;
use std::io::Write;
use std::sync::Mutex;
use std::time::Duration;

use super::{call, served};
use crate::harness::{Backend, Proxy, descriptors, many, pause, route};

/// Time on a processor of all its threads (Documentation/scheduler/sched-stats.rst: the first number, in nanoseconds).
fn used(proxy: &Proxy) -> Duration {
    let tasks = fs::read_dir(format!("/proc/{}/task", proxy.id())).expect("alive");
    let of_task = |task: std::io::Result<fs::DirEntry>| {
        let stat = fs::read_to_string(task.expect("a task").path().join("schedstat"));
        let stat = stat.unwrap_or_default(); // the thread may have ended
        stat.split(' ')
            .next()
            .and_then(|it| it.parse().ok())
            .map_or(Duration::ZERO, Duration::from_nanos)
    };
    tasks.map(of_task).sum()
}

/// Per mille of one core in so many seconds.
fn load(proxy: &Proxy, seconds: u64) -> f64 {
    let before = used(proxy);
    pause(Duration::from_secs(seconds));
    (used(proxy) - before).as_secs_f64() * 1000.0 / f64::from(u32::try_from(seconds).expect("few"))
}

/// Row Q7: at most 0.1 % of a core alone, and 0.5 % with 5,000 connections on which nothing moves.
#[test]
fn doing_nothing_costs_next_to_nothing() {
    let _alone = many();
    let most = 5000.min((descriptors() - 2000) / 2);
    // Without a thread for each.
    let held = Mutex::new(Vec::new());
    let backend = Backend::serving(move |mut stream| {
        let _ = stream.write_all(b"!");
        held.lock().expect("sound").push(stream);
    });
    let routes = route("ssh", "", backend.address());
    let proxy = Proxy::start_with("workers = 2\nmax_connections = 6000", &routes, &[]);
    let alone = load(&proxy, 3);
    let held = served((0..most).map(|_| call(None, proxy.address())));
    assert_eq!(held.len(), most);
    let with = load(&proxy, 3);
    println!("{alone:.2} per mille alone, {with:.2} with {most} connections");
    // A debug build takes longer for each of the few times that it wakes.
    let most_alone = if cfg!(debug_assertions) { 4.0 } else { 1.0 };
    assert!(alone <= most_alone, "{alone} per mille alone");
    assert!(with <= 5.0, "{with} per mille with {most} connections");
}
