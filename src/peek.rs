//! Read until the table decides, a limit is reached, or silence says enough.

use std::future::poll_fn;
use std::mem;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use refractium_protocol::{Opening, Scratch};
use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::{Instant, timeout_at};

use crate::crowd::Waiting;
use crate::event::{By, Refusal};
use crate::limits::Limits;
use crate::os::Tick;
use crate::plan::Plan;
use crate::proxy_protocol::{self, HeaderFault, Heard, LONGEST_HEADER};
use crate::scratch;
use crate::table::{Decision, Route};

/// A client whose route is known.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) route: Arc<Route>,
    /// What was read, to be replayed to the backend.
    pub(crate) opening: Vec<u8>,
    pub(crate) by: By,
}

/// What a client said together with a header that was before it. In a box, so that connections do not keep room for what few
/// have.
#[derive(Debug)]
pub(crate) struct Behind {
    opening: Vec<u8>,
    /// From when on silence counts.
    since: Instant,
}

/// What a client that peeks may take.
#[derive(Debug)]
pub(crate) struct Patience<'l> {
    pub(crate) accepted: Instant,
    pub(crate) waiting: Waiting<'l>,
    /// The longest that one look at what it said took, to a few milliseconds.
    pub(crate) longest_look: Duration,
}

/// Looks at openings take nanoseconds: a protocol that takes so long holds up its whole worker.
pub(crate) const LONG_LOOK: Duration = Duration::from_millis(100);

/// Reads the header of a trusted sender, which is in the same time as all that is peeked at. Who it names, and what the
/// client has said behind it.
pub(crate) async fn hear<R: AsyncRead + Unpin>(
    sender: &mut R,
    patience: &mut Patience<'_>,
    limits: &Limits,
) -> Result<(Option<SocketAddr>, Box<Behind>), Refusal> {
    let most = limits.peek_buffer_size.max(LONGEST_HEADER);
    let mut opening = Vec::new();
    loop {
        let deadline = patience.accepted + limits.peek_timeout;
        let reading = read(sender, &mut patience.waiting, &mut opening, most);
        let got = timeout_at(deadline, reading).await;
        let fault = match got.map_err(|_| Refusal::NoHeader(HeaderFault::Late))? {
            Err(refusal) => return Err(refusal),
            // Somebody looked whether we are there.
            Ok(0) if opening.is_empty() => {
                return Err(Refusal::NoRoute { bytes: 0, by: By::EndOfStream });
            }
            Ok(0) => HeaderFault::Cut,
            Ok(_) => match proxy_protocol::read(&opening) {
                Heard::NeedMore => continue,
                Heard::Wrong(fault) => fault,
                Heard::Header { length, client } => {
                    opening.drain(..length);
                    let since = Instant::now();
                    return Ok((client, Box::new(Behind { opening, since })));
                }
            },
        };
        return Err(Refusal::NoHeader(fault));
    }
}

/// Reads from `client` until its route is known. Nothing is lost: what was read comes back in [`Opened`].
pub(crate) async fn peek<R: AsyncRead + Unpin>(
    client: &mut R,
    patience: &mut Patience<'_>,
    behind: Option<Box<Behind>>,
    plan: &Plan,
) -> Result<Opened, Refusal> {
    let Plan { table, limits, .. } = plan;
    let accepted = patience.accepted;
    let deadline = accepted + limits.peek_timeout;
    let (mut opening, since) = behind.map_or((Vec::new(), accepted), |it| (it.opening, it.since));
    let mut is_ahead = !opening.is_empty();
    let mut silence = table.silent().map(|_| since + limits.server_first_delay);
    loop {
        let wake = silence.map_or(deadline, |at| at.min(deadline));
        let got = if mem::take(&mut is_ahead) {
            Ok(Ok(opening.len()))
        } else {
            let most = limits.peek_buffer_size;
            timeout_at(wake, read(client, &mut patience.waiting, &mut opening, most)).await
        };
        let by = match got {
            Err(_) if wake < deadline => By::Silence,
            Err(_) => By::Deadline,
            Ok(Err(refusal)) => return Err(refusal),
            Ok(Ok(0)) => By::EndOfStream,
            Ok(Ok(_)) => {
                let opened = Opening::stream(seen(&opening, limits));
                match patience.ask(|facts| table.decide(&opened, facts))? {
                    Decision::Route(route) => {
                        let route = Arc::clone(route);
                        return Ok(Opened { route, opening, by: By::Verdict });
                    }
                    Decision::NoMatch => By::Verdict,
                    Decision::NeedMore { .. } if opening.len() >= limits.peek_buffer_size => {
                        By::FullBuffer
                    }
                    Decision::NeedMore { held } => {
                        silence = held.map(|_| Instant::now() + limits.server_first_delay);
                        continue;
                    }
                }
            }
        };
        // Nothing more is waited for: what may still match does not, and silence or the fallback decides.
        let opened = Opening::stream(seen(&opening, limits));
        return match patience.ask(|facts| table.settle(&opened, facts))? {
            Some(route) => Ok(Opened { route: Arc::clone(route), opening, by }),
            None => Err(Refusal::NoRoute { bytes: opening.len(), by }),
        };
    }
}

