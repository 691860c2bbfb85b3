//! Bytes of one connection never reach another, however connections end.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::engine::{Engine, closed};
use super::stream::{OPENING, open_slow};
use crate::harness::{Backend, Proxy, need, need_root, pause, read_once, reset};

on_both_engines! {
    no_byte_reaches_a_stranger_when_connections_are_killed,
}

/// Clients at a time.
const USERS: u64 = 8;

/// Connections of each of them, one after the other. A fifth ends in peace, and has to be carried by what the killed ones
/// left: 1,024 are killed, and a tenth of that where nothing is kept for others.
const fn rounds(engine: Engine) -> u64 {
    match engine {
        Engine::Copy => 16,
        Engine::Splice => 160,
    }
}

/// What a side takes before it kills.
const TASTE: usize = 256 * 1024;
/// What is sent to who kills: more than it takes, so that the rest is on its way.
const MUCH: usize = 4 << 20;
/// What is sent by who kills: what fits the buffers on the way.
const LITTLE: usize = 128 * 1024;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    ResetByClient,
    ResetByBackend,
    /// The kernel destroys a socket of the proxy, as a firewall may.
    ClientSocketDestroyed,
    BackendSocketDestroyed,
    Peace,
}

impl Death {
    const ALL: [Self; 5] = [
        Self::ResetByClient,
        Self::ResetByBackend,
        Self::ClientSocketDestroyed,
        Self::BackendSocketDestroyed,
        Self::Peace,
    ];

    fn of(id: u64) -> Self {
        Self::ALL[usize::try_from(id).expect("a number") % Self::ALL.len()]
    }
}

/// Which side of a connection this is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Backend,
}

impl Side {
    const fn other(self) -> Self {
        match self {
            Self::Client => Self::Backend,
            Self::Backend => Self::Client,
        }
    }
}

/// One side of a connection: it sends nothing but its mark, and takes nothing but its mark.
struct User {
    stream: TcpStream,
    id: u64,
    side: Side,
    complaints: Complaints,
}

/// What was wrong with the bytes of some connection.
type Complaints = Arc<Mutex<BTreeSet<String>>>;

/// Row T13.
fn no_byte_reaches_a_stranger_when_connections_are_killed(engine: Engine) {
    if !need_root() || !need(&["ss"]) {
        return;
    }
    let complaints = Complaints::default();
    let of_backend = Arc::clone(&complaints);
    let backend = Backend::serving(move |mut stream| {
        let mut opening = [0; OPENING.len() + 8];
        stream.read_exact(&mut opening).expect("the opening");
        let id = u64::from_be_bytes(opening[OPENING.len()..].try_into().expect("eight bytes"));
        User { stream, id, side: Side::Backend, complaints: Arc::clone(&of_backend) }.live();
    });
    let proxy = engine.proxy(&backend, "");
    let full = thread::scope(|scope| {
        let users: Vec<_> = (0..USERS)
            .map(|user| {
                scope.spawn({
                    let (proxy, complaints) = (&proxy, &complaints);
                    move || {
                        for round in 0..rounds(engine) {
                            let mut stream = open_slow(proxy);
                            let id = (user << 32) + round;
                            stream.write_all(&id.to_be_bytes()).expect("room");
                            let complaints = Arc::clone(complaints);
                            User { stream, id, side: Side::Client, complaints }.live();
                        }
                    }
                })
            })
            .collect();
        let mut full = 0;
        while !users.iter().all(thread::ScopedJoinHandle::is_finished) {
            full += pipes(&proxy).into_iter().filter(|&inside| inside > 0).count();
            pause(Duration::from_millis(20));
        }
        full
    });
    let rounds = usize::try_from(USERS * rounds(engine)).expect("a number");
    let ends = closed(&proxy, rounds);
    assert_eq!(*complaints.lock().expect("sound"), BTreeSet::new());
    let killed = ends.iter().filter(|line| !line.contains("ending=closed")).count();
    assert!(killed >= rounds * 4 / 5, "{killed} were killed");
    engine.carried(&proxy, rounds, rounds * TASTE);
    if engine == Engine::Splice {
        assert!(full > 50, "pipes were seen full {full} times: were they when connections ended?");
        let left = pipes(&proxy);
        assert!(!left.is_empty() && left.iter().all(|&inside| inside == 0), "{left:?}");
    }
}

