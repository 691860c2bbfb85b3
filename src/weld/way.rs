//! One direction of a weld.

use std::io::{self, ErrorKind};
use std::num::NonZeroU32;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use rustix::net::{RecvFlags, recv};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::task::yield_now;

use super::attempt::{attempt, or_nothing, would_block};
use super::low_water::LowWater;
use super::pace::Pace;
use super::pipe::{Pipe, is_refusal};
use super::rest::Rest;
use crate::{os, scratch};

/// Bytes on their way from one socket to another.
///
/// They are read into a buffer that the thread owns and written at once, so a direction that waits holds no memory.
/// Only what a short write leaves is kept, and nothing is read until it is gone. A direction that moves bytes in bulk
/// passes them through a pipe instead, and holds it only while something is in it.
pub(super) struct OneWay<'s> {
    from: &'s TcpStream,
    to: &'s TcpStream,
    rest: Rest,
    /// The sink has no TCP_NODELAY yet: most connections are over after one write, and need none.
    delays: bool,
    /// A short read does not mean that there is no more: it stops before an urgent byte.
    asks_again: bool,
    /// The source's.
    low_water: LowWater,
    /// What waits is to be written whether the sink counts as writable or not.
    pushes: bool,
    /// With bytes in it.
    pipe: Option<Box<Pipe>>,
    /// How many pipes there may be in the process; `None`: everything is copied.
    pipes: Option<NonZeroU32>,
    pace: Pace,
    /// Bytes written so far.
    pub(super) moved: u64,
    /// Those of them that passed through the kernel alone.
    pub(super) spliced: u64,
    /// How often a pipe, or splicing, was refused.
    pub(super) refused: u32,
}

/// How a direction ended.
#[derive(Debug)]
pub(super) enum End {
    /// The source sent all it had, and all of it was written.
    Eof,
    /// The source failed.
    Source,
    /// The sink takes no more.
    Sink(io::Error),
}

/// What one attempt to read found.
enum Found {
    /// As much as there was room for, so there may be more.
    More,
    /// All there was.
    All,
    /// The end.
    End(End),
}

/// What may be moved in one turn: the others on this thread want theirs.
const TURN: u64 = 4 * 1024 * 1024;

/// What is read and forgotten in one turn, in reads of the thread's buffer: as much.
const READS: usize = 64;

/// After a splice of no more than this the source is empty, probably, and is read instead of spliced: in the end it has
/// to be read anyhow, because splice stops before an urgent byte. A full pipe holds more, for it has 256 slots, and a
/// segment is seldom smaller than 536 bytes.
const MAY_BE_ALL: usize = 128 * 1024;

/// What is read at a time while the process keeps more unwritten bytes than it should.
const SCARCE: usize = 4 * 1024;

impl<'s> OneWay<'s> {
    /// It takes a pipe only while there are fewer than `pipes` in the process.
    pub(super) fn new(from: &'s TcpStream, to: &'s TcpStream, pipes: Option<NonZeroU32>) -> Self {
        Self {
            from,
            to,
            rest: Rest::default(),
            delays: false,
            asks_again: false,
            low_water: LowWater::default(),
            pushes: false,
            pipe: None,
            pipes,
            pace: Pace::default(),
            moved: 0,
            spliced: 0,
            refused: 0,
        }
    }

    /// Sends the rest of the opening first, of which `sent` bytes are on their way already. The sink delays what is
    /// small until the former is acknowledged (Nagle), which is to end when more than the opening is sent.
    pub(super) fn after(mut self, opening: &[u8], sent: usize) -> Self {
        self.delays = true;
        self.moved = bytes(sent);
        if let Some(rest @ [_, ..]) = opening.get(sent..) {
            self.rest = Rest::keep(rest);
        }
        self
    }

    /// Asks again after every read.
    pub(super) const fn asking_again(mut self, asks_again: bool) -> Self {
        self.asks_again = asks_again;
        self
    }

