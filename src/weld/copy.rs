//! One direction of a weld, through the thread's buffer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};

use crate::scratch;

/// Bytes on their way from one socket to another.
///
/// They are read into a buffer that the thread owns and written at once, so a direction that waits holds no memory.
/// Only what a short write leaves is kept, and nothing is read until it is gone.
pub(super) struct OneWay<'s> {
    from: ReadHalf<'s>,
    to: WriteHalf<'s>,
    rest: Rest,
    /// Bytes written so far.
    pub(super) moved: u64,
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

/// Bytes read and not yet written.
#[derive(Debug, Default)]
struct Rest {
    bytes: Vec<u8>,
    written: usize,
}

impl<'s> OneWay<'s> {
    /// Sends `opening` first.
    pub(super) const fn new(from: ReadHalf<'s>, to: WriteHalf<'s>, opening: Vec<u8>) -> Self {
        Self { from, to, rest: Rest { bytes: opening, written: 0 }, moved: 0 }
    }

    pub(super) fn source(&self) -> &TcpStream {
        self.from.as_ref()
    }

    pub(super) fn sink(&self) -> &TcpStream {
        self.to.as_ref()
    }

    /// Moves what can be moved now.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        loop {
            if let Err(error) = ready!(self.poll_rest(cx)) {
                return Poll::Ready(End::Sink(error));
            }
            let end = scratch::with_buffer(|buffer| self.poll_through(cx, buffer));
            if let Some(end) = ready!(end) {
                return Poll::Ready(end);
            }
        }
    }

    /// Reads and forgets, until the source ends or fails.
    pub(super) fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        scratch::with_buffer(|buffer| {
            loop {
                let mut buffer = ReadBuf::new(buffer);
                match ready!(Pin::new(&mut self.from).poll_read(cx, &mut buffer)) {
                    Ok(()) if !buffer.filled().is_empty() => {}
                    // The end or a failure: either way there is nothing left to discard.
                    Ok(()) | Err(_) => return Poll::Ready(()),
                }
            }
        })
    }

    /// Reads and forgets what has arrived by now; whether there was anything.
    pub(super) fn discard_waiting(&mut self) -> bool {
        scratch::with_buffer(|buffer| {
            let mut any = false;
            while matches!(self.source().try_read(buffer), Ok(1..)) {
                any = true;
            }
            any
        })
    }

    fn poll_rest(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.rest.bytes.get(self.rest.written..).filter(|it| !it.is_empty())
        {
            let written = ready!(Pin::new(&mut self.to).poll_write(cx, rest))?;
            self.rest.written += written;
            self.count(written);
        }
        if self.rest.written > 0 {
            self.rest = Rest::default();
        }
        Poll::Ready(Ok(()))
    }

    /// One read and one write; `None` if there may be more.
    fn poll_through(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<Option<End>> {
        let mut buffer = ReadBuf::new(buffer);
        if ready!(Pin::new(&mut self.from).poll_read(cx, &mut buffer)).is_err() {
            return Poll::Ready(Some(End::Source));
        }
        let bytes = buffer.filled();
        if bytes.is_empty() {
            return Poll::Ready(Some(End::Eof));
        }
        let written = match Pin::new(&mut self.to).poll_write(cx, bytes) {
            Poll::Ready(Ok(written)) => written,
            Poll::Ready(Err(error)) => return Poll::Ready(Some(End::Sink(error))),
            Poll::Pending => 0,
        };
        self.count(written);
        if let Some(rest @ [_, ..]) = bytes.get(written..) {
            self.rest = Rest { bytes: rest.to_vec(), written: 0 };
        }
        Poll::Ready(None)
    }

    fn count(&mut self, written: usize) {
        self.moved = self.moved.saturating_add(u64::try_from(written).unwrap_or(u64::MAX));
    }
}
