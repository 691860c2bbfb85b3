use crate::word::{all, is_within, words};

/// Takes a DNS name as clients write it: labels of 1 to 63 letters, digits, `-` and `_`, at most 253 bytes, one
/// trailing dot allowed and dropped (RFC 1123, section 2.1; the underscore is common in practice). Anything else,
/// wildcards included, is no name.
pub fn dns_name(bytes: &[u8]) -> Option<&[u8]> {
    let name = match bytes {
        [name @ .., b'.'] => name,
        name => name,
    };
    // No label of so short a name is too long.
    let is_sound = if name.len() <= LABEL { has_labels(name) } else { has_short_labels(name) };
    is_sound.then_some(name)
}

/// Longest label (RFC 1035, section 2.3.4).
const LABEL: usize = 63;

/// What stands behind a name in its last word: a dot, which no other dot may touch, and letters.
const BEHIND: u64 = all(b'a') & !0xff | b'.' as u64;

/// Whether there are only bytes of names, and a label before, behind and between dots; a word at a time.
fn has_labels(name: &[u8]) -> bool {
    let (whole, last) = words(name);
    let mut wrong = 0;
    // Whether a dot ended the word before: one stands before the name.
    let mut dot = 0x80;
    let mut look = |word: u64| {
        let dots = is_within(word, b'.', b'.');
        wrong |= !(dots | is_in_label(word)) & all(0x80);
        wrong |= dots & (dots << 8 | dot);
        dot = dots >> 56;
    };
    whole.for_each(&mut look);
    look(last | BEHIND << (8 * (name.len() % 8)));
    wrong == 0
}

const fn is_in_label(word: u64) -> u64 {
    is_within(word | all(0x20), b'a', b'z')
        | is_within(word, b'0', b'9')
        | is_within(word, b'-', b'-')
        | is_within(word, b'_', b'_')
}

/// The same byte by byte, for a name that may have too long a label or too many.
fn has_short_labels(name: &[u8]) -> bool {
    let mut label = 0;
    for &byte in name {
        match byte {
            b'.' if label == 0 => return false,
            b'.' => label = 0,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' if label < LABEL => label += 1,
            _ => return false,
        }
    }
    label > 0 && name.len() <= 253
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_one_trailing_dot() {
        assert_eq!(dns_name(b"a.example."), Some(&b"a.example"[..]));
        assert_eq!(dns_name(b"A_b-1.Example"), Some(&b"A_b-1.Example"[..]));
        for nonsense in [
            &b""[..],
            b".",
            b"..",
            b"a..b",
            b"a..",
            b".a",
            b"*.a",
            b"a b",
            b"a\0",
            b"a%00",
            b"\xff.a",
            &[b'a'; 64],
        ] {
            assert_eq!(dns_name(nonsense), None, "{}", nonsense.escape_ascii());
        }
    }

    #[test]
    fn words_say_what_bytes_say() {
        for length in 0..=24 {
            let mut name = [b'a'; 24];
            assert_eq!(has_labels(&name[..length]), length > 0);
            for at in 0..length {
                for byte in 0..=255 {
                    name[at] = byte;
                    let name = &name[..length];
                    assert_eq!(has_labels(name), has_short_labels(name), "{}", name.escape_ascii());
                }
                // Two dots, wherever the words are cut.
                name[at] = b'.';
                for other in 0..length {
                    let mut name = name;
                    name[other] = b'.';
                    let name = &name[..length];
                    assert_eq!(has_labels(name), has_short_labels(name), "{}", name.escape_ascii());
                }
                name[at] = b'a';
            }
        }
    }
}
