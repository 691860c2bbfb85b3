//! Fault row S1: what clients say cannot look like anything else in a log, or do anything to who reads it.

use super::{fields, proxy, told};
use crate::harness::{Backend, opening, route};
use std::io::{Read, Write};
use std::net::SocketAddr;

use crate::harness::connect;

/// A terminal's orders, ends of lines, quotes, a right-to-left override, C1 controls, what ends a line of JSON.
const WORST: &[u8] = b"\x1b[31m\x1b]0;x\x07\"'\\\x7f\x80\x9b31m\xe2\x80\xae\xc2\x9b\xe2\x81\xa6\xff\x00,\"end\":\"closed\"} end=closed";

fn send(to: SocketAddr, bytes: &[u8]) {
    let mut client = connect(to);
    // It may be reset before all is taken.
    let _ = client.write_all(bytes);
    let _ = client.shutdown(std::net::Shutdown::Write);
    let _ = client.read_to_end(&mut Vec::new());
}

fn with_length(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat()
}

/// A ClientHello that asks for this name, whatever it is (RFC 8446, section 4.1.2; RFC 6066, section 3).
fn hello(name: &[u8]) -> Vec<u8> {
    let names = with_length(&[&[0][..], &with_length(name)].concat());
    let extensions = with_length(&[&[0, 0][..], &with_length(&names)].concat());
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &extensions].concat();
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    let record = |it: &[u8]| [&[0x16, 3, 1][..], &with_length(it)].concat();
    message.chunks(16_384).flat_map(record).collect()
}

fn request(host: &[u8]) -> Vec<u8> {
    [b"GET / HTTP/1.1\r\nHost: ", host, b"\r\n\r\n"].concat()
}

/// Whether a reader, or a reader's terminal, could take it for anything but text.
fn is_harmless(it: char) -> bool {
    let is_bidi = matches!(it, '\u{200e}' | '\u{200f}' | '\u{61c}')
        || ('\u{202a}'..='\u{202e}').contains(&it)
        || ('\u{2066}'..='\u{2069}').contains(&it);
    // U+FFFD: the harness found bytes that are no text.
    it == '\n' || !(it.is_control() || is_bidi || it == '\u{fffd}' || it == '\u{2028}')
}

#[test]
fn what_clients_say_is_escaped_and_cut() {
    let backend = Backend::echo("any");
    let to = backend.address();
    for form in ["text", "json"] {
        let routes = route("https", "sni = \"a.example\"", to)
            + &route("https", "", to)
            + &route("http", "host = \"a.example\"", to)
            + &route("http", "", to);
        let server = "proxy_protocol_from = [\"127.0.0.2\"]\n";
        let proxy = proxy(form, server, &routes, &["--debug"]);
        let long =
            |it: &[u8], length: usize| it.iter().copied().cycle().take(length).collect::<Vec<_>>();
        let hosts = [WORST.to_vec(), long(WORST, 15_000), long(b"a", 15_000)];
        let mut count = 0;
        for host in &hosts {
            send(proxy.address(), &hello(host));
            send(proxy.address(), &request(host));
            send(proxy.address(), &request(&[b"a\r\n", &host[..]].concat()));
            count += 3;
        }
        send(proxy.address(), &hello(&long(WORST, 60_000)));
        send(proxy.address(), &request(&long(WORST, 60_000)));
        let mut trusted = crate::harness::connect_from([127, 0, 0, 2].into(), proxy.address());
        let header = [b"PROXY TCP4 ", WORST, b" 1 2 3\r\n", &opening("https/curl-default.bin")[..]];
        let _ = trusted.write_all(&header.concat());
        let _ = trusted.read_to_end(&mut Vec::new());
        let lines = told(&proxy, "end", count + 3);
        for line in &lines {
            let line = fields(line);
            assert!(line["end"].is_string(), "{line}");
        }
        assert!(lines.iter().any(|it| it.contains("no_header")), "{lines:?}");
        assert!(lines.iter().all(|it| it.len() < 1000), "{lines:?}");
        let (_, stdout, stderr) = proxy.terminate();
        for (name, text) in [("stdout", stdout), ("stderr", stderr)] {
            let bad: Vec<_> = text.lines().filter(|it| !it.chars().all(is_harmless)).collect();
            assert!(bad.is_empty(), "{name}: {bad:?}");
            assert!(text.lines().all(|it| it.len() < 70_000));
        }
    }
}
