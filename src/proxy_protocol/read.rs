//! From bytes to a header.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str;
use std::str::FromStr;

use super::wire::{FIXED, LINE, PROXY, SIGNATURE};

/// What the first bytes of a trusted sender say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It may become a header.
    NeedMore,
    /// So many bytes are one. What follows is the client's.
    Header {
        length: usize,
        /// `None`: the sender speaks for itself, or does not know.
        client: Option<SocketAddr>,
    },
    /// It is none.
    Wrong(HeaderFault),
}

/// Why the first bytes of a trusted sender are no header of the PROXY protocol.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderFault {
    /// They do not begin like one.
    #[error("it does not begin like one")]
    Beginning,
    /// It did not come to its end in time.
    #[error("it is not whole in time")]
    Late,
    /// The stream ended in it.
    #[error("the stream ends in it")]
    Cut,
    /// It is longer than it may be.
    #[error("it is longer than it may be")]
    Length,
    /// The line of version 1 does not say what it should.
    #[error("its line does not say what it should")]
    Line,
    /// It is of a version, a command, a family or a transport that is not known.
    #[error("its version, command, family or transport is not known")]
    Kind,
    /// What it holds does not end where it ends.
    #[error("its length is not that of what it holds")]
    Content,
    /// It has a checksum, and another than it says.
    #[error("its checksum is wrong")]
    Checksum,
}

/// Reads a header of either version at the very beginning of what a trusted sender sent.
pub(crate) fn read(bytes: &[u8]) -> Heard {
    if begins(bytes, LINE) {
        version_1(bytes).unwrap_or_else(Heard::Wrong)
    } else if begins(bytes, SIGNATURE) {
        version_2(bytes).unwrap_or_else(Heard::Wrong)
    } else {
        Heard::Wrong(HeaderFault::Beginning)
    }
}

/// Whether these bytes begin like that, as far as they go.
fn begins(bytes: &[u8], like: &[u8]) -> bool {
    bytes.iter().zip(like).all(|(byte, wanted)| byte == wanted)
}

/// `PROXY TCP4 client server port port`, with single spaces and CR LF behind; or `PROXY UNKNOWN` and anything.
fn version_1(bytes: &[u8]) -> Result<Heard, HeaderFault> {
    let seen = bytes.get(..LONGEST_LINE).unwrap_or(bytes);
    let Some(end) = seen.iter().position(|byte| matches!(byte, b'\r' | b'\n')) else {
        return if seen.len() == LONGEST_LINE {
            Err(HeaderFault::Length)
        } else {
            Ok(Heard::NeedMore)
        };
    };
    match seen.get(end..) {
        Some([b'\r']) if end + 1 < LONGEST_LINE => return Ok(Heard::NeedMore),
        Some([b'\r']) => return Err(HeaderFault::Length),
        Some([b'\r', b'\n', ..]) => {}
        _ => return Err(HeaderFault::Line),
    }
    let line = seen.get(LINE.len()..end).ok_or(HeaderFault::Line)?;
    let line = str::from_utf8(line).map_err(|_| HeaderFault::Line)?;
    let client = client_of(line).ok_or(HeaderFault::Line)?;
    Ok(Heard::Header { length: end + 2, client })
}

/// Who the rest of a line names, if it is right.
fn client_of(line: &str) -> Option<Option<SocketAddr>> {
    let mut words = line.split(' ');
    let family = words.next()?;
    if family == "UNKNOWN" {
        return Some(None);
    }
    let rest: [&str; 4] = words.collect::<Vec<_>>().try_into().ok()?;
    let [client, server, client_port, server_port] = rest;
    let address = |text| match family {
        "TCP4" => parsed(text).map(IpAddr::V4),
        "TCP6" => parsed(text).map(IpAddr::V6),
        _ => None,
    };
    let (client, _) = (address(client)?, address(server)?);
    let (client_port, _) = (port(client_port)?, port(server_port)?);
    Some(Some(SocketAddr::new(client.to_canonical(), client_port)))
}

fn parsed<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok()
}

/// A decimal number without a sign and without leading zeros.
fn port(text: &str) -> Option<u16> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
    let is_short = text == "0" || !text.starts_with('0');
    if is_plain && is_short { parsed(text) } else { None }
}

