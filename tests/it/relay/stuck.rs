//! A side that takes nothing, or little: who writes to it waits, and not for ever.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc::channel;
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::engine::Engine;
use super::stream::{
    backend, block, open, open_slow, read_blocks, result, unsent, write_blocks, write_until_stuck,
};
use crate::harness::{Proxy, pause, read_once, until};

on_both_engines! {
    a_client_that_takes_nothing_is_ended,
    a_client_that_takes_nothing_is_ended_though_it_sends,
    a_backend_that_takes_nothing_is_ended,
    a_client_that_takes_a_little_at_a_time_gets_all,
    what_is_said_after_a_stall_is_heard_at_once,
    an_answer_is_not_cut_by_an_upload_that_nobody_takes,
    who_writes_to_slow_clients_waits_and_memory_does_not_grow,
    #[ignore = "deep: a minute of slow clients"]
    who_writes_to_slow_clients_for_a_minute_waits_and_memory_does_not_grow,
}

const STALL: Duration = Duration::from_millis(600);

fn with_stall_limit() -> String {
    format!("write_stall_timeout_ms = {}", STALL.as_millis())
}

/// How a write without end failed, and when.
struct Stalled {
    kind: ErrorKind,
    after: Duration,
}

fn write_until_failure(mut stream: &TcpStream) -> Stalled {
    let (block, start) = (block(), Instant::now());
    loop {
        if let Err(error) = stream.write_all(&block) {
            return Stalled { kind: error.kind(), after: start.elapsed() };
        }
    }
}

fn is_ended_by_stall(stalled: &Stalled, proxy: &Proxy, by: &str) {
    let resets = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
    assert!(resets.contains(&stalled.kind), "{:?}", stalled.kind);
    assert!(stalled.after >= STALL, "{:?}", stalled.after);
    let told = format!("write stalled by {by}");
    until("the end to be told", || proxy.stderr().contains(&told).then_some(()));
}

/// Row T8.
fn a_client_that_takes_nothing_is_ended(engine: Engine) {
    let (backend, at_backend) = backend(|stream| write_until_failure(&stream));
    let proxy = engine.proxy(&backend, &with_stall_limit());
    let before = proxy.descriptors();
    let mut client = open_slow(&proxy);
    is_ended_by_stall(&result(&at_backend), &proxy, "client");
    let error = client.read_to_end(&mut Vec::new()).expect_err("a reset: it has not got all");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    // A few empty pipes are kept for the next who needs one.
    until("the sockets to be freed", || (proxy.descriptors() <= before + 4).then_some(()));
}

/// Row T8: what moves one way does not hide that nothing moves the other.
fn a_client_that_takes_nothing_is_ended_though_it_sends(engine: Engine) {
    let (backend, at_backend) = backend(|stream| {
        let mut reader = stream.try_clone().expect("an open socket");
        let reading = thread::spawn(move || read_once(&mut reader, &mut [0]).is_ok());
        let stalled = write_until_failure(&stream);
        assert!(reading.join().expect("a reader"), "the client does send");
        stalled
    });
    let proxy = engine.proxy(&backend, &with_stall_limit());
    let mut client = open_slow(&proxy);
    until("the end", || {
        pause(Duration::from_millis(50));
        client.write_all(b"x").err()
    });
    is_ended_by_stall(&result(&at_backend), &proxy, "client");
}

/// Row T8, the other way.
fn a_backend_that_takes_nothing_is_ended(engine: Engine) {
    let over = &*Box::leak(Box::new(Barrier::new(2)));
    let (backend, at_backend) = backend(move |mut stream| {
        over.wait();
        stream.read_to_end(&mut Vec::new()).expect_err("a reset: it has not got all").kind()
    });
    let proxy = engine.proxy(&backend, &with_stall_limit());
    let client = open(&proxy);
    is_ended_by_stall(&write_until_failure(&client), &proxy, "backend");
    over.wait();
    assert_eq!(result(&at_backend), ErrorKind::ConnectionReset);
}

/// Row T8: slow is not stuck. The kernel calls a socket writable only once a third of its buffer is free, which takes
/// this client far longer than the time-out.
fn a_client_that_takes_a_little_at_a_time_gets_all(engine: Engine) {
    const SIZE: usize = 24 << 20;
    let (backend, _at_backend) = backend(|mut stream| write_blocks(&mut stream, SIZE).is_ok());
    let proxy = engine.proxy(&backend, "write_stall_timeout_ms = 1000");
    let mut client = open_slow(&proxy);
    let (mut slowly, start) = (Vec::new(), Instant::now());
    let mut buffer = vec![0; 10_000];
    while start.elapsed() < Duration::from_secs(4) {
        let count = read_once(&mut client, &mut buffer).expect("an open connection");
        slowly.extend_from_slice(&buffer[..count]);
        pause(Duration::from_millis(50));
    }
    let (count, end) = read_blocks(&mut slowly.chain(client));
    assert_eq!((count, end.is_ok()), (SIZE, true));
    engine.carried(&proxy, 1, SIZE);
}

