//! The routes of options and file, in one order, each with the places it was said at.

use std::net::SocketAddr;
use std::ops::Range;

use refractium_protocol::{RefractiumProtocol, Transport};

use super::file::{Block, File};
use super::keys::ROUTE_NUMBERS;
use super::mistake::{Mistake, Mistakes, Place, did_you_mean};
use super::overlap::Patterns;
use super::server::Server;
use super::{Known, Overrides};
use crate::endpoint::Endpoint;
use crate::forward::Forward;
use crate::magic::Magic;
use crate::own::leads_back;
use crate::protocols::Protocols;
use crate::table::{RouteError, RouteErrorKind, Routes, Table};

/// Everything a table is built from.
#[derive(Default)]
pub(super) struct Gathered {
    routes: Routes,
    protocols: Protocols,
    patterns: Patterns,
    said: Vec<Said>,
    /// Where we are to listen.
    listening: Vec<SocketAddr>,
    /// The one transport that is to be served.
    only: Option<Transport>,
}

/// Where a route was said.
struct Said {
    name: Place,
    /// It has patterns: where they cannot make a protocol, that was said.
    defines: bool,
    /// One for each host.
    hosts: Vec<Place>,
    alpn: Option<Place>,
    health: Option<Place>,
    close_on_down: Option<Place>,
    proxy_protocol: Option<Place>,
    server_first: Option<Place>,
    /// Where its keys with numbers stand, by their place in [`ROUTE_NUMBERS`].
    numbers: Vec<(usize, Place)>,
    /// Without mistakes in its hosts and what goes with them: what they collide with can be said.
    hosts_are_sound: bool,
}

impl Said {
    /// Where this key stands.
    fn number(&self, key: &str) -> &Place {
        let is_it = |at: usize| ROUTE_NUMBERS.get(at).is_some_and(|number| number.name == key);
        let place = self.numbers.iter().find(|(at, _)| is_it(*at)).map(|(_, place)| place);
        place.unwrap_or(&self.name)
    }
}

impl Gathered {
    pub(super) fn new(
        typed: &Overrides,
        file: &File,
        server: &Server,
        mistakes: &mut Mistakes,
    ) -> Self {
        let routes = Routes {
            forwards: Vec::new(),
            fallback_tcp: server.fallback_tcp.clone(),
            fallback_udp: server.fallback_udp.clone(),
        };
        let listening = server.addresses.clone();
        let only = typed.only;
        let mut gathered = Self { routes, listening, only, ..Self::default() };
        for fallback in file.fallback_tcp.iter().chain(&file.fallback_udp) {
            gathered.compare_address(&fallback.value, &fallback.place, mistakes);
        }
        gathered.define(&file.routes, server.limits.peek_buffer_size, mistakes);
        gathered.add_typed(&typed.forward, mistakes);
        let typed_count = gathered.routes.forwards.len();
        for block in &file.routes {
            gathered.add_block(block, typed_count, mistakes);
        }
        gathered
    }

    /// Where each route's name stands.
    pub(super) fn places(&self) -> impl Iterator<Item = &Place> {
        self.said.iter().map(|said| &said.name)
    }

    /// Where something is listened for that is known to be carried by TCP.
    pub(super) fn listening_for_tcp(&self) -> &[SocketAddr] {
        let is_tcp = |forward: &Forward| {
            let protocol = self.protocols.find(&forward.protocol);
            protocol.is_some_and(|it| it.transports().contains(&Transport::Tcp))
        };
        let has_tcp = self.routes.fallback_tcp.is_some() || self.routes.forwards.iter().any(is_tcp);
        if has_tcp && self.only != Some(Transport::Udp) { &self.listening } else { &[] }
    }

    /// The patterns of each protocol that the file defines.
    pub(super) const fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// Builds the table; `None` with a mistake for everything that does not hold together.
    pub(super) fn table(&self, mistakes: &mut Mistakes) -> Option<Table> {
        if self.routes.forwards.is_empty()
            && self.routes.fallback_tcp.is_none()
            && self.routes.fallback_udp.is_none()
            && mistakes.is_empty()
        {
            let message = "there is no route and no fallback: nothing could be served".to_owned();
            let help = Some("add a [[protocols]] block, or `-f PROTOCOL=ADDR`".to_owned());
            mistakes.push(Mistake { place: None, message, beside: None, help });
        }
        match Table::new(&self.routes, &self.protocols) {
            Ok(table) => Some(self.wanted(table, mistakes)),
            Err(errors) => {
                for error in errors {
                    self.route_error(&error, mistakes);
                }
                None
            }
        }
    }

    /// The part of the table that is to be served.
    fn wanted(&self, table: Table, mistakes: &mut Mistakes) -> Table {
        let Some(only) = self.only else { return table };
        let table = table.only(only);
        if table.transports().is_empty() && mistakes.is_empty() {
            let message =
                format!("`{only}` was typed, and no route is for {only}: nothing could be served");
            let help = Some(format!("leave out `{only}`, or add a route that is carried by it"));
            mistakes.push(Mistake { place: None, message, beside: None, help });
        }
        table
    }

