//! From a client to a header.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use refractium_protocol::{AlpnList, Facts, Transport};

use super::wire::{FIXED, LINE, PROXY, SIGNATURE};
use super::{ProxyProtocol, TYPE_ALPN, TYPE_AUTHORITY};

/// What a backend is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Told<'a> {
    pub(crate) client: SocketAddr,
    /// Our end, to which the client came.
    pub(crate) local: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) facts: Facts<'a>,
}

/// A header about a client. Version 1 tells the addresses alone.
pub(crate) fn header(version: ProxyProtocol, told: &Told<'_>) -> Vec<u8> {
    let ends = Ends::of(told.client, told.local);
    match version {
        ProxyProtocol::V1 => line(ends),
        ProxyProtocol::V2 => binary(ends, told),
    }
}

/// A header of a stream that we open for ourselves.
pub(crate) const fn nobody(version: ProxyProtocol) -> &'static [u8] {
    match version {
        ProxyProtocol::V1 => b"PROXY UNKNOWN\r\n",
        ProxyProtocol::V2 => b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", // LOCAL
    }
}

/// Both ends, in one family: where they differ, IPv4 is written as IPv6 (RFC 4291, section 2.5.5.2).
#[derive(Clone, Copy)]
enum Ends {
    V4([u8; 4], [u8; 4], [u16; 2]),
    V6(Ipv6Addr, Ipv6Addr, [u16; 2]),
}

impl Ends {
    fn of(client: SocketAddr, local: SocketAddr) -> Self {
        let ports = [client.port(), local.port()];
        match (client.ip().to_canonical(), local.ip().to_canonical()) {
            (IpAddr::V4(client), IpAddr::V4(local)) => {
                Self::V4(client.octets(), local.octets(), ports)
            }
            (client, local) => Self::V6(wide(client), wide(local), ports),
        }
    }
}

fn wide(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

fn line(ends: Ends) -> Vec<u8> {
    let (words, [client_port, local_port]) = match ends {
        Ends::V4(client, local, ports) => {
            let [client, local] = [client, local].map(IpAddr::from);
            (format!("TCP4 {client} {local}"), ports)
        }
        Ends::V6(client, local, ports) => (format!("TCP6 {client} {local}"), ports),
    };
    [LINE, format!("{words} {client_port} {local_port}\r\n").as_bytes()].concat()
}

fn binary(ends: Ends, told: &Told<'_>) -> Vec<u8> {
    let transport = match told.transport {
        Transport::Tcp => 0x01, // SOCK_STREAM
        Transport::Udp => 0x02, // SOCK_DGRAM
    };
    let mut body = Vec::with_capacity(LONGEST);
    let (family, ports) = match ends {
        Ends::V4(client, local, ports) => {
            body.extend(client.into_iter().chain(local));
            (0x10, ports) // AF_INET
        }
        Ends::V6(client, local, ports) => {
            body.extend(client.octets().into_iter().chain(local.octets()));
            (0x20, ports) // AF_INET6
        }
    };
    body.extend(ports.into_iter().flat_map(u16::to_be_bytes));
    // It is to be text; a name that is none is nobody's.
    let host = told.facts.host.known().filter(|it| !it.is_empty() && str::from_utf8(it).is_ok());
    host.into_iter().for_each(|host| add(&mut body, TYPE_AUTHORITY, host));
    let offered = told.facts.alpn.known();
    offered.into_iter().for_each(|it| add(&mut body, TYPE_ALPN, &extension(&it)));
    let length = u16::try_from(body.len()).unwrap_or_default().to_be_bytes();
    [SIGNATURE, &[PROXY, family | transport][..], &length, &body].concat()
}

/// Adds a type, a length and a value, if there is room for them.
fn add(body: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let Ok(length) = u16::try_from(value.len()) else { return };
    if FIXED + body.len() + 3 + value.len() <= LONGEST {
        body.push(kind);
        body.extend(length.to_be_bytes());
        body.extend(value);
    }
}

/// What the client offers, as its extension has it (RFC 7301, section 3.1): nothing has been agreed upon yet.
fn extension(offered: &AlpnList<'_>) -> Vec<u8> {
    let names = offered.iter().flat_map(|name| {
        let length = u8::try_from(name.len()).unwrap_or_default();
        std::iter::once(length).chain(name.iter().copied())
    });
    let names: Vec<_> = names.collect();
    let length = u16::try_from(names.len()).unwrap_or_default();
    [&length.to_be_bytes()[..], &names].concat()
}

/// No header of ours is longer: one segment takes it on any path (RFC 9293, section 3.7.1). What does not fit is left out.
pub(crate) const LONGEST: usize = 536;
