//! The moment from which clients are the other's.

use std::future::pending;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::time::Duration;

use refractium::protocol::Transport;
use refractium::{Event, Listeners, Refractium, Successor};
use tokio::runtime::Runtime;

use crate::harness::{Backend, DEADLINE, connect, loopback};

/// Both have one queue of clients: while a worker of the old one may take some of them, nothing is told.
#[test]
fn it_is_told_once_the_old_one_lets_nobody_in() {
    // A worker that does not come round is not waited for long, and a busy machine may take that long here.
    assert!((0..3).any(|_| is_told_after_the_last_is_let_in()));
}

fn is_told_after_the_last_is_let_in() -> bool {
    static IS_FREE: AtomicBool = AtomicBool::new(false);
    IS_FREE.store(false, Ordering::Relaxed);
    let (arrives, arrived) = channel();
    let (free, freed) = channel();
    let (tells, told) = channel();
    let freed = Mutex::new(freed);
    let ssh = Backend::echo("ssh");
    let engine = Refractium::builder()
        .forward(format!("ssh={}", ssh.address()).parse().expect("a forward"))
        .observer(move |event: &Event<'_>| match event {
            // It holds up its worker, and so who else would be let in.
            Event::Accepted { .. } => {
                arrives.send(()).expect("a test");
                let _: Result<(), _> = freed.lock().expect("sound").recv_timeout(DEADLINE);
            }
            Event::HandedOver { .. } => {
                tells.send(IS_FREE.load(Ordering::Relaxed)).expect("a test");
            }
            _ => {}
        })
        .build()
        .expect("sound routes");
    let listeners = Listeners::bind_each(&[loopback()], &[Transport::Tcp], 1).expect("a port");
    let address = listeners[0].addresses()[0];
    let runtime = Runtime::new().expect("a runtime");
    let running = engine.clone();
    runtime.spawn(async move { running.run_on_workers(listeners, pending::<()>()).await });
    let _client = connect(address);
    arrived.recv_timeout(DEADLINE).expect("a client");
    runtime.spawn(async move {
        // It says what one would say that takes over, and does nothing.
        let mut command = Command::new("sh");
        command.args(["-c", "printf ready >&0; printf serving >&0; exec sleep 2"]);
        let mut successor = Successor::start(command).expect("a shell");
        engine.hand_over(&mut successor, Vec::new()).await.expect("a hand-over");
        pending::<()>().await;
    });
    let is_early = told.recv_timeout(Duration::from_millis(250)).is_ok();
    IS_FREE.store(true, Ordering::Relaxed);
    free.send(()).expect("a worker");
    !is_early && told.recv_timeout(DEADLINE).expect("a word of it")
}
