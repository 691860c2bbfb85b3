//! Where the kernel has no splice(2): a pipe is never to be had, and copying carries everything.

use std::convert::Infallible as Never;
use std::io;
use std::num::NonZeroU32;

use tokio::net::TcpStream;

/// There is none.
#[derive(Debug)]
pub(super) struct Pipe(Never);

impl Pipe {
    pub(super) const fn take(_most: NonZeroU32) -> Option<Box<Self>> {
        None
    }

    pub(super) fn give_back(self: Box<Self>) {
        match self.0 {}
    }

    pub(super) const fn inside(&self) -> usize {
        match self.0 {}
    }

    pub(super) const fn is_empty(&self) -> bool {
        match self.0 {}
    }

    pub(super) const fn is_short(&self) -> bool {
        match self.0 {}
    }

    pub(super) fn fill(&mut self, _from: &TcpStream) -> io::Result<usize> {
        match self.0 {}
    }

    pub(super) fn drain(&mut self, _to: &TcpStream) -> io::Result<usize> {
        match self.0 {}
    }
}

pub(super) fn is_refusal(_error: &io::Error) -> bool {
    true
}

pub(crate) const fn drop_spares() -> bool {
    false
}