/// While nobody takes what it said, who sends in bulk is not listened to. Then every byte counts again, though it be the
/// only one.
fn what_is_said_after_a_stall_is_heard_at_once(engine: Engine) {
    const TIMES: usize = 3;
    let (stuck, counts) = channel::<usize>();
    let counts = Mutex::new(counts);
    let (backend, _at_backend) = backend(move |mut stream| {
        for count in counts.lock().expect("sound").iter() {
            for size in [count, 1] {
                stream.read_exact(&mut vec![0; size]).expect("all of it");
                stream.write_all(b"!").expect("a client");
            }
        }
    });
    let proxy = engine.proxy(&backend, "");
    let mut client = open(&proxy);
    let mut answer = [0];
    let mut total = 0;
    for _ in 0..TIMES {
        let count = write_until_stuck(&mut client, usize::MAX);
        assert!(count > 1 << 20, "{count} bytes do not fill anything");
        stuck.send(count).expect("a backend");
        client.read_exact(&mut answer).expect("all to be taken");
        // So that the proxy has found nothing more, and sleeps.
        pause(Duration::from_millis(20));
        client.write_all(b"?").expect("room");
        client.read_exact(&mut answer).expect("it to be heard");
        total += count;
    }
    drop((client, stuck));
    engine.carried(&proxy, 1, total);
}

/// Row T8: what was read for a backend that is gone waits for nobody, and must not end what its client still reads.
fn an_answer_is_not_cut_by_an_upload_that_nobody_takes(engine: Engine) {
    let limits = [4, 8, 16].map(Duration::from_secs);
    let is_shown = limits.into_iter().any(|it| answers_beside_a_stuck_upload(engine, it));
    assert!(is_shown, "the backend never came to its end in time");
}

/// Whether that was shown: a machine may be so busy that the upload is ended, rightly, before the backend is gone.
fn answers_beside_a_stuck_upload(engine: Engine, limit: Duration) -> bool {
    let full = &*Box::leak(Box::new(Barrier::new(2)));
    let (backend, at_backend) = backend(move |mut stream| {
        full.wait();
        let sent = write_until_stuck(&mut stream, usize::MAX);
        full.wait();
        // Closed with the upload unread: a reset, once the answer has left. Much of it waits in the proxy then.
        until("what was sent to be taken", || (unsent(&stream) == 0).then_some(()));
        sent
    });
    let proxy = engine.proxy(&backend, &format!("write_stall_timeout_ms = {}", limit.as_millis()));
    let mut client = open_slow(&proxy);
    let begun = Instant::now();
    write_until_stuck(&mut client, usize::MAX);
    full.wait();
    full.wait();
    let mut answer = Vec::new();
    let mut closed: Option<(usize, Instant)> = None;
    // Slowly until the backend has gone, and more slowly for longer than the limit.
    while closed.is_none_or(|(_, at)| at.elapsed() < limit + Duration::from_millis(500)) {
        let mut buffer = [0; 10_000];
        let most = if closed.is_none() { buffer.len() } else { buffer.len() / 10 };
        let count = read_once(&mut client, &mut buffer[..most]);
        if closed.is_none() && begun.elapsed() > limit - Duration::from_millis(500) {
            return false;
        }
        let count = count.expect("an answer");
        assert!(count > 0, "cut after {} bytes", answer.len());
        answer.extend_from_slice(&buffer[..count]);
        let sent = at_backend.recv_timeout(Duration::from_millis(40)).ok();
        if let Some(sent) = sent {
            closed = Some((sent, Instant::now()));
        }
    }
    let (count, _reset) = read_blocks(&mut answer.chain(client));
    assert_eq!(Some(count), closed.map(|(sent, _)| sent));
    true
}

/// Row T7.
fn who_writes_to_slow_clients_waits_and_memory_does_not_grow(engine: Engine) {
    slow_clients(engine, Duration::from_millis(1500));
}

fn who_writes_to_slow_clients_for_a_minute_waits_and_memory_does_not_grow(engine: Engine) {
    slow_clients(engine, Duration::from_secs(60));
}

/// Clients that take 1 KiB a second, of a backend that writes as fast as it can.
fn slow_clients(engine: Engine, length: Duration) {
    const CLIENTS: usize = 16;
    let (backend, at_backend) = backend(|mut stream| {
        let taken = fill(&mut stream);
        (taken, stream)
    });
    let proxy = engine.proxy(&backend, "");
    // One before leaves the memory warm that all connections share.
    let _first = (open_slow(&proxy), result(&at_backend));
    let before = proxy.memory();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| open_slow(&proxy)).collect();
    let mut at_backend: Vec<_> = clients.iter().map(|_| result(&at_backend)).collect();
    let start = Instant::now();
    while start.elapsed() < length {
        for client in &mut clients {
            client.read_exact(&mut [0; 100]).expect("an open connection");
        }
        pause(Duration::from_millis(100));
    }
    let more: Vec<_> = thread::scope(|scope| {
        let filling = at_backend.iter_mut().map(|(_, stream)| scope.spawn(|| fill(stream)));
        let filling: Vec<_> = filling.collect();
        filling.into_iter().map(|it| it.join().expect("a writer")).collect()
    });
    for ((taken, _), more) in at_backend.iter().zip(more) {
        // It is in the kernel, whose buffers have their own limits: 4 MiB to send and 32 MiB to receive (tcp(7)).
        assert!(taken + more < 64 << 20, "{taken} and {more} bytes were taken for a slow client");
    }
    let grown = usize::try_from(proxy.memory().saturating_sub(before)).expect("a number");
    // Row T7: a thread's buffer, and as much again for what one read brought.
    assert!(grown <= CLIENTS * 128 * 1024, "{} bytes for each", grown / CLIENTS);
}

/// Writes until nothing more is taken; gives how much was.
fn fill(stream: &mut TcpStream) -> usize {
    stream.set_write_timeout(Some(Duration::from_millis(300))).expect("an open socket");
    let block = block();
    std::iter::from_fn(|| stream.write(&block[..64 * 1024]).ok()).sum()
}
