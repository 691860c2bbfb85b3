//! Openings that look like two protocols at once, each with the decision taken.

#![cfg(all(feature = "http", feature = "https", feature = "ssh", feature = "ftp"))]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in tests; this is about their helpers"
)]

use refractium_protocol::{BUILTIN, Opening, RefractiumProtocol, Transport, Verdict};

/// The first six bytes of a ClientHello, which are all that tell TLS.
const HELLO: &[u8] = &[0x16, 3, 1, 2, 0, 1];

/// A DNS query as TCP carries it (RFC 1035, section 4.2.2): its length, its identifier and what follows.
fn dns(length: &[u8; 2], identifier: &[u8; 2], flags: &[u8; 2]) -> Vec<u8> {
    let rest = b"\0\x01\0\0\0\0\0\0\x07example\0\0\x01\0\x01";
    [length, identifier, flags, &rest[..]].concat()
}

/// The stream protocols that an opening matches, in the order of [`BUILTIN`].
fn takers(opening: &Opening<'_>) -> Vec<&'static str> {
    BUILTIN
        .iter()
        .filter(|one| one.transports().contains(&Transport::Tcp))
        .filter(|one| one.identify(opening) == Verdict::Match)
        .map(|one| one.name())
        .collect()
}

/// Nobody takes the opening but these, and whoever took a beginning of it takes all of it.
fn assert_taken(bytes: &[u8], by: &[&str], why: &str) {
    let whole = Opening::stream(bytes);
    assert_eq!(takers(&whole), by, "{}: {why}", bytes.escape_ascii());
    assert_eq!(takers(&whole.ended()), by, "{}: {why}, ended", bytes.escape_ascii());
    for end in 0..bytes.len() {
        for taker in takers(&Opening::stream(&bytes[..end])) {
            assert!(by.contains(&taker), "{}: {taker} at {end}", bytes.escape_ascii());
        }
    }
}

#[test]
fn tls_within_a_text_protocol_is_that_protocol() {
    let text = |text: &[u8]| [text, HELLO, b"\r\n"].concat();
    for (start, by, why) in [
        (&b"SSH-"[..], &["ssh"][..], "four bytes decide"),
        (b"SSH-2.0-x\r\n", &["ssh"], "four bytes decide"),
        (b"AUTH TLS\r\n", &["ftp"], "a client that does not wait for 234"),
        (b"USER ", &["ftp"], "what a user is called does not matter"),
        (b"GET / HTTP/1.1\r\n", &["http"], "the request line decides"),
        (b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", &["http"], "the request line decides"),
        (b"GET /", &[], "a control within the target"),
        (b"EHLO a.example\r\nSTARTTLS\r\n", &[], "SMTP is not told by its client"),
        (b"PROXY TCP4 192.0.2.1 192.0.2.2 50000 443\r\n", &[], "PROXY has to be told of"),
        (b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", &[], "PROXY has to be told of"),
        (b"\r\n", &[], "no empty line before a record"),
        (b"\0", &[], "nothing else either"),
    ] {
        assert_taken(&text(start), by, why);
    }
}

#[test]
fn text_within_tls_is_tls() {
    for text in [&b"GET / HTTP/1.1\r\n"[..], b"SSH-2.0-x\r\n", b"USER a\r\n", b"\0\0\0\0"] {
        assert_taken(&[HELLO, text].concat(), &["https"], "six bytes decide");
    }
}

#[test]
fn dns_over_tcp_is_nobodys_but_for_an_identifier_that_spells_ssh() {
    for (length, identifier, flags, by) in [
        (b"SS", b"\x12\x34", [1, 0], &[][..]),
        (b"SS", b"HA", [1, 0], &[]),
        // One query in four thousand million; four bytes decide, and a wait would not tell more.
        (b"SS", b"H-", [1, 0], &["ssh"]),
        (b"GE", b"\x12\x34", [1, 0], &[]),
        (b"GE", b"T ", [1, 0], &[]),
        // An UPDATE, whose flags spell the slash.
        (b"GE", b"T ", [b'/', 0], &[]),
        (b"\r\n", b"GE", [b'T', b' '], &[]),
        (b"US", b"ER", [1, 0], &[]),
        // Lengths that spell a handshake record and an SSLv2 hello.
        (b"\x16\x03", b"\x01\x02", [1, 0], &[]),
        (b"\x16\x03", b"\x03\x00", [0, 0], &[]),
        (b"\x80\x1c", b"\x01\x03", [1, 0], &[]),
        (b"\x80\x1c", b"\x01\x00", [2, 0], &[]),
    ] {
        assert_taken(&dns(length, identifier, &flags), by, "DNS over TCP");
    }
}

#[test]
fn ssh_is_its_four_bytes_and_http_its_whole_line() {
    for (line, by, why) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], &["ssh"][..], "a banner"),
        (b"SSH-1.5-x\n", &["ssh"], "an old one"),
        (b"SSH-\r\n", &["ssh"], "four bytes decide"),
        (b"SSH-2.0-x / HTTP/1.1\r\n", &["ssh"], "SSH comes before a method"),
        (b"SSH- / HTTP/1.1\r\n", &["ssh"], "SSH comes before a method"),
        (b"SSH / HTTP/1.1\r\n", &["http"], "a method without the dash"),
        (b"SSHX / HTTP/1.1\r\n", &["http"], "a method without the dash"),
        (b"SS / HTTP/1.1\r\n", &["http"], "a method without the dash"),
        (b"GET /SSH-2.0-x HTTP/1.1\r\n", &["http"], "within a target"),
        (b"SSH 2.0 HTTP\r\n", &[], "neither"),
        (b"SSH_2.0_OpenSSH\r\n", &[], "neither"),
        (b"ssh-2.0-x\r\n", &[], "neither: SSH has its case (RFC 4253, section 4.2)"),
        (b"\r\nSSH-2.0-x\r\n", &[], "clients send no line before (RFC 4253, section 4.2)"),
        (b"text\r\nSSH-2.0-x\r\n", &[], "clients send no line before"),
        (b"\r\nSSH-2.0-x / HTTP/1.1\r\n", &[], "not HTTP behind an empty line either"),
    ] {
        assert_taken(line, by, why);
    }
}

