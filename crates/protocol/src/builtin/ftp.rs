use crate::word::{self, is};
use crate::{
    Opening, RefractiumProtocol, Transport, Verdict, any_prefix, any_prefix_ignore_case, prefix,
};

/// FTP (RFC 959): the server greets first, so its clients are taken by silence; one that speaks early is known by its
/// opening command.
///
/// `USER` opens POP3 and IRC too. IRC is told apart by its last parameter (` :real name`); POP3 cannot be, and a POP3
/// client waits for the greeting anyway.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ftp;

impl RefractiumProtocol for Ftp {
    fn name(&self) -> &str {
        "ftp"
    }

    fn transports(&self) -> &[Transport] {
        &[Transport::Tcp]
    }

    fn identify(&self, opening: &Opening<'_>) -> Verdict {
        identify(opening)
    }

    fn server_first(&self) -> bool {
        true
    }

    /// `ABOR` comes behind an urgent byte (RFC 959, section 4.1.3; RFC 854, the Synch signal).
    fn marks_urgent(&self) -> bool {
        true
    }
}

/// Commands that open an FTP session and nothing else (RFC 959, 2228, 2389, 2640, 7151), with enough of what follows
/// to tell them from SMTP's, POP3's and Redis's `AUTH`.
fn identify(opening: &Opening<'_>) -> Verdict {
    let Some((verb, rest)) = opening.bytes.split_first_chunk::<4>() else {
        return any_prefix_ignore_case(opening.bytes, VERBS);
    };
    // Only letters fold to letters.
    let folded = (u32::from_le_bytes(*verb) | 0x2020_2020).to_le_bytes();
    match &folded {
        b"auth" => auth(rest),
        b"clnt" | b"host" | b"pbsz" => prefix(rest, b" "),
        b"feat" | b"syst" => any_prefix(rest, &[b"\r", b"\n"]),
        b"opts" => any_prefix_ignore_case(rest, &[b" UTF8", b" MLST"]),
        b"user" => user(rest),
        _ => Verdict::NoMatch,
    }
}

const VERBS: &[&[u8]] = &[b"AUTH", b"CLNT", b"FEAT", b"HOST", b"OPTS", b"PBSZ", b"SYST", b"USER"];

/// TLS nearly always, or what it was once called.
fn auth(rest: &[u8]) -> Verdict {
    match rest {
        [b' ', b'T' | b't', b'L' | b'l', b'S' | b's', ..]
        | [b' ', b'S' | b's', b'S' | b's', b'L' | b'l', ..] => Verdict::Match,
        _ => any_prefix_ignore_case(rest, &[b" TLS", b" SSL", b" GSSAPI"]),
    }
}

/// Most bytes behind `USER` that are waited for: the line limit of IRC (RFC 2812, section 2.3), generous for FTP.
const USER_LINE: usize = 508;

fn user(rest: &[u8]) -> Verdict {
    let [b' ', ..] = rest else { return prefix(rest, b" ") };
    let longest = rest.get(..=USER_LINE);
    let line = longest.unwrap_or(rest);
    let mut from = 0;
    // One look for both: ` :` begins an IRC client's last parameter (RFC 2812, section 2.3.1).
    while let Some((said, [byte, ..])) = next(line, from) {
        match (said, byte) {
            // `USER` and nothing is no login.
            (_, b'\n') if said.trim_ascii_start().is_empty() => return Verdict::NoMatch,
            (_, b'\n') => return Verdict::Match,
            ([.., b' '], _) => return Verdict::NoMatch,
            _ => from = said.len() + 1,
        }
    }
    if longest.is_some() { Verdict::NoMatch } else { Verdict::NeedMore }
}

/// The line cut at the next `:` or its end.
fn next(line: &[u8], from: usize) -> Option<(&[u8], &[u8])> {
    let at = word::find(line.get(from..)?, |word| is(word, b'\n') | is(word, b':'))?;
    line.split_at_checked(from + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RefractiumProtocol;

    fn verdict(bytes: &[u8]) -> Verdict {
        Ftp.identify(&Opening::stream(bytes))
    }

    #[test]
    fn opening_commands_match_in_any_case() {
        for line in ["AUTH TLS\r\n", "auth tls\r\n", "FEAT\r\n", "USER anonymous\r\n", "user bob\n"]
        {
            assert_eq!(verdict(line.as_bytes()), Verdict::Match, "{line:?}");
        }
    }

    #[test]
    fn a_user_line_is_read_to_its_end() {
        assert_eq!(verdict(b"USER anonym"), Verdict::NeedMore);
        for line in ["USER a\r\n", "USER a\n", "USER ab\n"] {
            assert_eq!(verdict(line.as_bytes()), Verdict::Match, "{line:?}");
        }
        for line in ["USER \r\n", "USER \n", "USER  \r\n"] {
            assert_eq!(verdict(line.as_bytes()), Verdict::NoMatch, "{line:?}");
        }
        assert_eq!(verdict(b"USER guest 0 * :Real Name\r\n"), Verdict::NoMatch);
        assert_eq!(verdict(&[b"USER ".as_slice(), &[b'a'; 600]].concat()), Verdict::NoMatch);
    }

    #[test]
    fn other_servers_commands_do_not() {
        for line in
            ["EHLO x\r\n", "AUTH PLAIN x\r\n", "CAPA\r\n", "NICK x\r\n", "GET / HTTP/1.1\r\n"]
        {
            assert_eq!(verdict(line.as_bytes()), Verdict::NoMatch, "{line:?}");
        }
    }
}
