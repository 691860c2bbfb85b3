use crate::{
    AlpnList, Fact, Facts, Opening, Reader, RefractiumProtocol, Scratch, Short, Transport, Verdict,
    dns_name,
};

/// TLS by its ClientHello (RFC 8446, section 4.1.2), with the server name and the application protocols it offers.
///
/// As a protocol it is known from six bytes: a handshake record that begins with a ClientHello. The facts wait for the
/// whole hello, over any number of TCP segments and TLS records, because extensions come in any order and a
/// post-quantum key share may stand before the name. Versions decide nothing. The old SSLv2 framing of a ClientHello
/// (RFC 5246, appendix E.2) counts as TLS without a name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Https;

const HANDSHAKE: u8 = 0x16;
const CLIENT_HELLO: u8 = 0x01;
/// Most bytes of one plaintext record (RFC 8446, section 5.1).
const RECORD: u16 = 1 << 14;
const RECORD_HEADER: usize = 5;
const HANDSHAKE_HEADER: usize = 4;

const SERVER_NAME: u32 = 0;
const APPLICATION_LAYER_PROTOCOL_NEGOTIATION: u32 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
/// `encrypted_client_hello` (RFC 9849).
const ENCRYPTED_CLIENT_HELLO: u32 = 0xfe0d;

impl RefractiumProtocol for Https {
    fn name(&self) -> &str {
        "https"
    }

    fn aliases(&self) -> &[&str] {
        &["tls"]
    }

    fn transports(&self) -> &[Transport] {
        &[Transport::Tcp]
    }

    fn identify(&self, opening: &Opening<'_>) -> Verdict {
        match opening.bytes {
            [HANDSHAKE, ..] => record(opening.bytes),
            [0x80..=0xff, ..] => v2_hello(opening.bytes),
            [] => Verdict::NeedMore,
            _ => Verdict::NoMatch,
        }
    }

    fn facts<'a>(&self, opening: &Opening<'a>, scratch: &'a mut Scratch) -> Facts<'a> {
        if opening.bytes.first() != Some(&HANDSHAKE) {
            return Facts::NONE;
        }
        match hello(opening.bytes, scratch) {
            Hello::Whole(body) => facts(body).unwrap_or(Facts::MALFORMED),
            Hello::NeedMore => Facts::NEED_MORE,
            Hello::Malformed => Facts::MALFORMED,
        }
    }

    fn version<'a>(&self, opening: &Opening<'a>, scratch: &'a mut Scratch) -> Option<&'a [u8]> {
        match hello(opening.bytes, scratch) {
            Hello::Whole(body) => version(body).ok(),
            Hello::NeedMore | Hello::Malformed => None,
        }
    }

    fn host_key(&self) -> Option<&str> {
        Some("sni")
    }

    fn offers_alpn(&self) -> bool {
        true
    }
}

/// `16 03 xx`, a length of 1 to 2^14, and `01` as the first handshake byte.
fn record(bytes: &[u8]) -> Verdict {
    match *bytes {
        [_, 0x03, 0..=4, high, low, CLIENT_HELLO, ..] if sound(high, low) => Verdict::Match,
        [_, 0x03, 0..=4, high, low] if sound(high, low) => Verdict::NeedMore,
        [_, 0x03, 0..=4, high] if high <= RECORD.to_be_bytes()[0] => Verdict::NeedMore,
        [_] | [_, 0x03] | [_, 0x03, 0..=4] => Verdict::NeedMore,
        _ => Verdict::NoMatch,
    }
}

const fn sound(high: u8, low: u8) -> bool {
    matches!(u16::from_be_bytes([high, low]), 1..=RECORD)
}

/// A ClientHello in SSLv2 framing: its length, `01`, a version, and three lengths that add up to it.
fn v2_hello(bytes: &[u8]) -> Verdict {
    let [high, low, rest @ ..] = bytes else { return Verdict::NeedMore };
    match rest {
        [] | [CLIENT_HELLO] | [CLIENT_HELLO, 0x00 | 0x03] => return Verdict::NeedMore,
        [CLIENT_HELLO, 0x00, 0x02, ..] | [CLIENT_HELLO, 0x03, 0..=4, ..] => {}
        _ => return Verdict::NoMatch,
    }
    let mut reader = Reader::new(rest.get(3..).unwrap_or_default());
    let (Ok(ciphers), Ok(session), Ok(challenge)) = (reader.u16(), reader.u16(), reader.u16())
    else {
        return Verdict::NeedMore;
    };
    let length = u32::from(u16::from_be_bytes([*high & 0x7f, *low]));
    let told = 9 + u32::from(ciphers) + u32::from(session) + u32::from(challenge);
    let sane = ciphers >= 3
        && ciphers % 3 == 0
        && matches!(session, 0 | 16)
        && (16..=32).contains(&challenge);
    if sane && told == length { Verdict::Match } else { Verdict::NoMatch }
}

