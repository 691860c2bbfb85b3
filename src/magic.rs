//! A protocol made of byte patterns at run time.

use refractium_protocol::{Opening, RefractiumProtocol, Transport, Verdict, prefix};

/// A protocol known by bytes at the very start of what the client sends.
///
/// Patterns are never searched for further in: that would make every other protocol wait and let a body match.
///
/// ```
/// use refractium::{Magic, protocol::Transport};
///
/// let game = Magic::new("game", &[Transport::Tcp], ["\x01\x02".into(), "GAME1".into()])?;
/// # Ok::<(), refractium::MagicError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Magic {
    name: Box<str>,
    transports: Box<[Transport]>,
    patterns: Box<[Box<[u8]>]>,
}

/// Why patterns make no protocol.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MagicError {
    /// There is no pattern: it could never match.
    #[error("there is no pattern")]
    None,
    /// An empty pattern would match everything.
    #[error("an empty pattern would match everything")]
    Empty,
}

impl Magic {
    /// Takes at least one pattern, none of them empty.
    ///
    /// # Errors
    ///
    /// [`MagicError`] if there is none, or an empty one.
    pub fn new(
        name: &str,
        transports: &[Transport],
        patterns: impl IntoIterator<Item = Vec<u8>>,
    ) -> Result<Self, MagicError> {
        let patterns: Box<[Box<[u8]>]> = patterns.into_iter().map(Into::into).collect();
        if patterns.is_empty() {
            return Err(MagicError::None);
        }
        if patterns.iter().any(|pattern| pattern.is_empty()) {
            return Err(MagicError::Empty);
        }
        Ok(Self { name: name.into(), transports: transports.into(), patterns })
    }
}

impl RefractiumProtocol for Magic {
    fn name(&self) -> &str {
        &self.name
    }

    fn transports(&self) -> &[Transport] {
        &self.transports
    }

    fn identify(&self, opening: &Opening<'_>) -> Verdict {
        let bytes = opening.first_datagram();
        let verdicts = self.patterns.iter().map(|pattern| prefix(bytes, pattern));
        match verdicts.fold(Verdict::NoMatch, Verdict::or) {
            // A datagram is whole: what is missing never comes.
            Verdict::NeedMore if !opening.ends.is_empty() => Verdict::NoMatch,
            verdict => verdict,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn magic(patterns: &[&[u8]]) -> Result<Magic, MagicError> {
        Magic::new("x", &[Transport::Tcp], patterns.iter().map(|pattern| pattern.to_vec()))
    }

    #[test]
    fn patterns_match_at_the_start_only() {
        let magic = magic(&[b"\xfe\x01", b"MY"]).expect("two patterns");
        let verdict = |bytes| magic.identify(&Opening::stream(bytes));
        assert_eq!(verdict(b"\xfe\x01\x00"), Verdict::Match);
        assert_eq!(verdict(b"\xfe"), Verdict::NeedMore);
        assert_eq!(verdict(b" MY"), Verdict::NoMatch);
    }

    #[test]
    fn a_short_datagram_is_no_beginning() {
        let magic = magic(&[b"MY"]).expect("a pattern");
        let datagram = Opening { bytes: b"M", ends: &[1], ended: false };
        assert_eq!(magic.identify(&datagram), Verdict::NoMatch);
    }

    #[test]
    fn nothing_to_match_is_refused() {
        assert_eq!(magic(&[]).err(), Some(MagicError::None));
        assert_eq!(magic(&[b"x", b""]).err(), Some(MagicError::Empty));
    }
}
