//! Interruptions, and small messages that must not wait.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::engine::Engine;
use super::exchange::{Call, call, exchanging};
use super::stream::{backend, open, result};
use crate::harness::{Proxy, pause};

on_both_engines! {
    a_hundred_signals_a_second_disturb_nothing,
    #[ignore = "deep: ten seconds of signals"]
    a_hundred_signals_a_second_disturb_nothing_for_ten_seconds,
    requests_and_answers_do_not_wait_for_more,
}

/// Row T14.
fn a_hundred_signals_a_second_disturb_nothing(engine: Engine) {
    under_signals(engine, Duration::from_secs(2));
}

fn a_hundred_signals_a_second_disturb_nothing_for_ten_seconds(engine: Engine) {
    under_signals(engine, Duration::from_secs(10));
}

/// Stopped and continued, and told what means nothing, at any point of moving bytes both ways.
fn under_signals(engine: Engine, length: Duration) {
    const SIZE: usize = 32 << 20;
    let (backend, at_backend) = exchanging();
    let proxy = engine.proxy(&backend, "");
    let over = AtomicBool::new(false);
    let (sent, calls) = thread::scope(|scope| {
        let signalling = scope.spawn(|| signal_until(&proxy, &over));
        let start = Instant::now();
        let mut calls = 0;
        while start.elapsed() < length {
            let at_client = call(open(&proxy), Call { size: SIZE, seed: 0 });
            at_client.is_mirrored_by(&result(&at_backend));
            calls += 1;
        }
        over.store(true, Ordering::Relaxed);
        (signalling.join().expect("a sender of signals"), calls)
    });
    assert!(sent > length.as_secs() * 50, "{sent} signals are no test");
    engine.carried(&proxy, calls, calls * 2 * SIZE);
}

/// How many were sent.
fn signal_until(proxy: &Proxy, over: &AtomicBool) -> u64 {
    let id = i32::try_from(proxy.id()).ok().and_then(Pid::from_raw).expect("a process");
    let mut sent = 0;
    while !over.load(Ordering::Relaxed) {
        for signal in [Signal::HUP, Signal::STOP, Signal::CONT, Signal::WINCH] {
            kill_process(id, signal).expect("a process");
            pause(Duration::from_millis(10));
            sent += 1;
        }
    }
    sent
}

/// Row T20: bytes that are left in the kernel until more come (MSG_MORE) show as 40 or 200 ms.
fn requests_and_answers_do_not_wait_for_more(engine: Engine) {
    const LARGE: usize = 700_001;
    // Less than a segment on loopback, and enough to be spliced once there was bulk.
    const MIDDLE: usize = 40_001;
    let (backend, _at_backend) = backend(|mut stream| {
        let answer = vec![b'x'; LARGE];
        let mut request = [0; 64];
        while stream.read_exact(&mut request).is_ok() {
            let size = match request[0] {
                b'L' => LARGE,
                b'M' => MIDDLE,
                _ => request.len(),
            };
            stream.write_all(&answer[..size]).expect("a client");
        }
    });
    let proxy = engine.proxy(&backend, "");
    let mut client = open(&proxy);
    // Each large answer brings splicing to its end, which is where the last bytes could stay.
    let large = times(&mut client, b'L', LARGE, 200);
    let middle = times(&mut client, b'M', MIDDLE, 200);
    let small = times(&mut client, b'S', 64, 20_000);
    drop(client);
    for mut times in [large, middle, small] {
        times.sort_unstable();
        // A busy machine makes a few late; a stall would come with every answer.
        let [median, late] = [50, 90].map(|percent| times[times.len() * percent / 100]);
        assert!(
            median < Duration::from_millis(20) && late < Duration::from_millis(35),
            "{times:?}"
        );
    }
    engine.carried(&proxy, 1, 200 * (LARGE + MIDDLE));
}

/// How long it takes from each request to the last byte of its answer.
fn times(client: &mut TcpStream, kind: u8, size: usize, count: usize) -> Vec<Duration> {
    let (request, mut answer) = ([kind; 64], vec![0; size]);
    let once = |_| {
        let start = Instant::now();
        client.write_all(&request).expect("an open connection");
        client.read_exact(&mut answer).expect("an answer");
        start.elapsed()
    };
    (0..count).map(once).collect()
}
