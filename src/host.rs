//! The names that routes of one protocol are told apart by.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::str::FromStr;

use refractium_protocol::{dns_name, word};

/// A name that a route serves: `a.example`, or `*.example` for every name below it.
///
/// Case and one trailing dot mean nothing. `*.` stands for one or more labels and not for the bare name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// This name.
    Exact(Box<str>),
    /// Every name that ends in a dot and this.
    Below(Box<str>),
}

impl Host {
    /// Whether this name is one that it stands for.
    pub fn is(&self, name: &[u8]) -> bool {
        match self {
            Self::Exact(exact) => name.eq_ignore_ascii_case(exact.as_bytes()),
            Self::Below(suffix) => {
                let labels = name.len().checked_sub(suffix.len() + 1);
                let parts = labels.and_then(|at| name.split_at_checked(at));
                parts.is_some_and(|(labels, rest)| match rest {
                    [b'.', rest @ ..] => {
                        !labels.is_empty() && rest.eq_ignore_ascii_case(suffix.as_bytes())
                    }
                    _ => false,
                })
            }
        }
    }
}

/// Why a text is no [`Host`].
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostError {
    /// A lone `*`.
    #[error("`*` alone stands for no name: a route without names takes the rest")]
    Star,
    /// A `*` anywhere but as the whole first label.
    #[error("a `*` can only be the whole first label, as in `*.example.com`")]
    Wildcard,
    /// Not a DNS name.
    #[error("`{0}` is no host name")]
    Name(String),
}

impl FromStr for Host {
    type Err = HostError;

    fn from_str(text: &str) -> Result<Self, HostError> {
        if text == "*" {
            return Err(HostError::Star);
        }
        let below = text.strip_prefix("*.");
        let name = below.unwrap_or(text);
        if name.contains('*') {
            return Err(HostError::Wildcard);
        }
        if dns_name(name.as_bytes()).is_none() {
            return Err(HostError::Name(text.to_owned()));
        }
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase().into();
        Ok(if below.is_some() { Self::Below(name) } else { Self::Exact(name) })
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(name) => write!(f, "*.{name}"),
        }
    }
}

/// What each name leads to, in the order said. Looking one up costs the same for ten names and for ten thousand.
#[derive(Debug)]
pub(crate) struct Hosts<T> {
    exact: Names<T>,
    below: Names<T>,
    /// How long the names of `below` are, longest first: few lengths, and only these ends of a name are looked up.
    lengths: Vec<usize>,
    rest: Vec<T>,
    named: bool,
}

impl<T> Hosts<T> {
    /// Everything that `host`, or with `None` the rest, leads to.
    pub(crate) fn at(&mut self, host: Option<&Host>) -> &mut Vec<T> {
        self.named |= host.is_some();
        match host {
            Some(Host::Exact(name)) => self.exact.at(name),
            Some(Host::Below(name)) => {
                if let Err(place) = self.lengths.binary_search_by(|it| name.len().cmp(it)) {
                    self.lengths.insert(place, name.len());
                }
                self.below.at(name)
            }
            None => &mut self.rest,
        }
    }

    /// Whether any name is told from another.
    pub(crate) const fn is_named(&self) -> bool {
        self.named
    }

    /// What is left when no name is told from another.
    pub(crate) fn rest(&self) -> &[T] {
        &self.rest
    }

    /// Everything that any name leads to, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        let named = self.exact.0.values().chain(self.below.0.values());
        named.flat_map(|(_, values)| values).chain(&self.rest)
    }

    /// The first that fits, at the exact name, else at the longest wildcard where one does, else of the rest.
    pub(crate) fn find(&self, name: Option<&[u8]>, fits: impl Fn(&T) -> bool) -> Option<&T> {
        let named = name.and_then(|name| self.named(name, &fits));
        named.or_else(|| self.rest.iter().find(|value| fits(value)))
    }

    fn named(&self, name: &[u8], fits: impl Fn(&T) -> bool) -> Option<&T> {
        if let Some(found) = self.exact.get(name).iter().find(|it| fits(it)) {
            return Some(found);
        }
        for length in &self.lengths {
            let Some(start) = name.len().checked_sub(*length) else { continue };
            let Some(([.., b'.'], end)) = name.split_at_checked(start) else { continue };
            if let Some(found) = self.below.get(end).iter().find(|it| fits(it)) {
                return Some(found);
            }
        }
        None
    }
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self {
            exact: Names::default(),
            below: Names::default(),
            lengths: Vec::new(),
            rest: Vec::new(),
            named: false,
        }
    }
}

/// Names in lower case, each at its hash or, where another name has the same one, at the next free number.
#[derive(Debug)]
struct Names<T>(HashMap<u64, (Box<str>, Vec<T>), BuildHasherDefault<Itself>>);

impl<T> Names<T> {
    fn at(&mut self, name: &str) -> &mut Vec<T> {
        let mut place = hash(name.as_bytes());
        while self.0.get(&place).is_some_and(|(other, _)| **other != *name) {
            place = place.wrapping_add(1);
        }
        // Most lead to one value; ten thousand of them should stay together.
        let new = || (name.into(), Vec::with_capacity(1));
        &mut self.0.entry(place).or_insert_with(new).1
    }

