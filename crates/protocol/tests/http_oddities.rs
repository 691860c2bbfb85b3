//! Requests that could be read in more than one way, each with the decision taken.

#![cfg(feature = "http")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "clippy.toml allows them in tests; this is about their helpers"
)]

#[allow(dead_code, reason = "no datagrams here")]
#[path = "common/check.rs"]
mod check;

use refractium_protocol::Verdict::{self, Match, NeedMore, NoMatch};
use refractium_protocol::{Fact, Http, Opening, RefractiumProtocol, Scratch};

type Line = (&'static [u8], Fact<&'static [u8]>, &'static str);

fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(80)].escape_ascii().to_string()
}

fn assert_host(request: &[u8], expected: Fact<&[u8]>, why: &str) {
    let mut scratch = Scratch::new();
    let facts = Http.facts(&Opening::stream(request), &mut scratch);
    assert_eq!(facts.host, expected, "{}: {why}", shown(request));
}

/// What becomes of the opening while more may come, and when nothing more comes.
fn assert_decisions(decided: [Verdict; 2], lines: &[(&[u8], &str)]) {
    for (line, why) in lines {
        let opening = Opening::stream(line);
        let verdicts = [Http.identify(&opening), Http.identify(&opening.ended())];
        assert_eq!(verdicts, decided, "{}: {why}", shown(line));
        check::check_stream(&Http, line, (0..=line.len()).step_by(1 + line.len() / 100));
    }
}

const TAKEN: [Verdict; 2] = [Match, Match];
const REFUSED: [Verdict; 2] = [NoMatch, NoMatch];

#[test]
fn any_method_is_taken_up_to_24_bytes() {
    // Registered (RFC 9110, section 16.1.1; WebDAV and its kin), in use, or nobody's.
    let methods = "GET HEAD POST PUT DELETE CONNECT OPTIONS TRACE PATCH PROPFIND PROPPATCH MKCOL COPY MOVE \
        LOCK UNLOCK ACL REPORT SEARCH BIND REBIND UNBIND CHECKIN CHECKOUT UNCHECKOUT LABEL MERGE \
        MKACTIVITY MKCALENDAR MKREDIRECTREF MKWORKSPACE ORDERPATCH BASELINE-CONTROL \
        VERSION-CONTROL UPDATEREDIRECTREF LINK UNLINK QUERY PRI M-SEARCH NOTIFY SUBSCRIBE \
        UNSUBSCRIBE PURGE RPC_IN_DATA RPC_OUT_DATA SSTP_DUPLEX_POST BPROPFIND get Get \
        !#$%&'*+-.^_`|~09 ABCDEFGHIJKLMNOPQRSTUVWX";
    for method in methods.split_whitespace() {
        let line = format!("{method} / HTTP/1.1\r\n");
        assert_decisions(TAKEN, &[(line.as_bytes(), "a method (RFC 9110, section 9.1)")]);
    }
    for method in ["ABCDEFGHIJKLMNOPQRSTUVWXY", "", "G(T", "G\u{e9}T", "GET:", "\"GET\"", "G\0T"] {
        let line = format!("{method} / HTTP/1.1\r\n");
        assert_decisions(REFUSED, &[(line.as_bytes(), "no method, or too long a one")]);
    }
}