    pub(super) const fn source(&self) -> &'s TcpStream {
        self.from
    }

    pub(super) const fn sink(&self) -> &'s TcpStream {
        self.to
    }

    /// Whether bytes wait for the sink.
    pub(super) fn is_blocked(&self) -> bool {
        self.pipe.is_some() || !self.rest.waiting().is_empty()
    }

    /// Whether the sink was reset, and a splice has kept the error to itself: then a read of the sink finds an end where
    /// there was none.
    pub(super) fn hides_a_reset(&mut self) -> bool {
        self.pipe.as_ref().is_some_and(|pipe| pipe.is_short()) && self.push().is_err()
    }

    /// The next time it is polled, it is to write what waits though the sink does not count as writable.
    pub(super) const fn push_next(&mut self) {
        self.pushes = true;
    }

    /// Moves what can be moved now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        let turn = self.moved.saturating_add(TURN);
        let mut found = Found::More;
        loop {
            if let Err(error) = ready!(self.poll_waiting(cx)) {
                return Poll::Ready(End::Sink(error));
            }
            if self.moved >= turn {
                return pend_until_others_had_their_turn(cx);
            }
            let pipe = match found {
                Found::More if self.pace.is_bulk() => self.take_pipe(),
                _ => None,
            };
            found = match pipe {
                Some(pipe) => ready!(self.poll_splice(cx, pipe)),
                None => ready!(scratch::with_buffer(|buffer| self.poll_copy(cx, buffer))),
            };
            if let Found::End(end) = found {
                return Poll::Ready(end);
            }
        }
    }

    /// Drops what waits for a sink that takes no more.
    pub(super) fn forget(&mut self) {
        self.rest = Rest::default();
        self.pipe = None;
    }

    /// Reads and forgets, until the source ends or fails.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        scratch::with_buffer(|buffer| {
            for _ in 0..READS {
                // At the end or a failure: either way there is nothing left to discard.
                let Ok(1..) = ready!(self.poll_read(cx, buffer)) else { return Poll::Ready(()) };
            }
            pend_until_others_had_their_turn(cx)
        })
    }

    /// Reads and forgets what has arrived by now; whether there was anything.
    pub(super) fn discard_waiting(&mut self) -> bool {
        self.low_water.lower(self.from);
        scratch::with_buffer(|buffer| {
            let read = || matches!(self.source().try_read(buffer), Ok(1..));
            // A source may send without end; whoever goes on discarding waits its turn.
            std::iter::repeat_with(read).take(READS).take_while(|any| *any).count() > 0
        })
    }

    /// Writes what was read and not yet written.
    fn poll_waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if std::mem::take(&mut self.pushes) {
            self.push()?;
        }
        while !self.rest.waiting().is_empty() {
            match or_nothing(self.write(self.rest.waiting()))? {
                0 => ready!(self.to.poll_write_ready(cx))?,
                written => {
                    self.rest.advance(written);
                    self.count(written);
                }
            }
        }
        let moved = self.moved;
        while let Some(pipe) = &mut self.pipe {
            let inside = pipe.inside();
            match attempt(self.to, Interest::WRITABLE, inside, || pipe.drain(self.to)) {
                Ok(0) => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                Ok(written) => self.count_spliced(written),
                Err(error) if would_block(&error) => {
                    ready!(self.poll_full_sink(cx, self.moved == moved))?;
                }
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Waits until the sink has room for what is in the pipe, and for nothing else.
    fn poll_full_sink(&mut self, cx: &mut Context<'_>, again: bool) -> Poll<io::Result<()>> {
        let ready = self.to.poll_write_ready(cx);
        if ready.is_pending() {
            self.low_water.raise(self.from, again);
        }
        ready
    }

    fn push(&mut self) -> io::Result<()> {
        if !self.rest.waiting().is_empty() {
            let written = or_nothing(os::send(self.to, self.rest.waiting()))?;
            self.rest.advance(written);
            self.count(written);
        } else if let Some(pipe) = &mut self.pipe {
            let written = or_nothing(pipe.drain(self.to))?;
            self.count_spliced(written);
        }
        Ok(())
    }

    /// One read through the thread's buffer, and one write.
    fn poll_copy(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Found> {
        let room = if Rest::is_scarce() { SCARCE } else { scratch::SIZE };
        let buffer = buffer.get_mut(..room).unwrap_or_default();
        let read = match self.poll_read(cx, buffer) {
            Poll::Pending => {
                self.pace.found_empty();
                return Poll::Pending;
            }
            Poll::Ready(Ok(0)) => return Poll::Ready(Found::End(End::Eof)),
            Poll::Ready(Ok(read)) => buffer.get(..read).unwrap_or_default(),
            Poll::Ready(Err(_)) => return Poll::Ready(Found::End(End::Source)),
        };
        self.pace.took(read.len());
        self.end_delays();
        let written = match or_nothing(self.write(read)) {
            Ok(written) => written,
            Err(error) => return Poll::Ready(Found::End(End::Sink(error))),
        };
        self.count(written);
        if let Some(rest @ [_, ..]) = read.get(written..) {
            self.rest = Rest::keep(rest);
        }
        Poll::Ready(if read.len() == scratch::SIZE { Found::More } else { Found::All })
    }

    /// Reads before it asks to be woken: mostly there is something.
    fn poll_read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            match self.read(buffer) {
                Err(error) if would_block(&error) => ready!(self.from.poll_read_ready(cx))?,
                read => return Poll::Ready(read),
            }
        }
    }

    /// Reads if the runtime counts the source as readable. A short read is taken for all there was, which spares the one
    /// that would say so.
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.low_water.lower(self.from);
        let room = if self.asks_again { 0 } else { buffer.len() };
        attempt(self.from, Interest::READABLE, room, || {
            Ok(recv(self.from, &mut *buffer, RecvFlags::empty())?.1)
        })
    }

    /// Writes if the runtime counts the sink as writable.
    fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        attempt(self.to, Interest::WRITABLE, bytes.len(), || os::send(self.to, bytes))
    }

    /// Fills an empty pipe, and keeps it if that brought something.
    fn poll_splice(&mut self, cx: &mut Context<'_>, mut pipe: Box<Pipe>) -> Poll<Found> {
        let filled = poll_fill(self.from, &mut pipe, cx);
        if pipe.is_empty() {
            self.low_water.lower(self.from);
            pipe.give_back();
        } else {
            self.pipe = Some(pipe);
        }
        Poll::Ready(match ready!(filled) {
            Ok(filled) => {
                self.pace.took(filled);
                if filled > MAY_BE_ALL { Found::More } else { Found::All }
            }
            Err(error) if is_refusal(&error) => {
                self.refused = self.refused.saturating_add(1);
                self.pipes = None;
                Found::All
            }
            Err(_) => Found::End(End::Source),
        })
    }

    /// To be called before what is read is written.
    fn end_delays(&mut self) {
        if self.delays && self.moved > 0 {
            self.delays = false;
            // It fails only on a socket that is gone.
            let _ = self.sink().set_nodelay(true);
        }
    }

    fn take_pipe(&mut self) -> Option<Box<Pipe>> {
        let taken = Pipe::take(self.pipes?);
        if taken.is_none() {
            self.refused = self.refused.saturating_add(1);
            self.pace = Pace::default();
        }
        taken
    }

    /// Counts what came through the pipe, which is given back once it is empty.
    fn count_spliced(&mut self, written: usize) {
        self.spliced = self.spliced.saturating_add(bytes(written));
        self.count(written);
        if let Some(pipe) = self.pipe.take_if(|pipe| pipe.is_empty()) {
            pipe.give_back();
        }
    }

    fn count(&mut self, written: usize) {
        self.moved = self.moved.saturating_add(bytes(written));
    }
}

/// Splices what the source has into an empty pipe; 0: nothing that splice takes.
///
/// Splice stops before an urgent byte as if that were the end, or as if nothing were there. A read goes on, and is to
/// say which it is: so the socket stays ready until it does.
fn poll_fill(from: &TcpStream, pipe: &mut Pipe, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    ready!(from.poll_read_ready(cx))?;
    Poll::Ready(from.try_io(Interest::READABLE, || or_nothing(pipe.fill(from))))
}

/// Waits without a reason of its own: the task is woken once the others had their turn and the sockets were asked.
fn pend_until_others_had_their_turn<T>(cx: &mut Context<'_>) -> Poll<T> {
    let _ = pin!(yield_now()).poll(cx);
    Poll::Pending
}

fn bytes(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}
