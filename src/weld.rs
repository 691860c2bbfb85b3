//! Join client and backend: replay the opening, move bytes both ways, pass on ends as ends and failures as failures.
//!
//! How bytes move is in `way`, what an end means is written once, here.

#[cfg_attr(not(target_os = "linux"), path = "weld/no_pipe.rs")]
mod pipe;
mod rest;
mod timer;
mod way;

use std::future::poll_fn;
use std::io::ErrorKind;
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
use crate::os;
use crate::scratch;
pub(crate) use pipe::drop_spares;
use timer::Timer;
use way::{End, OneWay};

/// A client and the backend that it is to be joined with.
pub(crate) struct Joint<'j> {
    pub(crate) client: &'j mut TcpStream,
    pub(crate) backend: &'j mut TcpStream,
    /// What the client has said so far.
    pub(crate) opening: Vec<u8>,
    /// How much of it the backend has been sent.
    pub(crate) sent: usize,
    /// The connection may be quiet for as long as it likes.
    pub(crate) rests: bool,
    pub(crate) limits: &'j Limits,
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
    cut: &'a mut Cut<'_>,
) -> impl Future<Output = (Moved, Ending)> {
    let Joint { client, backend, opening, sent, rests, limits } = joint;
    let (from_client, to_client) = client.split();
    let (from_backend, to_backend) = backend.split();
    let pipes = limits.pipes();
    let mut weld = Weld {
        up: OneWay::new(from_client, to_backend, pipes).after(opening, sent),
        down: OneWay::new(from_backend, to_client, pipes),
        next: Peer::Backend,
        ended: false,
    };
    async move {
        let sleep = pin!(sleep_until(Instant::now() + FOR_EVER));
        let mut timer = Timer::new(sleep, limits, rests);
        let ending = cut.or(pin!(weld.run(&mut timer))).await;
        weld.ended = ending.is_some();
        (weld.moved(), ending.unwrap_or(Ending::Cut))
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
    async fn run(&mut self, timer: &mut Timer<'_>) -> Ending {
        let first = poll_fn(|cx| match self.poll_both(cx) {
            Poll::Ready(ended) => Poll::Ready(Ok(ended)),
            Poll::Pending => timer.poll(cx, &mut self.up, &mut self.down).map(Err),
        });
        match first.await {
            Ok((source, end)) => {
                timer.half_closed();
                let (done, back) = match source {
                    Peer::Client => (&mut self.up, &mut self.down),
                    Peer::Backend => (&mut self.down, &mut self.up),
                };
                // In a box, so that the many that are open do not keep room for their end.
                Box::pin(Half { timer, done, back, source }.finish(end)).await
            }
            Err(ending) => {
                reset_both(&self.up);
                ending
            }
        }
    }

    /// Moves both ways, each first in turn: one that never waits would use up what a task may do at a time.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<(Peer, End)> {
        let (first, second) = (self.next, self.next.other());
        self.next = second;
        if let Poll::Ready(end) = self.from(first).poll(cx) {
            return Poll::Ready((first, end));
        }
        self.from(second).poll(cx).map(|end| (second, end))
    }

    const fn from(&mut self, source: Peer) -> &mut OneWay<'s> {
        match source {
            Peer::Client => &mut self.up,
            Peer::Backend => &mut self.down,
        }
    }

    const fn moved(&self) -> Moved {
        let Self { up, down, .. } = self;
        Moved {
            up: up.moved,
            down: down.moved,
            spliced: up.spliced.saturating_add(down.spliced),
            pipes_refused: up.refused.saturating_add(down.refused),
        }
    }
}

/// A weld of which one direction is done; the other goes back from its sink to its source.
struct Half<'w, 's, 't> {
    timer: &'w mut Timer<'t>,
    done: &'w mut OneWay<'s>,
    back: &'w mut OneWay<'s>,
    /// Whose direction is done.
    source: Peer,
}

