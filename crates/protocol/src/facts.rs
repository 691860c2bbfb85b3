use crate::Reader;

/// One thing an opening may give away. `Known` and `Absent` are final, like a [`Verdict`](crate::Verdict).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fact<T> {
    /// It said so.
    Known(T),
    /// It does not say, and never will.
    Absent,
    /// The bytes that would say have not all arrived.
    NeedMore,
}

impl<T> Fact<T> {
    /// The value, if it is known.
    pub fn known(self) -> Option<T> {
        match self {
            Self::Known(value) => Some(value),
            Self::Absent | Self::NeedMore => None,
        }
    }

    /// What counts once nothing more comes: pending becomes absent.
    #[must_use]
    pub fn settled(self, ended: bool) -> Self {
        match self {
            Self::NeedMore if ended => Self::Absent,
            other => other,
        }
    }
}

/// What the protocol that matched gave away.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The name of the service asked for, without port and trailing dot, in the case the client chose.
    pub host: Fact<&'a [u8]>,
    /// The application protocols offered (RFC 7301), in the client's order.
    pub alpn: Fact<AlpnList<'a>>,
    /// An Encrypted Client Hello extension is there, real or greased; `host` is then the outer name.
    pub ech: bool,
    /// A complete message contradicts itself, or names something that cannot be a name; `host` is then absent.
    pub malformed: bool,
}

impl<'a> Facts<'a> {
    /// Nothing is given away.
    pub const NONE: Self =
        Self { host: Fact::Absent, alpn: Fact::Absent, ech: false, malformed: false };
    /// Nothing is known yet.
    pub const NEED_MORE: Self = Self { host: Fact::NeedMore, alpn: Fact::NeedMore, ..Self::NONE };
    /// Nothing can be believed.
    pub const MALFORMED: Self = Self { malformed: true, ..Self::NONE };

    /// Only a host, as HTTP gives it.
    #[must_use]
    pub const fn with_host(host: Fact<&'a [u8]>) -> Self {
        Self { host, ..Self::NONE }
    }

    /// What counts once nothing more comes: pending becomes absent.
    #[must_use]
    pub fn settled(self, ended: bool) -> Self {
        Self { host: self.host.settled(ended), alpn: self.alpn.settled(ended), ..self }
    }
}

/// A checked ALPN protocol name list (RFC 7301, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AlpnList<'a> {
    names: &'a [u8],
}

impl<'a> AlpnList<'a> {
    /// Takes the body of the list: names of 1 to 255 bytes, each behind its length, and at least one.
    #[inline]
    pub fn new(names: &'a [u8]) -> Option<Self> {
        let mut rest = names;
        while let Some((&length, behind)) = rest.split_first() {
            if length == 0 {
                return None;
            }
            rest = behind.get(usize::from(length)..)?;
        }
        (!names.is_empty()).then_some(Self { names })
    }

    /// The names, most preferred first.
    pub fn iter(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut reader = Reader::new(self.names);
        core::iter::from_fn(move || reader.vector8().ok().map(|name| name.rest()))
    }
}

/// Room to put together what an opening holds in pieces, such as a ClientHello cut into many records.
pub struct Scratch {
    bytes: [u8; Self::SIZE],
    used: usize,
}

impl Scratch {
    /// How much can be put together: 16 KiB, the largest hello that BoringSSL takes.
    pub const SIZE: usize = 16 * 1024;

    /// Empty room.
    pub const fn new() -> Self {
        Self { bytes: [0; Self::SIZE], used: 0 }
    }

    /// Forgets what was put together.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// What has been put together.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.used).unwrap_or_default()
    }

    /// Adds a piece, whole or not at all; `false` if there is no room for it.
    #[must_use]
    pub fn push(&mut self, piece: &[u8]) -> bool {
        let end = self.used + piece.len();
        let Some(room) = self.bytes.get_mut(self.used..end) else {
            return false;
        };
        room.copy_from_slice(piece);
        self.used = end;
        true
    }
}

impl Default for Scratch {
    fn default() -> Self {
        Self::new()
    }
}

impl core::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Scratch").field("used", &self.used).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alpn_lists_hold_whole_names() {
        let list = AlpnList::new(b"\x02h2\x08http/1.1").expect("a good list");
        assert!(list.iter().eq([&b"h2"[..], b"http/1.1"]));
        for bad in [&b""[..], b"\x00", b"\x03h2", b"\x02h2\x00"] {
            assert_eq!(AlpnList::new(bad), None);
        }
    }

    #[test]
    fn what_is_pending_at_the_end_is_absent() {
        assert_eq!(Fact::<()>::NeedMore.settled(false), Fact::NeedMore);
        assert_eq!(Fact::<()>::NeedMore.settled(true), Fact::Absent);
        assert_eq!(Fact::Known(1).settled(true), Fact::Known(1));
        assert_eq!(Facts::NEED_MORE.settled(true), Facts::NONE);
    }

    #[test]
    fn scratch_takes_a_piece_whole_or_not_at_all() {
        let mut scratch = Scratch::new();
        assert!(scratch.push(&[7; Scratch::SIZE - 1]));
        assert!(!scratch.push(&[8; 2]));
        assert!(scratch.push(&[9]));
        assert_eq!(scratch.bytes().len(), Scratch::SIZE);
        scratch.clear();
        assert!(scratch.bytes().is_empty());
    }
}
