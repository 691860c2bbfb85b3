//! Walks `refractium.toml` and gathers every mistake with its place.

mod admin;
mod bind;
mod block;
mod health;
mod log;
mod target;

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;
use std::str::FromStr;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::Known;
use super::keys::{MOST_WORKERS, NUMBERS, OTHERS};
use super::mistake::{Mistake, Mistakes, Place, did_you_mean};
use crate::endpoint::Endpoint;
use crate::host::Host;
use crate::limits::ZeroCopy;
use crate::log::Connections;
use crate::network::Network;
pub(super) use block::Block;

/// What the file says, each value with its place. What it does not say is not there.
#[derive(Debug, Default)]
pub(super) struct File {
    pub(super) bind: Option<Known<Vec<IpAddr>>>,
    pub(super) port: Option<Known<u16>>,
    pub(super) workers: Option<Known<usize>>,
    pub(super) zero_copy: Option<Known<ZeroCopy>>,
    pub(super) hot_reload: Option<Known<bool>>,
    pub(super) fallback_tcp: Option<Known<Endpoint>>,
    pub(super) fallback_udp: Option<Known<Endpoint>>,
    pub(super) proxy_protocol_from: Option<Known<Vec<Network>>>,
    pub(super) connections: Option<Known<Connections>>,
    pub(super) admin_listen: Option<Known<Vec<SocketAddr>>>,
    pub(super) admin_hosts: Option<Known<Vec<Host>>>,
    /// By their place in [`NUMBERS`].
    pub(super) numbers: Vec<(usize, Known<u64>)>,
    pub(super) routes: Vec<Block>,
}

/// Reads `text`, which is source number `source` of `mistakes`.
pub(super) fn read(text: &str, source: usize, mistakes: &mut Mistakes) -> File {
    let (document, errors) = DeTable::parse_recoverable(text);
    let is_whole = errors.is_empty();
    for error in errors {
        // At the end of the text there is nothing to mark.
        let span = error.span().unwrap_or(text.len()..text.len());
        let (place, message) = (Some(Place { source, span }), error.message().to_owned());
        mistakes.push_syntax(Mistake { place, message, beside: None, help: None });
    }
    let mut reader = Reader { text, source, mistakes, is_whole, said: 0 };
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
                ("log", DeValue::Table(log)) => self.log(log, &mut file),
                ("log", other) => self.expected("a table `[log]`", other, value.span()),
                ("admin", DeValue::Table(admin)) => self.admin(admin, &mut file),
                ("admin", other) => self.expected("a table `[admin]`", other, value.span()),
                ("protocols", DeValue::Array(blocks)) => {
                    for block in blocks.iter() {
                        self.block(block, &mut file);
                    }
                }
                // An unclosed bracket takes the next one from `[[protocols]]`, which has been said.
                ("protocols", DeValue::Table(_)) if !self.is_whole => {}
                ("protocols", other) => {
                    self.expected("tables `[[protocols]]`", other, value.span());
                }
                (word, _) => self.unknown_key(word, key.span(), TABLES),
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
                "bind" => file.bind = Some(self.bind(value)),
                "port" => {
                    let port =
                        self.integer(value, 0..=65_535).and_then(|it| u16::try_from(it).ok());
                    file.port = port.map(|port| self.known(port, value.span()));
                }
                "workers" => {
                    let workers = self.integer(value, 0..=MOST_WORKERS);
                    let workers = workers.and_then(|it| usize::try_from(it).ok());
                    file.workers = workers.map(|it| self.known(it, value.span()));
                }
                "zero_copy" => file.zero_copy = self.choice(value, ZERO_COPY),
                "hot_reload" => file.hot_reload = self.boolean(value),
                "fallback_tcp" => file.fallback_tcp = self.parsed(value, ENDPOINT),
                "proxy_protocol_from" => file.proxy_protocol_from = Some(self.networks(value)),
                "fallback_udp" => file.fallback_udp = self.parsed(value, ENDPOINT),
                _ => {
                    let numbers = NUMBERS.iter().map(|number| number.name);
                    let known: Vec<_> = numbers.chain(OTHERS.iter().copied()).collect();
                    self.unknown_key(word, key.span(), &known);
                }
            }
        }
    }

    /// A list, or the one value that stands for it.
    fn items<'v, 't>(&mut self, value: &'v Value<'t>) -> Vec<&'v Value<'t>> {
        match value.get_ref() {
            DeValue::Array(list) => {
                if list.is_empty() {
                    self.mistake(value.span(), "this list is empty".to_owned(), None);
                }
                list.iter().collect()
            }
            _ => vec![value],
        }
    }

    /// One value or a list of them.
    fn list<T: FromStr<Err: ToString>>(&mut self, value: &Value<'_>, what: &str) -> Vec<Known<T>> {
        self.items(value).into_iter().filter_map(|item| self.parsed(item, what)).collect()
    }

    /// Any number of networks, none among them.
    fn networks(&mut self, value: &Value<'_>) -> Known<Vec<Network>> {
        let is_empty = value.get_ref().as_array().is_some_and(|list| list.is_empty());
        let what = "a network such as \"10.0.0.0/8\", or an address";
        let list = if is_empty { Vec::new() } else { self.list(value, what) };
        self.known(list.into_iter().map(|known| known.value).collect(), value.span())
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

    /// One of a few words, with what it stands for.
    fn choice<T: Copy>(&mut self, value: &Value<'_>, words: &[(&str, T)]) -> Option<Known<T>> {
        let quoted: Vec<_> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
        let DeValue::String(said) = value.get_ref() else {
            self.expected(&quoted.join(" or "), value.get_ref(), value.span());
            return None;
        };
        match words.iter().find(|(word, _)| word == said) {
            Some((_, meant)) => Some(self.known(*meant, value.span())),
            None => {
                let message = format!("`{said}` is neither {}", quoted.join(" nor "));
                let help = did_you_mean(said, words.iter().map(|(word, _)| *word));
                self.mistake(value.span(), message, help);
                None
            }
        }
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

    fn unknown_key(&mut self, word: &str, span: Range<usize>, known: &[&str]) {
        let help = did_you_mean(word, known.iter().copied())
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

/// Tables of the file.
pub(super) const TABLES: &[&str] = &["server", "log", "admin", "protocols"];

const ZERO_COPY: &[(&str, ZeroCopy)] = &[("auto", ZeroCopy::Auto), ("off", ZeroCopy::Off)];

const ENDPOINT: &str = "an address such as \"127.0.0.1:3000\" or \"backend.internal:80\"";
