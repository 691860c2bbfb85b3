//! Clients and servers of the comparison around a relay of this test, which can be told to do one thing wrong.
//!
//! A proxy that loses, doubles, moves or changes a datagram must not come out of the comparison as a good one.

#![allow(clippy::expect_used, clippy::indexing_slicing)] // helpers of tests are tests too

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};
use tokio::net::UdpSocket;

/// Seconds that a load may take; each takes a moment, or a little more where something is lost.
const WITHIN: u64 = 20;

/// What the relay does with the tenth datagram of one way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Nothing,
    Lose,
    Double,
    /// Sends it after the next one.
    Late,
    /// Changes a bit of it.
    Damage,
    Cut,
}

/// Which way the relay does it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    ToBackend,
    ToClient,
}

/// A process of the comparison.
struct Partner {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Partner {
    fn start(part: &str) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_refractium-bench"))
            .args([part, "--threads", "1"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the comparison");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, input, output }
    }

    fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    }

    fn ask(&mut self, question: &str) -> Value {
        writeln!(self.input, "{question}").expect("a partner");
        self.hear()
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Clients, a relay with a fault, and servers.
struct Setup {
    backend: Partner,
    clients: Partner,
    ports: Value,
    relay: SocketAddr,
}

impl Setup {
    fn new(fault: Fault, way: Way) -> Self {
        let mut backend = Partner::start("backend");
        let clients = Partner::start("load");
        let ports = backend.hear();
        let udp = u16::try_from(ports["udp"].as_u64().expect("a port")).expect("a port");
        let relay = relay(SocketAddr::from((Ipv4Addr::LOCALHOST, udp)), fault, way);
        Self { backend, clients, ports, relay }
    }

    fn put(&mut self, load: &Value) -> Value {
        let (to, side, load) = (self.relay, &self.ports["side"], json!({ "Udp": load }));
        let order = json!({"to": to, "side": side, "load": load, "within": WITHIN});
        self.clients.ask(&order.to_string())
    }
}

/// The outcome of a load through a relay with a fault, and what the backends complained of.
fn put(load: &Value, fault: Fault, way: Way) -> (Value, Vec<String>) {
    let mut setup = Setup::new(fault, way);
    let outcome = setup.put(load);
    let errors = setup.backend.ask("status")["errors"].clone();
    (outcome, serde_json::from_value(errors).expect("a list"))
}

/// Starts a relay; its thread ends with the test.
fn relay(backend: SocketAddr, fault: Fault, way: Way) -> SocketAddr {
    let front = std::net::UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a socket");
    front.set_nonblocking(true).expect("a socket");
    let address = front.local_addr().expect("an address");
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
        runtime.expect("a runtime").block_on(async move {
            let front = Arc::new(UdpSocket::from_std(front).expect("a socket"));
            let faults = |own| Faults::new(if own == way { fault } else { Fault::Nothing });
            let (up, down) = (faults(Way::ToBackend), Arc::new(faults(Way::ToClient)));
            let mut sessions: HashMap<SocketAddr, Arc<UdpSocket>> = HashMap::new();
            let mut bytes = [0; 2048];
            while let Ok((count, client)) = front.recv_from(&mut bytes).await {
                let session = match sessions.get(&client) {
                    Some(session) => Arc::clone(session),
                    None => {
                        let session = Arc::new(join(backend).await);
                        let (from, to) = (Arc::clone(&session), Arc::clone(&front));
                        tokio::spawn(answers(from, to, client, Arc::clone(&down)));
                        sessions.insert(client, Arc::clone(&session));
                        session
                    }
                };
                for datagram in up.apply(&bytes[..count]) {
                    let _ = session.send(&datagram).await;
                }
            }
        });
    });
    address
}

async fn join(backend: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a socket");
    socket.connect(backend).await.expect("a backend");
    socket
}

async fn answers(
    session: Arc<UdpSocket>,
    front: Arc<UdpSocket>,
    client: SocketAddr,
    faults: Arc<Faults>,
) {
    let mut bytes = [0; 2048];
    while let Ok(count) = session.recv(&mut bytes).await {
        for datagram in faults.apply(&bytes[..count]) {
            let _ = front.send_to(&datagram, client).await;
        }
    }
}

/// What happens one way.
struct Faults {
    fault: Fault,
    count: AtomicU64,
    /// What is to follow the next one.
    held: Mutex<Option<Vec<u8>>>,
}

impl Faults {
    fn new(fault: Fault) -> Self {
        Self { fault, count: AtomicU64::new(0), held: Mutex::default() }
    }

