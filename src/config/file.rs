//! Walks `refractium.toml` and gathers every mistake with its place.

use std::net::IpAddr;
use std::ops::Range;
use std::str::FromStr;

use refractium_protocol::Transport;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::keys::{NUMBERS, OTHERS, PLANNED, ROUTE, ROUTE_PLANNED};
use super::mistake::{Mistake, Mistakes, Place, meant};
use super::{Known, bytes};
use crate::endpoint::Endpoint;
use crate::host::Host;

/// What the file says, each value with its place. What it does not say is not there.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) bind: Option<Known<Vec<IpAddr>>>,
    pub(super) port: Option<Known<u16>>,
    pub(super) hot_reload: Option<Known<bool>>,
    pub(super) fallback_tcp: Option<Known<Endpoint>>,
    pub(super) fallback_udp: Option<Known<Endpoint>>,
    /// By their place in [`NUMBERS`].
    pub(super) numbers: Vec<(usize, Known<u64>)>,
    pub(super) routes: Vec<Block>,
}

/// One `[[protocols]]`.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) name: Known<String>,
    pub(super) forward_to: Vec<Known<Endpoint>>,
    /// `sni` or `host`, as written.
    pub(super) hosts_key: Option<Known<String>>,
    pub(super) hosts: Vec<Known<Host>>,
    pub(super) alpn: Option<Known<Vec<String>>>,
    pub(super) patterns: Option<Known<Vec<Known<Vec<u8>>>>>,
    pub(super) transports: Option<Known<&'static [Transport]>>,
    pub(super) server_first: Option<Known<bool>>,
    /// It has mistakes: what else would follow from it is not said.
    pub(super) is_sound: bool,
}

/// Reads `text`, which is source number `source` of `mistakes`.
pub(super) fn read(text: &str, source: usize, mistakes: &mut Mistakes) -> File {
    let (document, errors) = DeTable::parse_recoverable(text);
    let mut reader = Reader { text, source, mistakes, is_whole: errors.is_empty(), said: 0 };
    for error in errors {
        // At the end of the text there is nothing to mark.
        let span = error.span().unwrap_or(text.len()..text.len());
        reader.mistake(span, error.message().to_owned(), None);
    }
    reader.document(document.get_ref())
}

struct Reader<'r> {
    text: &'r str,
    source: usize,
    mistakes: &'r mut Mistakes,
    /// The syntax is sound. If not, what seems to be missing may only have been unreadable.
    is_whole: bool,
    /// How many mistakes were said.
    said: usize,
}

type Value<'t> = Spanned<DeValue<'t>>;

