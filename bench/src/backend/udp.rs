//! The servers for datagrams, and the side channel of their flows.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::{PORTS, Shared};
use crate::datagram::{CALL, Head, Kind, MESSAGE};
use crate::flow::{Receipt, Side};
use crate::ledger::Counts;
use crate::order::{Flow, Ports, Way};
use crate::pattern::Pattern;
use crate::socket::{Buffers, Datagram, Socket, transmit};

/// How long the start of a flow may take on its way through the proxy.
const START: Duration = Duration::from_secs(2);

/// Where a session is: our socket, and its address at the proxy.
type At = (Arc<Socket>, SocketAddr);

/// What is to become of a session's datagrams.
#[derive(Debug)]
enum Expected {
    Pieces(Receipt),
    Start(oneshot::Sender<At>),
}

/// Flows that were announced over the side channel, by session.
#[derive(Debug, Default)]
pub(super) struct Flows(Mutex<HashMap<u64, Expected>>);

/// Sessions that are to be called, and where each is.
#[derive(Debug, Default)]
pub(super) struct Kept(Mutex<Vec<(At, u64)>>);

/// Serves from now on; `count` sockets take what is for `ports.udp`.
pub(super) async fn serve(ports: &mut Ports, count: usize, shared: &Arc<Shared>) -> Result<()> {
    for socket in Socket::group(count, PORTS)? {
        ports.udp = socket.port()?;
        tokio::spawn(receive(Arc::new(socket), Arc::clone(shared)));
    }
    let other = Socket::bind(Ipv4Addr::LOCALHOST)?;
    ports.udp_other = other.port()?;
    tokio::spawn(refuse(other, Arc::clone(shared)));
    let side = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    ports.side = side.local_addr()?.port();
    tokio::spawn(accept(side, Arc::clone(shared)));
    Ok(())
}

async fn receive(socket: Arc<Socket>, shared: Arc<Shared>) {
    let mut buffers = Buffers::new();
    loop {
        if let Err(error) = socket.receive(&mut buffers).await {
            shared.remember(format!("backend for datagrams: {error}"));
            continue;
        }
        let mut answer = Vec::with_capacity(MESSAGE);
        for datagram in buffers.datagrams() {
            if let Err(error) = take(datagram, &socket, &shared, &mut answer).await {
                shared.remember(format!("backend for datagrams: {error:#}"));
            }
        }
        if let Err(error) = shared.flows.tell() {
            shared.remember(format!("backend for datagrams: {error:#}"));
        }
    }
}

async fn take(
    datagram: Datagram<'_>,
    socket: &Arc<Socket>,
    shared: &Shared,
    answer: &mut Vec<u8>,
) -> Result<()> {
    let head = Head::read(&shared.pattern, datagram.bytes)?;
    match head.kind {
        Kind::Question | Kind::Keep => {
            if head.kind == Kind::Keep {
                shared.kept.keep((Arc::clone(socket), datagram.from), head.session);
            }
            answer.clear();
            let head = Head { kind: Kind::Answer, ..head };
            head.write(&shared.pattern, MESSAGE as u16, answer);
            socket.send(&transmit(datagram.from, answer, None)).await.context("answering")
        }
        Kind::Start => shared.flows.start(head.session, (Arc::clone(socket), datagram.from)),
        Kind::Piece => shared.flows.note(head),
        Kind::Answer => bail!("an answer, not a question"),
    }
}

async fn refuse(socket: Socket, shared: Arc<Shared>) {
    let mut buffers = Buffers::new();
    while socket.receive(&mut buffers).await.is_ok() {
        shared.remember("a datagram that should have gone elsewhere".to_owned());
    }
}

impl Flows {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Expected>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a flow from its client. Only the last one is remembered: there is one at a time.
    fn take(&self, receipt: Receipt) -> Result<()> {
        let mut flows = self.lock();
        flows.clear();
        receipt.begin()?;
        flows.insert(receipt.session(), Expected::Pieces(receipt));
        Ok(())
    }

    /// Will know where a flow is to be sent to.
    fn send(&self, session: u64) -> oneshot::Receiver<At> {
        let (start, started) = oneshot::channel();
        let mut flows = self.lock();
        flows.clear();
        flows.insert(session, Expected::Start(start));
        started
    }

    fn note(&self, head: Head) -> Result<()> {
        match self.lock().get_mut(&head.session) {
            Some(Expected::Pieces(receipt)) => receipt.note(head.number),
            _ => bail!("a piece of another flow"),
        }
        Ok(())
    }

    fn start(&self, session: u64, at: At) -> Result<()> {
        match self.lock().remove(&session) {
            Some(Expected::Start(start)) => {
                // Who waited for it may have given up.
                let _ = start.send(at);
                Ok(())
            }
            _ => bail!("a start of another flow"),
        }
    }

    fn tell(&self) -> Result<()> {
        for expected in self.lock().values_mut() {
            if let Expected::Pieces(receipt) = expected {
                receipt.tell()?;
            }
        }
        Ok(())
    }
}

impl Kept {
    fn keep(&self, at: At, session: u64) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((at, session));
    }

    /// Sends each an answer that it has not asked for, and forgets them.
    pub(super) fn call(&self, pattern: &Pattern) -> Result<()> {
        let kept = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for ((socket, to), session) in kept {
            let answer = Head { kind: Kind::Answer, session, number: CALL }.message(pattern);
            socket.try_send(&transmit(to, &answer, None)).context("calling")?;
        }
        Ok(())
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            if let Err(error) = attend(stream, &shared).await {
                shared.remember(format!("backend of a flow: {error:#}"));
            }
        });
    }
}

/// Learns what flow there is to be, and sends it if it is one to the client.
async fn attend(stream: TcpStream, shared: &Shared) -> Result<()> {
    let mut side = Side::new(stream).await?;
    let flow: Flow = side.hear().await?;
    match flow.way {
        Way::Push => shared.flows.take(Receipt::new(flow, side)),
        Way::Pull => {
            let started = shared.flows.send(flow.session);
            side.tell(&Counts::default())?;
            let (socket, to) = timeout(START, started).await.context("no start came")??;
            flow.send(&shared.pattern, (&socket, to), &mut side).await
        }
    }
}
