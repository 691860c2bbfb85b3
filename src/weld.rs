//! Join client and backend: replay the opening, move bytes both ways, pass on ends as ends and failures as failures.
//!
//! How bytes move is in `way`; what an end means is in `half`, written once for every way of moving.

mod attempt;
mod half;
mod low_water;
mod pace;
#[cfg_attr(not(target_os = "linux"), path = "weld/no_pipe.rs")]
mod pipe;
mod rest;
mod timer;
mod way;

use std::future::poll_fn;
use std::net::Shutdown;
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep_until};

use crate::cut::Cut;
use crate::event::{Ending, Moved, Peer};
use crate::limits::{FOR_EVER, Limits};
use crate::scratch;
use crate::table::Route;
use half::Half;
pub(crate) use pipe::drop_spares;
use timer::Timer;
use way::{End, OneWay};

/// A client and the backend that it is to be joined with.
pub(crate) struct Joint<'j> {
    pub(crate) client: &'j TcpStream,
    pub(crate) backend: &'j TcpStream,
    /// What the client has said so far.
    pub(crate) opening: Vec<u8>,
    /// How much of it the backend has been sent.
    pub(crate) sent: usize,
    pub(crate) habits: Habits,
    pub(crate) limits: &'j Limits,
}

/// What the connections of a route are like.
#[derive(Clone, Copy)]
pub(crate) struct Habits {
    /// For how many milliseconds nothing may move either way; 0: for ever, as for all that is longer than 49 days. A
    /// connection keeps room for it, and a [`Duration`] takes four times as much.
    idle: u32,
    marks_urgent: bool,
    /// How many bytes of the opening the client did not say.
    introduced: u16,
}

impl Habits {
    /// What the route itself says of being idle holds for a protocol that rests as well.
    pub(crate) fn of(route: &Route, limits: &Limits, introduced: usize) -> Self {
        let rests = route.protocol().is_some_and(|it| it.rests());
        let idle = if rests { Duration::ZERO } else { limits.idle_timeout };
        let idle = route.idle_timeout().unwrap_or(idle);
        Self {
            idle: u32::try_from(idle.as_nanos().div_ceil(1_000_000)).unwrap_or(0),
            marks_urgent: route.protocol().is_some_and(|it| it.marks_urgent()),
            introduced: u16::try_from(introduced).unwrap_or(0),
        }
    }
}

/// Carries a connection to its end.
///
/// If the order to cut comes first, or the future is dropped, both sides are reset, so that a cut stream never looks
/// like a whole one.
///
/// No `async fn`: it would keep room for what it is given twice.
#[allow(clippy::manual_async_fn)]
pub(crate) fn weld<'a>(
    joint: Joint<'a>,
    cut: &'a mut Cut<'_, '_>,
) -> impl Future<Output = (Moved, Ending)> {
    let Joint { client, backend, opening, sent, habits, limits } = joint;
    let pipes = limits.pipes();
    let mut weld = Weld {
        up: OneWay::new(client, backend, pipes)
            .after(&opening, sent)
            .asking_again(habits.marks_urgent),
        down: OneWay::new(backend, client, pipes),
        next: Peer::Backend,
        ended: false,
    };
    async move {
        let sleep = pin!(sleep_until(Instant::now() + FOR_EVER));
        let mut timer = Timer::new(sleep, limits, Duration::from_millis(habits.idle.into()));
        let ending = cut.or(pin!(weld.run(&mut timer))).await;
        weld.ended = ending.is_some();
        let mut moved = weld.moved();
        moved.up = moved.up.saturating_sub(habits.introduced.into());
        (moved, ending.unwrap_or(Ending::Cut))
    }
}

struct Weld<'s> {
    up: OneWay<'s>,
    down: OneWay<'s>,
    /// Whose bytes are moved first at the next poll.
    next: Peer,
    ended: bool,
}

impl Drop for Weld<'_> {
    fn drop(&mut self) {
        if !self.ended {
            reset_both(&self.up);
        }
    }
}

