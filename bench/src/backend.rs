//! The servers behind the proxies, in a process of their own.
//!
//! One for each kind of opening, and one for datagrams. Each checks what it gets byte by byte and does what the opening asks for.

mod udp;

use std::io::{BufRead, Write};
use std::net::Ipv4Addr;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::opening::{self, BEFORE_END, MESSAGE, Task};
use crate::order::{CALL, Ports, Status};
use crate::pattern::{CHUNK, Pattern};
use crate::runtime;

/// Errors that are remembered; more of the same tell nothing.
const REMEMBERED: usize = 5;

/// The kernel cuts it at `net.core.somaxconn`.
const BACKLOG: u32 = 65_535;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Accepts {
    Http,
    Ssh,
    Tls,
    Plain,
    Nothing,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    pattern: Pattern,
    open: AtomicU64,
    errors: Mutex<Vec<String>>,
    flows: udp::Flows,
    kept: udp::Kept,
}

/// Serves until standard input ends; tells its ports on standard output, and its status whenever a line comes in.
pub(crate) fn run(threads: usize) -> Result<()> {
    let shared = Arc::new(Shared {
        pattern: Pattern::new(),
        open: AtomicU64::new(0),
        errors: Mutex::default(),
        flows: udp::Flows::default(),
        kept: udp::Kept::default(),
    });
    let answering = Arc::clone(&shared);
    runtime::build(threads)?.block_on(async move {
        let mut ports = Ports::default();
        for (accepts, port) in [
            (Accepts::Http, &mut ports.http),
            (Accepts::Ssh, &mut ports.ssh),
            (Accepts::Tls, &mut ports.tls),
            (Accepts::Plain, &mut ports.plain),
            (Accepts::Nothing, &mut ports.other),
        ] {
            let listener = listen()?;
            *port = listener.local_addr()?.port();
            tokio::spawn(accept(listener, accepts, Arc::clone(&shared)));
        }
        udp::serve(&mut ports, threads, &shared).await?;
        println!("{}", serde_json::to_string(&ports)?);
        // Reading a terminal or a pipe blocks: a thread of its own.
        tokio::task::spawn_blocking(move || answer_questions(&answering)).await?
    })
}

/// Where servers are: below the ports that the system chooses from for clients. Of a backend among those Refractium asks
/// whether it is connected with itself, a system call more.
const PORTS: RangeInclusive<u16> = 20_000..=32_000;

fn listen() -> Result<TcpListener> {
    let bound = |port| {
        let socket = TcpSocket::new_v4()?;
        socket.bind((Ipv4Addr::LOCALHOST, port).into())?;
        socket.listen(BACKLOG)
    };
    PORTS.into_iter().find_map(|port| bound(port).ok()).context("no port is free for a backend")
}

fn answer_questions(shared: &Shared) -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        if line? == CALL
            && let Err(error) = shared.kept.call(&shared.pattern)
        {
            shared.remember(format!("backend for datagrams: {error:#}"));
        }
        let mut errors = shared.errors.lock().unwrap_or_else(PoisonError::into_inner);
        let status = Status {
            open: shared.open.load(Ordering::SeqCst),
            errors: std::mem::take(&mut errors),
        };
        drop(errors);
        println!("{}", serde_json::to_string(&status)?);
        std::io::stdout().flush()?;
    }
    Ok(())
}

async fn accept(listener: TcpListener, accepts: Accepts, shared: Arc<Shared>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                shared.open.fetch_add(1, Ordering::SeqCst);
                let shared = Arc::clone(&shared);
                tokio::spawn(async move {
                    let served = serve(stream, accepts, &shared).await;
                    // First, so that whoever sees that it has ended also sees why.
                    if let Err(error) = served {
                        shared.remember(format!("backend {accepts:?}: {error:#}"));
                    }
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
            // A connection that ended before it was accepted, or no descriptor: the load will tell.
            Err(error) => shared.remember(format!("backend {accepts:?}: {error}")),
        }
    }
}

impl Shared {
    fn remember(&self, error: String) {
        let mut errors = self.errors.lock().unwrap_or_else(PoisonError::into_inner);
        if errors.len() < REMEMBERED {
            errors.push(error);
        }
    }
}

async fn serve(mut stream: TcpStream, accepts: Accepts, shared: &Shared) -> Result<()> {
    stream.set_nodelay(true)?;
    let Some((opening, early)) = read_opening(&mut stream).await? else {
        return Ok(()); // it was only seen whether the proxy listens
    };
    let (task, seed) = understand(&opening, accepts)?;
    let mut session = Session { stream, seed, early, pattern: &shared.pattern };
    match task {
        Task::Greet => {
            session.send(MESSAGE as u64).await?;
            session.wait_for_end().await
        }
        Task::Answer(bytes) => session.answer(bytes).await,
        Task::Pull(bytes) => {
            session.send(bytes).await?;
            session.stream.shutdown().await?;
            session.wait_for_end().await
        }
        Task::Push(bytes) => {
            session.take(bytes).await?;
            session.send(MESSAGE as u64).await?;
            session.wait_for_end().await
        }
        Task::Half(bytes) => {
            session.take_until_end(BEFORE_END).await?;
            session.send(bytes).await?;
            session.stream.shutdown().await.context("ending the answer")
        }
    }
}

fn understand(opening: &[u8], accepts: Accepts) -> Result<(Task, u64)> {
    let first = opening.first().copied().unwrap_or_default();
    match (accepts, first) {
        (Accepts::Http | Accepts::Plain, b'G') => opening::read_http(opening),
        (Accepts::Ssh | Accepts::Plain, b'S') => Ok((Task::Greet, opening::read_ssh(opening)?)),
        (Accepts::Tls, 0x16) => Ok((Task::Greet, opening::read_tls(opening)?)),
        _ => bail!("an opening that should have gone elsewhere"),
    }
}