enum Hello<'a> {
    /// The body of the ClientHello, without its handshake header.
    Whole(&'a [u8]),
    NeedMore,
    Malformed,
}

/// Finds the first handshake message over any number of records: borrowed from the opening where one record holds all
/// of it, else put together in `scratch`.
fn hello<'a>(bytes: &'a [u8], scratch: &'a mut Scratch) -> Hello<'a> {
    if let Some(whole) = in_first_record(bytes) {
        return whole;
    }
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
fn in_first_record(bytes: &[u8]) -> Option<Hello<'_>> {
    let (&[.., high, low], rest) = bytes.split_first_chunk::<RECORD_HEADER>()?;
    let length = usize::from(u16::from_be_bytes([high, low]));
    let fragment = rest.get(..length).unwrap_or(rest);
    let end = announced(fragment)?;
    if end > Scratch::SIZE {
        return Some(Hello::Malformed);
    }
    (end <= length).then(|| whole(fragment).unwrap_or(Hello::NeedMore))
}

/// The length of a handshake message with its header, once the header is there.
fn announced(message: &[u8]) -> Option<usize> {
    let mut reader = Reader::new(message);
    reader.u8().ok()?;
    let length = reader.u24().ok()?;
    Some(HANDSHAKE_HEADER + usize::try_from(length).ok()?)
}

fn whole(message: &[u8]) -> Option<Hello<'_>> {
    let end = announced(message)?;
    message.get(HANDSHAKE_HEADER..end).map(Hello::Whole)
}

/// Reads a whole ClientHello (RFC 8446, section 4.1.2). A length that does not fit is an error, never "no name".
fn facts(body: &[u8]) -> Result<Facts<'_>, Short> {
    let mut extensions = extensions(body)?;
    let (mut name, mut offers, mut ech) = (Found::default(), Found::default(), false);
    while !extensions.is_empty() {
        // Kind and length at once: one walks from length to length, and each step waits for the one before.
        let header = u32::from_be_bytes(extensions.array()?);
        let data = extensions.take((header & 0xffff) as usize)?;
        match header >> 16 {
            SERVER_NAME => name.keep(data),
            APPLICATION_LAYER_PROTOCOL_NEGOTIATION => offers.keep(data),
            kind => ech |= kind == ENCRYPTED_CLIENT_HELLO,
        }
    }
    let host = name.fact(server_name)?;
    Ok(Facts { host, alpn: offers.fact(protocols)?, ech, ..Facts::NONE })
}

/// The newest version offered (RFC 8446, section 4.2.1), else the one that stands in front; grease is passed over.
fn version(body: &[u8]) -> Result<&'static [u8], Short> {
    let mut newest = Reader::new(body).u16()?;
    let mut extensions = extensions(body)?;
    while !extensions.is_empty() {
        let kind = extensions.u16()?;
        let mut data = extensions.vector16()?;
        if kind == SUPPORTED_VERSIONS {
            let mut versions = data.vector8()?;
            while let Ok(version) = versions.u16() {
                if version & 0x0f0f != 0x0a0a {
                    newest = newest.max(version);
                }
            }
        }
    }
    match newest {
        0x0300 => Ok(b"SSL 3"),
        0x0301 => Ok(b"1.0"),
        0x0302 => Ok(b"1.1"),
        0x0303 => Ok(b"1.2"),
        0x0304 => Ok(b"1.3"),
        _ => Err(Short),
    }
}

