//! Eight bytes at a time, without unsafe code: what openings are searched, compared and hashed by.
//!
//! A byte loop costs a branch per byte, and its end is mispredicted whenever lengths differ. Public for the crate
//! `refractium` alone.

const LOW: u64 = 0x0101_0101_0101_0101;
const HIGH: u64 = 0x8080_8080_8080_8080;

/// The same byte eight times.
#[inline]
pub const fn all(byte: u8) -> u64 {
    LOW * byte as u64
}

/// The whole words of the bytes, the first byte lowest, and what remains behind them: see [`last`].
#[inline]
pub fn words(bytes: &[u8]) -> (impl Iterator<Item = u64>, u64) {
    let (whole, _) = bytes.as_chunks::<8>();
    (whole.iter().map(|word| u64::from_le_bytes(*word)), last(bytes))
}

/// The 0 to 7 bytes behind the whole words, the rest of their word zero.
#[inline]
pub fn last(bytes: &[u8]) -> u64 {
    match bytes.last_chunk::<8>() {
        // It overlaps the last whole word, which is shifted out.
        Some(last) => u64::from_le_bytes(*last) >> 8 >> (8 * (7 - bytes.len() % 8)),
        None => short(bytes),
    }
}

/// Up to seven bytes: two halves that may overlap.
#[inline]
fn short(bytes: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (bytes.first_chunk::<4>(), bytes.last_chunk::<4>()) {
        let last = u64::from(u32::from_le_bytes(*last)) << (8 * (bytes.len() - 4));
        return u64::from(u32::from_le_bytes(*first)) | last;
    }
    bytes.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte))
}

/// The place of the first byte that `marks` marks. It sets the high bit of a byte, or none; above the first that it
/// sets it may be wrong.
#[inline]
pub fn find(bytes: &[u8], marks: impl Fn(u64) -> u64) -> Option<usize> {
    let mut rest = bytes;
    while let Some((word, behind)) = rest.split_first_chunk::<8>() {
        let marked = marks(u64::from_le_bytes(*word));
        if marked != 0 {
            return Some(bytes.len() - rest.len() + first(marked));
        }
        rest = behind;
    }
    // The zeros behind the end may be marked as well.
    let found = bytes.len() - rest.len() + first(marks(last(bytes)));
    (found < bytes.len()).then_some(found)
}

/// Which byte is the first marked one; 8 if none is.
#[inline]
pub const fn first(marked: u64) -> usize {
    marked.trailing_zeros() as usize / 8
}

/// Marks the bytes that are `byte`, exactly up to the first.
#[inline]
pub const fn is(word: u64, byte: u8) -> u64 {
    let word = word ^ all(byte);
    word.wrapping_sub(LOW) & !word & HIGH
}

/// Marks the bytes below `limit`, which is at most 0x80, exactly up to the first.
#[inline]
pub const fn is_below(word: u64, limit: u8) -> u64 {
    word.wrapping_sub(all(limit)) & !word & HIGH
}

/// Marks the bytes of a range within ASCII, exactly.
#[inline]
pub const fn is_within(word: u64, first: u8, last: u8) -> u64 {
    let low = word & !HIGH;
    (low + all(0x80 - first)) & !(low + all(0x7f - last)) & !word & HIGH
}

/// ASCII letters in lower case, everything else as it is.
#[inline]
pub const fn lower(word: u64) -> u64 {
    word | is_within(word, b'A', b'Z') >> 2
}

/// Compares without regard to ASCII case; `lower_case` has none to disregard. Not inlined: nearly all bytes that are
/// compared are equal as they are, and who looks at that first should not make room for this.
#[inline(never)]
pub fn eq_lower(bytes: &[u8], lower_case: &[u8]) -> bool {
    let ((ours, our_last), (theirs, their_last)) = (words(bytes), words(lower_case));
    bytes.len() == lower_case.len()
        && ours.zip(theirs).all(|(one, other)| lower(one) == other)
        && lower(our_last) == their_last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_hold_every_byte_once() {
        let bytes: [u8; 40] = core::array::from_fn(|at| at as u8 + 1);
        for end in 0..=bytes.len() {
            let (whole, last) = words(&bytes[..end]);
            let mut back = [0; 48];
            let mut at = 0;
            for word in whole.chain([last]) {
                back[at..at + 8].copy_from_slice(&word.to_le_bytes());
                at += 8;
            }
            assert_eq!(back[..end], bytes[..end]);
            assert!(back[end..].iter().all(|&byte| byte == 0), "{end}");
        }
    }

    #[test]
    fn marks_are_those_of_a_byte_loop() {
        for byte in 0..=255u8 {
            // Surroundings that borrow and carry.
            for beside in [0x00, 0x01, 0x20, 0x21, 0x7f, 0x80, 0xff] {
                for place in 0..8 {
                    let mut bytes = [beside; 8];
                    bytes[place] = byte;
                    check_marks(bytes);
                }
            }
        }
    }

    fn check_marks(bytes: [u8; 8]) {
        let word = u64::from_le_bytes(bytes);
        let place = |wanted: &dyn Fn(u8) -> bool| bytes.iter().position(|&it| wanted(it));
        let marked = |marks: u64| (marks != 0).then(|| first(marks));
        for wanted in [0, b'\n', b':', 0x7f, 0x80, 0xff] {
            assert_eq!(marked(is(word, wanted)), place(&|it| it == wanted), "{bytes:x?}");
        }
        for limit in [1, 0x21, 0x80] {
            assert_eq!(marked(is_below(word, limit)), place(&|it| it < limit), "{bytes:x?}");
        }
        for (low, high) in [(b'A', b'Z'), (b'0', b'9'), (0, 0x7f)] {
            let marks = is_within(word, low, high).to_le_bytes();
            let within = |it: u8| if (low..=high).contains(&it) { 0x80 } else { 0 };
            assert_eq!(marks, bytes.map(within), "{bytes:x?}");
        }
        assert_eq!(lower(word).to_le_bytes(), bytes.map(|it| it.to_ascii_lowercase()));
    }

    #[test]
    fn find_looks_at_every_byte_and_no_further() {
        let mut bytes = [b'x'; 30];
        for end in 0..bytes.len() {
            assert_eq!(find(&bytes[..end], |word| is(word, b'\n')), None);
            assert_eq!(find(&bytes[..end], |word| is(word, 0)), None);
            for at in 0..end {
                bytes[at] = b'\n';
                assert_eq!(find(&bytes[..end], |word| is(word, b'\n')), Some(at));
                assert_eq!(find(&bytes[..at], |word| is(word, b'\n')), None);
                bytes[at] = b'x';
            }
        }
    }

    #[test]
    fn names_are_compared_without_case() {
        for end in 0..26 {
            let (upper, lower) = (b"ABCDEFGHIJKLMNOPQRSTUVW-09", b"abcdefghijklmnopqrstuvw-09");
            assert!(eq_lower(&upper[..end], &lower[..end]));
            assert!(!eq_lower(&upper[..end], &lower[..end + 1 - end / 26]) || end == 26);
        }
        assert!(!eq_lower(b"a\x0eexample", b"a.example"));
        assert!(!eq_lower(b"@", b"`"));
    }
}
