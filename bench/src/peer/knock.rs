//! Whether a datagram goes through a proxy and its answer comes back.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::datagram::{Head, Kind, MESSAGE};
use crate::pattern::Pattern;

/// What is sent before the proxy listens is lost, and must be sent again.
const PATIENCE: Duration = Duration::from_millis(200);

/// No load has a session of this number.
const SESSION: u64 = u64::MAX;

/// Asks one question.
pub(super) fn answered(address: SocketAddr) -> Result<()> {
    let pattern = Pattern::new();
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
    socket.connect(address)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let question = Head { kind: Kind::Question, session: SESSION, number: 0 };
    socket.send(&question.message(&pattern))?;
    let mut answer = [0; MESSAGE];
    let count = socket.recv(&mut answer)?;
    let head = Head::read(&pattern, answer.get(..count).unwrap_or_default())?;
    ensure!(head == Head { kind: Kind::Answer, ..question }, "an answer to another question");
    Ok(())
}
