mod law;
mod whole;

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use proptest::prelude::*;
use refractium_protocol::{AlpnList, Fact, Facts, Transport};

use super::read::{HeaderFault as Fault, LOCAL, LONGEST_BODY, LONGEST_LINE, TYPE_CRC32C, crc32c};
use super::wire::{FIXED, LINE, PROXY, SIGNATURE};
use super::write::{LONGEST, Told, header};
use super::*;

fn told<'a>(client: &str, local: &str, facts: Facts<'a>) -> Told<'a> {
    let parse = |text: &str| text.parse().expect(text);
    Told { client: parse(client), local: parse(local), transport: Transport::Tcp, facts }
}

fn heard(length: usize, client: Option<&str>) -> Heard {
    Heard::Header { length, client: client.map(|it| it.parse().expect(it)) }
}

/// Version 2 with this command, family and body.
fn binary(kind: u8, family: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).expect("short").to_be_bytes();
    [SIGNATURE, &[kind, family][..], &length, body].concat()
}

const ENDS_V4: [u8; 12] = [192, 0, 2, 1, 192, 0, 2, 2, 0x12, 0x34, 0x01, 0xbb];

/// A body with something behind the addresses.
fn with(tlv: &[u8]) -> Vec<u8> {
    [&ENDS_V4[..], tlv].concat()
}

#[test]
fn lines_say_what_the_specification_lets_them_say() {
    let client = Some("192.0.2.1:4660");
    for (line, expected) in [
        ("PROXY TCP4 192.0.2.1 192.0.2.2 4660 443\r\n", heard(41, client)),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 4660 443\r\nGET /", heard(41, client)),
        ("PROXY TCP6 ::ffff:192.0.2.1 2001:db8::2 4660 443\r\n", heard(50, client)),
        ("PROXY TCP6 2001:db8::1 ::1 1 0\r\n", heard(32, Some("[2001:db8::1]:1"))),
        ("PROXY UNKNOWN\r\n", heard(15, None)),
        ("PROXY UNKNOWN ffff::1 whatever it is\r\n\r\n", heard(38, None)),
        ("PROXY", Heard::NeedMore),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 4660 443", Heard::NeedMore),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 4660 443\r", Heard::NeedMore),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 4660 443\n", Heard::Wrong(Fault::Line)),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 4660 443\r\r\n", Heard::Wrong(Fault::Line)),
        ("PROXY TCP4  192.0.2.1 192.0.2.2 4660 443\r\n", Heard::Wrong(Fault::Line)),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 4660 443 \r\n", Heard::Wrong(Fault::Line)),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 04660 443\r\n", Heard::Wrong(Fault::Line)),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 +466 443\r\n", Heard::Wrong(Fault::Line)),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n", Heard::Wrong(Fault::Line)),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 4660\r\n", Heard::Wrong(Fault::Line)),
        ("PROXY TCP4 ::1 ::1 4660 443\r\n", Heard::Wrong(Fault::Line)),
        ("PROXY TCP6 192.0.2.1 192.0.2.2 4660 443\r\n", Heard::Wrong(Fault::Line)),
        ("PROXY UDP4 192.0.2.1 192.0.2.2 4660 443\r\n", Heard::Wrong(Fault::Line)),
        ("PROXY UNKNOWNS\r\n", Heard::Wrong(Fault::Line)),
        ("PROXY \r\n", Heard::Wrong(Fault::Line)),
        ("proxy TCP4", Heard::Wrong(Fault::Beginning)),
        ("GET / HTTP/1.1\r\n", Heard::Wrong(Fault::Beginning)),
        ("", Heard::NeedMore),
    ] {
        assert_eq!(read(line.as_bytes()), expected, "{line:?}");
    }
}

#[test]
fn a_line_has_at_most_107_bytes() {
    let line = |length: usize| format!("PROXY UNKNOWN {}\r\n", "x".repeat(length - 16));
    let (longest, longer) = (line(LONGEST_LINE), line(LONGEST_LINE + 1));
    assert_eq!(read(longest.as_bytes()), heard(LONGEST_LINE, None));
    assert_eq!(read(longer.as_bytes()), Heard::Wrong(Fault::Length));
    assert_eq!(read(&longer.as_bytes()[..LONGEST_LINE - 1]), Heard::NeedMore);
    assert_eq!(read(&longer.as_bytes()[..LONGEST_LINE]), Heard::Wrong(Fault::Length));
}

