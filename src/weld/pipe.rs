//! Bytes that pass through the kernel alone: from a socket into a pipe, and out of it into another (splice(2)).

use std::cell::{Cell, RefCell};
use std::io;
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use tokio::net::TcpStream;

/// A pipe, empty or with bytes on their way. Dropping it closes it, and what is in it is gone.
#[derive(Debug)]
pub(super) struct Pipe {
    out: OwnedFd,
    into: OwnedFd,
    inside: usize,
    /// The sink took less than there was, and has not said why.
    is_short: bool,
    _counted: Counted,
}

/// Sizes asked for, the best first. Smaller ones gain nothing over copying.
const SIZES: [usize; 2] = [1024 * 1024, 256 * 1024];

/// How many empty pipes a thread keeps for the next who needs one.
const SPARE: usize = 32;

/// After a refusal the thread does not ask again for this long: a user's quota or a full table does not change from
/// one moment to the next.
const PAUSE: Duration = Duration::from_secs(1);

/// What is asked for at a time. A pipe has slots and not bytes, and may take 32 KiB into each of 256 slots: that is what
/// the kernel would hold for each client that takes it slowly.
const MOST: usize = 1024 * 1024;

const FLAGS: SpliceFlags = SpliceFlags::NONBLOCK.union(SpliceFlags::MOVE);

thread_local! {
    #[allow(clippy::vec_box, reason = "they move in their boxes")]
    static EMPTY: RefCell<Vec<Box<Pipe>>> = const { RefCell::new(Vec::new()) };
    static REFUSED_UNTIL: Cell<Option<Instant>> = const { Cell::new(None) };
}

impl Pipe {
    /// An empty pipe: one that was given back, or a new one while there are fewer than `most` in the process.
    ///
    /// It is in a box, because a direction that has none keeps room for it.
    pub(super) fn take(most: NonZeroU32) -> Option<Box<Self>> {
        EMPTY.with_borrow_mut(Vec::pop).or_else(|| Self::new(most).map(Box::new))
    }

    fn new(most: NonZeroU32) -> Option<Self> {
        let now = Instant::now();
        if REFUSED_UNTIL.get().is_some_and(|until| now < until) {
            return None;
        }
        let made = Counted::one(most).and_then(|counted| Self::make(counted).ok());
        REFUSED_UNTIL.set(if made.is_none() { now.checked_add(PAUSE) } else { None });
        made
    }

    fn make(_counted: Counted) -> io::Result<Self> {
        let (out, into) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        let grown = SIZES.iter().find_map(|&size| fcntl_setpipe_size(&into, size).ok());
        grown.ok_or(io::ErrorKind::QuotaExceeded)?;
        Ok(Self { out, into, inside: 0, is_short: false, _counted })
    }

    /// Gives it to the next who needs one. One with bytes in it is closed: they would reach a stranger.
    pub(super) fn give_back(self: Box<Self>) {
        if self.is_empty() {
            EMPTY.with_borrow_mut(|empty| {
                if empty.len() < SPARE {
                    empty.push(self);
                }
            });
        }
    }

    /// How many bytes are in it: what splice says, which may be more than its size is said to be.
    pub(super) const fn inside(&self) -> usize {
        self.inside
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.inside == 0
    }

    /// The sink took less than there was, because it is full, or because it failed: then the error is gone.
    pub(super) const fn is_short(&self) -> bool {
        self.is_short
    }

    /// Takes in what `from` has; 0 at the end of its stream, or at an urgent byte once the end is there. The pipe must be empty, so that `WouldBlock` speaks of the
    /// socket.
    pub(super) fn fill(&mut self, from: &TcpStream) -> io::Result<usize> {
        debug_assert!(self.is_empty());
        self.inside = retry_on_intr(|| splice(from, None, &self.into, None, MOST, FLAGS))?;
        Ok(self.inside)
    }

    /// Hands on what `to` takes.
    ///
    /// A splice is many writes to the kernel: where one succeeds and the next fails, it tells of the success, and the
    /// error is gone. What follows is EPIPE, whatever the error was, so it is taken for the worse one, a reset.
    pub(super) fn drain(&mut self, to: &TcpStream) -> io::Result<usize> {
        let taken = retry_on_intr(|| splice(&self.out, None, to, None, self.inside, FLAGS));
        let was_short = std::mem::take(&mut self.is_short);
        match taken {
            Ok(taken) => {
                self.inside = self.inside.saturating_sub(taken);
                self.is_short = !self.is_empty();
                Ok(taken)
            }
            Err(Errno::PIPE) if was_short => Err(Errno::CONNRESET.into()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Closes the thread's empty pipes, because descriptors have run out; whether there were any.
pub(crate) fn drop_spares() -> bool {
    let spares = EMPTY.take();
    !spares.is_empty()
}

/// Whether the kernel means that it does not splice here, rather than that the source failed.
pub(super) fn is_refusal(error: &io::Error) -> bool {
    let refusals = [Errno::INVAL, Errno::NOSYS, Errno::PERM, Errno::OPNOTSUPP, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|it| refusals.contains(&it))
}

/// One of the pipes of this process.
#[derive(Debug)]
struct Counted;

static PIPES: AtomicU32 = AtomicU32::new(0);

impl Counted {
    fn one(most: NonZeroU32) -> Option<Self> {
        let one_more = |pipes| (pipes < most.get()).then_some(pipes + 1);
        let order = Ordering::Relaxed;
        PIPES.fetch_update(order, order, one_more).ok().map(|_| Self)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        PIPES.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One test, because the count is the whole process's.
    #[test]
    fn there_are_never_more_than_may_be_and_one_with_bytes_in_it_is_never_given_to_another() {
        let most = NonZeroU32::new(2).expect("some");
        let mut taken: Vec<_> = (0..2).filter_map(|_| Pipe::take(most)).collect();
        assert_eq!(taken.len(), 2);
        assert!(Pipe::take(most).is_none());
        REFUSED_UNTIL.set(None);
        let mut used = taken.pop().expect("a pipe");
        used.inside = 1;
        used.give_back();
        assert!(EMPTY.with_borrow(Vec::is_empty));
        taken.pop().expect("a pipe").give_back();
        assert_eq!(EMPTY.with_borrow(Vec::len), 1);
        assert!(Pipe::take(NonZeroU32::MIN).is_some(), "the one that was given back");
    }
}
