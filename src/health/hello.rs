//! What checks say: a ClientHello and a DNS query, put together by hand.

use std::hash::{BuildHasher, RandomState};

/// A ClientHello for TLS 1.2 and 1.3, such as every server answers that speaks one of them. It leads to no session: its
/// key share is no key of anybody's.
pub(super) fn client_hello(host: Option<&str>) -> Vec<u8> {
    let mut extensions = Vec::new();
    if let Some(host) = host {
        // RFC 6066, section 3: a list of one name, whose type is 0.
        let name = [&[0][..], &sized::<2>(host.as_bytes())].concat();
        extension(&mut extensions, 0x0000, &sized::<2>(&name));
    }
    extension(&mut extensions, 0x000b, &[1, 0]); // point formats: uncompressed
    extension(&mut extensions, 0x000a, &sized::<2>(&words(GROUPS)));
    extension(&mut extensions, 0x000d, &sized::<2>(&words(SIGNATURES)));
    extension(&mut extensions, 0x0017, &[]); // extended master secret (RFC 7627)
    extension(&mut extensions, 0xff01, &[0]); // renegotiation info (RFC 5746)
    extension(&mut extensions, 0x002b, &sized::<1>(&words(&[0x0304, 0x0303]))); // versions
    extension(&mut extensions, 0x002d, &[1, 1]); // PSK key exchange modes: with a key share
    let share = [&words(&[X25519])[..], &sized::<2>(&random::<32>())].concat();
    extension(&mut extensions, 0x0033, &sized::<2>(&share));
    let body = [
        &[3, 3][..],
        &random::<32>(),
        &sized::<1>(&random::<32>()), // a session, for servers in the habit of TLS 1.2
        &sized::<2>(&words(CIPHERS)),
        &[1, 0], // compression: none
        &sized::<2>(&extensions),
    ]
    .concat();
    let message = [&[1][..], &sized::<3>(&body)].concat();
    [&[0x16, 3, 1][..], &sized::<2>(&message)].concat()
}

/// A query for the IPv4 addresses of a name, or for the name servers of the root (RFC 1035, section 4).
pub(super) fn dns_query(host: &str) -> Vec<u8> {
    let mut query = random::<2>().to_vec();
    query.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]); // recursion is desired; one question
    for label in host.split('.').filter(|label| !label.is_empty()) {
        query.extend(sized::<1>(label.as_bytes()));
    }
    query.push(0);
    let (a, ns) = (1, 2);
    query.extend([0, if host.is_empty() { ns } else { a }, 0, 1]);
    query
}

/// RFC 8446, section 4.2.7.
const X25519: u16 = 0x001d;
const GROUPS: &[u16] = &[X25519, 0x0017, 0x0018];
/// RFC 8446, section 4.2.3: ECDSA, RSA-PSS and RSA with SHA-256, 384 and 512; RSA with SHA-1.
const SIGNATURES: &[u16] = &[
    0x0403, 0x0804, 0x0809, 0x0401, 0x0503, 0x0805, 0x080a, 0x0501, 0x0603, 0x0806, 0x080b, 0x0601,
    0x0807, 0x0201,
];
/// Those of TLS 1.3, then ECDHE and RSA with AES and ChaCha20.
const CIPHERS: &[u16] = &[
    0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc009, 0xc013, 0xc00a,
    0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
];

fn extension(list: &mut Vec<u8>, number: u16, body: &[u8]) {
    list.extend(number.to_be_bytes());
    list.extend(sized::<2>(body));
}

/// The bytes behind their number, which takes `WIDTH` bytes.
fn sized<const WIDTH: usize>(bytes: &[u8]) -> Vec<u8> {
    let number = bytes.len().to_be_bytes();
    let (_, last) = number.split_at(number.len().saturating_sub(WIDTH));
    [last, bytes].concat()
}

fn words(list: &[u16]) -> Vec<u8> {
    list.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Nobody has to be unable to guess them.
fn random<const COUNT: usize>() -> [u8; COUNT] {
    let seed = RandomState::new();
    std::array::from_fn(|at| seed.hash_one(at).to_be_bytes()[0])
}
