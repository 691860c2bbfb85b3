//! The bytes of a pattern, as its author meant them.

/// Reads a TOML string as bytes from its raw spelling, quotes included: `\xHH` is always that one byte, and a character
/// typed as itself, or by `\u`, is its UTF-8.
///
/// The decoded string could not tell: TOML says that `\xff` is U+00FF, whose UTF-8 is two bytes. The text has been
/// through the TOML parser, so its escapes are sound; what is not is given as `None`.
pub(super) fn pattern(raw: &str) -> Option<Vec<u8>> {
    let literal = |quote: &str| raw.strip_prefix(quote)?.strip_suffix(quote);
    if let Some(text) = literal("'''") {
        return Some(without_first_newline(text).into());
    }
    if let Some(text) = literal("\"\"\"") {
        return unescape(without_first_newline(text));
    }
    match literal("'") {
        Some(text) => Some(text.into()),
        None => unescape(literal("\"")?),
    }
}

fn without_first_newline(text: &str) -> &str {
    text.strip_prefix("\r\n").or_else(|| text.strip_prefix('\n')).unwrap_or(text)
}

/// Reads text with the escapes of TOML 1.1 as bytes, `\xHH` as one; `None` where a backslash begins none of them.
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let mut chars = escape.chars();
        let kind = chars.next()?;
        rest = chars.as_str();
        match kind {
            'b' => bytes.push(0x08),
            't' => bytes.push(b'\t'),
            'n' => bytes.push(b'\n'),
            'f' => bytes.push(0x0c),
            'r' => bytes.push(b'\r'),
            'e' => bytes.push(0x1b),
            '"' | '\\' => bytes.push(u8::try_from(kind).ok()?),
            'x' => bytes.push(u8::try_from(number(&mut rest, 2)?).ok()?),
            'u' => push_char(&mut bytes, number(&mut rest, 4)?)?,
            'U' => push_char(&mut bytes, number(&mut rest, 8)?)?,
            // A backslash at the end of a line joins it with the next text.
            _ if kind.is_whitespace() => rest = rest.trim_start(),
            _ => return None,
        }
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

fn number(rest: &mut &str, digits: usize) -> Option<u32> {
    let (hex, after) = rest.split_at_checked(digits)?;
    *rest = after;
    u32::from_str_radix(hex, 16).ok()
}

fn push_char(bytes: &mut Vec<u8>, code: u32) -> Option<()> {
    bytes.extend_from_slice(char::from_u32(code)?.encode_utf8(&mut [0; 4]).as_bytes());
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_gives_the_bytes_meant() {
        for (raw, bytes) in [
            (r#""\x01\xfF""#, &b"\x01\xff"[..]),
            (r#""\u00ff""#, "ÿ".as_bytes()),
            (r#""ÿ""#, "ÿ".as_bytes()),
            (r#""\U0001F600\b\t\n\f\r\e\"\\""#, "😀\x08\t\n\x0c\r\x1b\"\\".as_bytes()),
            (r"'\x01'", br"\x01"),
            ("'''\n\\x'''", b"\\x"),
            ("\"\"\"\na\\\n   b\"\"\"", b"ab"),
            (r#""""#, b""),
        ] {
            assert_eq!(pattern(raw).as_deref(), Some(bytes), "{raw}");
        }
    }
}
