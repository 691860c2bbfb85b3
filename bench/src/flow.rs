//! Many datagrams one way, as many at a time as their receiver has told that it can take.
//!
//! What is measured is to be the proxy, not how much a kernel holds for a receiver that is slow. So the receiver tells
//! the sender what has come, over a TCP connection beside the proxy, and no more than a window is under way. Nothing is
//! ever sent again.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::datagram::{Head, Kind};
use crate::ledger::{Counts, Ledger};
use crate::order::{Flow, Manner};
use crate::pattern::Pattern;
use crate::socket::{Socket, transmit};

/// Bytes of each datagram, as QUIC begins with (RFC 9000, 14.1).
const LENGTH: u16 = 1200;

/// Datagrams that are given to the kernel joined.
const JOINED: u64 = 32;

/// The receiver tells what has come after each such part of the window.
const PARTS: u64 = 8;

/// Without any news for so long, what is under way is lost.
const STALL: Duration = Duration::from_secs(2);

/// A flow, as one end of its side channel sees it.
#[derive(Debug)]
pub(crate) struct Side {
    stream: BufReader<TcpStream>,
}

/// What has come of a flow, told to its sender now and then.
#[derive(Debug)]
pub(crate) struct Receipt {
    flow: Flow,
    ledger: Ledger,
    /// The last number that was told.
    told: u64,
    side: Side,
}

impl Side {
    pub(crate) async fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        // Before it has been seen to be writable, `try_write` finds it not to be.
        stream.writable().await?;
        Ok(Self { stream: BufReader::new(stream) })
    }

    pub(crate) async fn hear<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        let read = timeout(STALL, self.stream.read_line(&mut line)).await;
        ensure!(read.context("nothing more came")?? > 0, "the other side has ended");
        serde_json::from_str(&line).with_context(|| format!("not understood: {line}"))
    }

    /// Lines are short and few: there is room for them.
    pub(crate) fn tell(&self, what: &impl serde::Serialize) -> Result<()> {
        let line = format!("{}\n", serde_json::to_string(what)?);
        let count = self.stream.get_ref().try_write(line.as_bytes())?;
        ensure!(count == line.len(), "no room in the side channel");
        Ok(())
    }
}

impl Flow {
    /// Sends all of it through `socket`.
    pub(crate) async fn send(
        &self,
        pattern: &Pattern,
        (socket, to): (&Socket, SocketAddr),
        side: &mut Side,
    ) -> Result<()> {
        let (joined, segment) = match self.manner {
            Manner::Plain => (1, None),
            Manner::Joined => (JOINED, Some(usize::from(LENGTH))),
        };
        ensure!(socket.joins(joined as usize), "this system does not divide datagrams (GSO)");
        let mut batch = Vec::with_capacity(joined as usize * usize::from(LENGTH));
        let (mut sent, mut seen) = (0, Counts::default());
        while seen.next < self.count {
            while sent < self.count && sent + joined <= seen.next + self.window {
                batch.clear();
                let until = self.count.min(sent + joined);
                for number in sent..until {
                    let head = Head { kind: Kind::Piece, session: self.session, number };
                    head.write(pattern, LENGTH, &mut batch);
                }
                socket.send(&transmit(to, &batch, segment)).await.context("sending")?;
                sent = until;
            }
            seen = match side.hear().await {
                Ok(seen) => seen,
                Err(error) => {
                    let fault = seen.fault(sent).unwrap_or_default();
                    return Err(error.context(format!("after {sent} of {}: {fault}", self.count)));
                }
            };
        }
        judge(seen, self.count)
    }
}

impl Receipt {
    pub(crate) fn new(flow: Flow, side: Side) -> Self {
        Self { flow, ledger: Ledger::default(), told: 0, side }
    }

    pub(crate) fn session(&self) -> u64 {
        self.flow.session
    }

    /// Tells the sender that it may begin.
    pub(crate) fn begin(&self) -> Result<()> {
        self.side.tell(&self.ledger.counts())
    }

    pub(crate) fn note(&mut self, number: u64) {
        self.ledger.note(number);
    }

    /// Tells the sender, if there is enough to tell.
    pub(crate) fn tell(&mut self) -> Result<()> {
        let next = self.ledger.counts().next;
        let enough = next >= self.told + self.flow.window / PARTS || next >= self.flow.count;
        if next > self.told && enough {
            self.told = next;
            self.side.tell(&self.ledger.counts())?;
        }
        Ok(())
    }

    /// Whether all has come, each once and in its turn; nothing as long as more is to come.
    pub(crate) fn done(&self) -> Option<Result<()>> {
        let counts = self.ledger.counts();
        (counts.next >= self.flow.count).then(|| judge(counts, self.flow.count))
    }

    /// What is wrong if nothing more comes.
    pub(crate) fn fault(&self) -> String {
        self.ledger.counts().fault(self.flow.count).unwrap_or_default()
    }
}

fn judge(seen: Counts, count: u64) -> Result<()> {
    match seen.fault(count) {
        Some(fault) => bail!(fault),
        None => Ok(()),
    }
}
