//! A worker that stands still: a protocol of the embedder's blocks it.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;

use refractium::protocol::{Opening, RefractiumProtocol, Transport, Verdict, prefix};
use refractium::{Error, Event, Listeners, Refractium};
use tokio::sync::oneshot;

use crate::harness::{Backend, DEADLINE, ask, connect, until};

const SSH: &[u8] = b"SSH-2.0-x\r\n";
const ANSWER: &[u8] = b"ssh: SSH-2.0-x\r\n";

/// Known by `block`, at which it waits for its gate to open.
struct Blocking {
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    is_open: bool,
    waiting: usize,
}

impl Gate {
    fn wait(&self) {
        let mut state = self.state.lock().expect("sound");
        state.waiting += 1;
        let limit = DEADLINE * 2;
        let waited = self.changed.wait_timeout_while(state, limit, |state| !state.is_open);
        waited.expect("sound").0.waiting -= 1;
    }

    fn waiting(&self) -> usize {
        self.state.lock().expect("sound").waiting
    }

    fn open(&self) {
        self.state.lock().expect("sound").is_open = true;
        self.changed.notify_all();
    }
}

impl RefractiumProtocol for Blocking {
    fn name(&self) -> &str {
        "blocking"
    }

    fn transports(&self) -> &[Transport] {
        &[Transport::Tcp]
    }

    fn identify(&self, opening: &Opening<'_>) -> Verdict {
        let verdict = prefix(opening.bytes, b"block");
        if verdict == Verdict::Match {
            self.gate.wait();
        }
        verdict
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Stalled(usize),
    Resumed(usize),
}

/// An engine on two workers, with a protocol that blocks.
struct Running {
    address: SocketAddr,
    gate: Arc<Gate>,
    told: Receiver<Told>,
    stop: Option<oneshot::Sender<()>>,
    run: thread::JoinHandle<Result<(), Error>>,
}

fn start(backend: &Backend) -> Running {
    let gate = Arc::new(Gate::default());
    let (sender, told) = channel();
    let forward = |left: &str| format!("{left}={}", backend.address()).parse().expect("a forward");
    let engine = Refractium::builder()
        .protocol(Blocking { gate: Arc::clone(&gate) })
        .forward(forward("blocking"))
        .forward(forward("ssh"))
        .observer(move |event: &Event<'_>| tell(event, &sender))
        .build()
        .expect("sound routes");
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let groups = Listeners::bind_each(&[any], &[Transport::Tcp], 2).expect("a port");
    let address = groups[0].addresses()[0];
    let (stop, stopped) = oneshot::channel::<()>();
    let run = thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(engine.run_on_workers(groups, async {
            let _ = stopped.await;
        }))
    });
    Running { address, gate, told, stop: Some(stop), run }
}

fn tell(event: &Event<'_>, to: &Sender<Told>) {
    let told = match event {
        Event::WorkerStalled { worker, .. } => Told::Stalled(*worker),
        Event::WorkerResumed { worker, .. } => Told::Resumed(*worker),
        _ => return,
    };
    let _ = to.send(told);
}

impl Running {
    fn next(&self) -> Told {
        self.told.recv_timeout(DEADLINE).expect("an event")
    }

    /// Ends it; how many tasks and bytes are left is nobody's concern.
    fn stop(mut self) {
        drop(self.stop.take());
        until("its end", || self.run.is_finished().then_some(()));
        self.run.join().expect("no panic").expect("an end");
    }
}

/// Row A10.
#[test]
fn while_one_worker_is_blocked_the_other_serves_and_it_is_told() {
    const CLIENTS: usize = 200;
    let backend = Backend::echo("ssh");
    let running = start(&backend);
    let mut blocking = connect(running.address);
    blocking.write_all(b"block").expect("room");
    until("a worker to stand still", || (running.gate.waiting() == 1).then_some(()));
    let (sender, served) = channel();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (sender, address) = (sender.clone(), running.address);
            thread::spawn(move || {
                let mut client = connect(address);
                client.write_all(SSH).expect("room");
                let mut answer = [0; ANSWER.len()];
                client.read_exact(&mut answer).expect("an answer");
                assert_eq!(answer, ANSWER);
                sender.send(client).expect("a test");
            })
        })
        .collect();
    let Told::Stalled(worker) = running.next() else { panic!("it stands still first") };
    // The kernel gives each worker's listener about half of the clients, and those of the other are served meanwhile.
    let meanwhile: Vec<_> = served.try_iter().collect();
    let share = meanwhile.len();
    assert!((CLIENTS / 8..CLIENTS * 3 / 4).contains(&share), "{share} of {CLIENTS} were served");
    running.gate.open();
    let later = (share..CLIENTS).map(|_| served.recv_timeout(DEADLINE).expect("the others"));
    let mut all: Vec<_> = later.chain(meanwhile).collect();
    for client in clients {
        client.join().expect("a client");
    }
    assert_eq!(running.next(), Told::Resumed(worker));
    for client in &mut all {
        client.write_all(b"still here").expect("an open connection");
        client.read_exact(&mut [0; 10]).expect("an answer");
    }
    drop((all, blocking));
    assert_eq!(ask(running.address, SSH), ANSWER);
    running.stop();
}

/// Nothing that was carried before waits for a worker that is not its own.
#[test]
fn what_the_other_worker_carries_goes_on() {
    let backend = Backend::echo("ssh");
    let running = start(&backend);
    let joined = || {
        let mut client = connect(running.address);
        client.write_all(SSH).expect("room");
        client.read_exact(&mut [0; ANSWER.len()]).expect("an answer");
        client
    };
    let clients: Vec<_> = (0..20).map(|_| joined()).collect();
    let mut blocking = connect(running.address);
    blocking.write_all(b"block").expect("room");
    until("a worker to stand still", || (running.gate.waiting() == 1).then_some(()));
    let (sender, answered) = channel();
    let asking = clients.into_iter().map(|mut client| {
        let sender = sender.clone();
        thread::spawn(move || {
            client.write_all(b"?").expect("an open connection");
            client.read_exact(&mut [0]).expect("an answer");
            sender.send(()).expect("a test");
        })
    });
    let asking: Vec<_> = asking.collect();
    // Twenty connections are spread so that neither worker has fewer than seven.
    for _ in 0..7 {
        answered.recv_timeout(DEADLINE).expect("the connections of the other worker");
    }
    assert!(matches!(running.next(), Told::Stalled(_)));
    let meanwhile = 7 + answered.try_iter().count();
    assert!(meanwhile <= 13, "{meanwhile} of 20 were answered by one of two workers");
    running.gate.open();
    for one in asking {
        one.join().expect("an answer");
    }
    drop(blocking);
    running.stop();
}