#[test]
fn the_version_token_decides() {
    assert_decisions(
        TAKEN,
        &[
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "the preface of HTTP/2"),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0", "with its SETTINGS"),
            (b"PRI * HTTP/1.1\r\n\r\n", "`PRI` is a method like any other"),
            (b"GET / HTTP/1.0\r\n", "the oldest with headers"),
            (b"GET / HTTP/1.2\r\n", "a minor version to come (RFC 9110, section 2.5)"),
            (b"GET / HTTP/1.9\r\n", "any one digit"),
            (b"GET / HTTP/1.1\n", "a bare LF ends a line too (RFC 9112, section 2.2)"),
        ],
    );
    assert_decisions(
        REFUSED,
        &[
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\rX", "a preface that breaks off"),
            (b"PRI * HTTP/2.0\r\nHost: a\r\n", "HTTP/2 comes by its preface only"),
            (b"\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "and nothing stands before it"),
            (b"GET / HTTP/2.0\r\n", "HTTP/2 comes by its preface only"),
            (b"GET / HTTP/0.9\r\n", "HTTP/0.9 has no version"),
            (b"GET / http/1.1\r\n", "the name is case-sensitive (RFC 9112, section 2.3)"),
            (b"GET / HTTP/1.10\r\n", "one digit (RFC 9112, section 2.3)"),
            (b"GET / HTTP/1.\r\n", "one digit"),
            (b"GET / HTTP/01.1\r\n", "one digit"),
            (b"GET / HTTP/1.1 \r\n", "nothing behind the version"),
            (b"GET / HTTP/1.1\rHost: a\r\n", "a bare CR ends no line (RFC 9112, section 2.2)"),
            (b"GET / HTTPS/1.1\r\n", "another protocol"),
            (b"GET / RTSP/1.0\r\n", "another protocol"),
            (b"HTTP/1.1 200 OK\r\n", "a response"),
        ],
    );
}

#[test]
fn one_empty_line_may_stand_before_the_request() {
    assert_decisions(TAKEN, &[(b"\r\nGET / HTTP/1.1\r\n", "RFC 9112, section 2.2")]);
    assert_decisions([NeedMore, NeedMore], &[(b"\r\n", "one may still come")]);
    assert_decisions(
        REFUSED,
        &[
            (b"\r\n\r\nGET / HTTP/1.1\r\n", "two: the start of PROXY version 2"),
            (b"\r\n\r\n", "two: a keep-alive of SIP"),
            (b"\nGET / HTTP/1.1\r\n", "a bare LF is no empty line"),
            (b"\rGET / HTTP/1.1\r\n", "a bare CR neither"),
            (b" GET / HTTP/1.1\r\n", "a space neither"),
            (b"\xef\xbb\xbfGET / HTTP/1.1\r\n", "a byte order mark neither"),
        ],
    );
}

#[test]
fn a_target_is_one_word_that_begins_as_targets_do() {
    assert_decisions(
        TAKEN,
        &[
            (b"OPTIONS * HTTP/1.1\r\n", "asterisk-form"),
            (b"CONNECT a.example:443 HTTP/1.1\r\n", "authority-form"),
            (b"CONNECT [::1]:443 HTTP/1.1\r\n", "authority-form"),
            (b"GET http://a.example HTTP/1.1\r\n", "absolute-form without a path"),
            (b"GET HTTP://A.EXAMPLE/ HTTP/1.1\r\n", "schemes have no case"),
            (b"GET urn:x HTTP/1.1\r\n", "absolute-form of another scheme"),
            (b"GET index.html HTTP/1.1\r\n", "no form at all, but clients do"),
            (b"GET //a.example/ HTTP/1.1\r\n", "origin-form with an empty segment"),
            (b"GET /\xc3\xa4 HTTP/1.1\r\n", "raw UTF-8, as clients do"),
            (b"GET /<>\"{}|\\^` HTTP/1.1\r\n", "what a URI has to escape, as clients do not"),
        ],
    );
    assert_decisions(
        REFUSED,
        &[
            (b"GET  / HTTP/1.1\r\n", "two spaces"),
            (b"GET /  HTTP/1.1\r\n", "two spaces"),
            (b"GET\t/\tHTTP/1.1\r\n", "tabs"),
            (b"GET /a b HTTP/1.1\r\n", "a space within"),
            (b"GET /a\0 HTTP/1.1\r\n", "a control within"),
            (b"GET /a\x7f HTTP/1.1\r\n", "a control within"),
            (b"GET ?a=b HTTP/1.1\r\n", "no path before the query"),
            (b"GET -rf HTTP/1.1\r\n", "no form of target"),
        ],
    );
}

