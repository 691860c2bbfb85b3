//! How connections end: looked at between what is timed, and after it.

use std::io::{ErrorKind, Read};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tokio::time::sleep;

/// How long the other side may take to end a connection after the client has.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections a client may have ended without looking at them; more would not fit into 1,024 descriptors with 16 clients.
const AT_MOST: usize = 48;

/// Connections whose clients have ended their side, as closing would; they are kept to see what still comes on them.
#[derive(Default)]
pub(super) struct Parting(Vec<TcpStream>);

impl Parting {
    /// Ends the client's side; a proxy cannot tell this from a client that closes.
    pub(super) fn end(&mut self, stream: tokio::net::TcpStream) -> Result<()> {
        if self.0.len() >= AT_MOST {
            self.look()?;
        }
        // Without the runtime, which would be woken by its end while others are timed.
        let stream = stream.into_std()?;
        stream.shutdown(Shutdown::Write).context("ending a connection")?;
        self.0.push(stream);
        Ok(())
    }

    pub(super) fn add(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Waits until the other side has ended each; a byte or a reset before that fails all.
    pub(super) async fn finish(mut self) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.look()?;
            let left = self.0.len();
            if left == 0 {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{left} connections were not ended for the client");
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Lets go of those that have ended.
    fn look(&mut self) -> Result<()> {
        let mut wrong = None;
        self.0.retain(|stream| {
            has_ended(stream).map_or_else(
                |error| {
                    wrong = Some(error);
                    false
                },
                |ended| !ended,
            )
        });
        wrong.map_or(Ok(()), Err)
    }
}

/// Whether the other side has ended a connection on which nothing more is asked for; a byte more is an error.
///
/// The connection must not block.
pub(super) fn has_ended(mut stream: &TcpStream) -> Result<bool> {
    match stream.read(&mut [0; 1]) {
        Ok(0) => Ok(true),
        Ok(_) => bail!("more came than was asked for"),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error).context("waiting for the end"),
    }
}
