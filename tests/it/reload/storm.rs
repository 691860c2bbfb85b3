//! Rows C7 and C12: reloads without end.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::*;
use crate::harness::{pause, route};

/// Row C7: a hundred other files a second. As many reloads as can be, one at a time; and clients notice nothing.
fn storm(length: Duration) {
    let echoes = ["one", "two"].map(Backend::echo);
    let texts = echoes.each_ref().map(|it| text("", &route("ssh", "", it.address())));
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("refractium.toml"), &texts[0]).expect("room");
    let proxy = Proxy::spawn(folder, &["-c", "refractium.toml"]);
    joined(proxy.address(), "one");
    let memory = proxy.memory();
    let is_over = AtomicBool::new(false);
    let slowest = |more: &AtomicBool, least: usize| {
        let (mut slowest, mut count) = (Duration::ZERO, 0);
        while !more.load(Ordering::Relaxed) || count < least {
            let start = Instant::now();
            assert!(!crate::harness::ask(proxy.address(), SSH).is_empty(), "it is answered");
            slowest = slowest.max(start.elapsed());
            count += 1;
        }
        (slowest, count)
    };
    let (quiet, _) = slowest(&AtomicBool::new(true), 100);
    let (stormy, saves) = thread::scope(|scope| {
        let clients = scope.spawn(|| slowest(&is_over, 100));
        let (end, mut saves) = (Instant::now() + length, 0);
        while Instant::now() < end {
            saves += 1;
            save(&proxy, &texts[saves % 2]);
            pause(Duration::from_millis(10));
        }
        is_over.store(true, Ordering::Relaxed);
        (clients.join().expect("clients"), saves)
    });
    save(&proxy, &texts[1]);
    until("the last file", || {
        crate::harness::ask(proxy.address(), SSH).starts_with(b"two").then_some(())
    });
    let count = reloads(&proxy);
    println!(
        "{saves} files, {count} reloads; the slowest of 100 clients {quiet:?}, then of {} {:?}; {} then {} KiB",
        stormy.1,
        stormy.0,
        memory / 1024,
        proxy.memory() / 1024
    );
    assert!(count <= saves, "one at a time");
    assert_eq!(failures(&proxy), 0, "{}", proxy.stderr());
    assert!(proxy.memory() < memory + 16 * 1024 * 1024, "{memory} then {}", proxy.memory());
}

#[test]
fn a_storm_of_files_is_followed_and_noticed_by_nobody() {
    storm(Duration::from_secs(3));
}

#[test]
#[ignore = "half a minute; .ci/deep"]
fn half_a_minute_of_a_storm_is_followed_and_noticed_by_nobody() {
    storm(Duration::from_secs(30));
}

/// What a process holds: descriptors, threads, watches of the system (proc_pid_fdinfo(5)).
fn held(proxy: &Proxy) -> [usize; 3] {
    let of = |what: &str| format!("/proc/{}/{what}", proxy.id());
    let threads = fs::read_dir(of("task")).expect("alive").count();
    let infos = fs::read_dir(of("fdinfo")).expect("alive").flatten();
    let texts = infos.map(|it| fs::read_to_string(it.path()).unwrap_or_default());
    let watches = texts.map(|it| it.matches("inotify wd:").count()).sum();
    [proxy.descriptors(), threads, watches]
}

/// Row C12: nothing is left of any of them.
fn again_and_again(times: usize) {
    let echoes = ["one", "two"].map(Backend::echo);
    let web = crate::harness::udp::Backend::echo("web");
    let texts = echoes.each_ref().map(|it| {
        // A name, a check, another transport: all that begins something of its own.
        let named = route("http", "health = { kind = \"tcp\", interval_ms = 60000 }", it.address());
        let named = named.replace("127.0.0.1:", "localhost:");
        let game = format!("fallback_udp = \"{}\"", web.address());
        text(&game, &format!("{}{named}", route("ssh", "", it.address())))
    });
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("refractium.toml"), &texts[0]).expect("room");
    let proxy = Proxy::spawn(folder, &["-c", "refractium.toml"]);
    let mut rounds = 0_usize;
    let mut reload = |times| {
        for _ in 0..times {
            rounds += 1;
            save(&proxy, &texts[rounds % 2]);
            hang_up(&proxy);
            if rounds.is_multiple_of(50) {
                joined(proxy.address(), ["one", "two"][rounds % 2]);
            }
        }
    };
    reload(100);
    let (before, memory) = (held(&proxy), proxy.memory());
    reload(times);
    let settled = || {
        let after = held(&proxy);
        // A client, a check or a look-up may be on its way.
        let is_flat = after.iter().zip(&before).all(|(after, before)| *after <= before + 2);
        is_flat.then_some(after)
    };
    let after = until("what it holds to be as before", settled);
    let (now, allowed) = (proxy.memory(), memory + memory / 20 + 1024 * 1024);
    println!("{before:?} then {after:?}; {} then {} KiB", memory / 1024, now / 1024);
    assert!(now <= allowed, "{memory} then {now}");
}

#[test]
fn three_hundred_reloads_leave_nothing() {
    again_and_again(200);
}

#[test]
#[ignore = "several minutes; .ci/deep"]
fn ten_thousand_reloads_leave_nothing() {
    again_and_again(10_000);
}
