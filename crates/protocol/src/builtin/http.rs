use crate::word::{self, all};
use crate::{
    Fact, Facts, Opening, RefractiumProtocol, Scratch, Transport, Verdict, dns_name, prefix,
};

/// HTTP/1 by its request line and version token, with any method; HTTP/2 by its preface.
///
/// The version token decides (RFC 9112, section 3): `OPTIONS` opens RTSP, SIP and ICAP too. One empty line may stand
/// before the request line (section 2.2). An HTTP/0.9 request, `GET` and a path, counts when nothing follows it. A
/// request line longer than 8 KiB that has been in order so far is taken as HTTP before its version is seen.
///
/// The host is the authority of an absolute-form target, else the first `Host` line, as soon as that line is complete.
/// HTTP/2 hides its authority in compressed headers: the host is absent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Http;

/// HTTP/2 connection preface (RFC 9113, section 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Longest method taken: `VERSION-CONTROL` and `UPDATEREDIRECTREF` are the longest registered, `RPC_OUT_DATA` and
/// `SSTP_DUPLEX_POST` are in use.
const METHOD: usize = 24;

/// Longest request line waited for; servers should take at least 8,000 bytes (RFC 9112, section 3).
const LINE: usize = 8 * 1024;

impl RefractiumProtocol for Http {
    fn name(&self) -> &str {
        "http"
    }

    fn transports(&self) -> &[Transport] {
        &[Transport::Tcp]
    }

    fn identify(&self, opening: &Opening<'_>) -> Verdict {
        match opening.bytes {
            // Here too, where it takes no registers: whoever asks for ssh asks this first.
            [b'S', b'S', b'H', b'-', ..] => Verdict::NoMatch,
            _ => identify_any(opening),
        }
    }

    fn facts<'a>(&self, opening: &Opening<'a>, _: &'a mut Scratch) -> Facts<'a> {
        let host = match RequestLine::parse(opening) {
            Line::Request(line) => line.host(),
            Line::Preface | Line::NoMatch => Fact::Absent,
            Line::NeedMore => Fact::NeedMore,
        };
        Facts::with_host(host)
    }

    fn version<'a>(&self, opening: &Opening<'a>, _: &'a mut Scratch) -> Option<&'a [u8]> {
        match RequestLine::parse(opening) {
            Line::Preface => Some(b"2"),
            Line::Request(_) => {
                let bytes = opening.bytes.trim_ascii_start();
                let line = bytes.split(|&byte| byte == b'\n').next()?.trim_ascii_end();
                line.rsplit(|&byte| byte == b' ').next()?.strip_prefix(b"HTTP/").or(Some(b"0.9"))
            }
            Line::NoMatch | Line::NeedMore => None,
        }
    }

    fn host_key(&self) -> Option<&str> {
        Some("host")
    }
}

#[inline(never)]
fn identify_any(opening: &Opening<'_>) -> Verdict {
    RequestLine::parse(opening).verdict()
}

enum Line<'a> {
    Request(RequestLine<'a>),
    Preface,
    NoMatch,
    NeedMore,
}

impl Line<'_> {
    const fn verdict(&self) -> Verdict {
        match self {
            Self::Request(_) | Self::Preface => Verdict::Match,
            Self::NoMatch => Verdict::NoMatch,
            Self::NeedMore => Verdict::NeedMore,
        }
    }
}

struct RequestLine<'a> {
    target: &'a [u8],
    /// What follows the line; nothing for HTTP/0.9.
    headers: &'a [u8],
}

