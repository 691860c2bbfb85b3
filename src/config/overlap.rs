//! Routes that can never be reached, and patterns that can both match.

use std::collections::HashMap;
use std::sync::Arc;

use refractium_protocol::{BUILTIN, Opening, RefractiumProtocol, Transport, Verdict};

use super::Origin;
use crate::host::Host;
use crate::table::{Route, Table};

/// The patterns that the file defines, by the protocol's name.
pub(super) type Patterns = HashMap<String, Vec<Vec<u8>>>;

/// What a table leaves its author wondering about, in words.
pub(super) fn warnings(table: &Table, patterns: &Patterns, origins: &[Origin]) -> Vec<String> {
    let mut warnings: Vec<_> = BUILTIN.iter().filter_map(|it| replaced(*it, patterns)).collect();
    for transport in [Transport::Tcp, Transport::Udp] {
        let routes = table.routes(transport);
        let overlap = Overlap { table, transport, routes, patterns, origins };
        for warning in overlap.between_protocols().into_iter().chain(overlap.inside_protocols()) {
            // A route of both transports is wondered about once.
            if warnings.len() < MOST && !warnings.contains(&warning) {
                warnings.push(warning);
            }
        }
    }
    warnings
}

/// Patterns under the name of a built-in protocol replace it: worth saying, for they may have been meant to add to it.
fn replaced(builtin: &dyn RefractiumProtocol, patterns: &Patterns) -> Option<String> {
    let name = builtin.name();
    let what = format!("`{name}` means its patterns here, and no longer the built-in `{name}`");
    patterns.contains_key(name).then_some(what)
}

/// More warnings than this are not read.
const MOST: usize = 100;

struct Overlap<'o> {
    table: &'o Table,
    transport: Transport,
    routes: Vec<&'o Arc<Route>>,
    patterns: &'o Patterns,
    origins: &'o [Origin],
}

impl Overlap<'_> {
    /// Each pattern is shown to every other protocol: what that says of it says whether both can match.
    fn between_protocols(&self) -> Vec<String> {
        let protocols: Vec<_> = self.table.protocols(self.transport).collect();
        let mut warnings = Vec::new();
        for (at, later) in protocols.iter().enumerate() {
            for earlier in protocols.iter().take(at) {
                warnings.extend(self.between(*earlier, *later));
                if warnings.len() >= MOST {
                    return warnings;
                }
            }
        }
        warnings
    }

    fn between(
        &self,
        earlier: &dyn RefractiumProtocol,
        later: &dyn RefractiumProtocol,
    ) -> Option<String> {
        let verdict = |protocol: &dyn RefractiumProtocol, pattern: &[u8]| {
            protocol.identify(&Opening::stream(pattern))
        };
        let of_later = self.patterns_of(later);
        let is_taken = |pattern: &&Vec<u8>| verdict(earlier, pattern) == Verdict::Match;
        let taken = of_later.iter().find(is_taken);
        if let Some(pattern) = taken
            && of_later.iter().all(|pattern| is_taken(&pattern))
            && self.takes_all(earlier)
        {
            return Some(format!(
                "{} can never be reached: {} is asked first and takes what starts with {}",
                self.label(later.name()),
                self.label(earlier.name()),
                shown(pattern)
            ));
        }
        // A built-in that needs more would see bytes that no pattern's author has in mind: any word may open HTTP.
        let may_be_both =
            |other: &dyn RefractiumProtocol, pattern: &&Vec<u8>| match verdict(other, pattern) {
                Verdict::Match => true,
                Verdict::NeedMore => !self.patterns_of(other).is_empty(),
                Verdict::NoMatch => false,
            };
        let of_earlier = self.patterns_of(earlier);
        let shared = of_later.iter().find(|pattern| may_be_both(earlier, pattern));
        let shared = shared.or_else(|| of_earlier.iter().find(|it| may_be_both(later, it)))?;
        Some(format!(
            "{} and {} can both match what starts with {}: `{}` is asked first",
            self.label(earlier.name()),
            self.label(later.name()),
            shown(shared),
            earlier.name()
        ))
    }

    /// A route whose every host has an earlier route that asks for no more.
    fn inside_protocols(&self) -> Vec<String> {
        let mut by_host: HashMap<(&str, Option<&Host>), Vec<&Arc<Route>>> = HashMap::new();
        let mut warnings = Vec::new();
        for &later in &self.routes {
            let hosts: Vec<_> = match later.hosts() {
                [] => vec![None],
                hosts => hosts.iter().map(Some).collect(),
            };
            let mut first = None;
            let mut all = true;
            for host in hosts {
                let earlier = by_host.entry((later.name(), host)).or_default();
                let covering = earlier.iter().copied().find(|route| covers(route, later));
                all &= covering.is_some();
                first = first.or(covering);
                earlier.push(later);
            }
            if let Some(first) = first.filter(|_| all) {
                warnings.push(format!(
                    "the `{}` route of {} can never be reached: that of {} takes all it could",
                    later.name(),
                    self.origin(later),
                    self.origin(first)
                ));
            }
        }
        warnings
    }

    fn patterns_of(&self, protocol: &dyn RefractiumProtocol) -> &[Vec<u8>] {
        self.patterns.get(protocol.name()).map_or(&[], Vec::as_slice)
    }

    /// Whether a protocol that matches always has a route.
    fn takes_all(&self, protocol: &dyn RefractiumProtocol) -> bool {
        let takes_rest = |route: &Route| route.hosts().is_empty() && route.alpn().is_empty();
        self.routes.iter().any(|route| route.name() == protocol.name() && takes_rest(route))
    }

    fn label(&self, name: &str) -> String {
        let route = self.routes.iter().find(|route| route.name() == name);
        route.map_or_else(|| format!("`{name}`"), |it| format!("`{name}` ({})", self.origin(it)))
    }

    fn origin(&self, route: &Route) -> String {
        let origin = route.place().and_then(|place| self.origins.get(place));
        origin.map(ToString::to_string).unwrap_or_default()
    }
}