#[test]
fn a_simple_request_is_taken_when_nothing_follows() {
    assert_decisions(
        [NeedMore, Match],
        &[(b"GET /\r\n", "HTTP/0.9"), (b"GET /\n", "HTTP/0.9"), (b"GET /key\r\n", "Redis too")],
    );
    assert_decisions(
        REFUSED,
        &[
            (b"GET /\r\nHost: a.example\r\n", "nothing follows in HTTP/0.9"),
            (b"GET /\r\n\r\n", "not even an empty line"),
            (b"GET key\r\n", "an inline command of Redis"),
            (b"get /\r\n", "memcached"),
            (b"POST /\r\n", "HTTP/0.9 has GET only"),
        ],
    );
    assert_decisions([NeedMore, NeedMore], &[(b"GET /index", "broken off: no line at all")]);
}

#[test]
fn a_64_kib_url_is_taken_at_8_kib() {
    for (start, host) in
        [("GET /", Fact::NeedMore), ("GET http://a.example/", Fact::Known(&b"a.example"[..]))]
    {
        let url = [start.as_bytes(), &[b'a'; 64 << 10]].concat();
        let whole = [&url[..], b" HTTP/1.1\r\nHost: b.example\r\n\r\n"].concat();
        let no_end = url.as_slice();
        for bytes in [&whole[..8 << 10], no_end, &whole] {
            assert_decisions(TAKEN, &[(bytes, "8 KiB in order are enough")]);
            // The Host line is beyond what is kept: it is never read.
            assert_host(bytes, host, "8 KiB");
        }
        assert_decisions([NeedMore; 2], &[(&whole[..(8 << 10) - 1], "less is not")]);
    }
    let spoilt = [b"GET /".as_slice(), &[b'a'; 8000], b"\0"].concat();
    assert_decisions(REFUSED, &[(&spoilt, "a control within the first 8 KiB")]);
}

#[test]
fn the_host_is_read_as_written_or_not_at_all() {
    let long = [&[b'x'; 3000][..], b": y\r\n"].concat();
    let late = [b"GET / HTTP/1.1\r\n".as_slice(), &long, &long, b"Host: a\r\n\r\n"].concat();
    let known = |host: &'static [u8]| Fact::Known(host);
    let table: &[Line] = &[
        (b"Host: a.example\r\n\r\n", known(b"a.example"), "plain"),
        (b"hOsT:a.example\r\n\r\n", known(b"a.example"), "any case, no space"),
        (b"Host: \t a.example \t\r\n\r\n", known(b"a.example"), "any space around"),
        (b"Host: A.EXAMPLE\r\n\r\n", known(b"A.EXAMPLE"), "in its own case"),
        (b"Host: a.example.\r\n\r\n", known(b"a.example"), "without the trailing dot"),
        (b"Host: a.example:8080\r\n\r\n", known(b"a.example"), "without the port"),
        (b"Host: a.example:\r\n\r\n", known(b"a.example"), "a port may be empty"),
        (b"Host: a.example.:80\r\n\r\n", known(b"a.example"), "both"),
        (b"Host: 127.0.0.1:80\r\n\r\n", known(b"127.0.0.1"), "an address"),
        (b"Host: [2001:db8::1]:80\r\n\r\n", known(b"[2001:db8::1]"), "in its brackets"),
        (b"Host: a_b.example\r\n\r\n", known(b"a_b.example"), "the underscore is common"),
        (b"Host: a.example\nX: y\n\n", known(b"a.example"), "bare LF"),
        (b"Host: a\r\nHost: b\r\n\r\n", known(b"a"), "the first of two; the server refuses"),
        (b"X: Host: b\r\nHost: a\r\n\r\n", known(b"a"), "a line of its own"),
        (b"X-Host: b\r\nHost: a\r\n\r\n", known(b"a"), "the whole field name"),
        (b"Hosts: b\r\nHost: a\r\n\r\n", known(b"a"), "the whole field name"),
        (b"Host: a.exam", Fact::NeedMore, "the line goes on"),
        (b"X: y\r\n", Fact::NeedMore, "a line may follow"),
        (b"\r\n", Fact::Absent, "none, as in HTTP/1.0"),
        (b"\r\nHost: a\r\n", Fact::Absent, "in the body"),
        (b"Host:\r\n\r\n", Fact::Absent, "empty"),
        (b"Host:\r\n a.example\r\n\r\n", Fact::Absent, "folded (RFC 9112, section 5.2)"),
        (b"Host : a.example\r\n\r\n", Fact::Absent, "space before the colon (section 5.1)"),
        (b" Host: a.example\r\n\r\n", Fact::Absent, "space before the name"),
        (b"Host: a.example, b.example\r\n\r\n", Fact::Absent, "two in one line"),
        (b"Host: a.example b.example\r\n\r\n", Fact::Absent, "two in one line"),
        (b"Host: a.example:80:80\r\n\r\n", Fact::Absent, "two ports"),
        (b"Host: a.example:http\r\n\r\n", Fact::Absent, "a port in words"),
        (b"Host: user@a.example\r\n\r\n", Fact::Absent, "only a URI has a user"),
        (b"Host: http://a.example\r\n\r\n", Fact::Absent, "a URI"),
        (b"Host: a.example/\r\n\r\n", Fact::Absent, "a path"),
        (b"Host: a.example%00\r\n\r\n", Fact::Absent, "an escape"),
        (b"Host: a.example\0\r\n\r\n", Fact::Absent, "a control"),
        (b"Host: *.example\r\n\r\n", Fact::Absent, "a wildcard"),
        (b"Host: \xc3\xa4.example\r\n\r\n", Fact::Absent, "not in ASCII"),
        (b"Host: 2001:db8::1\r\n\r\n", Fact::Absent, "no brackets"),
        (b"Host: [::1\r\n\r\n", Fact::Absent, "half a bracket"),
        (b"Host: [fe80::1%25eth0]\r\n\r\n", Fact::Absent, "a zone (RFC 9844)"),
    ];
    for &(lines, host, why) in table {
        assert_host(&[b"GET / HTTP/1.1\r\n", lines].concat(), host, why);
        // The authority of an absolute-form target wins (RFC 9112, section 3.2.2).
        let absolute = [b"GET http://w.example/ HTTP/1.1\r\n", lines].concat();
        assert_host(&absolute, known(b"w.example"), why);
    }
    assert_host(&late, known(b"a"), "behind 6,000 bytes of other lines");
}

