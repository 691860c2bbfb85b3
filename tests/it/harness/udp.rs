//! Datagrams: servers that record and answer, and clients, under deadlines.

mod batch;

use std::collections::BTreeSet;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

pub(crate) use batch::{Batch, Sent};

use super::DEADLINE;

/// A datagram, and who sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Datagram {
    pub(crate) peer: SocketAddr,
    pub(crate) bytes: Vec<u8>,
}

/// A UDP server in this process, on a thread of its own, that records what it gets. It stops when dropped.
pub(crate) struct Backend {
    socket: Arc<UdpSocket>,
    address: SocketAddr,
    recorded: Mutex<Receiver<Datagram>>,
    stop: Arc<AtomicBool>,
    serving: Option<thread::JoinHandle<()>>,
}

/// Sends answers to one who asked.
pub(crate) type Answer<'a> = dyn Fn(&[u8]) + 'a;

impl Backend {
    /// Answers with the same, `name: ` before it.
    pub(crate) fn echo(name: &'static str) -> Self {
        Self::on(here(), move |got, answer| answer(&echo(name, &got.bytes)))
    }

    /// Answers with the same.
    pub(crate) fn mirror() -> Self {
        Self::on(here(), |got, answer| answer(&got.bytes))
    }

    /// Answers nothing.
    pub(crate) fn silent() -> Self {
        Self::on(here(), |_, _| {})
    }

    /// Answers on this socket by a rule. It is on record before it is answered.
    pub(crate) fn on(
        socket: UdpSocket,
        rule: impl FnMut(&Datagram, &Answer<'_>) + Send + 'static,
    ) -> Self {
        widen(&socket);
        let address = socket.local_addr().expect("an address");
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("an open socket");
        let (socket, stop) = (Arc::new(socket), Arc::new(AtomicBool::new(false)));
        let (record, recorded) = channel();
        let recorded = Mutex::new(recorded);
        let served = Serving { socket: Arc::clone(&socket), stop: Arc::clone(&stop), record };
        let serving = Some(thread::spawn(move || served.serve(rule)));
        Self { socket, address, recorded, stop, serving }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next datagram that it got.
    pub(crate) fn next(&self) -> Datagram {
        let recorded = self.recorded.lock().expect("sound");
        recorded.recv_timeout(DEADLINE).expect("a datagram at the backend")
    }

    /// The next so many datagrams.
    pub(crate) fn take(&self, count: usize) -> Vec<Datagram> {
        (0..count).map(|_| self.next()).collect()
    }

    /// Those that it has got and nobody looked at, without waiting for more.
    pub(crate) fn rest(&self) -> Vec<Datagram> {
        self.recorded.lock().expect("sound").try_iter().collect()
    }

    /// Sends without being asked.
    pub(crate) fn send(&self, to: SocketAddr, bytes: &[u8]) {
        self.socket.send_to(bytes, to).expect("room");
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // One datagram wakes it; should that be lost, it looks by itself.
        let _ = self.socket.send_to(&[], self.address);
        if let Some(serving) = self.serving.take() {
            let _ = serving.join();
        }
    }
}

/// The thread of a backend.
struct Serving {
    socket: Arc<UdpSocket>,
    stop: Arc<AtomicBool>,
    record: Sender<Datagram>,
}

impl Serving {
    fn serve(self, mut rule: impl FnMut(&Datagram, &Answer<'_>)) {
        let mut buffer = vec![0; LARGEST];
        while let Some((length, peer)) = self.receive(&mut buffer) {
            let got = Datagram { peer, bytes: buffer[..length].to_vec() };
            // Nobody may be interested in the record.
            let _ = self.record.send(got.clone());
            rule(&got, &|bytes| {
                // The one who asked may be gone, of which the next call is told.
                let _ = self.socket.send_to(bytes, peer);
            });
        }
    }

    fn receive(&self, buffer: &mut [u8]) -> Option<(usize, SocketAddr)> {
        loop {
            let got = self.socket.recv_from(buffer);
            if self.stop.load(Ordering::Relaxed) {
                return None;
            }
            if let Ok(got) = got {
                return Some(got);
            }
        }
    }
}

/// What [`Backend::echo`] answers.
pub(crate) fn echo(name: &str, bytes: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b": ", bytes].concat()
}

/// A client of one address. What comes from any other is not for it.
pub(crate) struct Client {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Client {
    /// On loopback.
    pub(crate) fn of(to: SocketAddr) -> Self {
        Self::from(loopback(to), to)
    }

    /// From this address of ours. Who comes with the port of another before it would be that one, whose session may go on.
    pub(crate) fn from(ip: IpAddr, to: SocketAddr) -> Self {
        let mut taken = Vec::new();
        loop {
            let socket = UdpSocket::bind((ip, 0)).expect("a port");
            let is_new = is_new(socket.local_addr().expect("an address"), to);
            if is_new || taken.len() == MOST_TRIES {
                return Self::on(socket, to);
            }
            taken.push(socket); // so that it is not given again
        }
    }

    /// On this socket.
    pub(crate) fn on(socket: UdpSocket, to: SocketAddr) -> Self {
        widen(&socket);
        Self { socket, to }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("an address")
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        let sent = self.socket.send_to(bytes, self.to).expect("room");
        assert_eq!(sent, bytes.len());
    }

    /// The next answer.
    pub(crate) fn receive(&self) -> Vec<u8> {
        match self.receive_within(DEADLINE) {
            Ok(bytes) => bytes,
            Err(others) => panic!("no answer from {}, but from {others:?}", self.to),
        }
    }

    /// The next answer, if it comes in time; if not, who else sent something.
    pub(crate) fn receive_within(&self, time: Duration) -> Result<Vec<u8>, BTreeSet<SocketAddr>> {
        let (end, mut others) = (Instant::now() + time, BTreeSet::new());
        let mut buffer = vec![0; LARGEST];
        while let Some(left) = left(end) {
            self.socket.set_read_timeout(Some(left)).expect("an open socket");
            match self.socket.recv_from(&mut buffer) {
                Ok((length, from)) if from == self.to => return Ok(buffer[..length].to_vec()),
                Ok((_, from)) => drop(others.insert(from)),
                Err(error) => assert!(is_nothing(&error), "{error}"),
            }
        }
        Err(others)
    }

    /// Sends, and gives the next answer.
    pub(crate) fn ask(&self, bytes: &[u8]) -> Vec<u8> {
        self.send(bytes);
        self.receive()
    }

    /// Sends, and must get what the echo of this name answers.
    pub(crate) fn reaches(&self, name: &str, bytes: &[u8]) {
        let (answer, expected) = (self.ask(bytes), echo(name, bytes));
        let short = |bytes: &[u8]| bytes[..bytes.len().min(80)].escape_ascii().to_string();
        assert!(answer == expected, "{} is not {}", short(&answer), short(&expected));
    }
}

/// Whether nobody from there was a client there before, in this process.
fn is_new(from: SocketAddr, to: SocketAddr) -> bool {
    static KNOWN: Mutex<BTreeSet<(SocketAddr, SocketAddr)>> = Mutex::new(BTreeSet::new());
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner).insert((to, from))
}

/// Whether a receive brought nothing, and the next may.
fn is_nothing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionRefused, Interrupted, TimedOut, WouldBlock};
    matches!(error.kind(), ConnectionRefused | Interrupted | TimedOut | WouldBlock)
}

