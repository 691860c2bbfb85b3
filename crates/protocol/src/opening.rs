use crate::{Transport, Verdict, any_prefix};

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

    /// Each datagram, in the order in which they came; none on a stream.
    pub fn datagrams(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let Self { bytes, ends, .. } = *self;
        let starts = core::iter::once(0).chain(ends.iter().copied());
        starts.zip(ends).map(|(start, &end)| bytes.get(start..end).unwrap_or_default())
    }

    /// Whether it begins with any of these bytes, over either transport. A stream that is too short needs more; a datagram
    /// is whole, and what it lacks never comes.
    pub fn any_prefix(&self, patterns: &[&[u8]]) -> Verdict {
        match any_prefix(self.first_datagram(), patterns) {
            Verdict::NeedMore if self.transport() == Transport::Udp => Verdict::NoMatch,
            verdict => verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn datagrams<'a>(bytes: &'a [u8], ends: &'a [usize]) -> Opening<'a> {
        Opening { bytes, ends, ended: false }
    }

    #[test]
    fn each_datagram_is_given_by_itself() {
        let all = |opening: Opening<'static>| opening.datagrams();
        assert!(all(datagrams(b"abc", &[2, 2, 3])).eq([&b"ab"[..], b"", b"c"]));
        assert!(all(datagrams(b"", &[0])).eq([b""]));
        assert!(all(datagrams(b"ab", &[9])).eq([b""]), "ends that lie give nothing");
        assert_eq!(all(Opening::stream(b"ab")).count(), 0);
    }

    #[test]
    fn a_datagram_that_is_too_short_is_no_beginning() {
        let verdict = |opening: Opening<'_>| opening.any_prefix(&[b"GAME", b"PLAY!"]);
        assert_eq!(verdict(Opening::stream(b"GA")), Verdict::NeedMore);
        assert_eq!(verdict(datagrams(b"GA", &[2])), Verdict::NoMatch);
        assert_eq!(verdict(datagrams(b"GAME", &[2, 4])), Verdict::NoMatch, "two are not one");
        assert_eq!(verdict(datagrams(b"PLAY!x", &[5, 6])), Verdict::Match);
    }
}