    fn get(&self, name: &[u8]) -> &[T] {
        if self.0.is_empty() {
            return &[];
        }
        let mut place = hash(name);
        while let Some((other, values)) = self.0.get(&place) {
            // Nearly all clients ask in lower case.
            if name == other.as_bytes() || word::eq_lower(name, other.as_bytes()) {
                return values;
            }
            place = place.wrapping_add(1);
        }
        &[]
    }
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

/// The same for a name in any case. Unkeyed, which is safe here: the keys come from the configuration, and a client
/// only looks them up.
fn hash(name: &[u8]) -> u64 {
    let (whole, last) = word::words(name);
    let mix = |hash: u64, word: u64| {
        // Takes case away, and from what is no letter a little too: that is settled when names are compared.
        let mixed = (hash ^ (word | word::all(b' '))).wrapping_mul(GOLDEN);
        mixed ^ mixed >> 32
    };
    mix(whole.fold(name.len() as u64, mix), last)
}

/// 2^64 divided by the golden ratio: its multiples are spread evenly (Knuth, volume 3, section 6.4).
const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15;

/// A key that is a hash already.
#[derive(Clone, Copy, Default)]
struct Itself(u64);

impl Hasher for Itself {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0 << 8 | u64::from(byte);
        }
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Hosts<String> {
        let mut hosts = Hosts::default();
        for name in names {
            hosts.at(Some(&name.parse().expect(name))).push((*name).to_owned());
        }
        hosts
    }

    fn find<'h>(hosts: &'h Hosts<String>, name: &str) -> Option<&'h str> {
        hosts.find(Some(name.as_bytes()), |_| true).map(String::as_str)
    }

    #[test]
    fn exact_then_longest_wildcard_then_rest() {
        let mut hosts = hosts(&["a.example", "*.example", "*.b.example"]);
        assert_eq!(find(&hosts, "A.Example"), Some("a.example"));
        assert_eq!(find(&hosts, "x.a.example"), Some("*.example"));
        assert_eq!(find(&hosts, "x.y.b.example"), Some("*.b.example"));
        assert_eq!(find(&hosts, "b.example"), Some("*.example"));
        assert_eq!(find(&hosts, "example"), None);
        assert_eq!(find(&hosts, &"x".repeat(300)), None);
        hosts.at(None).push("rest".to_owned());
        assert_eq!(find(&hosts, "example"), Some("rest"));
    }

    #[test]
    fn what_does_not_fit_is_passed_over_for_the_less_specific() {
        let mut hosts = hosts(&["a.example", "*.example"]);
        hosts.at(Some(&"a.example".parse().expect("a host"))).push("again".to_owned());
        let find =
            |unfit: &[&str]| hosts.find(Some(b"a.example"), |it| !unfit.contains(&it.as_str()));
        assert_eq!(find(&["a.example"]).map(String::as_str), Some("again"));
        assert_eq!(find(&["a.example", "again"]).map(String::as_str), Some("*.example"));
        assert_eq!(find(&["a.example", "again", "*.example"]), None);
    }

    #[test]
    fn a_host_stands_for_its_names() {
        let is = |host: &str, name: &str| host.parse::<Host>().expect(host).is(name.as_bytes());
        assert!(is("a.example", "A.Example") && !is("a.example", "b.a.example"));
        assert!(is("*.example", "x.y.Example") && is("*.example", "x.example"));
        assert!(!is("*.example", "example") && !is("*.example", "xexample"));
        assert!(!is("*.example", ".example"));
    }

    #[test]
    fn names_of_one_hash_are_told_apart() {
        let mut names = Names::default();
        names.0.insert(hash(b"a.example"), ("other.example".into(), vec![1]));
        names.at("a.example").push(2);
        assert_eq!(names.at("a.example"), &[2]);
        assert_eq!(names.get(b"A.example"), &[2]);
        assert_eq!(names.get(b"b.example"), &[0; 0]);
    }

    #[test]
    fn wildcards_of_any_length_are_found() {
        let names: Vec<_> = (1..60).map(|depth| format!("*.{}z", "a.".repeat(depth))).collect();
        let hosts = hosts(&names.iter().map(String::as_str).collect::<Vec<_>>());
        for (depth, name) in names.iter().enumerate() {
            assert_eq!(find(&hosts, &format!("b.{}z", "A.".repeat(depth + 1))), Some(&**name));
        }
        assert_eq!(find(&hosts, "z"), None);
        assert_eq!(
            find(&hosts, &format!("{}z", "a.".repeat(126))),
            Some("*.".to_owned() + &"a.".repeat(59) + "z").as_deref()
        );
    }

    #[test]
    fn names_are_compared_without_case_and_dot() {
        assert_eq!("A.Example.".parse::<Host>(), Ok(Host::Exact("a.example".into())));
        assert_eq!("*.B.Example".parse::<Host>(), Ok(Host::Below("b.example".into())));
    }

    #[test]
    fn bad_names_say_why() {
        assert_eq!("*".parse::<Host>(), Err(HostError::Star));
        assert_eq!("a.*.example".parse::<Host>(), Err(HostError::Wildcard));
        assert_eq!("*a.example".parse::<Host>(), Err(HostError::Wildcard));
        assert_eq!("*.*.example".parse::<Host>(), Err(HostError::Wildcard));
        for text in ["", "a b", "a..b", "a:80", "*."] {
            assert_eq!(text.parse::<Host>(), Err(HostError::Name(text.to_owned())));
        }
    }
}
