//! One line, as text or as JSON.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime, SystemTime};

use super::record::{Far, Moved, Record, Way};
use crate::event::{By, Conn};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Json,
}

/// Keys and values in the order in which they are shown.
pub(super) struct Line(Vec<(&'static str, Value)>);

enum Value {
    Absent,
    Text(Cow<'static, str>),
    Number(u64),
    Time(Duration),
}

/// No value is longer: a name has at most 253 bytes (RFC 1035), and a client may send thousands.
const LONGEST: usize = 256;

impl Line {
    /// How one ended.
    pub(super) fn of(
        conn: &Conn,
        record: Option<&Record>,
        moved: Option<Moved>,
        end: &'static str,
    ) -> Self {
        let way = record.and_then(|it| it.way.as_ref());
        let far = record.and_then(|it| it.end.as_ref());
        let word = |of: fn(&Way) -> Option<&str>| Value::text(way.and_then(of));
        let time = |it: Option<Duration>| it.map_or(Value::Absent, Value::Time);
        let number = |it: Option<u64>| it.map_or(Value::Absent, Value::Number);
        let looked = record.and_then(|it| it.looked).and_then(|it| u64::try_from(it).ok());
        Self(vec![
            ("time", now()),
            ("conn", Value::Number(conn.id)),
            ("client", Value::shown(conn.client)),
            ("transport", Value::shown(conn.transport)),
            ("listener", Value::shown(conn.local)),
            ("protocol", word(|it| it.protocol.as_deref())),
            ("host", Value::escaped(way.and_then(|it| it.host.clone()))),
            ("route", word(|it| Some(&it.route))),
            ("backend", Value::text(far.map(|it: &Far| it.backend.as_str()))),
            ("address", far.map_or(Value::Absent, |it| Value::shown(it.address))),
            (
                "by",
                record.and_then(|it| it.by).map_or(Value::Absent, |it: By| Value::word(it.word())),
            ),
            ("looked", number(looked)),
            ("decide_ms", time(record.and_then(|it| it.decide))),
            ("connect_ms", time(far.and_then(|it| it.connect))),
            ("total_ms", time(record.map(|it| it.since.elapsed()))),
            ("up", number(moved.map(|it| it.up))),
            ("down", number(moved.map(|it| it.down))),
            ("end", Value::word(end)),
        ])
    }

    /// How many were left out of a flood, by how they ended.
    pub(super) fn left_out(counts: &[(&'static str, u64)]) -> Self {
        let all = counts.iter().map(|(_, count)| count).sum();
        let counts = counts.iter().map(|(word, count)| (*word, Value::Number(*count)));
        Self(
            [("time", now()), ("suppressed", Value::Number(all))]
                .into_iter()
                .chain(counts)
                .collect(),
        )
    }

    /// How many lines were lost because nobody read them in time.
    pub(super) fn lost(lines: u64) -> Self {
        Self(vec![("time", now()), ("lost", Value::Number(lines))])
    }

    pub(super) fn text(&self, form: Form) -> String {
        let mut text = String::with_capacity(400);
        for (at, (key, value)) in self.0.iter().enumerate() {
            // Writing to a String cannot fail.
            let _ = match form {
                Form::Text if at == 0 => value.write_text(&mut text),
                Form::Text => write!(text, " {key}=").and_then(|()| value.write_text(&mut text)),
                Form::Json => {
                    let before = if at == 0 { '{' } else { ',' };
                    write!(text, "{before}\"{key}\":").and_then(|()| value.write_json(&mut text))
                }
            };
        }
        text.push_str(if form == Form::Json { "}\n" } else { "\n" });
        text
    }
}

fn now() -> Value {
    let mut text = String::new();
    // It fails as little as writing to a String.
    let _ = SystemTime.format_time(&mut Writer::new(&mut text));
    Value::Text(text.into())
}

impl Value {
    fn word(word: &'static str) -> Self {
        Self::Text(word.into())
    }

    fn shown(value: impl ToString) -> Self {
        Self::Text(value.to_string().into())
    }

    /// Of whatever somebody said, printable ASCII, and not too much.
    fn text(text: Option<&str>) -> Self {
        Self::escaped(text.map(|it| it.as_bytes().escape_ascii().to_string()))
    }

    /// The same of what is escaped already.
    fn escaped(text: Option<String>) -> Self {
        let Some(mut text) = text else { return Self::Absent };
        if text.len() > LONGEST {
            text.truncate(LONGEST - CUT.len());
            text.push_str(CUT);
        }
        Self::Text(text.into())
    }

    fn write_text(&self, to: &mut String) -> std::fmt::Result {
        match self {
            Self::Absent => to.write_char('-'),
            Self::Number(number) => write!(to, "{number}"),
            Self::Time(time) => write_ms(*time, to),
            Self::Text(text) if is_one_word(text) => to.write_str(text),
            Self::Text(text) => write!(to, "\"{text}\""),
        }
    }

    fn write_json(&self, to: &mut String) -> std::fmt::Result {
        match self {
            Self::Absent => to.write_str("null"),
            Self::Number(number) => write!(to, "{number}"),
            Self::Time(time) => write_ms(*time, to),
            Self::Text(text) => write_json(text, to),
        }
    }
}

/// What stands where something was cut off.
const CUT: &str = "...";

/// Milliseconds, to the microsecond.
fn write_ms(time: Duration, to: &mut String) -> std::fmt::Result {
    write!(to, "{}.{:03}", time.as_millis(), time.subsec_micros() % 1000)
}

/// Whether it stands without quotes: it is neither empty nor what stands for nothing.
fn is_one_word(text: &str) -> bool {
    !text.is_empty() && text != "-" && !text.contains(' ')
}

/// As a string of JSON (RFC 8259, section 7). Everything is printable ASCII by now; if not, it is here.
fn write_json(text: &str, to: &mut String) -> std::fmt::Result {
    to.write_char('"')?;
    for it in text.chars() {
        match it {
            '"' | '\\' => write!(to, "\\{it}")?,
            ' '..='~' => to.write_char(it)?,
            _ => {
                for unit in it.encode_utf16(&mut [0; 2]) {
                    write!(to, "\\u{unit:04x}")?;
                }
            }
        }
    }
    to.write_char('"')
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::time::Instant;

    use refractium_protocol::Transport;
    use serde_json::Value as Json;

    use super::*;

    fn line(host: &str) -> Line {
        let client = SocketAddr::from(([192, 0, 2, 7], 1234));
        let local = "[2001:db8::1]:443".parse().expect("an address");
        let conn = Conn { id: 5, client, peer: client, local, transport: Transport::Tcp };
        let record = Record {
            since: Instant::now(),
            way: Some(Way {
                protocol: Some("https".to_owned()),
                host: Some(host.as_bytes().escape_ascii().to_string()),
                route: "https:a.example+1".to_owned(),
            }),
            by: Some(By::Verdict),
            looked: Some(517),
            decide: Some(Duration::from_nanos(1_234_567)),
            end: Some(Far {
                backend: "Größe \u{202e}:1".to_owned(),
                address: client,
                connect: None,
            }),
        };
        Line::of(&conn, Some(&record), Some(Moved { up: 1, down: u64::MAX }), "closed")
    }

    #[test]
    fn text_is_keys_and_values_in_one_line() {
        let text = line("a.example").text(Form::Text);
        let (time, rest) = text.split_once(' ').expect("a time");
        assert!(time.starts_with("20") && time.ends_with('Z'), "{time}");
        let (rest, after) = rest.split_once(" total_ms=0.").expect("a time");
        let backend = r#""Gr\xc3\xb6\xc3\x9fe \xe2\x80\xae:1""#;
        let told = format!(
            "conn=5 client=192.0.2.7:1234 transport=tcp listener=[2001:db8::1]:443 protocol=https \
            host=a.example route=https:a.example+1 backend={backend} address=192.0.2.7:1234 \
            by=verdict looked=517 decide_ms=1.234 connect_ms=-"
        );
        assert_eq!(rest, told);
        assert!(after.ends_with(" up=1 down=18446744073709551615 end=closed\n"), "{after}");
    }

    #[test]
    fn what_a_client_sent_is_escaped_and_cut() {
        let worst = "\u{1b}[31m\r\n\"a\\' -\u{202e}\u{7f}\u{9b}\0".to_owned();
        for host in [worst.clone(), worst + &"\u{1}".repeat(65_536)] {
            for form in [Form::Text, Form::Json] {
                let text = line(&host).text(form);
                let (line, end) = text.split_at(text.len() - 1);
                assert_eq!(end, "\n");
                assert!(line.bytes().all(|it| (b' '..=b'~').contains(&it)), "{line}");
                assert!(line.len() < 800, "{}", line.len());
                assert!(!line.contains("\" end") && line.contains(r"\x1b[31m"), "{line}");
            }
        }
    }

    #[test]
    fn json_says_what_was_said() {
        let host = "a\"\\\n{}";
        let json: Json = serde_json::from_str(&line(host).text(Form::Json)).expect("json");
        assert_eq!(json["host"], r#"a\"\\\n{}"#);
        assert_eq!((&json["conn"], &json["connect_ms"]), (&Json::from(5), &Json::Null));
        assert_eq!((&json["decide_ms"], &json["down"]), (&1.234.into(), &u64::MAX.into()));
        let odd = ["", "-", "a b"].map(|it| line(it).text(Form::Text));
        for (line, shown) in odd.iter().zip(["\"\"", "\"-\"", "\"a b\""]) {
            assert!(line.contains(&format!(" host={shown} route=")), "{line}");
        }
        let floods = Line::left_out(&[("no_route", 5), ("full", 2)]);
        assert!(floods.text(Form::Text).ends_with("Z suppressed=7 no_route=5 full=2\n"));
        let json: Json = serde_json::from_str(&floods.text(Form::Json)).expect("json");
        assert_eq!(json["no_route"], 5);
    }
}
