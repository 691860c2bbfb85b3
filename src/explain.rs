//! `refractium explain`: what each protocol says of an opening, where it goes, and why nowhere else.

use std::error::Error;
use std::fmt::Write;
use std::io::{self, Read};

use refractium::config::{Config, Origin};
use refractium::protocol::{Fact, Opening, RefractiumProtocol, Scratch, Transport, Verdict};
use refractium::{Decision, Route};

use crate::capture;
use crate::cli::{OpeningArgs, Over};
use crate::report::columns;

/// Explains the opening that was given, or each of a capture.
pub(crate) fn explain(config: &Config, given: &OpeningArgs) -> Result<String, Box<dyn Error>> {
    if let Some(path) = &given.pcap {
        let flows = capture::flows(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if flows.is_empty() {
            return Err(format!("{}: no TCP or UDP in it", path.display()).into());
        }
        let each = flows.iter().map(|flow| {
            let title = format!("{} to {}", flow.client, flow.server);
            Explained { config, transport: flow.transport, bytes: &flow.bytes }.text(&title)
        });
        return Ok(each.collect::<Vec<_>>().join("\n"));
    }
    let bytes = opening(given)?;
    let transport = match given.transport {
        None | Some(Over::Tcp) => Transport::Tcp,
        Some(Over::Udp) => Transport::Udp,
    };
    Ok(Explained { config, transport, bytes: &bytes }.text("an opening"))
}

fn opening(given: &OpeningArgs) -> Result<Vec<u8>, Box<dyn Error>> {
    if let Some(digits) = &given.hex {
        return Ok(hex(digits)?);
    }
    if let Some(text) = &given.text {
        return Ok(unescaped(text)?);
    }
    if let Some(path) = &given.file {
        return std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()).into());
    }
    let mut bytes = Vec::new();
    io::stdin().lock().read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn hex(digits: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<char> = digits.chars().filter(|it| !it.is_whitespace() && *it != ':').collect();
    if !digits.len().is_multiple_of(2) {
        return Err("--hex needs two digits for each byte".to_owned());
    }
    digits.chunks(2).map(|pair| byte(&pair.iter().collect::<String>())).collect()
}

fn byte(pair: &str) -> Result<u8, String> {
    u8::from_str_radix(pair, 16).map_err(|_| format!("`{pair}` is no byte in hexadecimal"))
}

fn unescaped(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some((plain, escape)) = rest.split_once('\\') {
        bytes.extend_from_slice(plain.as_bytes());
        let mut chars = escape.chars();
        match chars.next() {
            Some('r') => bytes.push(b'\r'),
            Some('n') => bytes.push(b'\n'),
            Some('t') => bytes.push(b'\t'),
            Some('\\') => bytes.push(b'\\'),
            Some('x') => bytes.push(byte(&chars.by_ref().take(2).collect::<String>())?),
            other => return Err(format!("`\\{}` is no escape", other.unwrap_or(' '))),
        }
        rest = chars.as_str();
    }
    bytes.extend_from_slice(rest.as_bytes());
    Ok(bytes)
}

fn count(bytes: usize) -> String {
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}

/// One opening under one configuration.
struct Explained<'e> {
    config: &'e Config,
    transport: Transport,
    bytes: &'e [u8],
}

