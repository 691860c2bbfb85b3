//! One `[[protocols]]` block.

use std::borrow::Cow;
use std::str::FromStr;

use refractium_protocol::Transport;
use toml::Spanned;
use toml::de::DeValue;

use super::super::keys::{ROUTE_NUMBERS, route_keys};
use super::super::mistake::{did_you_mean, meant};
use super::super::{Known, bytes};
use super::{File, Reader, Value};
use crate::balance::Balance;
use crate::check::Check;
use crate::host::Host;
use crate::proxy_protocol::ProxyProtocol;
use crate::target::Target;

/// One `[[protocols]]`.
#[derive(Debug)]
pub(in crate::config) struct Block {
    pub(in crate::config) name: Known<String>,
    pub(in crate::config) forward_to: Vec<Known<Target>>,
    pub(in crate::config) balance: Option<Known<Balance>>,
    pub(in crate::config) health: Option<Known<Check>>,
    pub(in crate::config) close_on_down: Option<Known<bool>>,
    pub(in crate::config) proxy_protocol: Option<Known<ProxyProtocol>>,
    pub(in crate::config) transparent: Option<Known<bool>>,
    /// `sni` or `host`, as written.
    pub(in crate::config) hosts_key: Option<Known<String>>,
    pub(in crate::config) hosts: Vec<Known<Host>>,
    pub(in crate::config) alpn: Option<Known<Vec<String>>>,
    pub(in crate::config) patterns: Option<Known<Vec<Known<Vec<u8>>>>>,
    pub(in crate::config) transports: Option<Known<&'static [Transport]>>,
    pub(in crate::config) server_first: Option<Known<bool>>,
    /// By their place in [`ROUTE_NUMBERS`]; each stands where its key does.
    pub(in crate::config) numbers: Vec<(usize, Known<u64>)>,
    /// Without mistakes in its hosts and what goes with them.
    pub(in crate::config) hosts_are_sound: bool,
}

/// A protocol name as ALPN has it (RFC 7301, section 3.1).
struct AlpnName(String);

impl FromStr for AlpnName {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fits = (1..=255).contains(&text.len());
        fits.then(|| Self(text.to_owned())).ok_or("an ALPN name has 1 to 255 bytes (RFC 7301)")
    }
}

impl Reader<'_> {
    pub(super) fn block(&mut self, block: &Value<'_>, file: &mut File) {
        let DeValue::Table(table) = block.get_ref() else {
            return self.expected("a table", block.get_ref(), block.span());
        };
        let mut read = Block {
            name: self.known(String::new(), block.span()),
            forward_to: Vec::new(),
            balance: None,
            health: None,
            close_on_down: None,
            proxy_protocol: None,
            transparent: None,
            hosts_key: None,
            hosts: Vec::new(),
            alpn: None,
            patterns: None,
            transports: None,
            server_first: None,
            numbers: Vec::new(),
            hosts_are_sound: true,
        };
        for (key, value) in table {
            self.route_key(key, value, &mut read);
        }
        for needed in ["name", "forward_to"] {
            let is_it = |key: &Spanned<Cow<'_, str>>| key.get_ref() == needed;
            let is_meant = |key: &Spanned<Cow<'_, str>>| {
                let word = key.get_ref();
                !route_keys().any(|known| known == word)
                    && meant(word, route_keys()) == Some(needed)
            };
            // What was misspelt has been said, and what seems to be missing may only have been unreadable.
            if self.is_whole && !table.iter().any(|(key, _)| is_it(key) || is_meant(key)) {
                self.mistake(block.span(), format!("a route needs `{needed}`"), None);
            }
        }
        file.routes.push(read);
    }

    fn route_key(&mut self, key: &Spanned<Cow<'_, str>>, value: &Value<'_>, read: &mut Block) {
        let before = self.said;
        match key.get_ref().as_ref() {
            "name" => self.name(value, read),
            "forward_to" => read.forward_to = self.targets(value),
            "balance" => read.balance = self.one_of(value, &Balance::ALL.map(Balance::word)),
            "health" => read.health = self.health(value),
            "close_on_down" => read.close_on_down = self.boolean(value),
            "transparent" => read.transparent = self.boolean(value),
            "proxy_protocol" => {
                read.proxy_protocol =
                    self.one_of(value, &ProxyProtocol::ALL.map(ProxyProtocol::word));
            }
            word @ ("sni" | "host") => {
                if read.hosts_key.is_some() {
                    let message = "`sni` and `host` exclude each other".to_owned();
                    self.mistake(key.span(), message, None);
                }
                read.hosts_key = Some(self.known(word.to_owned(), key.span()));
                read.hosts = self.list(value, "a host name such as \"a.example\"");
                read.hosts_are_sound &= self.said == before;
            }
            "alpn" => {
                let names = self.list::<AlpnName>(value, "an ALPN name such as \"h2\"");
                let names = names.into_iter().map(|known| known.value.0).collect();
                read.alpn = Some(self.known(names, value.span()));
                read.hosts_are_sound &= self.said == before;
            }
            "patterns" => self.patterns(value, read),
            "transport" => self.transport(value, read),
            "server_first" => read.server_first = self.boolean(value),
            _ => self.route_number(key, value, read),
        }
    }

    fn route_number(&mut self, key: &Spanned<Cow<'_, str>>, value: &Value<'_>, read: &mut Block) {
        let word = key.get_ref().as_ref();
        let at = ROUTE_NUMBERS.iter().position(|number| number.name == word);
        let Some((at, number)) = at.and_then(|at| Some((at, ROUTE_NUMBERS.get(at)?))) else {
            let known: Vec<_> = route_keys().collect();
            return self.unknown_key(word, key.span(), &known);
        };
        let said = self.integer(value, number.least..=number.most);
        read.numbers.extend(said.map(|said| (at, self.known(said, key.span()))));
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
        for item in self.items(value) {
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
                (DeValue::String(_), None) => {}
                (other, _) => self.expected("a string of bytes", other, item.span()),
            }
        }
        read.patterns = Some(self.known(patterns, value.span()));
    }

    /// One of some words.
    fn one_of<T: FromStr<Err: ToString>>(
        &mut self,
        value: &Value<'_>,
        words: &[&'static str],
    ) -> Option<Known<T>> {
        let known = format!("one of \"{}\"", words.join("\", \""));
        let DeValue::String(word) = value.get_ref() else {
            self.expected(&known, value.get_ref(), value.span());
            return None;
        };
        match word.parse() {
            Ok(parsed) => Some(self.known(parsed, value.span())),
            Err(error) => {
                let help = did_you_mean(word, words.iter().copied());
                let help = help.unwrap_or_else(|| format!("write {known}"));
                self.mistake(value.span(), error.to_string(), Some(help));
                None
            }
        }
    }

    fn transport(&mut self, value: &Value<'_>, read: &mut Block) {
        let transports: &'static [Transport] = match value.get_ref() {
            DeValue::String(word) => match word.as_ref() {
                "tcp" => &[Transport::Tcp],
                "udp" => &[Transport::Udp],
                "both" => &[Transport::Tcp, Transport::Udp],
                other => {
                    let message = format!("`{other}` is none of \"tcp\", \"udp\" and \"both\"");
                    let help = did_you_mean(other, ["tcp", "udp", "both"]);
                    return self.mistake(value.span(), message, help);
                }
            },
            other => {
                return self.expected("\"tcp\", \"udp\" or \"both\"", other, value.span());
            }
        };
        read.transports = Some(self.known(transports, value.span()));
    }
}
