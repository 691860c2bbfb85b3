//! One client with a socket of its own that asks and is answered.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, ensure};
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::super::tally::Tally;
use crate::datagram::{Head, Kind, MESSAGE};
use crate::pattern::Pattern;
use crate::socket::SOON;

/// A client for which so much has gone wrong does not ask again.
const PATIENCE: u32 = 3;

/// Asks so many questions, one after the other.
pub(super) async fn exchange(
    to: SocketAddr,
    session: u64,
    count: u64,
    pattern: Arc<Pattern>,
) -> Result<Tally> {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    socket.connect(to).await?;
    let mut tally = Tally::new()?;
    let mut wrong = 0;
    for number in 0..count {
        let start = Instant::now();
        let question = Head { kind: Kind::Question, session, number };
        match ask(&socket, question, &pattern).await {
            Ok(()) => tally.note(start),
            // The others are asked as well, so that it is known how much goes wrong.
            Err(error) => {
                tally.fail(error);
                wrong += 1;
            }
        }
        if wrong == PATIENCE {
            break;
        }
    }
    if socket.try_recv(&mut [0; MESSAGE]).is_ok() {
        tally.fail(anyhow!("an answer that was not asked for"));
    }
    Ok(tally)
}

async fn ask(socket: &UdpSocket, question: Head, pattern: &Pattern) -> Result<()> {
    socket.send(&question.message(pattern)).await.context("asking")?;
    let wanted = Head { kind: Kind::Answer, ..question };
    let mut first = None;
    loop {
        // Longer than an answer, so that one that is too long is seen.
        let mut answer = [0; 2 * MESSAGE];
        let read = timeout(SOON, socket.recv(&mut answer)).await;
        let count = read.context("an answer was lost")??;
        let head = Head::read(pattern, answer.get(..count).unwrap_or_default())?;
        if head == wanted {
            break;
        }
        // Of an earlier question; the right one is still to come.
        first.get_or_insert(head);
    }
    ensure!(first.is_none(), "an answer that was not asked for");
    Ok(())
}
