//! What is sent over UDP: each datagram says whose it is, and every other byte of it follows from that.

use anyhow::{Context, Result, ensure};

use crate::pattern::Pattern;

/// What every datagram starts with: by these bytes Refractium knows it.
const MAGIC: [u8; 4] = *b"\x02RfB";

/// Magic, kind, a zero, length, session, number.
const HEAD: usize = 24;

/// Number of the answer that nobody asked for.
pub(crate) const CALL: u64 = u64::MAX;

/// Bytes of questions and of answers.
pub(crate) const MESSAGE: usize = 64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// To be answered.
    Question,
    /// To be answered, and to be remembered: when it is told to, the backend sends one answer more.
    Keep,
    /// Has the session and the number of its question.
    Answer,
    /// Has the backend send what was ordered for this session.
    Start,
    /// One of many, from either side.
    Piece,
}

/// What a datagram says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) session: u64,
    /// Its place among those of its kind in its session.
    pub(crate) number: u64,
}

impl Head {
    /// Appends the datagram of this head and of so many bytes.
    pub(crate) fn write(self, pattern: &Pattern, length: u16, to: &mut Vec<u8>) {
        to.extend_from_slice(&MAGIC);
        to.extend_from_slice(&[self.kind as u8, 0]);
        to.extend_from_slice(&length.to_le_bytes());
        to.extend_from_slice(&self.session.to_le_bytes());
        to.extend_from_slice(&self.number.to_le_bytes());
        to.extend_from_slice(pattern.at(self.place(), usize::from(length).saturating_sub(HEAD)));
    }

    /// A question, an answer or a start.
    pub(crate) fn message(self, pattern: &Pattern) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(MESSAGE);
        self.write(pattern, MESSAGE as u16, &mut bytes);
        bytes
    }

    /// Reads what `write` wrote; a datagram that differs in any byte, or in its length, is an error.
    pub(crate) fn read(pattern: &Pattern, bytes: &[u8]) -> Result<Self> {
        let (head, rest) =
            bytes.split_first_chunk::<HEAD>().context("a datagram that is too short")?;
        let [m0, m1, m2, m3, kind, zero, l0, l1, numbers @ ..] = head;
        let length = u16::from_le_bytes([*l0, *l1]);
        ensure!([*m0, *m1, *m2, *m3] == MAGIC && *zero == 0, "a datagram with a wrong start");
        ensure!(
            usize::from(length) == bytes.len(),
            "a datagram of {} bytes, not {length}",
            bytes.len()
        );
        let number =
            |bytes: &[u8]| bytes.iter().rev().fold(0, |all, byte| all << 8 | u64::from(*byte));
        let (session, place) = numbers.split_at(8);
        let kind = match kind {
            0 => Kind::Question,
            1 => Kind::Keep,
            2 => Kind::Answer,
            3 => Kind::Start,
            4 => Kind::Piece,
            other => anyhow::bail!("a datagram of an unknown kind {other}"),
        };
        let head = Self { kind, session: number(session), number: number(place) };
        ensure!(pattern.is_at(head.place(), rest), "a datagram with wrong bytes");
        Ok(head)
    }

    /// Where in the pattern its bytes start. Spread, so that a head with a changed bit asks for other bytes.
    fn place(self) -> u64 {
        // The constants of SplitMix64: any odd ones that mix well will do.
        let mixed = (self.session.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ self.number)
            .wrapping_mul(0xBF58_476D_1CE4_E5B9)
            .wrapping_add(self.kind as u64);
        mixed.wrapping_mul(0x94D0_49BB_1331_11EB) >> 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KINDS: [Kind; 5] = [Kind::Question, Kind::Keep, Kind::Answer, Kind::Start, Kind::Piece];

    #[test]
    fn a_datagram_is_read_back() {
        let pattern = Pattern::new();
        for kind in KINDS {
            let head = Head { kind, session: 0x0123_4567_89ab_cdef, number: u64::MAX - 7 };
            for length in [HEAD as u16, 64, 1200, 65_507] {
                let mut bytes = Vec::new();
                head.write(&pattern, length, &mut bytes);
                assert_eq!(bytes.len(), usize::from(length));
                assert_eq!(Head::read(&pattern, &bytes).unwrap(), head);
            }
        }
    }

    #[test]
    fn a_changed_bit_is_noticed() {
        let pattern = Pattern::new();
        for kind in KINDS {
            let right = Head { kind, session: 7, number: 1_000_000 }.message(&pattern);
            for bit in 0..right.len() * 8 {
                let mut wrong = right.clone();
                wrong[bit / 8] ^= 1 << (bit % 8);
                assert!(Head::read(&pattern, &wrong).is_err(), "{kind:?}, bit {bit}");
            }
        }
    }

    #[test]
    fn a_cut_or_joined_datagram_is_noticed() {
        let pattern = Pattern::new();
        let right = Head { kind: Kind::Piece, session: 1, number: 2 }.message(&pattern);
        for length in 0..right.len() {
            assert!(Head::read(&pattern, &right[..length]).is_err(), "{length} bytes");
        }
        assert!(Head::read(&pattern, &[right.clone(), right].concat()).is_err());
    }
}
