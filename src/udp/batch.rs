//! What one receive brings: up to 32 buffers, each with one datagram or several of one sender.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr};

use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, UdpSockRef, UdpSocketState};

use crate::os;

/// Longer than any datagram, and than any that the kernel puts together: nothing is ever cut.
const BUFFER: usize = 64 * 1024;

/// As many as a session that is not in bulk has waiting, and one more that shows that there are no others.
const FEW: usize = if BATCH_SIZE < 4 { BATCH_SIZE } else { 4 };

/// Room for what one receive brings.
pub(crate) struct Batch {
    bytes: Box<[u8]>,
    metas: [RecvMeta; BATCH_SIZE],
    received: usize,
}

/// Datagrams of one sender that came together: all as long as the first, but the last may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'b> {
    pub(crate) from: SocketAddr,
    /// The address that they were sent to.
    pub(crate) to: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
    pub(crate) bytes: &'b [u8],
    /// How long each of them is.
    pub(crate) segment: usize,
}

impl Batch {
    pub(crate) fn new() -> Self {
        Self {
            bytes: vec![0; BATCH_SIZE * BUFFER].into(),
            metas: [RecvMeta::default(); BATCH_SIZE],
            received: 0,
        }
    }

    /// Receives what waits, as far as there is room. Whether all there was is here now.
    pub(crate) fn receive(
        &mut self,
        socket: UdpSockRef<'_>,
        state: &UdpSocketState,
    ) -> io::Result<Left> {
        self.receive_up_to::<BATCH_SIZE>(socket, state)
    }

    /// The same where little is to be expected: each buffer that is offered costs something.
    pub(crate) fn receive_few(
        &mut self,
        socket: UdpSockRef<'_>,
        state: &UdpSocketState,
    ) -> io::Result<Left> {
        self.receive_up_to::<FEW>(socket, state)
    }

    fn receive_up_to<const MOST: usize>(
        &mut self,
        socket: UdpSockRef<'_>,
        state: &UdpSocketState,
    ) -> io::Result<Left> {
        self.received = 0;
        let mut buffers = self.bytes.chunks_exact_mut(BUFFER);
        let empty = || IoSliceMut::new(&mut []);
        let mut buffers: [_; MOST] =
            std::array::from_fn(|_| buffers.next().map_or_else(empty, IoSliceMut::new));
        self.received = state.recv(socket, &mut buffers, &mut self.metas)?;
        // Where the system receives one at a time, there may always be more.
        let is_all = os::RECEIVES_MANY && self.received < MOST;
        Ok(if is_all { Left::Nothing } else { Left::Maybe })
    }

    /// What was received, in the order in which it came.
    pub(crate) fn pieces(&self) -> impl Iterator<Item = Piece<'_>> + Clone {
        let received = self.metas.iter().take(self.received);
        received.zip(self.bytes.chunks_exact(BUFFER)).map(|(meta, buffer)| Piece {
            from: meta.addr,
            to: meta.dst_ip,
            ecn: meta.ecn,
            bytes: buffer.get(..meta.len).unwrap_or(buffer),
            segment: meta.stride,
        })
    }
}

/// Whether more waits after a receive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Left {
    Nothing,
    Maybe,
}

impl<'b> Piece<'b> {
    /// How many datagrams it has.
    pub(crate) const fn count(&self) -> usize {
        if self.bytes.len() <= self.segment { 1 } else { self.bytes.len().div_ceil(self.segment) }
    }

    /// Each datagram by itself. An empty one is one as well.
    pub(crate) fn datagrams(self) -> impl Iterator<Item = Self> {
        (0..self.count()).map(move |at| {
            let rest = self.bytes.get(at * self.segment..).unwrap_or_default();
            let bytes = rest.get(..self.segment).unwrap_or(rest);
            Self { bytes, segment: bytes.len(), ..self }
        })
    }

    /// The first so many datagrams.
    pub(crate) fn first(self, most: usize) -> Self {
        let bytes = self.bytes.get(..most.saturating_mul(self.segment)).unwrap_or(self.bytes);
        Self { bytes, ..self }
    }

    /// All but the first so many datagrams.
    pub(crate) fn skip(self, count: usize) -> Self {
        let bytes = self.bytes.get(count.saturating_mul(self.segment)..).unwrap_or_default();
        Self { bytes, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(bytes: &[u8], segment: usize) -> Piece<'_> {
        let from = SocketAddr::from(([127, 0, 0, 1], 1));
        Piece { from, to: None, ecn: None, bytes, segment }
    }

    fn lengths(bytes: &[u8], segment: usize) -> Vec<usize> {
        piece(bytes, segment).datagrams().map(|it| it.bytes.len()).collect()
    }

    #[test]
    fn a_piece_is_its_datagrams_and_the_last_may_be_short() {
        assert_eq!(lengths(&[0; 7], 3), [3, 3, 1]);
        assert_eq!(lengths(&[0; 6], 3), [3, 3]);
        assert_eq!(lengths(&[0; 3], 3), [3]);
        assert_eq!(lengths(&[], 0), [0], "an empty datagram is one");
        assert_eq!(piece(&[0; 7], 3).first(2).count(), 2);
        assert_eq!(piece(&[0; 7], 3).first(9).count(), 3);
    }
}
