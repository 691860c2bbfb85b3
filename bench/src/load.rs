//! The load generator, in a process of its own: clients that check every byte they get.

mod client;
mod parting;
mod tally;
mod udp;

use std::io::{BufRead, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::order::{Done, Load, Order, Outcome};
use crate::pattern::Pattern;
use crate::runtime;
use client::Clients;
use parting::has_ended;
use tally::Tally;

/// Connections that are opened at the same time where none of them is timed.
const AT_ONCE: u64 = 64;

/// Carries out one order a line, until standard input ends.
pub(crate) fn run(threads: usize) -> Result<()> {
    let runtime = runtime::build(threads)?;
    let pattern = Arc::new(Pattern::new());
    let udp = udp::Clients::new(Arc::clone(&pattern));
    let mut generator = Generator { pattern, next_seed: 1, kept: Vec::new(), udp };
    for line in std::io::stdin().lock().lines() {
        let order: Order = serde_json::from_str(&line?).context("an order")?;
        let outcome = runtime.block_on(generator.carry_out(order));
        println!("{}", serde_json::to_string(&outcome)?);
        std::io::stdout().flush()?;
    }
    Ok(())
}

struct Generator {
    pattern: Arc<Pattern>,
    /// Every connection of a run has a seed of its own.
    next_seed: u64,
    /// Connections that are open and idle.
    kept: Vec<TcpStream>,
    udp: udp::Clients,
}

impl Generator {
    async fn carry_out(&mut self, order: Order) -> Outcome {
        let within = Duration::from_secs(order.within);
        match timeout(within, self.attempt(&order)).await {
            Ok(Ok(done)) => Outcome::Done(done),
            Ok(Err(error)) => Outcome::Failed(format!("{error:#}")),
            Err(_) => Outcome::Failed(format!("not done within {} s", order.within)),
        }
    }

    async fn attempt(&mut self, order: &Order) -> Result<Done> {
        let clients = |seed| Clients { to: order.to, seed, pattern: Arc::clone(&self.pattern) };
        let mut seed = self.next_seed;
        let mut take_seeds = |count: u64| {
            let first = seed;
            seed += count;
            first
        };
        let mut tasks = JoinSet::new();
        match order.load {
            Load::Connect { kind, count, at_once } => {
                for share in shares(count, at_once) {
                    tasks.spawn(clients(take_seeds(share)).connect(kind, share));
                }
            }
            Load::Exchange { kept, count, answer } => {
                for share in shares(count, kept) {
                    tasks.spawn(clients(take_seeds(1)).exchange(share, answer));
                }
            }
            Load::Pull { connections, bytes } => {
                for share in shares(bytes, connections) {
                    tasks.spawn(clients(take_seeds(1)).pull(share));
                }
            }
            Load::Push { connections, bytes } => {
                for share in shares(bytes, connections) {
                    tasks.spawn(clients(take_seeds(1)).push(share));
                }
            }
            Load::Half { bytes } => {
                tasks.spawn(clients(take_seeds(1)).half(bytes));
            }
            Load::Hold { count } => {
                let holds: Vec<_> = shares(count, AT_ONCE)
                    .map(|share| (clients(take_seeds(share)), share))
                    .collect();
                self.next_seed = seed;
                return self.hold(holds).await;
            }
            Load::Kept => return self.check_kept(),
            Load::Udp(udp) => return self.udp.carry_out(order, udp).await,
            Load::Release => {
                self.kept.clear();
                self.udp.release();
                return Ok(Done::default());
            }
        }
        self.next_seed = seed;
        gather(tasks).await
    }

    async fn hold(&mut self, holds: Vec<(Clients, u64)>) -> Result<Done> {
        let mut tasks: JoinSet<_> =
            holds.into_iter().map(|(clients, share)| clients.hold(share)).collect();
        let before = self.kept.len();
        let mut failed = None;
        while let Some(ended) = tasks.join_next().await {
            let (streams, error) = ended?;
            for stream in streams {
                self.kept.push(stream.into_std()?);
            }
            failed = failed.or(error);
        }
        let held = self.kept.len() - before;
        match failed {
            None => Ok(Done { units: held as u64, ..Done::default() }),
            Some(error) => bail!("after {held} connections: {error:#}"),
        }
    }

    /// Whoever ends idle connections, or sends on them, has not kept them.
    fn check_kept(&self) -> Result<Done> {
        let mut ended = 0;
        for stream in &self.kept {
            ended += u64::from(has_ended(stream).context("a connection that was kept")?);
        }
        let units = self.kept.len() as u64;
        ensure!(ended == 0, "{ended} of {units} connections were ended for the client");
        Ok(Done { units, ..Done::default() })
    }
}

/// Waits for all; the first that failed has failed all.
async fn gather(mut tasks: JoinSet<Result<Tally>>) -> Result<Done> {
    let start = std::time::Instant::now();
    let mut all = Tally::new()?;
    while let Some(ended) = tasks.join_next().await {
        all.add(ended??)?;
    }
    let elapsed = start.elapsed();
    let parting = std::mem::take(&mut all.parting);
    let done = all.done(elapsed)?;
    parting.finish().await?;
    Ok(done)
}

/// Divides `count` among at most `among`, as equally as can be; nobody gets nothing.
fn shares(count: u64, among: u64) -> impl Iterator<Item = u64> {
    let among = among.clamp(1, count.max(1));
    (0..among).map(move |index| count / among + u64::from(index < count % among))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;
    use crate::opening::MESSAGE;
    use crate::order::Kind;

    #[test]
    fn shares_add_up() {
        assert_eq!(shares(10, 4).collect::<Vec<_>>(), [3, 3, 2, 2]);
        assert_eq!(shares(3, 16).collect::<Vec<_>>(), [1, 1, 1]);
        assert_eq!(shares(7, 1).collect::<Vec<_>>(), [7]);
        assert_eq!(shares(1 << 40, 8).sum::<u64>(), 1 << 40);
    }

    /// How a proxy ends a connection on which it has answered rightly.
    #[derive(Clone, Copy)]
    enum End {
        /// After the client.
        After,
        Before,
        /// With a byte that nobody asked for, before the client has ended its side or afterwards.
        ByteBefore,
        ByteAfter,
        Reset,
    }

    /// Stands for a proxy and a backend that answers the first connection of a run with 64 bytes.
    async fn carry(listener: TcpListener, end: End) {
        let (mut stream, _) = listener.accept().await.unwrap();
        assert!(stream.read(&mut [0; 4096]).await.unwrap() > 0);
        stream.write_all(Pattern::new().at(1, MESSAGE)).await.unwrap();
        match end {
            End::Before => return,
            End::ByteBefore => stream.write_all(b"x").await.unwrap(),
            _ => {}
        }
        stream.read_to_end(&mut Vec::new()).await.unwrap();
        match end {
            End::ByteAfter => stream.write_all(b"x").await.unwrap(),
            End::Reset => stream.set_zero_linger().unwrap(),
            _ => {}
        }
    }

    /// What comes of these loads through a proxy that ends connections so.
    async fn outcomes(loads: &[Load], end: End) -> Vec<Outcome> {
        let pattern = Arc::new(Pattern::new());
        let udp = udp::Clients::new(Arc::clone(&pattern));
        let mut generator = Generator { pattern, next_seed: 1, kept: Vec::new(), udp };
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let to = listener.local_addr().unwrap();
        let mut proxy = tokio::spawn(carry(listener, end));
        let mut outcomes = Vec::new();
        for load in loads {
            outcomes
                .push(generator.carry_out(Order { to, side: 0, load: *load, within: 30 }).await);
            if matches!(end, End::Before) && !proxy.is_finished() {
                (&mut proxy).await.unwrap();
            }
        }
        outcomes
    }

    #[tokio::test]
    async fn what_comes_beyond_the_last_answer_fails_the_load() {
        for load in [
            Load::Connect { kind: Kind::Http, count: 1, at_once: 1 },
            Load::Exchange { kept: 1, count: 1, answer: MESSAGE as u64 },
            Load::Push { connections: 1, bytes: MESSAGE as u64 },
        ] {
            let right = outcomes(&[load], End::After).await;
            assert!(matches!(right[..], [Outcome::Done(_)]), "{load:?}: {right:?}");
            for end in [End::ByteBefore, End::ByteAfter, End::Reset] {
                let wrong = outcomes(&[load], end).await;
                assert!(matches!(wrong[..], [Outcome::Failed(_)]), "{load:?}: {wrong:?}");
            }
        }
    }

    #[tokio::test]
    async fn a_kept_connection_that_the_proxy_ends_is_noticed() {
        let loads = [Load::Hold { count: 1 }, Load::Kept];
        let right = outcomes(&loads, End::After).await;
        assert!(matches!(right[..], [Outcome::Done(_), Outcome::Done(_)]), "{right:?}");
        let wrong = outcomes(&loads, End::Before).await;
        assert!(matches!(wrong[..], [Outcome::Done(_), Outcome::Failed(_)]), "{wrong:?}");
    }
}