impl<'s> Weld<'s> {
    /// No `async fn`: it would keep room for what it is given twice.
    #[allow(clippy::manual_async_fn)]
    fn run<'w>(&'w mut self, timer: &'w mut Timer<'_>) -> impl Future<Output = Ending> {
        async move {
            let first = poll_fn(|cx| match self.poll_both(cx) {
                Poll::Ready(ended) => Poll::Ready(Ok(ended)),
                Poll::Pending => timer.poll(cx, &mut self.up, &mut self.down).map(Err),
            });
            let (source, end) = match first.await {
                Ok(ended) => ended,
                Err(ending) => {
                    reset_both(&self.up);
                    return ending;
                }
            };
            timer.half_closed(source);
            let (done, back) = match source {
                Peer::Client => (&mut self.up, &mut self.down),
                Peer::Backend => (&mut self.down, &mut self.up),
            };
            // In a box, so that the many that are open do not keep room for their end.
            Box::pin(Half { timer, done, back, source }.finish(end)).await
        }
    }

    /// Moves both ways, each first in turn: one that never waits would use up what a task may do at a time.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<(Peer, End)> {
        let (first, second) = (self.next, self.next.other());
        self.next = second;
        if let Poll::Ready(end) = self.way_from(first).poll(cx) {
            return Poll::Ready((first, end));
        }
        self.way_from(second).poll(cx).map(|end| (second, end))
    }

    const fn way_from(&mut self, source: Peer) -> &mut OneWay<'s> {
        match source {
            Peer::Client => &mut self.up,
            Peer::Backend => &mut self.down,
        }
    }

    fn moved(&self) -> Moved {
        let Self { up, down, .. } = self;
        Moved {
            up: up.moved,
            down: down.moved,
            spliced: up.spliced.saturating_add(down.spliced),
            pipes_refused: u64::from(up.refused) + u64::from(down.refused),
        }
    }
}

/// Ends our side of a stream.
fn end_of_stream(stream: &TcpStream) {
    // It fails only if the peer is gone already, which the other direction notices.
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
}

/// Makes the close of this stream a reset, at which the peer's reads and writes fail.
fn reset_on_close(stream: &TcpStream) {
    // It cannot fail on an open socket; if it did, the peer would see an end instead of an error.
    let _ = stream.set_zero_linger();
}

/// Makes the close of both ends of a weld a reset.
fn reset_both(way: &OneWay<'_>) {
    reset_on_close(way.source());
    reset_on_close(way.sink());
}

/// Throws away what a client still sends, so that it is closed and not reset, unless it sends without end.
pub(crate) fn dismiss(stream: &TcpStream) {
    end_of_stream(stream);
    scratch::with_buffer(|buffer| {
        // An error is WouldBlock, or the client is gone.
        let _ = stream.try_read(buffer);
    });
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::forward::Forward;
    use crate::protocols::Protocols;
    use crate::table::{Routes, Table};

    /// A stream as its two ends have it.
    async fn stream() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let there = TcpStream::connect(listener.local_addr().expect("bound")).await.expect("room");
        (listener.accept().await.expect("a stream").0, there)
    }

    /// A splice that fails on its way tells only of what it has moved: the error is gone, and a read finds an end.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_reset_that_a_splice_has_kept_to_itself_is_no_end() {
        for next in [Peer::Client, Peer::Backend] {
            let (client, mut far_client) = stream().await;
            let (backend, far_backend) = stream().await;
            let pump = tokio::spawn(async move { far_client.write_all(&[0; 64 << 20]).await });
            let pipes = NonZeroU32::new(8);
            let (up, down) =
                (OneWay::new(&client, &backend, pipes), OneWay::new(&backend, &client, pipes));
            let mut weld = Weld { up, down, next, ended: false };
            while weld.up.spliced == 0 || !weld.up.is_blocked() {
                let moved = poll_fn(|cx| Poll::Ready(weld.poll_both(cx))).await;
                assert!(moved.is_pending(), "nobody has ended");
                tokio::task::yield_now().await;
            }
            far_backend.set_zero_linger().expect("an open socket");
            drop(far_backend);
            while backend.take_error().expect("an open socket").is_none() {
                tokio::task::yield_now().await;
            }
            weld.next = next;
            let limits = Limits::default();
            let sleep = pin!(sleep_until(Instant::now() + FOR_EVER));
            let ending = weld.run(&mut Timer::new(sleep, &limits, Duration::ZERO)).await;
            assert_eq!(ending, Ending::Reset(Peer::Backend), "{next:?} first");
            weld.ended = true;
            drop(weld);
            drop(client);
            assert!(pump.await.expect("no panic").is_err(), "the client is reset");
        }
    }

    #[test]
    fn a_time_of_any_length_can_be_said_of_a_route() {
        for (said, kept) in [
            (None, 3_600_000),
            (Some(Duration::ZERO), 0),
            (Some(Duration::from_nanos(1)), 1),
            (Some(Duration::from_millis(1500)), 1500),
            (Some(Duration::from_secs(50 * 24 * 60 * 60)), 0),
            (Some(Duration::MAX), 0),
        ] {
            let mut forward: Forward = "smtp=127.0.0.1:1".parse().expect("a forward");
            forward.idle_timeout = said;
            let routes = Routes { forwards: vec![forward], ..Routes::default() };
            let table = Table::new(&routes, &Protocols::default()).expect("a table");
            let route = table.silent().expect("a route");
            assert_eq!(Habits::of(route, &Limits::default(), 0).idle, kept, "{said:?}");
        }
    }
}