    /// Makes the protocols that the file defines by patterns known, before anything refers to them.
    fn define(&mut self, blocks: &[Block], longest: usize, mistakes: &mut Mistakes) {
        let mut defined: Vec<&Known<String>> = Vec::new();
        for block in blocks {
            let Some(patterns) = &block.patterns else { continue };
            for pattern in patterns.value.iter().filter(|it| it.value.len() > longest) {
                let message = format!(
                    "a pattern of {} bytes can never be seen: `peek_buffer_size` is {longest}",
                    pattern.value.len()
                );
                mistakes.push(mistake(&pattern.place, message, None));
            }
            let first = defined.iter().find(|name| name.value == block.name.value);
            if let Some(first) = first.filter(|_| !block.name.value.is_empty()) {
                let message = format!("`{}` has patterns already", block.name.value);
                let beside = (first.place.clone(), "here".to_owned());
                let place = Some(patterns.place.clone());
                mistakes.push(Mistake { place, message, beside: Some(beside), help: None });
                continue;
            }
            defined.push(&block.name);
            let transports = block.transports.as_ref().map_or(&[Transport::Tcp][..], |it| it.value);
            let bytes: Vec<_> = patterns.value.iter().map(|it| it.value.clone()).collect();
            self.patterns.insert(block.name.value.clone(), bytes.clone());
            // What makes it fail was said when the file was read.
            if let Ok(magic) = Magic::new(&block.name.value, transports, bytes) {
                self.protocols.add(magic);
            }
        }
    }

    fn add_typed(&mut self, typed: &[String], mistakes: &mut Mistakes) {
        let mut forwards = Vec::new();
        let mut places = Vec::new();
        for text in typed {
            let option = format!("-f {text}");
            let span = 3..option.len();
            let source = mistakes.option(option);
            let place = |span: Range<usize>| Place { source, span };
            match text.parse::<Forward>() {
                Ok(mut forward) => {
                    let name = 3..3 + forward.protocol.len();
                    let host = name.end..3 + text.find('=').unwrap_or_default();
                    self.protocols.name_canonically(&mut forward);
                    for to in &forward.to {
                        let place = place(host.end + 1..span.end);
                        self.compare_address(&to.endpoint, &place, mistakes);
                    }
                    places.push((forward.to_string(), place(name), place(host)));
                    forwards.push(forward);
                }
                Err(error) => mistakes.push(mistake(&place(span), error.to_string(), None)),
            }
        }
        for forward in Forward::merge(forwards) {
            let left = forward.to_string();
            let Some((_, name, host)) = places.iter().find(|(other, ..)| *other == left) else {
                continue;
            };
            let hosts = forward.hosts.iter().map(|_| host.clone()).collect();
            let name = name.clone();
            self.said.push(Said {
                name,
                defines: false,
                hosts,
                alpn: None,
                health: None,
                close_on_down: None,
                proxy_protocol: None,
                server_first: None,
                numbers: Vec::new(),
                hosts_are_sound: true,
            });
            self.routes.forwards.push(forward);
        }
    }

    /// Adds a block, without what was typed with the same left side.
    fn add_block(&mut self, block: &Block, typed_count: usize, mistakes: &mut Mistakes) {
        if block.name.value.is_empty() {
            return; // its name was a mistake
        }
        let protocol = self.protocols.find(&block.name.value);
        if let Some(protocol) = protocol {
            compare(block, protocol.as_ref(), mistakes);
        }
        let mut forward = Forward::new(block.name.value.clone());
        self.protocols.name_canonically(&mut forward);
        forward.to = block.forward_to.iter().map(|known| known.value.clone()).collect();
        forward.alpn = block.alpn.as_ref().map(|known| known.value.clone()).unwrap_or_default();
        forward.balance = block.balance.as_ref().map(|known| known.value);
        forward.health = block.health.as_ref().map(|known| known.value.clone());
        forward.close_on_down = block.close_on_down.as_ref().is_some_and(|known| known.value);
        forward.proxy_protocol = block.proxy_protocol.as_ref().map(|known| known.value);
        forward.transparent = block.transparent.as_ref().is_some_and(|known| known.value);
        forward.server_first = block.server_first.as_ref().map(|known| known.value);
        for (at, known) in &block.numbers {
            if let Some(number) = ROUTE_NUMBERS.get(*at) {
                (number.set)(&mut forward, known.value);
            }
        }
        let typed = self.routes.forwards.iter().take(typed_count);
        let typed: Vec<_> = typed.filter(|other| other.protocol == forward.protocol).collect();
        let is_typed = |host| typed.iter().any(|other| other.hosts.contains(host));
        let kept: Vec<_> = block.hosts.iter().filter(|known| !is_typed(&known.value)).collect();
        let replaced = if block.hosts.is_empty() {
            typed.iter().any(|other| other.hosts.is_empty())
        } else {
            kept.is_empty()
        };
        if replaced {
            return;
        }
        for to in &block.forward_to {
            self.compare_address(&to.value.endpoint, &to.place, mistakes);
        }
        forward.hosts = kept.iter().map(|known| known.value.clone()).collect();
        self.routes.forwards.push(forward);
        self.said.push(Said {
            name: block.name.place.clone(),
            defines: block.patterns.is_some(),
            hosts: kept.iter().map(|known| known.place.clone()).collect(),
            alpn: block.alpn.as_ref().map(|known| known.place.clone()),
            health: block.health.as_ref().map(|known| known.place.clone()),
            close_on_down: block.close_on_down.as_ref().map(|known| known.place.clone()),
            proxy_protocol: block.proxy_protocol.as_ref().map(|known| known.place.clone()),
            server_first: block.server_first.as_ref().map(|known| known.place.clone()),
            numbers: block.numbers.iter().map(|(at, known)| (*at, known.place.clone())).collect(),
            hosts_are_sound: block.hosts_are_sound,
        });
    }

