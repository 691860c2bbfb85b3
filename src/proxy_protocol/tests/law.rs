//! What holds for any bytes of a trusted sender; also for the fuzz target `proxy`.

use super::read::{Heard, LONGEST_HEADER, read};

/// A header never reaches beyond what came, and is known as soon as it is whole; nothing that follows changes an answer; no more
/// is ever asked for than the longest may have.
pub(crate) fn check(bytes: &[u8]) {
    hold(bytes);
    hold(&[bytes, b"\r\nbehind"].concat());
}

fn hold(bytes: &[u8]) {
    let first = (0..=bytes.len()).find(|cut| heard(bytes, *cut) != Heard::NeedMore);
    let Some(cut) = first else {
        assert!(bytes.len() < LONGEST_HEADER, "{} bytes are not enough", bytes.len());
        return;
    };
    let answer = heard(bytes, cut);
    for longer in [cut + 1, cut + 2, bytes.len()] {
        assert_eq!(heard(bytes, longer.min(bytes.len())), answer);
    }
    if let Heard::Header { length, client } = answer {
        assert_eq!(length, cut);
        assert!(length <= LONGEST_HEADER);
        // One client has one address, however it is written.
        assert!(client.is_none_or(|it| it.ip() == it.ip().to_canonical()), "{client:?}");
    }
}

fn heard(bytes: &[u8], cut: usize) -> Heard {
    read(&bytes[..cut])
}
