//! The clients: each opens connections through a proxy and checks what comes back.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Error, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::tally::Tally;
use crate::opening::{self, BEFORE_END, MESSAGE, Task};
use crate::order::Kind;
use crate::pattern::{CHUNK, Pattern};

/// One or more clients that work one after the other, each with the next seed.
pub(crate) struct Clients {
    pub(crate) to: SocketAddr,
    pub(crate) seed: u64,
    pub(crate) pattern: Arc<Pattern>,
}

impl Clients {
    /// Opens, greets and closes so many connections, one after the other.
    pub(crate) async fn connect(mut self, kind: Kind, count: u64) -> Result<Tally> {
        let mut tally = Tally::new()?;
        for _ in 0..count {
            let opening = match kind {
                Kind::Http => opening::http(Task::Greet, self.seed),
                Kind::Ssh => opening::ssh(self.seed),
                Kind::Tls => opening::tls(self.seed),
                Kind::TlsBig => opening::tls_big(self.seed),
            };
            let start = Instant::now();
            match self.greeted(&opening).await {
                // The others are tried as well, so that it is known how many fail.
                Err(error) => tally.fail(error),
                Ok(stream) => {
                    tally.note(start);
                    tally.parting.end(stream)?;
                }
            }
            self.seed += 1;
        }
        Ok(tally)
    }

    /// Sends so many messages on one connection and takes the answer to each.
    pub(crate) async fn exchange(self, count: u64, answer: u64) -> Result<Tally> {
        let mut tally = Tally::new()?;
        let mut stream = self.open(&opening::http(Task::Answer(answer), self.seed)).await?;
        let mut buffer = Vec::with_capacity(CHUNK);
        let mut at = self.seed;
        for _ in 0..count {
            let start = Instant::now();
            stream.write_all(self.pattern.at(at, MESSAGE)).await.context("sending a message")?;
            self.take(&mut stream, answer, &mut buffer).await?;
            tally.note(start);
            at = at.wrapping_add(MESSAGE as u64);
        }
        tally.parting.end(stream)?;
        Ok(tally)
    }

    /// Takes so many bytes and then the end.
    pub(crate) async fn pull(self, bytes: u64) -> Result<Tally> {
        let mut stream = self.open(&opening::http(Task::Pull(bytes), self.seed)).await?;
        let mut buffer = Vec::with_capacity(CHUNK);
        self.take(&mut stream, bytes, &mut buffer).await?;
        expect_end(&mut stream).await?;
        counted(bytes)
    }

    /// Sends so many bytes and takes the confirmation.
    pub(crate) async fn push(self, bytes: u64) -> Result<Tally> {
        let mut stream = self.open(&opening::http(Task::Push(bytes), self.seed)).await?;
        self.send(&mut stream, bytes).await?;
        self.take(&mut stream, MESSAGE as u64, &mut Vec::with_capacity(MESSAGE)).await?;
        let mut tally = counted(bytes)?;
        tally.parting.end(stream)?;
        Ok(tally)
    }

    /// Sends, ends the sending side, and takes the answer that comes only then.
    pub(crate) async fn half(self, bytes: u64) -> Result<Tally> {
        let mut stream = self.open(&opening::http(Task::Half(bytes), self.seed)).await?;
        self.send(&mut stream, BEFORE_END).await?;
        stream.shutdown().await?;
        let mut buffer = Vec::with_capacity(CHUNK);
        self.take(&mut stream, bytes, &mut buffer).await?;
        expect_end(&mut stream).await?;
        counted(bytes)
    }

    /// Opens so many connections and hands them over, with the reason if it cannot be all.
    pub(crate) async fn hold(mut self, count: u64) -> (Vec<TcpStream>, Option<Error>) {
        let mut streams = Vec::new();
        for _ in 0..count {
            match self.greeted(&opening::http(Task::Greet, self.seed)).await {
                Ok(stream) => streams.push(stream),
                Err(error) => return (streams, Some(error)),
            }
            self.seed += 1;
        }
        (streams, None)
    }

    async fn open(&self, opening: &[u8]) -> Result<TcpStream> {
        let mut stream = TcpStream::connect(self.to).await.context("connecting")?;
        stream.set_nodelay(true)?;
        stream.write_all(opening).await.context("sending the opening")?;
        Ok(stream)
    }

    /// A connection whose opening has arrived: the backend's answer says so.
    async fn greeted(&self, opening: &[u8]) -> Result<TcpStream> {
        let mut stream = self.open(opening).await?;
        let mut answer = [0; MESSAGE];
        stream.read_exact(&mut answer).await.context("taking the answer to the opening")?;
        ensure!(self.pattern.is_at(self.seed, &answer), "an answer with wrong bytes");
        Ok(stream)
    }

    async fn send(&self, stream: &mut TcpStream, bytes: u64) -> Result<()> {
        let mut sent = 0;
        while sent < bytes {
            let length = usize::try_from(bytes - sent).unwrap_or(CHUNK);
            let piece = self.pattern.at(self.seed.wrapping_add(sent), length);
            let count = stream.write(piece).await.context("sending")?;
            ensure!(count > 0, "nothing more can be sent");
            sent += count as u64;
        }
        Ok(())
    }

    async fn take(&self, stream: &mut TcpStream, bytes: u64, buffer: &mut Vec<u8>) -> Result<()> {
        let mut taken = 0;
        while taken < bytes {
            buffer.clear();
            let count = stream.read_buf(buffer).await.context("taking")?;
            ensure!(count > 0, "the end came after {taken} of {bytes} bytes");
            let at = self.seed.wrapping_add(taken);
            ensure!(self.pattern.is_at(at, buffer), "wrong bytes after {taken}");
            taken += count as u64;
        }
        ensure!(taken == bytes, "{taken} bytes came and not {bytes}");
        Ok(())
    }
}

async fn expect_end(stream: &mut TcpStream) -> Result<()> {
    let count = stream.read(&mut [0; 1]).await.context("waiting for the end")?;
    ensure!(count == 0, "more came than was asked for");
    Ok(())
}

/// Bytes are not timed one by one.
fn counted(units: u64) -> Result<Tally> {
    let mut tally = Tally::new()?;
    tally.units = units;
    Ok(tally)
}