    /// What is to be sent instead.
    fn apply(&self, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut datagram = bytes.to_vec();
        let held = self.held.lock().expect("a lock").take();
        if self.count.fetch_add(1, Ordering::SeqCst) != 9 {
            return std::iter::once(datagram).chain(held).collect();
        }
        match self.fault {
            Fault::Nothing => vec![datagram],
            Fault::Lose => vec![],
            Fault::Double => vec![datagram.clone(), datagram],
            Fault::Late => {
                *self.held.lock().expect("a lock") = Some(datagram);
                vec![]
            }
            Fault::Damage => {
                datagram[40] ^= 1;
                vec![datagram]
            }
            Fault::Cut => {
                datagram.pop();
                vec![datagram]
            }
        }
    }
}

fn exchange() -> Value {
    json!({"Exchange": {"clients": 1, "count": 50}})
}

fn sessions() -> Value {
    json!({"Sessions": {"count": 50, "at_once": 4}})
}

fn flow(way: &str, manner: &str) -> Value {
    json!({"Bulk": {"way": way, "manner": manner, "count": 2000, "window": 64}})
}

fn passes(load: &Value, units: u64) {
    let (outcome, errors) = put(load, Fault::Nothing, Way::ToBackend);
    assert_eq!(outcome["Done"]["units"], units, "{load}: {outcome}");
    assert_eq!(errors, Vec::<String>::new(), "{load}");
}

/// The load fails, or the backend complains, with these words.
fn fails(load: &Value, fault: Fault, way: Way, words: &str) {
    let (outcome, errors) = put(load, fault, way);
    let failed = outcome["Failed"].as_str().unwrap_or_default();
    let said = format!("{failed}; {}", errors.join("; "));
    assert!(said.contains(words), "{load} with {fault:?} {way:?}: {outcome} {errors:?}");
}

#[test]
fn a_relay_that_does_nothing_wrong_passes() {
    passes(&exchange(), 50);
    passes(&json!({"Exchange": {"clients": 8, "count": 400}}), 400);
    passes(&sessions(), 50);
    passes(&json!({"Hold": {"count": 100}}), 100);
    for way in ["Push", "Pull"] {
        for manner in ["Plain", "Joined"] {
            passes(&flow(way, manner), 2000);
        }
    }
}

#[test]
fn a_lost_datagram_is_noticed() {
    for way in [Way::ToBackend, Way::ToClient] {
        fails(&exchange(), Fault::Lose, way, "1 of 50: an answer was lost");
        fails(&sessions(), Fault::Lose, way, "1 of 50 answers were lost");
    }
    let lost = "of 2000 datagrams 1 lost, 0 doubled, 0 late";
    fails(&flow("Push", "Plain"), Fault::Lose, Way::ToBackend, lost);
    fails(&flow("Pull", "Plain"), Fault::Lose, Way::ToClient, lost);
}

#[test]
fn a_doubled_datagram_is_noticed() {
    for way in [Way::ToBackend, Way::ToClient] {
        fails(&exchange(), Fault::Double, way, "1 of 50: an answer that was not asked for");
        fails(&sessions(), Fault::Double, way, "an answer that was not asked for");
    }
    let doubled = "of 2000 datagrams 0 lost, 1 doubled, 0 late";
    fails(&flow("Push", "Joined"), Fault::Double, Way::ToBackend, doubled);
    fails(&flow("Pull", "Joined"), Fault::Double, Way::ToClient, doubled);
}

#[test]
fn a_datagram_out_of_its_turn_is_noticed() {
    let late = "of 2000 datagrams 0 lost, 0 doubled, 1 late";
    fails(&flow("Push", "Plain"), Fault::Late, Way::ToBackend, late);
    fails(&flow("Pull", "Plain"), Fault::Late, Way::ToClient, late);
}

#[test]
fn a_changed_or_cut_datagram_is_noticed() {
    for (fault, words) in [(Fault::Damage, "wrong bytes"), (Fault::Cut, "a datagram of")] {
        for load in [exchange(), sessions(), flow("Push", "Plain")] {
            fails(&load, fault, Way::ToBackend, words);
        }
        for load in [exchange(), sessions(), flow("Pull", "Joined")] {
            fails(&load, fault, Way::ToClient, words);
        }
    }
}

#[test]
fn a_session_that_was_not_kept_is_noticed() {
    let called = |fault| {
        let mut setup = Setup::new(fault, Way::ToClient);
        let held = setup.put(&json!({"Hold": {"count": 6}}));
        assert_eq!(held["Done"]["units"], 6, "{held}");
        setup.backend.ask("call");
        // The relay's tenth datagram to clients is one of the calls.
        setup.put(&json!("Called"))
    };
    assert_eq!(called(Fault::Nothing)["Done"]["units"], 6);
    assert_eq!(called(Fault::Lose)["Failed"], "1 of 6 sessions were not kept");
    assert_eq!(called(Fault::Double)["Failed"], "an answer that was not asked for");
}

#[test]
fn those_that_are_kept_take_turns() {
    let mut setup = Setup::new(Fault::Nothing, Way::ToClient);
    setup.put(&json!({"Hold": {"count": 5}}));
    let asked = setup.put(&json!({"Turns": {"count": 200, "at_once": 64}}));
    assert_eq!(asked["Done"]["units"], 200, "{asked}");
}

#[test]
fn what_is_lost_at_a_pace_is_counted() {
    let paced = json!({"Paced": {"count": 200, "rate": 2000}});
    let counted = |fault| {
        let (outcome, _) = put(&paced, fault, Way::ToClient);
        (outcome["Done"]["units"].as_u64(), outcome["Done"]["lost"].as_u64())
    };
    assert_eq!(counted(Fault::Nothing), (Some(200), Some(0)));
    assert_eq!(counted(Fault::Lose), (Some(199), Some(1)));
    fails(&paced, Fault::Double, Way::ToClient, "an answer that was not asked for");
    fails(&paced, Fault::Damage, Way::ToClient, "wrong bytes");
}
