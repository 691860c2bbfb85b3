//! A backend that falls at a bad moment.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use refractium::protocol::Transport;
use refractium::{Check, CheckKind, Ending, Event, Forward, Listeners, Refractium};

use super::OPENING;
use crate::harness::{Backend, DEADLINE, connect, loopback};

/// A route whose connections end with the backend, on a worker that stands still whenever a client is joined, until the
/// backend is down. What is told: that one is joined, and how it ended.
fn start(backend: &Backend) -> (SocketAddr, Receiver<Option<Ending>>) {
    let mut forward: Forward = format!("ssh={}", backend.address()).parse().expect("a forward");
    let mut check = Check::new(CheckKind::Tcp);
    (check.interval, check.fall) = (Duration::from_millis(50), 2);
    (forward.health, forward.close_on_down) = (Some(check), true);
    let ((sender, told), (down, is_down)) = (channel(), channel());
    let is_down = Mutex::new(is_down);
    let observer = move |event: &Event<'_>| match event {
        Event::Welded { .. } => {
            sender.send(None).expect("somebody who listens");
            is_down.lock().expect("sound").recv_timeout(DEADLINE).expect("a fall");
        }
        Event::Closed { ending, .. } => sender.send(Some(*ending)).expect("somebody who listens"),
        Event::BackendDown { .. } => down.send(()).expect("somebody who listens"),
        _ => {}
    };
    let engine = Refractium::builder().forward(forward).observer(observer).build();
    let engine = engine.expect("sound routes");
    let groups = Listeners::bind_each(&[loopback()], &[Transport::Tcp], 1).expect("a port");
    let address = groups[0].addresses()[0];
    // It ends with the process.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let for_ever = std::future::pending::<()>();
        runtime.expect("a runtime").block_on(engine.run_on_workers(groups, for_ever))
    });
    (address, told)
}

#[test]
fn who_is_joined_while_the_backend_falls_is_closed_too() {
    let (taker, taken) = channel();
    let backend = Backend::serving(move |mut stream| {
        // A check says nothing. The client's stays until it is left.
        if stream.read(&mut [0; 64]).is_ok_and(|count| count > 0) {
            taker.send(()).expect("somebody who waits");
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    let (address, told) = start(&backend);
    let mut client = connect(address);
    client.write_all(OPENING).expect("room");
    assert_eq!(told.recv_timeout(DEADLINE), Ok(None));
    taken.recv_timeout(DEADLINE).expect("a client that is taken");
    drop(backend);
    let end = client.read_to_end(&mut Vec::new()).expect_err("a reset");
    assert_eq!(end.kind(), ErrorKind::ConnectionReset);
    assert_eq!(told.recv_timeout(DEADLINE), Ok(Some(Ending::BackendDown)));
}
