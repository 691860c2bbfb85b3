/// Takes a DNS name as clients write it: labels of 1 to 63 letters, digits, `-` and `_`, at most 253 bytes, one
/// trailing dot allowed and dropped (RFC 1123, section 2.1; the underscore is common in practice). Anything else,
/// wildcards included, is no name.
pub fn dns_name(bytes: &[u8]) -> Option<&[u8]> {
    let name = match bytes {
        [name @ .., b'.'] => name,
        name => name,
    };
    let is_sound = if name.len() <= SHORT { has_labels(name) } else { has_short_labels(name) };
    is_sound.then_some(name)
}

/// Longest label (RFC 1035, section 2.3.4).
const LABEL: usize = 63;

/// No label of so short a name is too long, and its dots and the two around it fit a word.
const SHORT: usize = 62;

/// Whether there are only bytes of names, and a label before, behind and between dots: no dot touches another.
fn has_labels(name: &[u8]) -> bool {
    // A dot stands before the name.
    let (mut kinds, mut dots) = (0, 1);
    for &byte in name {
        let kind = u64::from(KINDS.get(usize::from(byte)).copied().unwrap_or(WRONG));
        kinds |= kind;
        dots = 2 * dots + kind;
    }
    // And one behind it.
    kinds <= u64::from(DOT) && (2 * dots + 1) & dots == 0
}

const IN_LABEL: u8 = 0;
const DOT: u8 = 1;
const WRONG: u8 = 2;

/// What each byte is in a name. A table, because a chain of ranges costs more than all else here.
const KINDS: [u8; 256] = {
    let mut kinds = [WRONG; 256];
    let mut rest: &mut [u8] = &mut kinds;
    let mut byte = 0;
    while let [kind, behind @ ..] = rest {
        *kind = match byte {
            b'.' => DOT,
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' => IN_LABEL,
            _ => WRONG,
        };
        byte = byte.wrapping_add(1);
        rest = behind;
    }
    kinds
};

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