fn version_2(bytes: &[u8]) -> Result<Heard, HeaderFault> {
    let Some((&kind, rest)) = bytes.get(SIGNATURE.len()..).and_then(<[u8]>::split_first) else {
        return Ok(Heard::NeedMore);
    };
    if kind != LOCAL && kind != PROXY {
        return Err(HeaderFault::Kind);
    }
    let &[family, high, low, ..] = rest else { return Ok(Heard::NeedMore) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > LONGEST_BODY {
        return Err(HeaderFault::Length);
    }
    let length = FIXED + length;
    let Some(header) = bytes.get(..length) else { return Ok(Heard::NeedMore) };
    // Whatever else it says is to be skipped then, the family included.
    if kind == LOCAL {
        return Ok(Heard::Header { length, client: None });
    }
    let body = header.get(FIXED..).unwrap_or_default();
    let (client, places) = addresses(family, body)?;
    check_rest(header, FIXED + places)?;
    Ok(Heard::Header { length, client })
}

/// The client, and how many bytes the addresses take. One that is no client of a stream of the internet is not known.
fn addresses(family: u8, body: &[u8]) -> Result<(Option<SocketAddr>, usize), HeaderFault> {
    let (family, transport) = (family >> 4, family & 0x0f);
    if transport > 2 {
        return Err(HeaderFault::Kind);
    }
    let (client, places) = match family {
        0 => return Ok((None, body.len())), // AF_UNSPEC: what the rest is, nobody says
        1 => (v4(body), 12),
        2 => (v6(body), 36),
        3 => (None, 216), // AF_UNIX
        _ => return Err(HeaderFault::Kind),
    };
    if body.len() < places {
        return Err(HeaderFault::Content);
    }
    // A datagram is not what brought this.
    Ok((client.filter(|_| transport == 1), places))
}

fn v4(body: &[u8]) -> Option<SocketAddr> {
    let ip: [u8; 4] = *body.first_chunk()?;
    Some((ip, port_at(body, 8)?).into())
}

fn v6(body: &[u8]) -> Option<SocketAddr> {
    let ip: [u8; 16] = *body.first_chunk()?;
    Some(SocketAddr::new(IpAddr::V6(Ipv6Addr::from(ip)).to_canonical(), port_at(body, 32)?))
}

fn port_at(body: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*body.get(at..)?.first_chunk()?))
}

/// Whether what follows the addresses is made of types, lengths and values that end where the header ends, and whether the
/// checksum, if there is one, is that of the whole header with zeros in its place.
fn check_rest(header: &[u8], mut at: usize) -> Result<(), HeaderFault> {
    while let Some([kind, high, low, rest @ ..]) = header.get(at..) {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let value = rest.get(..length).ok_or(HeaderFault::Content)?;
        if *kind == TYPE_CRC32C {
            let said: [u8; 4] = value.try_into().map_err(|_| HeaderFault::Content)?;
            let before = header.get(..at + 3).unwrap_or_default();
            let behind = rest.get(length..).unwrap_or_default();
            if u32::from_be_bytes(said) != crc32c(before.iter().chain(&[0; 4]).chain(behind)) {
                return Err(HeaderFault::Checksum);
            }
        }
        at += 3 + length;
    }
    if at == header.len() { Ok(()) } else { Err(HeaderFault::Content) }
}

/// CRC-32C (RFC 9260, appendix A). Bit by bit: a header is short, and few have one.
pub(super) fn crc32c<'a>(bytes: impl Iterator<Item = &'a u8>) -> u32 {
    !bytes.fold(!0, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { sum >> 1 ^ 0x82f6_3b78 } else { sum >> 1 }
        })
    })
}

/// Version 2, with the real ends of the connection: the proxy speaks for itself.
pub(super) const LOCAL: u8 = 0x20;

pub(super) const TYPE_CRC32C: u8 = 0x03; // PP2_TYPE_CRC32C

/// The longest line of version 1, CR LF included, as the specification has it.
pub(super) const LONGEST_LINE: usize = 107;

/// Most bytes that a header of version 2 may have behind its first 16. The specification allows 65,535; addresses and what is
/// told of a client's certificate take a few hundred.
pub(super) const LONGEST_BODY: usize = 4096;

/// No header is longer.
pub(crate) const LONGEST_HEADER: usize = FIXED + LONGEST_BODY;
