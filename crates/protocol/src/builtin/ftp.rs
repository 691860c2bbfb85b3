use crate::{Opening, Verdict, any_prefix_ignore_case, define_protocol};

define_protocol! {
    /// FTP (RFC 959): the server greets first, so its clients are taken by silence; one that speaks early is known by
    /// its opening command.
    ///
    /// `USER` opens POP3 and IRC too. IRC is told apart by its last parameter (` :real name`); POP3 cannot be, and a
    /// POP3 client waits for the greeting anyway.
    pub struct Ftp;
    name: "ftp",
    transports: [Tcp],
    identify: |opening| any_prefix_ignore_case(opening.bytes, COMMANDS).or(user(opening)),
    server_first: true,
}

/// Commands that open an FTP session and nothing else (RFC 959, 2228, 2389, 2640, 7151), with enough of what follows
/// to tell them from SMTP's, POP3's and Redis's `AUTH`.
const COMMANDS: &[&[u8]] = &[
    b"AUTH TLS",
    b"AUTH SSL",
    b"AUTH GSSAPI",
    b"CLNT ",
    b"FEAT\r",
    b"FEAT\n",
    b"HOST ",
    b"OPTS UTF8",
    b"OPTS MLST",
    b"PBSZ ",
    b"SYST\r",
    b"SYST\n",
];

/// Most bytes of a `USER` line that are waited for: the line limit of IRC (RFC 2812, section 2.3), generous for FTP.
const USER_LINE: usize = 512;

fn user(opening: &Opening<'_>) -> Verdict {
    match any_prefix_ignore_case(opening.bytes, &[b"USER "]) {
        Verdict::Match => {}
        undecided => return undecided,
    }
    for (index, pair) in opening.bytes.windows(2).take(USER_LINE).enumerate() {
        match pair {
            b" :" => return Verdict::NoMatch,
            [_, b'\n'] => {
                // `USER` and nothing is no login.
                let user = opening.bytes.get(5..=index).unwrap_or_default().trim_ascii();
                return if user.is_empty() { Verdict::NoMatch } else { Verdict::Match };
            }
            _ => {}
        }
    }
    if opening.bytes.len() > USER_LINE { Verdict::NoMatch } else { Verdict::NeedMore }
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
