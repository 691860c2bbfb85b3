mod records;

use crate::{
    AlpnList, Fact, Facts, Opening, Reader, RefractiumProtocol, Scratch, Short, Transport, Verdict,
    dns_name,
};
use records::{HANDSHAKE, Hello, RECORD, hello, in_first_record, put_together, sound};

/// TLS by its ClientHello (RFC 8446, section 4.1.2), with the server name and the application protocols it offers.
///
/// As a protocol it is known from six bytes: a handshake record that begins with a ClientHello. The facts wait for the
/// whole hello, over any number of TCP segments and TLS records, because extensions come in any order and a
/// post-quantum key share may stand before the name. Versions decide nothing. The old SSLv2 framing of a ClientHello
/// (RFC 5246, appendix E.2) counts as TLS without a name.
#[derive(Clone, Copy, Debug, Default)]
pub struct Https;

const CLIENT_HELLO: u8 = 0x01;

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
        match in_first_record(opening.bytes) {
            Some(hello) => hello.facts(),
            None => facts_of_pieces(opening.bytes, scratch),
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

impl<'a> Hello<'a> {
    #[inline(always)]
    fn facts(self) -> Facts<'a> {
        match self {
            Self::Whole(body) => facts(body).unwrap_or(Facts::MALFORMED),
            Self::NeedMore => Facts::NEED_MORE,
            Self::Malformed => Facts::MALFORMED,
        }
    }
}

/// Not inlined: where one record holds all, it would only take registers.
#[inline(never)]
fn facts_of_pieces<'a>(bytes: &[u8], scratch: &'a mut Scratch) -> Facts<'a> {
    put_together(bytes, scratch).facts()
}

/// Reads a whole ClientHello (RFC 8446, section 4.1.2). A length that does not fit is an error, never "no name".
#[inline(always)]
fn facts(body: &[u8]) -> Result<Facts<'_>, Short> {
    let mut rest = extensions(body)?.rest();
    let (mut name, mut offers, mut ech) = (Found::default(), Found::default(), false);
    // Kind and length at once: one walks from length to length, and each step waits for the one before.
    while let Some((header, behind)) = rest.split_first_chunk() {
        let header = u32::from_be_bytes(*header);
        let (data, next) = behind.split_at_checked((header & 0xffff) as usize).ok_or(Short)?;
        match header >> 16 {
            SERVER_NAME => name.keep(data),
            APPLICATION_LAYER_PROTOCOL_NEGOTIATION => offers.keep(data),
            ENCRYPTED_CLIENT_HELLO => ech = true,
            _ => {}
        }
        rest = next;
    }
    if !rest.is_empty() {
        return Err(Short);
    }
    let host = match name.once()? {
        Some(data) => Fact::Known(server_name(data)?),
        None => Fact::Absent,
    };
    let alpn = match offers.once()? {
        Some(data) => Fact::Known(protocols(data)?),
        None => Fact::Absent,
    };
    Ok(Facts { host, alpn, ech, ..Facts::NONE })
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

    /// No extension may come twice (RFC 8446, section 4.2).
    fn once(&self) -> Result<Option<&'a [u8]>, Short> {
        match self.times {
            0 => Ok(None),
            1 => Ok(Some(self.data)),
            _ => Err(Short),
        }
    }
}

/// Exactly one name of the only type there is (RFC 6066, section 3); a literal address is none.
#[inline(always)]
fn server_name(data: &[u8]) -> Result<&[u8], Short> {
    // The length of the list, the type, and the length of the name.
    let (&[list0, list1, kind, name0, name1], name) = data.split_first_chunk().ok_or(Short)?;
    let (list, length) = (u16::from_be_bytes([list0, list1]), u16::from_be_bytes([name0, name1]));
    if usize::from(list) != name.len() + 3 || kind != 0 || usize::from(length) != name.len() {
        return Err(Short);
    }
    match dns_name(name) {
        Some(name) if !is_ipv4(name) => Ok(name),
        _ => Err(Short),
    }
}

#[inline(always)]
fn protocols(data: &[u8]) -> Result<AlpnList<'_>, Short> {
    let (length, names) = data.split_first_chunk().ok_or(Short)?;
    if usize::from(u16::from_be_bytes(*length)) != names.len() {
        return Err(Short);
    }
    AlpnList::new(names).ok_or(Short)
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
