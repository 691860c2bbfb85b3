//! What keeps strangers from taking everything: limits, and what happens at them.

mod address;
mod churn;
mod crowd;
mod flat;
mod idle;
mod memory;
mod panics;
mod scarce;
mod soak;

use std::io::{self, ErrorKind, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::{DEADLINE, read_once};

const SSH: &[u8] = b"SSH-2.0-x\r\n";

/// Says when dropped that it is over, so that who waits for that does not wait for ever where a test fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What became of a client.
enum Fate {
    /// It has its backend's first bytes.
    Served(TcpStream),
    Reset,
}

impl Fate {
    fn is_served(&self) -> bool {
        matches!(self, Self::Served(_))
    }
}

/// Connects from an address, whether this machine has it or only leads it back to itself, and says something.
fn call(from: Option<IpAddr>, to: SocketAddr) -> Fate {
    let client = open(from, to).and_then(|mut client| {
        client.write_all(SSH)?;
        let count = read_once(&mut client, &mut [0; 64])?;
        assert!(count > 0, "it is either served or reset");
        Ok(client)
    });
    match client {
        Ok(client) => Fate::Served(client),
        Err(error) => {
            let gone = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe];
            assert!(gone.contains(&error.kind()), "{from:?}: {error}");
            Fate::Reset
        }
    }
}

fn open(from: Option<IpAddr>, to: SocketAddr) -> io::Result<TcpStream> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(to),
        socket2::Type::STREAM.cloexec(),
        None,
    )?;
    if let Some(from) = from {
        if from.is_ipv6() {
            socket.set_freebind_v6(true)?;
        }
        socket.bind(&SocketAddr::new(from, 0).into())?;
    }
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.set_write_timeout(Some(DEADLINE))?;
    socket.connect(&to.into())?;
    Ok(socket.into())
}

/// Those that are served.
fn served(fates: impl Iterator<Item = Fate>) -> Vec<TcpStream> {
    let stream = |fate| if let Fate::Served(stream) = fate { Some(stream) } else { None };
    fates.filter_map(stream).collect()
}