impl Half<'_, '_, '_> {
    async fn finish(&mut self, end: End) -> Ending {
        match end {
            End::Eof => self.after_eof().await,
            End::Source => self.reset_sink().await,
            End::Sink(error) => self.after_deaf_sink(error.kind() == ErrorKind::BrokenPipe).await,
        }
    }

    /// The source has said all: the sink is told, and may go on speaking.
    async fn after_eof(&mut self) -> Ending {
        end_of_stream(self.done.sink());
        match self.rest(Discard::Nothing).await {
            Ok(End::Eof) => Ending::Closed,
            Ok(End::Source) => self.reset_source().await,
            // The source hears no more either. Its last bytes may still be on their way to the sink, which a reset
            // would overtake.
            Ok(End::Sink(_)) => {
                linger(self.back, self.source.other(), self.timer).await;
                Ending::Closed
            }
            // The source waits for what will not come. The sink has its end already, queued behind what it may still
            // be reading: a reset would overtake that.
            Err(ending @ (Ending::HalfCloseTimeout | Ending::IdleTimeout)) => {
                reset_on_close(self.done.source());
                if self.back.discard_waiting() {
                    linger(self.back, self.source.other(), self.timer).await;
                }
                ending
            }
            Err(ending) => self.reset_both(ending),
        }
    }

    /// The sink hears no more, but what it said before still belongs to the source.
    ///
    /// Linux answers EPIPE to a write where the end of the sink's stream had come before its reset, and ECONNRESET
    /// where it had not: only then is what it said cut short.
    async fn after_deaf_sink(&mut self, whole: bool) -> Ending {
        match self.rest(Discard::Done).await {
            Ok(End::Eof) if whole => {
                end_of_stream(self.done.source());
                linger(self.done, self.source, self.timer).await;
                Ending::Closed
            }
            Ok(_) => self.reset_source().await,
            Err(ending) => self.reset_both(ending),
        }
    }

    /// Carries the other direction to its end, or to a time-out.
    async fn rest(&mut self, discard: Discard) -> Result<End, Ending> {
        let Self { done, back, source, timer } = self;
        poll_fn(|cx| {
            if let Poll::Ready(end) = back.poll(cx) {
                return Poll::Ready(Ok(end));
            }
            if discard == Discard::Done {
                // Its end changes nothing: `back` decides.
                let _ = done.poll_discard(cx);
            }
            let (up, down) = match source {
                Peer::Client => (&mut **done, &mut **back),
                Peer::Backend => (&mut **back, &mut **done),
            };
            timer.poll(cx, up, down).map(Err)
        })
        .await
    }

    fn reset_both(&self, ending: Ending) -> Ending {
        reset_both(self.done);
        ending
    }

    async fn reset_source(&mut self) -> Ending {
        reset(self.done.source(), self.source, self.timer).await;
        Ending::Reset(self.source.other())
    }

    async fn reset_sink(&mut self) -> Ending {
        reset(self.done.sink(), self.source.other(), self.timer).await;
        Ending::Reset(self.source)
    }
}

/// What becomes of the bytes that still come from the source of the direction that is done.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Discard {
    /// There are none.
    Nothing,
    /// Nobody takes them, and they must not hold up what the source is to read.
    Done,
}

/// Ends our side of a stream.
fn end_of_stream(stream: &TcpStream) {
    // It fails only if the peer is gone already, which the other direction notices.
    let _ = SockRef::from(stream).shutdown(Shutdown::Write);
}

/// Lets a peer take what was sent to it before the close: closing while its bytes wait unread would reset it and lose
/// the tail. Its bytes are thrown away until it ends, for as long as it may need.
///
/// The kernel does not tell, without a system call that has no safe wrapper here, how far a stream that we have ended
/// was taken. So a client gets the whole time, because it may read slowly, and a backend whose client is gone a moment.
async fn linger(from_peer: &mut OneWay<'_>, peer: Peer, timer: &mut Timer<'_>) {
    timer.allow(patience(peer, timer), |cx| from_peer.poll_discard(cx)).await;
}

/// Resets a peer once it has been sent everything, as far as it reads on.
///
/// It looks again and again, at growing intervals, because only the event of becoming writable is told, and the socket
/// may be writable already.
async fn reset(stream: &TcpStream, peer: Peer, timer: &mut Timer<'_>) {
    let until = Instant::now() + patience(peer, timer);
    let mut pause = Duration::from_millis(1);
    while !os::is_sent(stream) && Instant::now() < until {
        timer.allow(pause, |_| Poll::Pending).await;
        pause = (pause * 2).min(Duration::from_millis(50));
    }
    reset_on_close(stream);
}

/// How long a peer whose connection is over is waited for.
fn patience(peer: Peer, timer: &Timer<'_>) -> Duration {
    match peer {
        Peer::Client => timer.patience().min(LINGER_CLIENT),
        Peer::Backend => timer.patience().min(LINGER_BACKEND),
    }
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

/// How long a client that is slow to take its last bytes, or to end, may hold a connection that is over.
const LINGER_CLIENT: Duration = Duration::from_secs(30);

/// How long a backend may, whose client is gone.
const LINGER_BACKEND: Duration = Duration::from_secs(1);
