use crate::Verdict;

/// Whether the bytes start with `pattern`: `NeedMore` while they are a proper beginning of it.
#[inline]
pub fn prefix(bytes: &[u8], pattern: &[u8]) -> Verdict {
    // In this order a pattern known at compile time is compared in registers.
    if bytes.starts_with(pattern) {
        Verdict::Match
    } else if bytes.len() < pattern.len() && pattern.starts_with(bytes) {
        Verdict::NeedMore
    } else {
        Verdict::NoMatch
    }
}

/// Like [`prefix`], without regard to ASCII case.
#[inline]
pub fn prefix_ignore_case(bytes: &[u8], pattern: &[u8]) -> Verdict {
    let shared = bytes.len().min(pattern.len());
    match (bytes.get(..shared), pattern.get(..shared)) {
        (Some(head), Some(start)) if head.eq_ignore_ascii_case(start) => {
            if shared == pattern.len() { Verdict::Match } else { Verdict::NeedMore }
        }
        _ => Verdict::NoMatch,
    }
}

/// Whether the bytes start with any of the patterns; no pattern at all never matches.
pub fn any_prefix(bytes: &[u8], patterns: &[&[u8]]) -> Verdict {
    any(patterns, |pattern| prefix(bytes, pattern))
}

/// Like [`any_prefix`], without regard to ASCII case.
pub fn any_prefix_ignore_case(bytes: &[u8], patterns: &[&[u8]]) -> Verdict {
    any(patterns, |pattern| prefix_ignore_case(bytes, pattern))
}

fn any(patterns: &[&[u8]], verdict: impl Fn(&[u8]) -> Verdict) -> Verdict {
    let mut best = Verdict::NoMatch;
    for pattern in patterns {
        best = best.or(verdict(pattern));
        if best == Verdict::Match {
            break;
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_needs_more_until_it_is_whole() {
        assert_eq!(prefix(b"", b"SSH-"), Verdict::NeedMore);
        assert_eq!(prefix(b"SS", b"SSH-"), Verdict::NeedMore);
        assert_eq!(prefix(b"SSH-", b"SSH-"), Verdict::Match);
        assert_eq!(prefix(b"SSH-2.0", b"SSH-"), Verdict::Match);
        assert_eq!(prefix(b"ST", b"SSH-"), Verdict::NoMatch);
        assert_eq!(prefix(b"ssh-", b"SSH-"), Verdict::NoMatch);
        assert_eq!(prefix_ignore_case(b"ssh-", b"SSH-"), Verdict::Match);
    }

    #[test]
    fn any_prefix_waits_for_the_longest_that_still_may() {
        let patterns: [&[u8]; 2] = [b"\x01\xff", b"MY"];
        assert_eq!(any_prefix(b"\x01", &patterns), Verdict::NeedMore);
        assert_eq!(any_prefix(b"\x01\xff", &patterns), Verdict::Match);
        assert_eq!(any_prefix(b"M", &patterns), Verdict::NeedMore);
        assert_eq!(any_prefix(b"\x01\xfe", &patterns), Verdict::NoMatch);
        assert_eq!(any_prefix(b"x", &[]), Verdict::NoMatch);
    }
}
