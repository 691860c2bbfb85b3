//! The first handshake message of a stream of TLS records.

use crate::{Reader, Scratch, Short};

pub(super) const HANDSHAKE: u8 = 0x16;
/// Most bytes of one plaintext record (RFC 8446, section 5.1).
pub(super) const RECORD: u16 = 1 << 14;
const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;

/// What there is of it.
pub(super) enum Hello<'a> {
    /// The body of the ClientHello, without its handshake header.
    Whole(&'a [u8]),
    NeedMore,
    Malformed,
}

/// Finds the first handshake message over any number of records: borrowed from the opening where one record holds all
/// of it, else put together in `scratch`.
pub(super) fn hello<'a>(bytes: &'a [u8], scratch: &'a mut Scratch) -> Hello<'a> {
    in_first_record(bytes).unwrap_or_else(|| put_together(bytes, scratch))
}

/// The same where it takes more than one record, or what the first will hold cannot be told yet.
pub(super) fn put_together<'a>(bytes: &[u8], scratch: &'a mut Scratch) -> Hello<'a> {
    scratch.clear();
    let mut reader = Reader::new(bytes);
    loop {
        let Ok([kind, major, minor, high, low]) = reader.array() else { return Hello::NeedMore };
        if (kind, major) != (HANDSHAKE, 0x03) || minor > 4 || !sound(high, low) {
            return Hello::Malformed;
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let (fragment, cut) = match reader.take(length) {
            Ok(fragment) => (fragment, false),
            Err(Short) => (reader.rest(), true),
        };
        // The last record may hold more than the end of the hello; what does not fit is not needed.
        let room = Scratch::SIZE - scratch.bytes().len();
        if !scratch.push(fragment.get(..room).unwrap_or(fragment)) {
            return Hello::Malformed;
        }
        match announced(scratch.bytes()) {
            Some(end) if end > Scratch::SIZE => return Hello::Malformed,
            Some(end) if end <= scratch.bytes().len() => break,
            _ if cut => return Hello::NeedMore,
            _ => {}
        }
    }
    let scratch: &'a Scratch = scratch;
    whole(scratch.bytes()).unwrap_or(Hello::Malformed)
}

/// The usual case: the first record holds the whole hello, or says by its length that it will.
#[inline(always)]
pub(super) fn in_first_record(bytes: &[u8]) -> Option<Hello<'_>> {
    let (&[.., high, low], rest) = bytes.split_first_chunk::<RECORD_HEADER>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let fragment = rest.get(..length).unwrap_or(rest);
    let end = announced(fragment)?;
    if end > Scratch::SIZE {
        return Some(Hello::Malformed);
    }
    let body = || fragment.get(HANDSHAKE_HEADER..end).map_or(Hello::NeedMore, Hello::Whole);
    (end <= length).then(body)
}

/// The length of a handshake message with its header, once the header is there.
fn announced(message: &[u8]) -> Option<usize> {
    let header = u32::from_be_bytes(*message.first_chunk()?);
    Some(HANDSHAKE_HEADER + (header & 0xff_ffff) as usize)
}

fn whole(message: &[u8]) -> Option<Hello<'_>> {
    let end = announced(message)?;
    message.get(HANDSHAKE_HEADER..end).map(Hello::Whole)
}

/// Whether a record may be this long.
pub(super) const fn sound(high: u8, low: u8) -> bool {
    matches!(u16::from_be_bytes([high, low]), 1..=RECORD)
}