impl Reader<'_> {
    fn document(&mut self, document: &DeTable<'_>) -> File {
        let mut file = File::default();
        for (key, value) in document {
            match (key.get_ref().as_ref(), value.get_ref()) {
                ("server", DeValue::Table(server)) => self.server(server, &mut file),
                ("server", other) => self.expected("a table `[server]`", other, value.span()),
                ("protocols", DeValue::Array(blocks)) => {
                    for block in blocks.iter() {
                        self.block(block, &mut file);
                    }
                }
                ("protocols", other) => {
                    self.expected("tables `[[protocols]]`", other, value.span());
                }
                (word, _) => self.unknown_key(word, key.span(), &["server", "protocols"], &[]),
            }
        }
        file
    }

    fn server(&mut self, server: &DeTable<'_>, file: &mut File) {
        for (key, value) in server {
            let word = key.get_ref().as_ref();
            if let Some(at) = NUMBERS.iter().position(|number| number.name == word) {
                let range = NUMBERS.get(at).map_or(0..=0, |number| number.least..=number.most);
                let number = self.integer(value, range);
                file.numbers.extend(number.map(|number| (at, self.known(number, value.span()))));
                continue;
            }
            match word {
                "bind" => {
                    let list = self.list(value, "an IP address such as \"0.0.0.0\" or \"::\"");
                    if !list.is_empty() {
                        let addresses = list.into_iter().map(|known| known.value).collect();
                        file.bind = Some(self.known(addresses, value.span()));
                    }
                }
                "port" => {
                    let port =
                        self.integer(value, 0..=65_535).and_then(|it| u16::try_from(it).ok());
                    file.port = port.map(|port| self.known(port, value.span()));
                }
                "hot_reload" => file.hot_reload = self.boolean(value),
                "fallback_tcp" => file.fallback_tcp = self.parsed(value, ENDPOINT),
                "fallback_udp" => file.fallback_udp = self.parsed(value, ENDPOINT),
                _ => {
                    let numbers = NUMBERS.iter().map(|number| number.name);
                    let known: Vec<_> = numbers.chain(OTHERS.iter().copied()).collect();
                    self.unknown_key(word, key.span(), &known, PLANNED);
                }
            }
        }
    }

    fn block(&mut self, block: &Value<'_>, file: &mut File) {
        let DeValue::Table(table) = block.get_ref() else {
            return self.expected("a table", block.get_ref(), block.span());
        };
        let before = self.said;
        let mut read = Block {
            name: self.known(String::new(), block.span()),
            forward_to: Vec::new(),
            hosts_key: None,
            hosts: Vec::new(),
            alpn: None,
            patterns: None,
            transports: None,
            server_first: None,
            is_sound: true,
        };
        for (key, value) in table {
            self.route_key(key, value, &mut read);
        }
        for word in ["name", "forward_to"] {
            let is_there = table.iter().any(|(key, _)| key.get_ref() == word);
            // What was misspelt has been said.
            if !is_there && self.is_whole && self.said == before {
                self.mistake(block.span(), format!("a route needs `{word}`"), None);
            }
        }
        read.is_sound = self.said == before;
        file.routes.push(read);
    }

    fn route_key(
        &mut self,
        key: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Value<'_>,
        read: &mut Block,
    ) {
        match key.get_ref().as_ref() {
            "name" => self.name(value, read),
            "forward_to" => {
                read.forward_to = self.list(value, ENDPOINT);
                if matches!(value.get_ref(), DeValue::Array(list) if list.is_empty()) {
                    self.mistake(value.span(), "there is no backend in this list".into(), None);
                }
            }
            word @ ("sni" | "host") => {
                if let Some(other) = &read.hosts_key {
                    let message = format!("`{}` stands here already", other.value);
                    self.mistake(key.span(), message, None);
                }
                read.hosts_key = Some(self.known(word.to_owned(), key.span()));
                read.hosts = self.list(value, "a host name such as \"a.example\"");
            }
            "alpn" => self.alpn(value, read),
            "patterns" => self.patterns(value, read),
            "transport" => self.transport(value, read),
            "server_first" => read.server_first = self.boolean(value),
            word => self.unknown_key(word, key.span(), ROUTE, ROUTE_PLANNED),
        }
    }

    fn name(&mut self, value: &Value<'_>, read: &mut Block) {
        let DeValue::String(name) = value.get_ref() else {
            return self.expected("a protocol's name", value.get_ref(), value.span());
        };
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if name.is_empty() || !name.bytes().all(is_plain) {
            let message = "a name is made of letters, digits, `_`, `-` and `.`".to_owned();
            return self.mistake(value.span(), message, None);
        }
        read.name = self.known(name.to_string(), value.span());
    }

    fn patterns(&mut self, value: &Value<'_>, read: &mut Block) {
        let mut patterns = Vec::new();
        for item in items(value) {
            let raw = self.text.get(item.span()).unwrap_or_default();
            match (item.get_ref(), bytes::pattern(raw)) {
                (DeValue::String(_), Some(pattern)) if pattern.is_empty() => {
                    let message = "an empty pattern would match everything".to_owned();
                    self.mistake(item.span(), message, None);
                }
                (DeValue::String(_), Some(pattern)) => {
                    patterns.push(self.known(pattern, item.span()));
                }
                // Only an escape that TOML does not know: the parser has said so.
                (DeValue::String(_), None) => self.said += 1,
                (other, _) => self.expected("a string of bytes", other, item.span()),
            }
        }
        if matches!(value.get_ref(), DeValue::Array(list) if list.is_empty()) {
            self.mistake(value.span(), "without a pattern nothing could match".into(), None);
        }
        read.patterns = Some(self.known(patterns, value.span()));
    }

    fn alpn(&mut self, value: &Value<'_>, read: &mut Block) {
        let mut names = Vec::new();
        for item in items(value) {
            match item.get_ref() {
                DeValue::String(name) if (1..=255).contains(&name.len()) => {
                    names.push(name.to_string());
                }
                DeValue::String(_) => {
                    let message = "an ALPN name has 1 to 255 bytes (RFC 7301)".to_owned();
                    self.mistake(item.span(), message, None);
                }
                other => self.expected("an ALPN name such as \"h2\"", other, item.span()),
            }
        }
        if matches!(value.get_ref(), DeValue::Array(list) if list.is_empty()) {
            self.mistake(value.span(), "no client could offer one of none".into(), None);
        }
        read.alpn = Some(self.known(names, value.span()));
    }

    fn transport(&mut self, value: &Value<'_>, read: &mut Block) {
        let transports: &'static [Transport] = match value.get_ref() {
            DeValue::String(word) => match word.as_ref() {
                "tcp" => &[Transport::Tcp],
                "udp" => &[Transport::Udp],
                "both" => &[Transport::Tcp, Transport::Udp],
                other => {
                    let message = format!("`{other}` is none of \"tcp\", \"udp\" and \"both\"");
                    let help = meant(other, ["tcp", "udp", "both"]);
                    return self.mistake(value.span(), message, help);
                }
            },
            other => {
                return self.expected("\"tcp\", \"udp\" or \"both\"", other, value.span());
            }
        };
        read.transports = Some(self.known(transports, value.span()));
    }

    /// One value or a list of them.
    fn list<T: FromStr<Err: ToString>>(&mut self, value: &Value<'_>, what: &str) -> Vec<Known<T>> {
        items(value).into_iter().filter_map(|item| self.parsed(item, what)).collect()
    }

    fn parsed<T: FromStr<Err: ToString>>(
        &mut self,
        value: &Value<'_>,
        what: &str,
    ) -> Option<Known<T>> {
        let DeValue::String(text) = value.get_ref() else {
            self.expected(what, value.get_ref(), value.span());
            return None;
        };
        match text.parse() {
            Ok(parsed) => Some(self.known(parsed, value.span())),
            Err(error) => {
                self.mistake(value.span(), error.to_string(), Some(format!("write {what}")));
                None
            }
        }
    }

    fn boolean(&mut self, value: &Value<'_>) -> Option<Known<bool>> {
        if let DeValue::Boolean(boolean) = value.get_ref() {
            return Some(self.known(*boolean, value.span()));
        }
        self.expected("true or false", value.get_ref(), value.span());
        None
    }

    fn integer(&mut self, value: &Value<'_>, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let what = format!("a number from {} to {}", range.start(), range.end());
        let DeValue::Integer(integer) = value.get_ref() else {
            self.expected(&what, value.get_ref(), value.span());
            return None;
        };
        let number = u64::from_str_radix(integer.as_str(), integer.radix()).ok();
        let fitting = number.filter(|number| range.contains(number));
        if fitting.is_none() {
            self.mistake(value.span(), format!("expected {what}"), None);
        }
        fitting
    }

    fn unknown_key(&mut self, word: &str, span: Range<usize>, known: &[&str], planned: &[&str]) {
        if planned.contains(&word) {
            let help = "remove the line until the release that builds it".to_owned();
            return self.mistake(span, format!("`{word}` is not built yet"), Some(help));
        }
        let help = meant(word, known.iter().copied())
            .unwrap_or_else(|| format!("known keys: {}", known.join(", ")));
        self.mistake(span, format!("unknown key `{word}`"), Some(help));
    }

    fn expected(&mut self, what: &str, found: &DeValue<'_>, span: Range<usize>) {
        self.mistake(span, format!("expected {what}, found {}", found.type_str()), None);
    }

    fn mistake(&mut self, span: Range<usize>, message: String, help: Option<String>) {
        self.said += 1;
        let place = Some(Place { source: self.source, span });
        self.mistakes.push(Mistake { place, message, beside: None, help });
    }

    const fn known<T>(&self, value: T, span: Range<usize>) -> Known<T> {
        Known { value, place: Place { source: self.source, span } }
    }
}

const ENDPOINT: &str = "an address such as \"127.0.0.1:3000\" or \"backend.internal:80\"";

fn items<'v, 't>(value: &'v Value<'t>) -> Vec<&'v Value<'t>> {
    match value.get_ref() {
        DeValue::Array(list) => list.iter().collect(),
        _ => vec![value],
    }
}