/// What follows the fixed part of a ClientHello: its extensions, none if there is nothing.
#[inline(always)]
fn extensions(body: &[u8]) -> Result<Reader<'_>, Short> {
    let mut reader = Reader::new(body);
    let _version_and_random = reader.array::<34>()?;
    let session = reader.vector8()?.rest();
    let ciphers = reader.vector16()?.rest();
    let compressions = reader.vector8()?.rest();
    if session.len() > 32 || ciphers.len() < 2 || ciphers.len() % 2 != 0 || compressions.is_empty()
    {
        return Err(Short);
    }
    if reader.is_empty() {
        return Ok(reader);
    }
    let extensions = reader.vector16()?;
    if reader.is_empty() { Ok(extensions) } else { Err(Short) }
}

/// An extension, and how often it came.
#[derive(Default)]
struct Found<'a> {
    data: &'a [u8],
    times: u32,
}

impl<'a> Found<'a> {
    fn keep(&mut self, data: &'a [u8]) {
        self.data = data;
        self.times += 1;
    }

    /// No extension may come twice (RFC 8446, section 4.2). Inlined: a fact returned through memory is written in
    /// halves and read whole, and a processor waits for that.
    #[inline(always)]
    fn fact<T>(&self, read: impl Fn(Reader<'a>) -> Result<T, Short>) -> Result<Fact<T>, Short> {
        match self.times {
            0 => Ok(Fact::Absent),
            1 => read(Reader::new(self.data)).map(Fact::Known),
            _ => Err(Short),
        }
    }
}

/// Exactly one name of the only type there is (RFC 6066, section 3); a literal address is none.
#[inline(always)]
fn server_name(mut data: Reader<'_>) -> Result<&[u8], Short> {
    let mut list = data.vector16()?;
    let kind = list.u8()?;
    let name = list.vector16()?;
    if kind != 0 || !list.is_empty() || !data.is_empty() {
        return Err(Short);
    }
    dns_name(name.rest()).filter(|name| !is_ipv4(name)).ok_or(Short)
}

#[inline(always)]
fn protocols(mut data: Reader<'_>) -> Result<AlpnList<'_>, Short> {
    let list = data.vector16()?;
    if !data.is_empty() {
        return Err(Short);
    }
    AlpnList::new(list.rest()).ok_or(Short)
}

/// Four numbers with dots between; an IPv6 literal has a colon and is no DNS name anyway.
fn is_ipv4(name: &[u8]) -> bool {
    // Few names end in a digit, and only those need be parsed.
    name.last().is_some_and(u8::is_ascii_digit)
        && core::str::from_utf8(name).is_ok_and(|name| name.parse::<core::net::Ipv4Addr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bytes: &[u8]) -> Verdict {
        Https.identify(&Opening::stream(bytes))
    }

    #[test]
    fn six_bytes_decide() {
        let start = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
        for end in 0..start.len() {
            assert_eq!(verdict(&start[..end]), Verdict::NeedMore);
        }
        assert_eq!(verdict(&start), Verdict::Match);
        assert_eq!(verdict(&[0x16, 0x03, 0x00, 0x00, 0x01, 0x01]), Verdict::Match);
    }

    #[test]
    fn other_records_do_not() {
        for bytes in [
            &[0x17, 0x03, 0x03][..],
            &[0x16, 0x02],
            &[0x16, 0xfe, 0xfd],
            &[0x16, 0x03, 0x05],
            &[0x16, 0x03, 0x01, 0x00, 0x00],
            &[0x16, 0x03, 0x01, 0x40, 0x01],
            &[0x16, 0x03, 0x01, 0x41],
            &[0x16, 0x03, 0x01, 0x00, 0x40, 0x02],
            b"GET",
        ] {
            assert_eq!(verdict(bytes), Verdict::NoMatch, "{}", bytes.escape_ascii());
        }
    }

    #[test]
    fn a_v2_hello_counts_by_its_lengths() {
        let mut hello = [0u8; 2 + 9 + 3 + 16];
        hello[..11].copy_from_slice(&[0x80, 28, 1, 3, 1, 0, 3, 0, 0, 0, 16]);
        for end in 0..11 {
            assert_eq!(verdict(&hello[..end]), Verdict::NeedMore);
        }
        assert_eq!(verdict(&hello), Verdict::Match);
        let mut scratch = Scratch::new();
        assert_eq!(Https.facts(&Opening::stream(&hello), &mut scratch), Facts::NONE);
        hello[1] = 29;
        assert_eq!(verdict(&hello), Verdict::NoMatch);
    }
}
