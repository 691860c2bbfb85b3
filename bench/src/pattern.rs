//! The bytes that are sent, so that each can be checked where it arrives.

/// Most bytes of a pattern that are had in one piece.
pub(crate) const CHUNK: usize = 256 * 1024;

/// After so many bytes the pattern repeats. A prime, so that no two buffers of the usual sizes hold the same bytes, and
/// one that was lost, doubled or moved is noticed.
const PERIOD: usize = 65_521;

/// An endless sequence of bytes; the byte at a position depends on the position alone.
///
/// A stream starts at a position of its own (its seed), so that bytes of another stream are wrong bytes.
#[derive(Debug)]
pub(crate) struct Pattern {
    block: Vec<u8>,
}

impl Pattern {
    pub(crate) fn new() -> Self {
        let mut state = 0x9E37_79B9_7F4A_7C15_u64;
        let mut next = || {
            // xorshift64: any bytes without a short period will do.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[4]
        };
        let once: Vec<u8> = (0..PERIOD).map(|_| next()).collect();
        let block = once.iter().copied().cycle().take(PERIOD + CHUNK).collect();
        Self { block }
    }

    /// The bytes from `position` on; at most `CHUNK` of them.
    pub(crate) fn at(&self, position: u64, length: usize) -> &[u8] {
        let start = usize::try_from(position % PERIOD as u64).unwrap_or_default();
        self.block.get(start..start + length.min(CHUNK)).unwrap_or_default()
    }

    /// Whether `bytes` are those from `position` on.
    pub(crate) fn is_at(&self, position: u64, bytes: &[u8]) -> bool {
        bytes
            .chunks(CHUNK)
            .scan(position, |at, piece| {
                let here = *at;
                *at = at.wrapping_add(piece.len() as u64);
                Some((here, piece))
            })
            .all(|(at, piece)| self.at(at, piece.len()) == piece)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_piece_is_recognised_at_its_place() {
        let pattern = Pattern::new();
        for (position, length) in [(0, 64), (65_500, 64), (u64::MAX / 2, 4096), (7, CHUNK)] {
            let piece = pattern.at(position, length).to_vec();
            assert_eq!(piece.len(), length);
            assert!(pattern.is_at(position, &piece), "{length} bytes at {position}");
        }
    }

    #[test]
    fn more_than_a_chunk_is_checked() {
        let pattern = Pattern::new();
        let mut bytes = pattern.at(5, CHUNK).to_vec();
        bytes.extend_from_slice(pattern.at(5 + CHUNK as u64, 100));
        assert!(pattern.is_at(5, &bytes));
        *bytes.last_mut().unwrap() ^= 1;
        assert!(!pattern.is_at(5, &bytes));
    }

    #[test]
    fn a_changed_lost_or_moved_byte_is_noticed() {
        let pattern = Pattern::new();
        let mut bytes = pattern.at(1000, 4096).to_vec();
        assert!(!pattern.is_at(1001, &bytes));
        bytes.remove(2000);
        assert!(!pattern.is_at(1000, &bytes));
        for block in [4096_u64, 16 * 1024, 64 * 1024, 256 * 1024] {
            assert!(!pattern.is_at(block, pattern.at(0, 4096)), "a block of {block} moved");
        }
    }
}
