use crate::Transport;

/// The first bytes a client sent, as read so far.
#[derive(Clone, Copy, Debug)]
pub struct Opening<'a> {
    /// The bytes, in order; datagrams stand one behind the other.
    pub bytes: &'a [u8],
    /// Where each datagram ends in `bytes`; empty on a stream.
    pub ends: &'a [usize],
    /// Nothing more comes: end of stream, full buffer or deadline.
    pub ended: bool,
}

impl<'a> Opening<'a> {
    /// The opening of a stream that may go on.
    pub const fn stream(bytes: &'a [u8]) -> Self {
        Self { bytes, ends: &[], ended: false }
    }

    /// The same bytes, with nothing more to come.
    #[must_use]
    pub const fn ended(self) -> Self {
        Self { ended: true, ..self }
    }

    /// What carried it.
    pub const fn transport(&self) -> Transport {
        if self.ends.is_empty() { Transport::Tcp } else { Transport::Udp }
    }

    /// The first datagram; on a stream, all the bytes.
    pub fn first_datagram(&self) -> &'a [u8] {
        self.ends.first().and_then(|&end| self.bytes.get(..end)).unwrap_or(self.bytes)
    }
}
