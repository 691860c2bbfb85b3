//! Who can still be meant, by the first byte: most protocols are ruled out without being asked.

use std::panic::{AssertUnwindSafe, catch_unwind};

use refractium_protocol::{Opening, RefractiumProtocol, Transport, Verdict};

/// For every first byte the places of the entries to ask, in their order.
///
/// A protocol that says `NoMatch` of one byte says so of everything that begins with it (law 1), so each is asked about
/// every byte when the table is made. Datagrams arrive whole, and one byte of them says nothing: there all are asked.
#[derive(Debug)]
pub(super) struct FirstBytes {
    by_byte: Box<[Vec<usize>; 256]>,
    all: Vec<usize>,
}

impl Default for FirstBytes {
    fn default() -> Self {
        Self { by_byte: Box::new(std::array::from_fn(|_| Vec::new())), all: Vec::new() }
    }
}

impl FirstBytes {
    /// Adds the entry at `place`, which comes after all others.
    pub(super) fn add(
        &mut self,
        place: usize,
        protocol: &dyn RefractiumProtocol,
        transport: Transport,
    ) {
        self.all.push(place);
        for (byte, places) in (0..=u8::MAX).zip(self.by_byte.iter_mut()) {
            if transport == Transport::Udp || may_open_with(protocol, byte) {
                places.push(place);
            }
        }
    }

    /// The places of the entries to ask.
    #[inline]
    pub(super) fn of(&self, opening: &Opening<'_>) -> &[usize] {
        let first = opening.bytes.first();
        first.and_then(|&byte| self.by_byte.get(usize::from(byte))).unwrap_or(&self.all)
    }
}

/// One that panics is asked again when a client is there: then it costs one connection.
fn may_open_with(protocol: &dyn RefractiumProtocol, byte: u8) -> bool {
    let verdict = || protocol.identify(&Opening::stream(&[byte]));
    catch_unwind(AssertUnwindSafe(verdict)).ok() != Some(Verdict::NoMatch)
}

#[cfg(test)]
#[cfg(feature = "proto-ssh")]
mod tests {
    use refractium_protocol::{Ssh, define_protocol, prefix};

    use super::*;

    define_protocol! {
        struct Panics;
        name: "panics",
        transports: [Tcp],
        identify: |opening| if opening.bytes == b"S" { panic!("as told") } else { prefix(opening.bytes, b"T") }
    }

    fn asked(transport: Transport, bytes: &[u8]) -> Vec<usize> {
        let mut first = FirstBytes::default();
        for (place, protocol) in [&Panics as &dyn RefractiumProtocol, &Ssh].iter().enumerate() {
            first.add(place, *protocol, transport);
        }
        first.of(&Opening::stream(bytes)).to_vec()
    }

    #[test]
    fn only_those_are_asked_that_can_open_so() {
        assert_eq!(asked(Transport::Tcp, b"SSH-"), [0, 1]);
        assert_eq!(asked(Transport::Tcp, b"T"), [0]);
        assert_eq!(asked(Transport::Tcp, b"x"), [0; 0]);
        assert_eq!(asked(Transport::Tcp, b""), [0, 1]);
        assert_eq!(asked(Transport::Udp, b"x"), [0, 1]);
    }
}