    /// Says where a backend is ourselves: everything would go round in circles until there is no descriptor left.
    fn compare_address(&self, to: &Endpoint, place: &Place, mistakes: &mut Mistakes) {
        // Every system knows it, whatever its resolver says.
        let is_localhost = to.name() == Some("localhost");
        let localhost = is_localhost.then(|| SocketAddr::from(([127, 0, 0, 1], to.port())));
        let address = to.address().or(localhost);
        if address.is_some_and(|address| leads_back(&self.listening, address)) {
            let message = format!("`{to}` is where this program itself listens");
            mistakes.push(mistake(place, message, None));
        }
    }

    fn route_error(&self, error: &RouteError, mistakes: &mut Mistakes) {
        let Some(said) = self.said.get(error.forward) else { return };
        let first_place = |first: &usize| {
            let said = self.said.get(*first)?;
            Some((said.name.clone(), "the first is here".to_owned()))
        };
        let (place, beside, help) = match &error.kind {
            RouteErrorKind::UnknownProtocol(_) if said.defines => return,
            RouteErrorKind::UnknownProtocol(name) => {
                let names = self.protocols.names();
                let known =
                    format!("known protocols: {}; any other needs `patterns`", names.join(", "));
                let help = did_you_mean(name, names.iter().map(String::as_str)).unwrap_or(known);
                (&said.name, None, Some(help))
            }
            // Said where the backends stand.
            RouteErrorKind::NoBackend(_) => return,
            RouteErrorKind::Duplicate { .. } if !said.hosts_are_sound => return,
            RouteErrorKind::NoHosts(_) => (said.hosts.first().unwrap_or(&said.name), None, None),
            RouteErrorKind::NoAlpn(_) => (said.alpn.as_ref().unwrap_or(&said.name), None, None),
            RouteErrorKind::NoDatagrams { key, .. } => (said.number(key), None, None),
            RouteErrorKind::CheckTransport { .. } => {
                (said.health.as_ref().unwrap_or(&said.name), None, None)
            }
            RouteErrorKind::NoLine(_) => {
                let help = "write `proxy_protocol = \"v2\"`".to_owned();
                (said.proxy_protocol.as_ref().unwrap_or(&said.name), None, Some(help))
            }
            RouteErrorKind::NothingChecked(_) => {
                let help = "give it a `[protocols.health]` with a kind".to_owned();
                (said.close_on_down.as_ref().unwrap_or(&said.name), None, Some(help))
            }
            RouteErrorKind::Duplicate { host, first, .. } => {
                let host = host.and_then(|nth| said.hosts.get(nth));
                (host.unwrap_or(&said.name), first_place(first), None)
            }
            RouteErrorKind::TwoServerFirst { first, .. } => {
                let place = said.server_first.as_ref().unwrap_or(&said.name);
                let help = "`server_first = false` takes a route out of that".to_owned();
                (place, first_place(first), Some(help))
            }
        };
        let place = Some(place.clone());
        mistakes.push(Mistake { place, message: error.to_string(), beside, help });
    }
}

/// Says where a block's `sni`, `host` and `transport` are not those of its protocol.
fn compare(block: &Block, protocol: &dyn RefractiumProtocol, mistakes: &mut Mistakes) {
    if let (Some(written), Some(right)) = (&block.hosts_key, protocol.host_key())
        && written.value != right
    {
        let message = format!("routes of `{}` are told apart by `{right}`", protocol.name());
        let help = Some(format!("write `{right}` instead of `{}`", written.value));
        mistakes.push(mistake(&written.place, message, help));
    }
    if let Some(written) = &block.transports
        && written.value != protocol.transports()
    {
        let transports: Vec<_> = protocol.transports().iter().map(ToString::to_string).collect();
        let message = format!("`{}` is carried by {}", protocol.name(), transports.join(" and "));
        mistakes.push(mistake(&written.place, message, None));
    }
}

fn mistake(place: &Place, message: String, help: Option<String>) -> Mistake {
    Mistake { place: Some(place.clone()), message, beside: None, help }
}