/// How many bytes are in each pipe of the proxy.
fn pipes(proxy: &Proxy) -> Vec<u64> {
    let folder = format!("/proc/{}/fd", proxy.id());
    let files = std::fs::read_dir(folder).expect("alive").filter_map(Result::ok);
    let is_pipe = |path: &Path| {
        // Standard output and error are pipes as well.
        let number = path.file_name().and_then(|it| it.to_str()?.parse::<u32>().ok());
        let target = std::fs::read_link(path).unwrap_or_default();
        number > Some(2) && target.to_string_lossy().starts_with("pipe:")
    };
    let opened = files.map(|it| it.path()).filter(|it| is_pipe(it)).filter_map(|path| {
        let flags = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).expect("a flag");
        std::fs::File::options().read(true).custom_flags(flags).open(path).ok()
    });
    opened.filter_map(|file| rustix::io::ioctl_fionread(&file).ok()).collect()
}

impl User {
    fn live(self) {
        let death = Death::of(self.id);
        let is_killer = match death {
            Death::ResetByClient | Death::ClientSocketDestroyed => self.side == Side::Client,
            Death::ResetByBackend | Death::BackendSocketDestroyed => self.side == Side::Backend,
            Death::Peace => return self.live_in_peace(),
        };
        if !is_killer {
            return self.suffer();
        }
        self.send(LITTLE);
        self.take(TASTE);
        pause(Duration::from_millis(3)); // what is on its way gets stuck
        match death {
            Death::ResetByClient | Death::ResetByBackend => reset(self.stream),
            _ => destroy_peer(&self.stream),
        }
    }

    fn live_in_peace(&self) {
        thread::scope(|scope| {
            scope.spawn(|| {
                self.send(2 * TASTE);
                self.stream.shutdown(Shutdown::Write).expect("an open socket");
            });
            let taken = self.take(usize::MAX);
            if taken != 2 * TASTE {
                self.complain(&format!("{taken} bytes of {}", 2 * TASTE));
            }
        });
    }

    /// Sends and takes until the end, whatever it is.
    fn suffer(&self) {
        thread::scope(|scope| {
            scope.spawn(|| self.send(MUCH));
            self.take(usize::MAX);
        });
    }

    /// Sends its mark again and again, so often that it is this much, or until nobody takes it.
    fn send(&self, size: usize) {
        let _ = (&self.stream).write_all(&self.mark(self.side).repeat(size / 8));
    }

    /// Takes at most this much, and looks at every byte.
    fn take(&self, most: usize) -> usize {
        let (block, mut buffer, mut taken) =
            (self.mark(self.side.other()).repeat(TASTE / 8 + 1), vec![0; TASTE], 0);
        while taken < most {
            let room = buffer.len().min(most - taken);
            match read_once(&mut &self.stream, &mut buffer[..room]) {
                Ok(0) | Err(_) => break,
                Ok(count) => {
                    let right = &block[taken % 8..][..count];
                    if buffer[..count] != *right {
                        self.complain("a foreign byte");
                        break;
                    }
                    taken += count;
                }
            }
        }
        taken
    }

    /// What a side of this connection sends, and no other.
    fn mark(&self, by: Side) -> [u8; 8] {
        let salt = if by == Side::Client { 1 } else { 2 };
        (self.id * 4 + salt).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()
    }

    fn complain(&self, of: &str) {
        let whose = format!("connection {:x}, {:?}: {of}", self.id, Death::of(self.id));
        self.complaints.lock().expect("sound").insert(whose);
    }
}

/// Destroys the socket at the other end, which is the proxy's.
fn destroy_peer(stream: &TcpStream) {
    let address =
        |it: std::io::Result<std::net::SocketAddr>| it.expect("an open socket").to_string();
    let mut ss = Command::new("ss");
    ss.args(["-K", "-t", "-n", "src", &address(stream.peer_addr())]);
    ss.args(["dst", &address(stream.local_addr())]).stdout(Stdio::null());
    assert!(ss.status().expect("ss").success());
}