#[test]
fn ftp_is_its_commands_and_shares_a_line_with_http_only_where_both_are_whole() {
    for (line, by, why) in [
        (&b"USER anonymous\r\n"[..], &["ftp"][..], "a login"),
        (b"user GET\r\n", &["ftp"], "whatever the name"),
        (b"USER GET / HTTP/1.1\r\n", &["ftp"], "three words behind the command"),
        (b"USER guest tolmoon tolsun name\r\n", &["ftp"], "IRC without its colon"),
        (b"USER guest tolmoon tolsun :first last\r\n", &[], "IRC"),
        (b"HOST a.example\r\n", &["ftp"], "a virtual host (RFC 7151)"),
        (b"OPTS UTF8 ON\r\n", &["ftp"], "an option"),
        (b"FEAT\r\n", &["ftp"], "features"),
        (b"FEAT / HTTP/1.1\r\n", &["http"], "a method"),
        (b"AUTH /TLS HTTP/1.1\r\n", &["http"], "a method"),
        (b"SYST / HTTP/1.1\r\n", &["http"], "a method"),
        (b"GET file\r\n", &[], "a command of the `ftp` program, not of FTP"),
        (b"RETR file\r\n", &[], "nobody opens with it"),
        (b"\xff\xfbUSER a\r\n", &[], "Telnet before it"),
        (b" USER a\r\n", &[], "a space before it"),
        // Whole lines of both: route order decides, and an HTTP that comes first is waited for.
        (b"USER /x HTTP/1.1\r\n", &["http", "ftp"], "a login or a method"),
        (b"HOST a.example HTTP/1.1\r\n", &["http", "ftp"], "a virtual host or a method"),
        (b"CLNT / HTTP/1.1\r\n", &["http", "ftp"], "a client or a method"),
        (b"PBSZ 0 HTTP/1.1\r\n", &["http", "ftp"], "a buffer or a method"),
    ] {
        assert_taken(line, by, why);
    }
}

#[test]
fn other_encodings_of_a_request_are_nobodys() {
    for line in [
        &b"G\0E\0T\0 \0/\0"[..],
        b"\0G\0E\0T\0 \0/",
        b"\xff\xfeG\0E\0T\0",
        b"\xc7\xc5\xd4 / HTTP/1.1\r\n",
        b"\xef\xbb\xbfUSER a\r\n",
    ] {
        assert_taken(line, &[], "ASCII only");
    }
}
