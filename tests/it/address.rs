//! The client's address: how a backend learns it, and how we do from who stands before us.

mod datagrams;
mod inbound;
mod outbound;
mod printed;
mod real;
mod transparent;

use std::net::SocketAddr;

/// A header of version 2 (command PROXY) between two IPv4 ends, with this transport and this behind the addresses.
fn binary(transport: u8, client: SocketAddr, local: SocketAddr, tlvs: &[u8]) -> Vec<u8> {
    let (SocketAddr::V4(client), SocketAddr::V4(local)) = (client, local) else {
        panic!("{client} and {local} are not both IPv4");
    };
    let length = u16::try_from(12 + tlvs.len()).expect("short").to_be_bytes();
    [
        &b"\r\n\r\n\0\r\nQUIT\n\x21"[..],
        &[0x10 | transport],
        &length,
        &client.ip().octets(),
        &local.ip().octets(),
        &client.port().to_be_bytes(),
        &local.port().to_be_bytes(),
        tlvs,
    ]
    .concat()
}

/// The same in version 1.
fn line(client: SocketAddr, local: SocketAddr) -> Vec<u8> {
    let (from, to) = (client.ip(), local.ip());
    format!("PROXY TCP4 {from} {to} {} {}\r\n", client.port(), local.port()).into_bytes()
}
