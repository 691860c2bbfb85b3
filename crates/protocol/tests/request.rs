//! Captured HTTP requests tell the host they were made with.
#![cfg(feature = "http")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in tests; this is about their helpers"
)]

#[path = "common/openings.rs"]
mod openings;

use refractium_protocol::{Fact, Facts, Http, Opening, RefractiumProtocol, Scratch};

fn assert_host(bytes: &[u8], expected: Fact<&[u8]>, what: &str) {
    let mut scratch = Scratch::new();
    let facts = Http.facts(&Opening::stream(bytes), &mut scratch);
    assert_eq!(facts, Facts::with_host(expected), "{what}");
}

/// How each client was called says what its request has to name.
fn expected_host(file: &str) -> Fact<&'static [u8]> {
    match file {
        // HTTP/2 hides it in compressed headers.
        "http/curl-h2-prior-knowledge" | "http/nghttp-h2" => Fact::Absent,
        "http/curl-upper-host" => Fact::Known(b"A.EXAMPLE"),
        "http/curl-ipv4-host" | "http/nghttp-h2c-upgrade" | "http/h2load-h1" => {
            Fact::Known(b"127.0.0.1")
        }
        "http/wget-get" | "http/wget-post" | "http/lftp-get" | "http/python-urllib" => {
            Fact::Known(b"localhost")
        }
        _ => Fact::Known(b"a.example"),
    }
}

#[test]
fn requests_tell_the_host_they_were_made_with() {
    for opening in openings::of(&Http) {
        assert_host(&opening.bytes, expected_host(&opening.name), &opening.name);
    }
}

#[test]
fn the_host_is_told_with_the_end_of_its_line_and_not_before() {
    for opening in openings::of(&Http) {
        let text = opening.bytes.to_ascii_lowercase();
        let Some(line) = text.windows(7).position(|window| window == b"\nhost: ") else {
            continue; // HTTP/2
        };
        let end = line + 1 + text[line + 1..].iter().position(|&byte| byte == b'\n').unwrap();
        let absolute = opening.name == "http/curl-proxy-absolute";
        let before = if absolute { expected_host(&opening.name) } else { Fact::NeedMore };
        assert_host(&opening.bytes[..end], before, &opening.name);
        assert_host(&opening.bytes[..=end], expected_host(&opening.name), &opening.name);
    }
}
