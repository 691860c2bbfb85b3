//! `refractium explain`: what each protocol says of an opening, where it goes, and why nowhere else.

mod session;

use std::error::Error;
use std::fmt::Write;
use std::io::{self, Read};
use std::sync::Arc;

use refractium::config::{Config, Origin};
use refractium::protocol::{Fact, Opening, RefractiumProtocol, Scratch, Transport, Verdict};
use refractium::{Decision, Route};

use crate::capture::{self, Flow, Sent};
use crate::cli::{OpeningArgs, Over};
use crate::report::columns;

/// Explains the opening that was given, or each of a capture.
pub(crate) fn explain(config: &Config, given: &OpeningArgs) -> Result<String, Box<dyn Error>> {
    if let Some(path) = &given.pcap {
        let flows = capture::flows(path).map_err(|error| format!("{}: {error}", path.display()))?;
        if flows.is_empty() {
            return Err(format!("{}: no TCP or UDP in it", path.display()).into());
        }
        let each = flows.iter().map(|flow| flow_text(config, flow));
        return Ok(each.collect::<Vec<_>>().join("\n"));
    }
    let bytes = opening(given)?;
    let transport = match given.transport {
        None | Some(Over::Tcp) => Transport::Tcp,
        Some(Over::Udp) => Transport::Udp,
    };
    Ok(Explained::new(config, transport, &bytes).text("an opening"))
}

/// A datagram that nothing takes is dropped, and the next one looked at: the first that has a route opens the session.
fn flow_text(config: &Config, flow: &Flow) -> String {
    let title = format!("{} to {}", flow.client, flow.server);
    let datagrams: Vec<_> = match &flow.sent {
        Sent::Stream(bytes) => return Explained::new(config, Transport::Tcp, bytes).text(&title),
        Sent::Datagrams(all) => {
            all.iter().map(|it| Explained::new(config, Transport::Udp, it)).collect()
        }
    };
    let dropped = datagrams.iter().take_while(|it| it.settle().is_none()).count();
    match datagrams.get(dropped) {
        Some(opening) if dropped > 0 => opening.text(&format!("{title}, {dropped} dropped before")),
        Some(opening) => opening.text(&title),
        None => datagrams.first().map(|it| it.text(&title)).unwrap_or_default(),
    }
}

fn opening(given: &OpeningArgs) -> Result<Vec<u8>, Box<dyn Error>> {
    if let Some(bytes) = given.hex.as_ref().or(given.text.as_ref()) {
        return Ok(bytes.0.clone());
    }
    if let Some(path) = &given.file {
        let opened = std::fs::File::open(path).and_then(whole);
        return opened.map_err(|error| format!("{}: {error}", path.display()).into());
    }
    Ok(whole(io::stdin().lock())?)
}

/// More than a capture of openings has.
const MOST: u64 = 256 * 1024 * 1024;

/// Reads to the end, of which there may be none.
fn whole(from: impl Read) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if from.take(MOST).read_to_end(&mut bytes)? as u64 == MOST {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("more than {MOST} bytes")));
    }
    Ok(bytes)
}

fn count(bytes: usize) -> String {
    if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") }
}

/// One opening under one configuration.
#[derive(Clone, Copy)]
struct Explained<'e> {
    config: &'e Config,
    transport: Transport,
    bytes: &'e [u8],
    /// How many bytes there are.
    end: usize,
}

impl<'e> Explained<'e> {
    const fn new(config: &'e Config, transport: Transport, bytes: &'e [u8]) -> Self {
        Self { config, transport, bytes, end: bytes.len() }
    }

    fn text(&self, title: &str) -> String {
        let (length, transport) = (self.bytes.len(), self.transport);
        let mut text = format!("{title}: {} over {transport}\n", count(length));
        let looked_at = self.looked_at();
        if looked_at.end < length {
            text += &format!("only the first {} are looked at (peek_buffer_size)\n", looked_at.end);
        }
        text + "\n" + &looked_at.verdicts() + "\n" + &looked_at.decision()
    }

    /// As much as is looked at: a datagram is whole.
    fn looked_at(&self) -> Self {
        let size = self.config.plan.limits.peek_buffer_size;
        match self.transport {
            Transport::Tcp => {
                let bytes = self.bytes.get(..size).unwrap_or(self.bytes);
                Self::new(self.config, self.transport, bytes)
            }
            Transport::Udp => *self,
        }
    }

    fn opening(&self, length: usize) -> Opening<'_> {
        let bytes = self.bytes.get(..length).unwrap_or(self.bytes);
        Opening { ends: self.ends(), ..Opening::stream(bytes) }
    }

    /// A stream has no ends.
    const fn ends(&self) -> &[usize] {
        match self.transport {
            Transport::Tcp => &[],
            Transport::Udp => std::slice::from_ref(&self.end),
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
        match table.decide(&whole, &mut Scratch::new()) {
            Decision::Route(route) => {
                let is_route = |it: &Opening<'_>| {
                    matches!(table.decide(it, &mut Scratch::new()), Decision::Route(_))
                };
                let after = self.after(is_route);
                self.route(route, &format!("after {}", count(after)))
            }
            Decision::NoMatch => self.settled("nothing matches"),
            Decision::NeedMore { held } => self.settled(&self.when(held)),
        }
    }

    /// The bytes leave it open: when it is settled all the same.
    fn when(&self, held: Option<&Arc<Route>>) -> String {
        if self.transport == Transport::Udp {
            return "unless the client's next datagrams say more within a second".to_owned();
        }
        let limits = &self.config.plan.limits;
        let is_full = self.bytes.len() >= limits.peek_buffer_size;
        let silent = self.config.plan.table.silent().filter(|_| self.bytes.is_empty());
        if is_full {
            return "because no more bytes are looked at".to_owned();
        }
        let delay = match held.or(silent) {
            Some(_) => limits.server_first_delay.min(limits.peek_timeout),
            None => limits.peek_timeout,
        };
        format!("unless the client says more within {} ms", delay.as_millis())
    }

    fn settle(&self) -> Option<&'e Arc<Route>> {
        let opening = self.opening(self.bytes.len());
        self.config.plan.table.settle(&opening, &mut Scratch::new())
    }

    fn settled(&self, why: &str) -> String {
        if let Some(route) = self.settle() {
            return self.route(route, why);
        }
        let what = match self.transport {
            Transport::Tcp => "closed",
            Transport::Udp => "dropped",
        };
        let mut text = format!("{what}, {why}: there is no fallback\n");
        self.why_not(None, &mut text);
        text
    }

    fn route(&self, route: &Route, when: &str) -> String {
        let to: Vec<_> = route.pool().targets().map(|it| it.endpoint.to_string()).collect();
        let mut text = format!("goes to {}, {when}: {}\n", self.label(route), to.join(" "));
        if self.transport == Transport::Udp {
            text += &session::end(route, &self.config.plan.limits);
        }
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
        if !other.takes(&facts) {
            "it is for other hosts or application protocols".to_owned()
        } else if chosen.is_some_and(|route| route.name() == other.name()) {
            "a more specific or earlier route of the protocol takes it".to_owned()
        } else {
            "an earlier protocol takes it".to_owned()
        }
    }
}
