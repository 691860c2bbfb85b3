//! A connection of which one direction is done: what becomes of the other, and how each side learns of the end.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::timer::Timer;
use super::way::{End, OneWay};
use super::{end_of_stream, reset_both, reset_on_close};
use crate::event::{Ending, Peer};
use crate::os;

/// A weld of which one direction is done; the other goes back from its sink to its source.
pub(super) struct Half<'w, 's, 't> {
    pub(super) timer: &'w mut Timer<'t>,
    pub(super) done: &'w mut OneWay<'s>,
    pub(super) back: &'w mut OneWay<'s>,
    /// Whose direction is done.
    pub(super) source: Peer,
}

impl Half<'_, '_, '_> {
    /// Carries the other direction to its end, and tells each side how it ended.
    pub(super) async fn finish(mut self, end: End) -> Ending {
        match end {
            End::Eof => self.after_eof().await,
            End::Source => self.reset_sink().await,
            End::Sink(error) => {
                self.done.forget();
                self.after_deaf_sink(error.kind() == ErrorKind::BrokenPipe).await
            }
        }
    }

    /// The source has said all: the sink is told, and may go on speaking.
    async fn after_eof(&mut self) -> Ending {
        if self.back.hides_a_reset() {
            return self.reset_sink().await;
        }
        end_of_stream(self.done.sink());
        match self.rest(Discard::Nothing).await {
            Ok(End::Eof) => Ending::Closed,
            Ok(End::Source) => self.reset_source().await,
            // The source hears no more either. Its last bytes may still be on their way to the sink, which a reset
            // would overtake.
            Ok(End::Sink(_)) => {
                self.back.forget();
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

/// How long a client that is slow to take its last bytes, or to end, may hold a connection that is over.
const LINGER_CLIENT: Duration = Duration::from_secs(30);

/// How long a backend may, whose client is gone.
const LINGER_BACKEND: Duration = Duration::from_secs(1);