/// What is left until then, if anything.
pub(super) fn left(end: Instant) -> Option<Duration> {
    end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero())
}

/// A socket on loopback, on a port that the system chose.
pub(crate) fn here() -> UdpSocket {
    UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port")
}

/// A loopback address that nothing else uses: its ports stay free until the test takes them.
pub(crate) fn own_ip() -> IpAddr {
    static GIVEN: AtomicU8 = AtomicU8::new(0);
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let number = GIVEN.fetch_add(1, Ordering::Relaxed) % 64;
    Ipv4Addr::new(127, 64 + number, high, low).into()
}

/// A port where nobody receives: who sends there is refused by ICMP.
pub(crate) fn refusing() -> SocketAddr {
    let socket = UdpSocket::bind((own_ip(), 0)).expect("a port");
    socket.local_addr().expect("an address")
}

fn loopback(beside: SocketAddr) -> IpAddr {
    match beside {
        SocketAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
    }
}

/// Room for bursts: what is lost is to be lost by the program under test. The system gives as much as it allows.
pub(super) fn widen(socket: &UdpSocket) {
    let socket = SockRef::from(socket);
    socket.set_recv_buffer_size(8 << 20).expect("an open socket");
    socket.set_send_buffer_size(8 << 20).expect("an open socket");
}

/// Where thousands come and go all ports are known in the end.
const MOST_TRIES: usize = 8;

/// More than a datagram can have.
const LARGEST: usize = 64 * 1024;