impl<'a> RequestLine<'a> {
    /// Inlined, so that who only asks for the verdict does not pay for the parts.
    #[inline(always)]
    fn parse(opening: &Opening<'a>) -> Line<'a> {
        let line = match opening.bytes {
            [b'P', b'R', ..] => match prefix(opening.bytes, PREFACE) {
                Verdict::Match => return Line::Preface,
                Verdict::NeedMore => return Line::NeedMore,
                Verdict::NoMatch => opening.bytes,
            },
            [b'\r'] => return Line::NeedMore,
            [b'\r', b'\n', line @ ..] => line,
            line => line,
        };
        if line.starts_with(b"SSH-") {
            return Line::NoMatch;
        }
        // Nearly all methods are a few letters and a space.
        if let Some(start) = line.first_chunk::<8>() {
            let letters = word::is_within(u64::from_le_bytes(*start) | all(0x20), b'a', b'z');
            let length = word::first(!letters & all(0x80));
            match line.split_at_checked(length) {
                Some((method @ [_, ..], [b' ', rest @ ..])) => {
                    return Self::after_method(method, rest, opening.ended);
                }
                Some((_, [end, ..])) if !is_token(*end) => return Line::NoMatch,
                _ => {}
            }
        }
        Self::any_method(line, opening.ended)
    }

    #[inline(never)]
    fn any_method(line: &'a [u8], ended: bool) -> Line<'a> {
        let token = line.iter().take(METHOD + 1).position(|&byte| !is_token(byte));
        match token.and_then(|length| line.split_at_checked(length)) {
            Some((method @ [_, ..], [b' ', rest @ ..])) => Self::after_method(method, rest, ended),
            None if line.len() <= METHOD => Line::NeedMore,
            _ => Line::NoMatch,
        }
    }

    #[inline(always)]
    fn after_method(method: &[u8], rest: &'a [u8], ended: bool) -> Line<'a> {
        match rest.first() {
            None => return Line::NeedMore,
            Some(b'/' | b'*' | b'[' | b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9') => {}
            Some(_) => return Line::NoMatch,
        }
        let longest = LINE - method.len() - 1;
        let length = match word::find(rest, is_not_target) {
            Some(length) if length < longest => length,
            _ => {
                let request = |target| Line::Request(Self { target, headers: &[] });
                return rest.get(..longest).map_or(Line::NeedMore, request);
            }
        };
        match rest.split_at_checked(length) {
            Some((target, [b' ', version @ ..])) => Self::after_target(target, version),
            Some((target, end)) if method == b"GET" => Self::simple(target, end, ended),
            _ => Line::NoMatch,
        }
    }

    /// `HTTP/1.` DIGIT and the end of the line (RFC 9112, section 2.3); a bare LF is taken as well (section 2.2).
    #[inline(always)]
    fn after_target(target: &'a [u8], version: &'a [u8]) -> Line<'a> {
        let digit = match prefix(version, b"HTTP/1.") {
            Verdict::Match => version.get(7..).unwrap_or_default(),
            Verdict::NeedMore => return Line::NeedMore,
            Verdict::NoMatch => return Line::NoMatch,
        };
        match digit {
            [b'0'..=b'9', b'\r', b'\n', headers @ ..] | [b'0'..=b'9', b'\n', headers @ ..] => {
                Line::Request(Self { target, headers })
            }
            [] | [b'0'..=b'9'] | [b'0'..=b'9', b'\r'] => Line::NeedMore,
            _ => Line::NoMatch,
        }
    }

    /// HTTP/0.9: a path, the end of the line and nothing more.
    fn simple(target: &'a [u8], end: &[u8], ended: bool) -> Line<'a> {
        match end {
            b"\r\n" | b"\n" if ended && target.starts_with(b"/") => {
                Line::Request(Self { target, headers: b"\r\n" })
            }
            b"\r\n" | b"\n" | b"\r" if target.starts_with(b"/") => Line::NeedMore,
            _ => Line::NoMatch,
        }
    }

    fn host(&self) -> Fact<&'a [u8]> {
        match authority(self.target) {
            Some(authority) => known(authority),
            None => host_line(self.headers),
        }
    }
}

/// The authority of an absolute-form target (RFC 9112, section 3.2.2), without user information.
fn authority(target: &[u8]) -> Option<&[u8]> {
    let scheme = target.iter().position(|byte| !byte.is_ascii_alphanumeric())?;
    let rest = target.get(scheme..)?.strip_prefix(b"://")?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#'));
    let authority = rest.get(..end.unwrap_or(rest.len()))?;
    // Browsers end it at a backslash, others take that into the user: each host is somebody's misreading.
    if authority.contains(&b'\\') {
        return Some(b"");
    }
    authority.rsplit(|&byte| byte == b'@').next()
}

/// The value of the first complete `Host` line (RFC 9112, section 3.2).
fn host_line(mut headers: &[u8]) -> Fact<&[u8]> {
    loop {
        let Some(end) = word::find(headers, |word| word::is(word, b'\n')) else {
            return Fact::NeedMore;
        };
        let Some((line, [_, rest @ ..])) = headers.split_at_checked(end) else {
            return Fact::Absent;
        };
        match line.strip_suffix(b"\r").unwrap_or(line) {
            [] => return Fact::Absent,
            [b'h' | b'H', b'o' | b'O', b's' | b'S', b't' | b'T', b':', value @ ..] => {
                return known(value.trim_ascii());
            }
            _ => headers = rest,
        }
    }
}

/// Takes `uri-host [":" port]` (RFC 9110, section 7.2). An IPv6 literal keeps its brackets.
fn known(authority: &[u8]) -> Fact<&[u8]> {
    let port = authority.iter().rposition(|&byte| byte == b':');
    let host = match port.and_then(|colon| authority.split_at_checked(colon)) {
        Some((host, [_, digits @ ..])) if digits.iter().all(u8::is_ascii_digit) => host,
        _ => authority,
    };
    let is_literal = |inner: &[u8]| {
        core::str::from_utf8(inner).is_ok_and(|it| it.parse::<core::net::Ipv6Addr>().is_ok())
    };
    let name = match host {
        [b'[', inner @ .., b']'] => Some(host).filter(|_| is_literal(inner)),
        _ => dns_name(host),
    };
    name.map_or(Fact::Absent, Fact::Known)
}

/// `tchar` (RFC 9110, section 5.6.2).
const fn is_token(byte: u8) -> bool {
    matches!(byte,
        b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
        | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z')
}

/// What no target holds: spaces and controls. Clients do send raw UTF-8.
const fn is_not_target(word: u64) -> u64 {
    word::is_below(word, b' ' + 1) | word::is(word, 0x7f)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(bytes: &[u8]) -> Verdict {
        Http.identify(&Opening::stream(bytes))
    }

    #[test]
    fn any_method_matches_by_the_version_token() {
        for line in [
            &b"GET / HTTP/1.1\r\n"[..],
            b"get / HTTP/1.0\n",
            b"PROPFIND /dav/ HTTP/1.1\r\n",
            b"M-SEARCH * HTTP/1.1\r\n",
            b"SSTP_DUPLEX_POST /sra_{BA195980}/ HTTP/1.1\r\n",
            b"CONNECT [::1]:443 HTTP/1.1\r\n",
            b"GET http://a.example/ HTTP/1.1\r\n",
            b"\r\nGET / HTTP/1.1\r\n",
            PREFACE,
        ] {
            assert_eq!(verdict(line), Verdict::Match, "{}", line.escape_ascii());
            for end in 0..line.len() {
                assert_eq!(verdict(&line[..end]), Verdict::NeedMore, "{}", line.escape_ascii());
            }
        }
    }

    #[test]
    fn look_alikes_do_not() {
        for line in [
            &b"OPTIONS rtsp://a/ RTSP/1.0\r\n"[..],
            b"INVITE sip:a@b SIP/2.0\r\n",
            b"OPTIONS icap://a/x ICAP/1.0\r\n",
            b"GET x\r\n",
            b"get key\r\n",
            b"GET / http/1.1\r\n",
            b"GET / HTTP/2.0\r\n",
            b"GET  / HTTP/1.1\r\n",
            b" GET / HTTP/1.1\r\n",
            b"GET / HTTP/1.x\r\n",
            b"PRI * HTTP/2.0\r\n\r\nXX",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"SSH-",
            b"\r\n\r\n\0\r\nQUIT\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"ABCDEFGHIJKLMNOPQRSTUVWXY",
            b"\x16\x03\x01",
        ] {
            assert_eq!(verdict(line), Verdict::NoMatch, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn a_simple_request_counts_when_nothing_follows() {
        let opening = Opening::stream(b"GET /index.html\r\n");
        assert_eq!(Http.identify(&opening), Verdict::NeedMore);
        assert_eq!(Http.identify(&opening.ended()), Verdict::Match);
        assert_eq!(verdict(b"GET /index.html\r\nx"), Verdict::NoMatch);
        assert_eq!(Http.identify(&Opening::stream(b"GET /index").ended()), Verdict::NeedMore);
    }

    #[test]
    fn the_version_is_that_of_the_line() {
        for (request, version) in [
            (&b"\r\nGET / HTTP/1.0\r\nX: HTTP/9\r\n"[..], &b"1.0"[..]),
            (b"GET /x HTTP/1.1\n", b"1.1"),
            (PREFACE, b"2"),
        ] {
            let opening = Opening::stream(request);
            assert_eq!(Http.version(&opening, &mut Scratch::new()), Some(version));
        }
        let simple = Opening::stream(b"GET /x\r\n").ended();
        assert_eq!(Http.version(&simple, &mut Scratch::new()), Some(&b"0.9"[..]));
        assert_eq!(Http.version(&Opening::stream(b"GET /x"), &mut Scratch::new()), None);
    }

    #[test]
    fn an_endless_target_is_taken_at_8_kib() {
        let line = [b"GET /".as_slice(), &[b'a'; LINE]].concat();
        assert_eq!(verdict(&line[..LINE - 1]), Verdict::NeedMore);
        assert_eq!(verdict(&line[..LINE]), Verdict::Match);
        assert_eq!(verdict(&line), Verdict::Match);
    }

    #[test]
    fn the_host_is_the_authority_else_the_first_host_line() {
        for (request, expected) in [
            (&b"GET / HTTP/1.1\r\nHost: A.example\r\n"[..], Fact::Known(&b"A.example"[..])),
            (
                b"GET / HTTP/1.1\r\nX: y\r\nhOST:a.example.:8080 \r\nHost: b\r\n",
                Fact::Known(b"a.example"),
            ),
            (b"GET http://u:p@a.example:80/x HTTP/1.1\r\nHost: b\r\n", Fact::Known(b"a.example")),
            (b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n", Fact::Known(b"[::1]")),
            (b"GET / HTTP/1.1\r\nHost: [anything]\r\n", Fact::Absent),
            (b"GET / HTTP/1.1\r\nHost: 127.0.0.1:80\n", Fact::Known(b"127.0.0.1")),
            (b"GET / HTTP/1.1\r\nHost: a.exam", Fact::NeedMore),
            (b"GET / HTTP/1.1\r\nX-Host: a\r\n", Fact::NeedMore),
            (b"GET / HTTP/1.1\r\n\r\nHost: late\r\n", Fact::Absent),
            (b"GET / HTTP/1.1\r\nHost:\r\nHost: b\r\n", Fact::Absent),
            (b"GET / HTTP/1.1\r\nHost: a b\r\n", Fact::Absent),
            (PREFACE, Fact::Absent),
        ] {
            let mut scratch = Scratch::new();
            let facts = Http.facts(&Opening::stream(request), &mut scratch);
            assert_eq!(facts.host, expected, "{}", request.escape_ascii());
        }
    }
}
