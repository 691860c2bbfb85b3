//! The program under test, backends that record, and waits with a deadline.

mod backend;
mod elsewhere;
mod need;
mod process;
mod proxy;
mod running;
pub(crate) mod udp;

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::iter;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

pub(crate) use backend::{Backend, refusing, refusing_at};
pub(crate) use elsewhere::{Elsewhere, Family, ip};
pub(crate) use need::{installed, is_root, need, need_root, skipped};
pub(crate) use process::{Process, copy_program, program, read_until, run, run_command};
pub(crate) use proxy::Proxy;
pub(crate) use running::Running;

/// No wait is longer: enough for a busy machine, short enough to notice.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Waits until `done` gives something. For what tells no event: other programs and the kernel's tables.
pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Waits until an address refuses connections.
pub(crate) fn until_refused(address: SocketAddr) {
    until("new connections to be refused", || {
        let kind = TcpStream::connect(address).err()?.kind();
        // The kernel resets who comes at the moment of the close.
        assert!([ErrorKind::ConnectionRefused, ErrorKind::ConnectionReset].contains(&kind));
        (kind == ErrorKind::ConnectionRefused).then_some(())
    });
}

/// Bytes that do not repeat, so that none can be missing or in another's place unnoticed (xorshift64).
pub(crate) fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// A port of loopback that the system is to choose.
pub(crate) fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// A port that the system gives nobody who asks for any (ip(7), ip_local_port_range), and that is free on every address
/// now: a wildcard can be bound beside what is bound to it.
pub(crate) fn unchosen_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let begin = 12_000 + u16::try_from(std::process::id() % 10_000).expect("small");
    let mut ports = iter::repeat_with(|| begin + NEXT.fetch_add(1, Ordering::Relaxed) % 5000);
    let is_free = |port: &u16| {
        let all = SocketAddr::from((Ipv4Addr::UNSPECIFIED, *port));
        TcpListener::bind(all).is_ok() && UdpSocket::bind(all).is_ok()
    };
    ports.find(is_free).expect("endless")
}

/// Connects, with deadlines on every read and write.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("a connection");
    with_deadlines(stream)
}

/// The same, from one of the addresses of this machine: all of 127.0.0.0/8 are.
pub(crate) fn connect_from(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.bind(&SocketAddr::from((from, 0)).into()).expect("an address");
    socket.connect(&to.into()).expect("a connection");
    with_deadlines(socket.into())
}

fn with_deadlines(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).expect("an open socket");
    stream.set_write_timeout(Some(DEADLINE)).expect("an open socket");
    stream.set_nodelay(true).expect("an open socket");
    stream
}

/// Reads once. A socket with a deadline is not resumed after an interruption by the system (signal(7)).
pub(crate) fn read_once(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// One `[[protocols]]` block.
pub(crate) fn route(name: &str, more: &str, to: SocketAddr) -> String {
    format!("[[protocols]]\nname = \"{name}\"\n{more}\nforward_to = \"{to}\"\n\n")
}

/// Sends, ends the sending side, and gives back all that is answered.
pub(crate) fn ask(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    stream.write_all(bytes).expect("room");
    stream.shutdown(std::net::Shutdown::Write).expect("an open socket");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    answer
}

/// A captured opening.
pub(crate) fn opening(path: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("crates/protocol/tests/openings");
    fs::read(folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The pause of a slow client: the fault itself, not a wait for something to happen.
pub(crate) fn pause(length: Duration) {
    let end = Instant::now() + length;
    while let Some(rest) = end.checked_duration_since(Instant::now()).filter(|it| !it.is_zero()) {
        thread::park_timeout(rest);
    }
}

/// Closes by a reset: the peer's reads and writes fail.
pub(crate) fn reset(stream: TcpStream) {
    let linger = Some(Duration::ZERO);
    socket2::SockRef::from(&stream).set_linger(linger).expect("an open socket");
}

/// To be held by a test that opens thousands, so that no other does at the same time: they share one limit.
pub(crate) fn many() -> MutexGuard<'static, ()> {
    static MANY: Mutex<()> = Mutex::new(());
    // One that failed has closed its own.
    MANY.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How many may be open in this process, once that is raised as far as allowed.
pub(crate) fn descriptors() -> usize {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the maximum");
    maximum.and_then(|it| usize::try_from(it).ok()).unwrap_or(usize::MAX)
}
