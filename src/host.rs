//! The names that routes of one protocol are told apart by.

use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::str::FromStr;

use refractium_protocol::dns_name;

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
    rest: Vec<T>,
}

type Names<T> = HashMap<Box<[u8]>, Vec<T>, BuildHasherDefault<Fold>>;

impl<T> Hosts<T> {
    /// Everything that `host`, or with `None` the rest, leads to.
    pub(crate) fn at(&mut self, host: Option<&Host>) -> &mut Vec<T> {
        match host {
            Some(Host::Exact(name)) => self.exact.entry(name.as_bytes().into()).or_default(),
            Some(Host::Below(name)) => self.below.entry(name.as_bytes().into()).or_default(),
            None => &mut self.rest,
        }
    }

    /// Whether any name is told from another.
    pub(crate) fn is_named(&self) -> bool {
        !(self.exact.is_empty() && self.below.is_empty())
    }

    /// Everything that any name leads to, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.below.values()).flatten().chain(&self.rest)
    }

    /// The first that fits, at the exact name, else at the longest wildcard where one does, else of the rest.
    pub(crate) fn find(&self, name: Option<&[u8]>, fits: impl Fn(&T) -> bool) -> Option<&T> {
        let named = name.and_then(|name| self.named(name, &fits));
        named.or_else(|| self.rest.iter().find(|value| fits(value)))
    }

    fn named(&self, name: &[u8], fits: impl Fn(&T) -> bool) -> Option<&T> {
        let mut lower = [0; 255];
        let lower = lower.get_mut(..name.len())?;
        lower.copy_from_slice(name);
        lower.make_ascii_lowercase();
        let mut name: &[u8] = lower;
        if let Some(found) = self.exact.get(name).and_then(|it| it.iter().find(|it| fits(it))) {
            return Some(found);
        }
        if self.below.is_empty() {
            return None;
        }
        while let Some(dot) = name.iter().position(|&byte| byte == b'.') {
            name = name.get(dot + 1..)?;
            if let Some(found) = self.below.get(name).and_then(|it| it.iter().find(|it| fits(it))) {
                return Some(found);
            }
        }
        None
    }
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self { exact: HashMap::default(), below: HashMap::default(), rest: Vec::new() }
    }
}

/// FNV-1a. Unkeyed, which is safe here: the keys come from the configuration, and a client only looks them up.
#[derive(Clone, Copy)]
struct Fold(u64);

impl Default for Fold {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fold {
    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
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