#[test]
fn version_2_says_what_the_specification_lets_it_say() {
    let client = Some("192.0.2.1:4660");
    let wrong = Heard::Wrong;
    for (bytes, expected) in [
        (binary(PROXY, 0x11, &ENDS_V4), heard(28, client)),
        (binary(PROXY, 0x11, &with(&[0xee, 0, 2, 7, 7])), heard(33, client)), // a type of nobody
        (binary(PROXY, 0x11, &with(&[0x04, 0, 0])), heard(31, client)),       // PP2_TYPE_NOOP
        (binary(PROXY, 0x12, &ENDS_V4), heard(28, None)),                     // a datagram
        (binary(PROXY, 0x31, &[b'x'; 216]), heard(232, None)),                // AF_UNIX
        (binary(PROXY, 0x00, &[1, 2, 3]), heard(19, None)),                   // AF_UNSPEC
        (binary(PROXY, 0x00, &[]), heard(16, None)),
        (binary(LOCAL, 0x00, &[]), heard(16, None)),
        (binary(LOCAL, 0xff, &[1, 2, 3]), heard(19, None)), // the family is ignored
        (binary(LOCAL, 0x11, &ENDS_V4), heard(28, None)),
        (binary(PROXY, 0x11, &[]), wrong(Fault::Content)),
        (binary(PROXY, 0x11, &ENDS_V4[..11]), wrong(Fault::Content)),
        (binary(PROXY, 0x21, &ENDS_V4), wrong(Fault::Content)),
        (binary(PROXY, 0x31, &ENDS_V4), wrong(Fault::Content)),
        (binary(PROXY, 0x41, &ENDS_V4), wrong(Fault::Kind)),
        (binary(PROXY, 0x13, &ENDS_V4), wrong(Fault::Kind)),
        (binary(0x22, 0x11, &ENDS_V4), wrong(Fault::Kind)),
        (binary(0x11, 0x11, &ENDS_V4), wrong(Fault::Kind)),
        (binary(PROXY, 0x11, &with(&[1, 0])), wrong(Fault::Content)), // half a type and length
        (binary(PROXY, 0x11, &with(&[1, 0, 9, 7])), wrong(Fault::Content)), // beyond the end
        (binary(PROXY, 0x11, &vec![0; LONGEST_BODY + 1]), wrong(Fault::Length)),
        (binary(PROXY, 0x00, &vec![0; LONGEST_BODY]), heard(FIXED + LONGEST_BODY, None)),
        ([SIGNATURE, &[PROXY, 0x11, 0xff, 0xff][..]].concat(), wrong(Fault::Length)),
        (b"\r\n\r\n\0\r\nQUIT\r".to_vec(), wrong(Fault::Beginning)),
    ] {
        assert_eq!(read(&bytes), expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn a_checksum_is_that_of_the_header() {
    assert_eq!(crc32c(b"123456789".iter()), 0xe306_9283);
    let zeros = binary(PROXY, 0x11, &with(&[TYPE_CRC32C, 0, 4, 0, 0, 0, 0, 0x04, 0, 1, 9]));
    let mut right = zeros.clone();
    right[31..35].copy_from_slice(&crc32c(zeros.iter()).to_be_bytes());
    assert_eq!(read(&right), heard(39, Some("192.0.2.1:4660")));
    right[16] ^= 1;
    assert_eq!(read(&right), Heard::Wrong(Fault::Checksum));
    let short = binary(PROXY, 0x11, &with(&[TYPE_CRC32C, 0, 3, 0, 0, 0]));
    assert_eq!(read(&short), Heard::Wrong(Fault::Content));
}

#[test]
fn both_ends_are_written_in_one_family() {
    for (client, local, expected) in [
        ("192.0.2.1:1", "192.0.2.2:2", "TCP4 192.0.2.1 192.0.2.2 1 2"),
        ("192.0.2.1:1", "[::ffff:192.0.2.2]:2", "TCP4 192.0.2.1 192.0.2.2 1 2"),
        ("[2001:db8::1]:1", "[2001:db8::2]:2", "TCP6 2001:db8::1 2001:db8::2 1 2"),
        ("[2001:db8::1]:1", "192.0.2.2:2", "TCP6 2001:db8::1 ::ffff:192.0.2.2 1 2"),
        ("192.0.2.1:1", "[2001:db8::2]:2", "TCP6 ::ffff:192.0.2.1 2001:db8::2 1 2"),
    ] {
        let told = told(client, local, Facts::NONE);
        let line = header(ProxyProtocol::V1, &told);
        assert_eq!(line, format!("PROXY {expected}\r\n").as_bytes());
        for bytes in [line, header(ProxyProtocol::V2, &told)] {
            assert_eq!(read(&bytes), heard(bytes.len(), Some(client)));
        }
    }
}

#[test]
fn version_2_tells_of_host_and_application_protocols() {
    let mut facts = Facts::with_host(Fact::Known(b"a.example"));
    facts.alpn = Fact::Known(AlpnList::new(b"\x02h2\x08http/1.1").expect("a list"));
    let mut told = told("192.0.2.1:4660", "192.0.2.2:443", facts);
    let tlvs = b"\x02\0\x09a.example\x01\0\x0e\0\x0c\x02h2\x08http/1.1";
    assert_eq!(header(ProxyProtocol::V2, &told), binary(PROXY, 0x11, &with(tlvs)));
    told.transport = Transport::Udp;
    assert_eq!(header(ProxyProtocol::V2, &told), binary(PROXY, 0x12, &with(tlvs)));
}

#[test]
fn who_speaks_for_itself_names_nobody() {
    for version in ProxyProtocol::ALL {
        let bytes = nobody(version);
        assert_eq!(read(bytes), heard(bytes.len(), None));
    }
}

/// What coverage-guided fuzzing kept, each for a way through the code that no other takes.
#[test]
fn what_the_fuzzer_kept_keeps_the_law() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds/proxy");
    let files = fs::read_dir(folder).expect("seeds");
    let kept: Vec<_> = files
        .map(|file| fs::read(file.expect("a file").path()).expect("a readable seed"))
        .inspect(|bytes| law::check(bytes))
        .collect();
    assert!(kept.len() > 50, "{}", kept.len());
}

fn address() -> impl Strategy<Value = SocketAddr> {
    any::<(IpAddr, u16)>().prop_map(|(ip, port)| SocketAddr::new(ip.to_canonical(), port))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    /// What is written is read again, is never longer than it may be, and for no prefix means anything.
    #[test]
    fn what_is_written_is_read(
        client in address(),
        local in address(),
        host in prop::collection::vec(any::<u8>(), 0..600),
        names in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..=255), 1..50),
        behind in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let length = |name: &Vec<u8>| u8::try_from(name.len()).expect("short");
        let list: Vec<u8> =
            names.iter().flat_map(|it| [&[length(it)][..], it].concat()).collect();
        let mut facts = Facts::with_host(Fact::Known(&host));
        facts.alpn = Fact::Known(AlpnList::new(&list).expect("a list"));
        let told = Told { client, local, transport: Transport::Tcp, facts };
        for version in ProxyProtocol::ALL {
            let mut bytes = header(version, &told);
            let length = bytes.len();
            prop_assert!(length <= LONGEST);
            for cut in 0..length {
                prop_assert_eq!(read(&bytes[..cut]), Heard::NeedMore);
            }
            bytes.extend(&behind);
            prop_assert_eq!(read(&bytes), Heard::Header { length, client: Some(client) });
        }
    }

    #[test]
    fn anything_is_read(
        version in 0..3_usize,
        more in prop::collection::vec(any::<u8>(), 0..300),
    ) {
        let start = [&LINE[..], SIGNATURE, &[]][version];
        law::check(&[start, &more].concat());
    }

    #[test]
    fn changed_headers_are_read(
        client in address(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        let facts = Facts::with_host(Fact::Known(b"a.example"));
        let told = Told { client, local: client, transport: Transport::Tcp, facts };
        for version in ProxyProtocol::ALL {
            let mut bytes = header(version, &told);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            law::check(&bytes);
        }
    }
}