#[test]
fn an_authority_is_read_as_written_or_not_at_all() {
    let table: &[(&str, Fact<&[u8]>, &str)] = &[
        ("http://a.example", Fact::Known(b"a.example"), "no path"),
        ("http://a.example/", Fact::Known(b"a.example"), "a path"),
        ("http://a.example:8080/", Fact::Known(b"a.example"), "a port"),
        ("http://a.example?q", Fact::Known(b"a.example"), "a query"),
        ("https://a.example/", Fact::Known(b"a.example"), "another scheme"),
        ("HTTP://A.example/", Fact::Known(b"A.example"), "in its own case"),
        ("http://user:word@a.example/", Fact::Known(b"a.example"), "a user"),
        ("http://b.example@a.example/", Fact::Known(b"a.example"), "a user like a host"),
        ("http://a.example/@b.example", Fact::Known(b"a.example"), "a path like a user"),
        ("http://a.example?@b.example", Fact::Known(b"a.example"), "a query like a user"),
        ("http://[::1]:80/", Fact::Known(b"[::1]"), "an address"),
        ("http:///", Fact::Absent, "no authority, so no host"),
        ("http://a.example\\@b.example/", Fact::Absent, "browsers end it at the backslash"),
        ("http://a.example\\b.example/", Fact::Absent, "the same without a user"),
        ("a.example:443", Fact::Known(b"h.example"), "authority-form: by the Host line"),
        ("http:/a.example/", Fact::Known(b"h.example"), "no authority: by the Host line"),
        ("/http://a.example/", Fact::Known(b"h.example"), "a path: by the Host line"),
        ("*", Fact::Known(b"h.example"), "by the Host line"),
    ];
    for (target, host, why) in table {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h.example\r\n\r\n");
        assert_host(request.as_bytes(), *host, why);
    }
}