/// The opening, and what came with it; nothing if the client only connected.
async fn read_opening(stream: &mut TcpStream) -> Result<Option<(Vec<u8>, Vec<u8>)>> {
    let mut bytes = Vec::with_capacity(4096);
    loop {
        if let Some(length) = opening::length(&bytes).filter(|length| bytes.len() >= *length) {
            let early = bytes.split_off(length);
            return Ok(Some((bytes, early)));
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            ensure!(bytes.is_empty(), "the end came inside an opening");
            return Ok(None);
        }
    }
}

/// One connection after its opening.
struct Session<'a> {
    stream: TcpStream,
    seed: u64,
    /// What the client sent right behind its opening.
    early: Vec<u8>,
    pattern: &'a Pattern,
}

impl Session<'_> {
    /// Sends the first so many bytes of this connection's pattern.
    async fn send(&mut self, bytes: u64) -> Result<()> {
        let mut sent = 0;
        while sent < bytes {
            let length = usize::try_from(bytes - sent).unwrap_or(CHUNK);
            let piece = self.pattern.at(self.seed.wrapping_add(sent), length);
            let count = self.stream.write(piece).await.context("sending")?;
            ensure!(count > 0, "nothing more can be sent");
            sent += count as u64;
        }
        Ok(())
    }

    async fn wait_for_end(&mut self) -> Result<()> {
        // The clients end cleanly: a reset here is the proxy's own.
        let count = self.stream.read(&mut [0; 1]).await.context("waiting for the end")?;
        ensure!(count == 0 && self.early.is_empty(), "more came than was announced");
        Ok(())
    }

    async fn answer(&mut self, bytes: u64) -> Result<()> {
        let mut message = std::mem::take(&mut self.early);
        let mut at = self.seed;
        loop {
            message.reserve(MESSAGE);
            while message.len() < MESSAGE {
                if self.stream.read_buf(&mut message).await.context("taking a message")? == 0 {
                    ensure!(message.is_empty(), "the end came inside a message");
                    return Ok(());
                }
            }
            ensure!(message.len() == MESSAGE, "more came than one message");
            ensure!(self.pattern.is_at(at, &message), "a message with wrong bytes");
            at = at.wrapping_add(MESSAGE as u64);
            message.clear();
            self.send(bytes).await?;
        }
    }

    async fn take(&mut self, bytes: u64) -> Result<()> {
        let taken = self.take_while(|taken| taken < bytes).await?;
        ensure!(taken == bytes, "{taken} bytes came and not {bytes}");
        Ok(())
    }

    async fn take_until_end(&mut self, bytes: u64) -> Result<()> {
        let taken = self.take_while(|_| true).await?;
        ensure!(taken == bytes, "the end came after {taken} bytes and not {bytes}");
        Ok(())
    }

    /// Takes and checks bytes until the end or until `more` says no; how many there were.
    async fn take_while(&mut self, more: impl Fn(u64) -> bool) -> Result<u64> {
        let early = std::mem::take(&mut self.early);
        ensure!(self.pattern.is_at(self.seed, &early), "wrong bytes at the start");
        let mut taken = early.len() as u64;
        let mut buffer = Vec::with_capacity(CHUNK);
        while more(taken) {
            buffer.clear();
            let count = self.stream.read_buf(&mut buffer).await.context("taking")?;
            if count == 0 {
                break;
            }
            ensure!(
                self.pattern.is_at(self.seed.wrapping_add(taken), &buffer),
                "wrong bytes after {taken}"
            );
            taken += count as u64;
        }
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        Shared {
            pattern: Pattern::new(),
            open: AtomicU64::new(0),
            errors: Mutex::default(),
            flows: udp::Flows::default(),
            kept: udp::Kept::default(),
        }
    }

    /// Two ends of a connection: what stands for client and proxy, and the backend's.
    async fn pair() -> (TcpStream, TcpStream) {
        let listener = listen().unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (client, listener.accept().await.unwrap().0)
    }

    #[tokio::test]
    async fn half_close_asks_for_the_whole_question() {
        let shared = shared();
        let outcome = async |bytes| {
            let (mut client, backend) = pair().await;
            let asking = async {
                client.write_all(&opening::http(Task::Half(64), 7)).await.unwrap();
                client.write_all(shared.pattern.at(7, bytes)).await.unwrap();
                client.shutdown().await.unwrap();
                client.read_to_end(&mut Vec::new()).await.unwrap()
            };
            tokio::join!(serve(backend, Accepts::Http, &shared), asking).0
        };
        let whole = usize::try_from(BEFORE_END).unwrap();
        outcome(whole).await.unwrap();
        for short in [0, 1, whole - 1] {
            assert!(outcome(short).await.is_err(), "{short} bytes");
        }
    }

    #[tokio::test]
    async fn a_reset_is_no_end() {
        let shared = shared();
        for task in [Task::Greet, Task::Answer(64), Task::Push(64)] {
            let outcome = async |reset| {
                let (mut client, backend) = pair().await;
                let asking = async move {
                    client.write_all(&opening::http(task, 7)).await.unwrap();
                    if task != Task::Greet {
                        client.write_all(Pattern::new().at(7, MESSAGE)).await.unwrap();
                    }
                    client.read_exact(&mut [0; MESSAGE]).await.unwrap();
                    if reset {
                        client.set_zero_linger().unwrap();
                    }
                };
                tokio::join!(serve(backend, Accepts::Http, &shared), asking).0
            };
            outcome(false).await.unwrap();
            assert!(outcome(true).await.is_err(), "{task:?}");
        }
    }
}
