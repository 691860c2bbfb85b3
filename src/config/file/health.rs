//! `[protocols.health]`: how a route's backends are checked.

use std::ops::Range;
use std::time::Duration;

use refractium_protocol::dns_name;
use toml::de::{DeTable, DeValue};

use super::super::keys::{DAY, HEALTH};
use super::super::mistake::did_you_mean;
use super::super::{Known, bytes};
use super::{Reader, Value};
use crate::check::{Check, CheckKind};

/// What the table says, each with its place; what belongs together is found out when all is known.
#[derive(Default)]
struct Said {
    kind: Option<String>,
    interval: Option<u64>,
    timeout: Option<Known<u64>>,
    slow_start: Option<u64>,
    rise: Option<u64>,
    fall: Option<u64>,
    path: Option<String>,
    host: Option<String>,
    expect_status: Vec<u16>,
    expect: Vec<u8>,
    send: Option<Vec<u8>>,
}

impl Reader<'_> {
    /// The place is that of the kind, or of the whole.
    pub(super) fn health(&mut self, value: &Value<'_>) -> Option<Known<Check>> {
        let DeValue::Table(table) = value.get_ref() else {
            self.expected("a table `[protocols.health]`", value.get_ref(), value.span());
            return None;
        };
        let mut said = Said::default();
        let before = self.said;
        for (key, value) in table {
            self.health_key(key.get_ref(), key.span(), value, &mut said);
        }
        let is_kind = |word: &str| said.kind.as_deref() == Some(word);
        // What belongs to a kind that could not be read is not known.
        if self.said == before {
            self.misplaced(table, said.kind.as_deref());
            if is_kind("payload") && said.send.is_none() {
                let message = "a check of kind \"payload\" needs `send`".to_owned();
                self.mistake(value.span(), message, None);
            }
        }
        let place = table.iter().find(|(key, _)| key.get_ref() == "kind");
        let place = place.map_or_else(|| value.span(), |(_, kind)| kind.span());
        Some(self.known(self.check(said), place))
    }

    fn health_key(&mut self, word: &str, key: Range<usize>, value: &Value<'_>, said: &mut Said) {
        match word {
            "kind" => said.kind = self.kind(value),
            "interval_ms" => said.interval = self.integer(value, 1..=DAY),
            "timeout_ms" => {
                let timeout = self.integer(value, 1..=DAY);
                said.timeout = timeout.map(|it| self.known(it, value.span()));
            }
            "slow_start_ms" => said.slow_start = self.integer(value, 0..=DAY),
            "rise" => said.rise = self.integer(value, 1..=MOST_IN_A_ROW),
            "fall" => said.fall = self.integer(value, 1..=MOST_IN_A_ROW),
            "path" => {
                let is_path = |path: &str| {
                    path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic())
                };
                said.path = self.word(value, "a path such as \"/health\"", is_path);
            }
            "host" => {
                let is_host = |host: &str| dns_name(host.as_bytes()).is_some();
                said.host = self.word(value, "a host name such as \"a.example\"", is_host);
            }
            "expect_status" => {
                for item in self.items(value) {
                    let status = self.integer(item, 100..=599);
                    said.expect_status.extend(status.and_then(|it| u16::try_from(it).ok()));
                }
            }
            "expect" => said.expect = self.bytes(value).unwrap_or_default(),
            "send" => said.send = self.bytes(value),
            _ => self.unknown_key(word, key, HEALTH),
        }
        let (Some(interval), Some(timeout)) = (said.interval, &said.timeout) else { return };
        if timeout.value > interval && matches!(word, "interval_ms" | "timeout_ms") {
            let message = "`timeout_ms` is longer than `interval_ms`".to_owned();
            self.mistake(timeout.place.span.clone(), message, None);
        }
    }

    fn kind(&mut self, value: &Value<'_>) -> Option<String> {
        let known = format!("one of \"{}\"", CheckKind::WORDS.join("\", \""));
        let DeValue::String(word) = value.get_ref() else {
            self.expected(&known, value.get_ref(), value.span());
            return None;
        };
        if CheckKind::WORDS.contains(&word.as_ref()) {
            return Some(word.to_string());
        }
        let help = did_you_mean(word, CheckKind::WORDS).unwrap_or_else(|| format!("write {known}"));
        self.mistake(value.span(), format!("`{word}` is no kind of check"), Some(help));
        None
    }

    fn word(
        &mut self,
        value: &Value<'_>,
        what: &str,
        is_one: impl FnOnce(&str) -> bool,
    ) -> Option<String> {
        match value.get_ref() {
            DeValue::String(word) if is_one(word) => return Some(word.to_string()),
            DeValue::String(_) => self.mistake(value.span(), format!("expected {what}"), None),
            other => self.expected(what, other, value.span()),
        }
        None
    }

    fn bytes(&mut self, value: &Value<'_>) -> Option<Vec<u8>> {
        if !matches!(value.get_ref(), DeValue::String(_)) {
            self.expected("a string of bytes", value.get_ref(), value.span());
            return None;
        }
        // Only an escape that TOML does not know gives none: the parser has said so.
        let bytes = bytes::pattern(self.text.get(value.span()).unwrap_or_default())?;
        if bytes.is_empty() || bytes.len() > MOST_BYTES {
            let message = format!("expected from 1 to {MOST_BYTES} bytes");
            self.mistake(value.span(), message, None);
        }
        Some(bytes)
    }

    /// Says which keys belong to another kind than the one said.
    fn misplaced(&mut self, table: &DeTable<'_>, kind: Option<&str>) {
        for (key, kinds) in OF_KINDS {
            let written = table.iter().find(|(word, _)| word.get_ref() == key);
            if let Some((word, _)) = written
                && !kind.is_some_and(|kind| kinds.contains(&kind))
            {
                let message = format!("`{key}` belongs to kind = \"{}\"", kinds.join("\" or \""));
                self.mistake(word.span(), message, None);
            }
        }
    }

    fn check(&self, said: Said) -> Check {
        let Said { host, expect, .. } = said;
        let usual = Check::default();
        let kind = match said.kind.as_deref() {
            Some("none") => CheckKind::None,
            Some("tcp") => CheckKind::Tcp,
            Some("http") => CheckKind::Http {
                path: said.path.unwrap_or_else(|| "/".to_owned()),
                host,
                expect_status: said.expect_status,
            },
            Some("tls") => CheckKind::Tls { host },
            Some("banner") => CheckKind::Banner { expect },
            Some("dns") => CheckKind::Dns { host },
            Some("payload") => CheckKind::Payload { send: said.send.unwrap_or_default(), expect },
            _ => CheckKind::Usual,
        };
        let narrow = |number: Option<u64>| number.and_then(|it| u32::try_from(it).ok());
        let interval = said.interval.map_or(usual.interval, Duration::from_millis);
        let timeout = said.timeout.map(|it| Duration::from_millis(it.value));
        Check {
            proxy_protocol: None,
            kind,
            interval,
            timeout: timeout.unwrap_or_else(|| usual.timeout.min(interval)),
            slow_start: said.slow_start.map_or(usual.slow_start, Duration::from_millis),
            rise: narrow(said.rise).unwrap_or(usual.rise),
            fall: narrow(said.fall).unwrap_or(usual.fall),
        }
    }
}

/// Keys that only some kinds have.
const OF_KINDS: [(&str, &[&str]); 5] = [
    ("path", &["http"]),
    ("host", &["http", "tls", "dns"]),
    ("expect_status", &["http"]),
    ("expect", &["banner", "payload"]),
    ("send", &["payload"]),
];

const MOST_IN_A_ROW: u64 = 1000;

/// As long as a datagram that passes every path, and far longer than a greeting.
const MOST_BYTES: usize = 1200;
