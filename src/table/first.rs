//! Who can still be meant, by the first byte: most protocols are ruled out without being asked.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use refractium_protocol::{Opening, RefractiumProtocol, Transport, Verdict};

/// Who is asked about an opening, in order, for every byte that it may begin with.
///
/// A protocol that says `NoMatch` of one byte says so of everything that begins with it (law 1), so each is asked about
/// every byte when the table is made. Datagrams arrive whole, and one byte of them says nothing: there all are asked.
#[derive(Debug)]
pub(super) struct Asked<T> {
    by_byte: Box<[Vec<Arc<T>>; 256]>,
    all: Vec<Arc<T>>,
}

impl<T> Default for Asked<T> {
    fn default() -> Self {
        Self { by_byte: Box::new(std::array::from_fn(|_| Vec::new())), all: Vec::new() }
    }
}

impl<T: AsRef<dyn RefractiumProtocol>> Asked<T> {
    /// All of them, in order.
    pub(super) fn new(all: Vec<T>, transport: Transport) -> Self {
        let mut asked = Self { all: all.into_iter().map(Arc::new).collect(), ..Self::default() };
        for (byte, few) in (0..=u8::MAX).zip(asked.by_byte.iter_mut()) {
            let may = |one: &&Arc<T>| {
                transport == Transport::Udp || may_open_with((***one).as_ref(), byte)
            };
            few.extend(asked.all.iter().filter(may).cloned());
        }
        asked
    }
}

impl<T> Asked<T> {
    /// Those to ask about this opening.
    #[inline]
    pub(super) fn of(&self, opening: &Opening<'_>) -> &[Arc<T>] {
        let first = opening.bytes.first();
        first.and_then(|&byte| self.by_byte.get(usize::from(byte))).unwrap_or(&self.all)
    }

    /// All of them.
    pub(super) fn all(&self) -> &[Arc<T>] {
        &self.all
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

    struct One(&'static dyn RefractiumProtocol);

    impl AsRef<dyn RefractiumProtocol> for One {
        fn as_ref(&self) -> &(dyn RefractiumProtocol + 'static) {
            self.0
        }
    }

    fn asked(transport: Transport, bytes: &[u8]) -> Vec<&'static str> {
        let asked = Asked::new(vec![One(&Panics), One(&Ssh)], transport);
        asked.of(&Opening::stream(bytes)).iter().map(|one| one.0.name()).collect()
    }

    #[test]
    fn only_those_are_asked_that_can_open_so() {
        assert_eq!(asked(Transport::Tcp, b"SSH-"), ["panics", "ssh"]);
        assert_eq!(asked(Transport::Tcp, b"T"), ["panics"]);
        assert_eq!(asked(Transport::Tcp, b"x"), [""; 0]);
        assert_eq!(asked(Transport::Tcp, b""), ["panics", "ssh"]);
        assert_eq!(asked(Transport::Udp, b"x"), ["panics", "ssh"]);
    }
}