/// What may be looked at: what came together with a header may be more.
fn seen<'o>(opening: &'o [u8], limits: &Limits) -> &'o [u8] {
    opening.get(..limits.peek_buffer_size).unwrap_or(opening)
}

impl<'l> Patience<'l> {
    pub(crate) const fn new(accepted: Instant, waiting: Waiting<'l>) -> Self {
        Self { accepted, waiting, longest_look: Duration::ZERO }
    }

    /// A panic in a protocol is caught, so that it is told like everything else that ends a connection.
    fn ask<T>(&mut self, table: impl FnOnce(&mut Scratch) -> T) -> Result<T, Refusal> {
        let start = Tick::now();
        // Nothing half done can be seen: the table does not change, and who uses the scratch clears it first.
        let said = catch_unwind(AssertUnwindSafe(|| scratch::with_facts(table)));
        self.longest_look = self.longest_look.max(start.elapsed());
        said.map_err(|_| Refusal::Panicked)
    }
}

/// Reads once, through the thread's buffer, so that a client that says nothing costs no memory. Who has to wait for that may
/// have to make room for others.
async fn read<R: AsyncRead + Unpin>(
    client: &mut R,
    waiting: &mut Waiting<'_>,
    opening: &mut Vec<u8>,
    most: usize,
) -> Result<usize, Refusal> {
    poll_fn(|cx| {
        let got = scratch::with_buffer(|buffer| {
            let room = most.saturating_sub(opening.len()).min(buffer.len());
            let mut buffer = ReadBuf::new(buffer.get_mut(..room).unwrap_or_default());
            ready!(Pin::new(&mut *client).poll_read(cx, &mut buffer))?;
            opening.extend_from_slice(buffer.filled());
            Poll::Ready(Ok(buffer.filled().len()))
        });
        match got {
            Poll::Ready(got) => Poll::Ready(got.map_err(Refusal::ClientGone)),
            Poll::Pending => {
                let leaves = waiting.poll_leave(cx, opening.capacity());
                leaves.map(|()| Err(Refusal::CrowdedOut))
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use refractium_protocol::{RefractiumProtocol, Verdict, define_protocol, prefix};
    use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

    use super::*;
    use crate::crowd::Line;
    use crate::protocols::Protocols;
    use crate::table::{Routes, Table};

    define_protocol! {
        /// Longer than `Ab`, so that it holds that one back.
        struct Abc;
        name: "abc",
        transports: [Tcp],
        identify: |opening| prefix(opening.bytes, b"abc"),
    }

    define_protocol! {
        struct Ab;
        name: "ab",
        transports: [Tcp],
        identify: |opening| prefix(opening.bytes, b"ab"),
    }

    define_protocol! {
        struct Greets;
        name: "greets",
        transports: [Tcp],
        identify: |_| Verdict::NoMatch,
        server_first: true,
    }

    const MS: Duration = Duration::from_millis(1);

    fn table(names: &[&str], fallback: bool) -> Plan {
        let mut protocols = Protocols::default();
        protocols.add(Abc);
        protocols.add(Ab);
        protocols.add(Greets);
        let forwards = names.iter().map(|name| format!("{name}=127.0.0.1:1").parse());
        let routes = Routes {
            forwards: forwards.collect::<Result<_, _>>().expect("forwards"),
            fallback_tcp: fallback.then(|| "127.0.0.1:2".parse().expect("an endpoint")),
            fallback_udp: None,
        };
        let table = Table::new(&routes, &protocols).expect("a table");
        Plan { table, ..Plan::default() }
    }

    async fn run(plan: &Plan, mut client: DuplexStream) -> (Result<Opened, Refusal>, Duration) {
        let start = Instant::now();
        let line = Line::default();
        let mut patience = Patience::new(start, line.enter(start, usize::MAX));
        let opened = peek(&mut client, &mut patience, None, plan).await;
        (opened, start.elapsed())
    }

    fn route(opened: &Result<Opened, Refusal>) -> (&str, By) {
        let opened = opened.as_ref().expect("a route");
        (opened.route.name(), opened.by)
    }

    #[tokio::test(start_paused = true)]
    async fn a_verdict_decides_at_once_and_keeps_every_byte() {
        let (mut far, near) = duplex(64);
        far.write_all(b"abcdef").await.expect("room");
        let (opened, after) = run(&table(&["abc"], false), near).await;
        assert_eq!(route(&opened), ("abc", By::Verdict));
        assert_eq!(opened.expect("a route").opening, b"abcdef");
        assert!(after < MS);
    }

    #[tokio::test(start_paused = true)]
    async fn silence_takes_the_server_first_route() {
        let (_far, near) = duplex(64);
        let (opened, after) = run(&table(&["abc", "greets"], true), near).await;
        assert_eq!(route(&opened), ("greets", By::Silence));
        assert!((300 * MS..302 * MS).contains(&after), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_began_to_speak_is_not_silent() {
        let (mut far, near) = duplex(64);
        far.write_all(b"a").await.expect("room");
        let (opened, after) = run(&table(&["abc", "greets"], true), near).await;
        assert_eq!(route(&opened), ("fallback", By::Deadline));
        assert_eq!(opened.expect("a route").opening, b"a");
        assert!((3000 * MS..3002 * MS).contains(&after), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_held_match_is_taken_after_silence() {
        let (mut far, near) = duplex(64);
        far.write_all(b"ab").await.expect("room");
        let (opened, after) = run(&table(&["abc", "ab"], false), near).await;
        assert_eq!(route(&opened), ("ab", By::Silence));
        assert!((300 * MS..302 * MS).contains(&after), "{after:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_of_the_stream_decides_at_once() {
        let (mut far, near) = duplex(64);
        far.write_all(b"ab").await.expect("room");
        drop(far);
        let (opened, after) = run(&table(&["abc"], true), near).await;
        assert_eq!(route(&opened), ("fallback", By::EndOfStream));
        assert!(after < MS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_buffer_decides_at_once() {
        define_protocol! {
            struct Endless;
            name: "endless",
            transports: [Tcp],
            identify: |_| Verdict::NeedMore,
        }
        let mut protocols = Protocols::default();
        protocols.add(Endless);
        assert_eq!(Endless.name(), "endless");
        let routes = Routes {
            forwards: vec!["endless=127.0.0.1:1".parse().expect("a forward")],
            ..Routes::default()
        };
        let table = Table::new(&routes, &protocols).expect("a table");
        let plan = Plan { table, ..Plan::default() };
        let (mut far, near) = duplex(64 * 1024);
        far.write_all(&[b'x'; 20 * 1024]).await.expect("room");
        let (opened, after) = run(&plan, near).await;
        let refusal = opened.expect_err("no route");
        assert!(
            matches!(refusal, Refusal::NoRoute { bytes: 16_384, by: By::FullBuffer }),
            "{refusal:?}"
        );
        assert!(after < MS);
    }

    #[tokio::test(start_paused = true)]
    async fn without_fallback_the_deadline_refuses() {
        let (_far, near) = duplex(64);
        let (opened, after) = run(&table(&["abc"], false), near).await;
        let refusal = opened.expect_err("no route");
        assert!(matches!(refusal, Refusal::NoRoute { bytes: 0, by: By::Deadline }), "{refusal:?}");
        assert!((3000 * MS..3002 * MS).contains(&after), "{after:?}");
    }
}