/// Whether, for one host, `earlier` takes every client that `later` would.
fn covers(earlier: &Route, later: &Route) -> bool {
    let is_of_one_protocol = earlier.protocol().is_some() && earlier.name() == later.name();
    let wanted = later.alpn();
    let asks_no_more = earlier.alpn().is_empty()
        || (!wanted.is_empty() && wanted.iter().all(|name| earlier.alpn().contains(name)));
    is_of_one_protocol && asks_no_more
}

fn shown(pattern: &[u8]) -> String {
    format!("\"{}\"", pattern.escape_ascii())
}

#[cfg(test)]
mod tests {
    use crate::config::{Overrides, load};

    fn warnings(routes: &str) -> Vec<String> {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("refractium.toml");
        std::fs::write(&path, routes).expect("a file");
        let typed = Overrides { config: Some(path), ..Overrides::default() };
        load(&typed).expect("no mistakes").warnings
    }

    fn route(name: &str, more: &str) -> String {
        format!("[[protocols]]\nname = \"{name}\"\nforward_to = \"127.0.0.1:1\"\n{more}\n")
    }

    #[test]
    fn a_pattern_behind_a_shorter_one_is_never_reached() {
        let routes =
            route("a", "patterns = [\"ab\"]") + &route("b", "patterns = [\"abc\", \"ab\\xff\"]");
        assert_eq!(
            warnings(&routes),
            [
                "`b` (line 6) can never be reached: `a` (line 2) is asked first and takes what starts with \"abc\""
            ]
        );
    }

    #[test]
    fn patterns_of_which_one_begins_the_other_can_both_match() {
        let routes = route("a", "patterns = [\"abc\"]") + &route("b", "patterns = [\"ab\", \"x\"]");
        assert_eq!(
            warnings(&routes),
            [
                "`a` (line 2) and `b` (line 6) can both match what starts with \"ab\": `a` is asked first"
            ]
        );
    }

    #[test]
    fn patterns_under_the_name_of_a_built_in_replace_it() {
        let warnings = warnings(&route("smtp", "patterns = [\"EHLO\"]\nserver_first = false"));
        assert_eq!(warnings, ["`smtp` means its patterns here, and no longer the built-in `smtp`"]);
    }

    #[test]
    fn patterns_that_differ_are_nothing_to_wonder_about() {
        let routes = route("a", "patterns = [\"ab\"]") + &route("b", "patterns = [\"ac\"]");
        assert_eq!(warnings(&routes), [""; 0]);
    }

    #[cfg(feature = "proto-ssh")]
    #[test]
    fn a_pattern_behind_a_built_in_that_takes_it_is_never_reached() {
        let routes = route("ssh", "") + &route("a", "patterns = [\"SSH-2\"]");
        assert_eq!(warnings(&routes).len(), 1);
        let routes = route("a", "patterns = [\"SSH-2\"]") + &route("ssh", "");
        assert!(warnings(&routes)[0].contains("can both match"));
    }

    #[cfg(feature = "proto-https")]
    #[test]
    fn a_route_behind_one_that_asks_no_more_is_never_reached() {
        let named = |more: &str| route("https", &format!("sni = [\"a\", \"b\"]\n{more}"));
        let routes = route("https", "sni = \"a\"") + &named("alpn = \"h2\"");
        assert_eq!(warnings(&routes), [""; 0]);
        let routes = named("") + &route("https", "sni = \"b\"\nalpn = \"h2\"");
        assert!(warnings(&routes)[0].contains("route of line 7 can never be reached"));
        let routes =
            named("alpn = [\"h2\", \"x\"]") + &route("https", "sni = \"b\"\nalpn = \"h2\"");
        assert_eq!(warnings(&routes).len(), 1);
    }
}
