//! Small damage to bytes: what a hostile client, or a bug in a client, would do.

/// Does what a random word says: flips a bit, sets a byte, changes a 16-bit number, cuts some bytes out, doubles some, or
/// drops the end.
pub(crate) fn edit(bytes: &mut Vec<u8>, word: u64) {
    let [kind, value, a, b, c, d, e, _] = word.to_le_bytes();
    if bytes.is_empty() {
        bytes.push(value);
        return;
    }
    // Half of all edits go to the first 64 bytes, where the lengths are.
    let reach = if e & 1 == 0 { bytes.len() } else { bytes.len().min(64) };
    let at = usize::from(u16::from_le_bytes([a, b])) % reach;
    let end = (at + 1 + usize::from(c % 24)).min(bytes.len());
    match kind % 7 {
        0 => bytes[at] ^= 1 << (value % 8),
        1 => bytes[at] = value,
        2 | 3 => add(&mut bytes[at..], i16::from(value.cast_signed()) * i16::from(1 + d % 3)),
        4 => drop(bytes.drain(at..end)),
        5 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        _ => bytes.truncate(at),
    }
}

/// Adds a little to the big-endian number that the bytes begin with.
pub(crate) fn add(bytes: &mut [u8], amount: i16) {
    if let Some(number) = bytes.first_chunk_mut::<2>() {
        *number = u16::from_be_bytes(*number).wrapping_add_signed(amount).to_be_bytes();
    }
}