impl Explained<'_> {
    fn text(&self, title: &str) -> String {
        let size = self.config.plan.limits.peek_buffer_size;
        let (length, transport) = (self.bytes.len(), self.transport);
        let mut text = format!("{title}: {} over {transport}\n", count(length));
        let looked_at = Self { bytes: self.bytes.get(..size).unwrap_or(self.bytes), ..*self };
        if length > size {
            text += &format!("only the first {size} are looked at (peek_buffer_size)\n");
        }
        text + "\n" + &looked_at.verdicts() + "\n" + &looked_at.decision()
    }

    fn opening(&self, length: usize) -> Opening<'_> {
        let bytes = self.bytes.get(..length).unwrap_or(self.bytes);
        Opening { ends: self.ends(), ..Opening::stream(bytes) }
    }

    /// A datagram is whole; a stream has no ends.
    fn ends(&self) -> &[usize] {
        match self.transport {
            Transport::Tcp => &[],
            Transport::Udp => &[usize::MAX],
        }
    }

    /// After how many bytes something was settled: what is settled stays so, which makes this a search.
    fn after(&self, is_settled: impl Fn(&Opening<'_>) -> bool) -> usize {
        if self.transport == Transport::Udp {
            return self.bytes.len();
        }
        let (mut open, mut settled) = (0, self.bytes.len());
        while open < settled {
            let middle = open + (settled - open) / 2;
            if is_settled(&self.opening(middle)) {
                settled = middle;
            } else {
                open = middle + 1;
            }
        }
        settled
    }

    fn verdicts(&self) -> String {
        let protocols = self.config.plan.table.protocols(self.transport);
        let rows = protocols.map(|protocol| {
            let verdict = protocol.identify(&self.opening(self.bytes.len()));
            let after = self.after(|it| protocol.identify(it) != Verdict::NeedMore);
            let (word, after) = match verdict {
                Verdict::Match => ("match", count(after)),
                Verdict::NoMatch => ("no", count(after)),
                Verdict::NeedMore => ("may still match", "-".to_owned()),
            };
            let facts =
                if verdict == Verdict::Match { self.facts(protocol) } else { String::new() };
            vec![protocol.name().to_owned(), word.to_owned(), after, facts]
        });
        columns(&["protocol", "verdict", "after", "facts"], rows.collect())
    }

    fn facts(&self, protocol: &dyn RefractiumProtocol) -> String {
        let mut room = Scratch::new();
        let whole = self.opening(self.bytes.len());
        let facts = protocol.facts(&whole, &mut room);
        let mut said = Vec::new();
        match facts.host {
            Fact::Known(host) => {
                let is_settled = |opening: &Opening<'_>| {
                    protocol.facts(opening, &mut Scratch::new()).host != Fact::NeedMore
                };
                let after = self.after(is_settled);
                said.push(format!("host {} after {}", host.escape_ascii(), count(after)));
            }
            Fact::Absent if protocol.host_key().is_some() => said.push("no host".to_owned()),
            Fact::NeedMore => said.push("host not yet known".to_owned()),
            Fact::Absent => {}
        }
        if let Fact::Known(list) = facts.alpn {
            let names: Vec<_> = list.iter().map(|name| name.escape_ascii().to_string()).collect();
            said.push(format!("alpn {}", names.join(" ")));
        }
        if let Some(version) = protocol.version(&whole, &mut Scratch::new()) {
            said.push(format!("version {}", version.escape_ascii()));
        }
        if facts.ech {
            said.push("ech (the host is the outer name)".to_owned());
        }
        if facts.malformed {
            said.push("malformed".to_owned());
        }
        said.join(", ")
    }

    fn decision(&self) -> String {
        let table = &self.config.plan.table;
        let whole = self.opening(self.bytes.len());
        let mut room = Scratch::new();
        match table.decide(&whole, &mut room) {
            Decision::Route(route) => {
                let is_route = |it: &Opening<'_>| {
                    matches!(table.decide(it, &mut Scratch::new()), Decision::Route(_))
                };
                let after = self.after(is_route);
                self.route(route, &format!("after {}", count(after)))
            }
            Decision::NoMatch => self.rest("nothing matches"),
            Decision::NeedMore { .. } => self.waiting(),
        }
    }

    /// The bytes leave it open: what comes of it if the client says nothing more.
    fn waiting(&self) -> String {
        let (table, limits) = (&self.config.plan.table, &self.config.plan.limits);
        let settled = Opening { ended: true, ..self.opening(self.bytes.len()) };
        let silent = table.silent().filter(|_| self.bytes.is_empty());
        let delay = limits.server_first_delay.as_millis();
        let timeout = limits.peek_timeout.as_millis();
        let mut room = Scratch::new();
        match (table.decide(&settled, &mut room), silent) {
            (Decision::Route(route), _) => {
                self.route(route, &format!("if the client says nothing more within {timeout} ms"))
            }
            (_, Some(route)) => self.route(route, &format!("after {delay} ms of silence")),
            _ => self
                .rest(&format!("undecided; if the client says nothing more within {timeout} ms")),
        }
    }

    fn rest(&self, why: &str) -> String {
        match self.config.plan.table.fallback(self.transport) {
            Some(route) => self.route(route, why),
            None => {
                let mut text = format!("closed: {why}, and there is no fallback\n");
                self.why_not(None, &mut text);
                text
            }
        }
    }

    fn route(&self, route: &Route, when: &str) -> String {
        let backends = route.pool().backends().iter();
        let to: Vec<_> = backends.map(|it| it.endpoint().to_string()).collect();
        let mut text = format!("goes to {}, {when}: {}\n", self.label(route), to.join(" "));
        self.why_not(Some(route), &mut text);
        text
    }

    fn label(&self, route: &Route) -> String {
        let mut label = format!("`{}", route.name());
        for host in route.hosts() {
            label += &format!(" {host}");
        }
        label.push('`');
        let origin = route.place().and_then(|place| self.config.origins.get(place));
        match origin {
            Some(Origin::Default) | None => label,
            Some(origin) => label + &format!(" ({origin})"),
        }
    }

    fn why_not(&self, chosen: Option<&Route>, text: &mut String) {
        for other in self.config.plan.table.routes(self.transport) {
            let is_chosen = chosen.is_some_and(|route| *route == **other);
            let Some(protocol) = other.protocol().filter(|_| !is_chosen) else { continue };
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "  not {}: {}",
                self.label(other),
                self.reason(other, protocol, chosen)
            );
        }
    }

    fn reason(
        &self,
        other: &Route,
        protocol: &dyn RefractiumProtocol,
        chosen: Option<&Route>,
    ) -> String {
        let whole = self.opening(self.bytes.len());
        match protocol.identify(&whole) {
            Verdict::NoMatch => return "its protocol does not match".to_owned(),
            Verdict::NeedMore => return "its protocol may still match, and has not".to_owned(),
            Verdict::Match => {}
        }
        let mut room = Scratch::new();
        let facts = protocol.facts(&whole, &mut room);
        let is_named =
            facts.host.known().is_some_and(|it| other.hosts().iter().any(|host| host.is(it)));
        let offered = facts.alpn.known();
        let is_wanted = |name: &[u8]| other.alpn().iter().any(|it| it.as_bytes() == name);
        if !other.hosts().is_empty() && !is_named {
            "it is for other hosts".to_owned()
        } else if !other.alpn().is_empty() && !offered.is_some_and(|it| it.iter().any(is_wanted)) {
            "the client offers none of its application protocols".to_owned()
        } else if chosen.is_some_and(|route| route.name() == other.name()) {
            "a more specific or earlier route of the protocol takes it".to_owned()
        } else {
            "an earlier protocol takes it".to_owned()
        }
    }
}
