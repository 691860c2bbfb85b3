//! The names that routes of one protocol are told apart by.

mod names;

use std::fmt;
use std::str::FromStr;

use names::Names;
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
    /// How long the names of `below` are, longest first: few lengths, and only these ends of a name are looked up.
    lengths: Vec<usize>,
    rest: Vec<T>,
}

impl<T> Hosts<T> {
    /// The first like this of what `host`, or with `None` the rest, leads to.
    pub(crate) fn first(&self, host: Option<&Host>, like: impl Fn(&&T) -> bool) -> Option<&T> {
        match host {
            Some(Host::Exact(name)) => self.exact.get(name.as_bytes()).find(like),
            Some(Host::Below(name)) => self.below.get(name.as_bytes()).find(like),
            None => self.rest.iter().find(like),
        }
    }

    /// Adds one more thing that `host`, or with `None` the rest, leads to.
    pub(crate) fn push(&mut self, host: Option<&Host>, value: T) {
        match host {
            Some(Host::Exact(name)) => self.exact.push(name, value),
            Some(Host::Below(name)) => {
                if let Err(place) = self.lengths.binary_search_by(|it| name.len().cmp(it)) {
                    self.lengths.insert(place, name.len());
                }
                self.below.push(name, value);
            }
            None => self.rest.push(value),
        }
    }

    /// What is left when no name is told from another.
    pub(crate) fn rest(&self) -> &[T] {
        &self.rest
    }

    /// Everything that any name leads to, in no order.
    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.exact.values().chain(self.below.values()).chain(&self.rest)
    }

    /// The first that fits, at the exact name, else at the longest wildcard where one does, else of the rest.
    #[inline(always)]
    pub(crate) fn find(&self, name: Option<&[u8]>, fits: impl Fn(&T) -> bool) -> Option<&T> {
        let exact = name.and_then(|name| self.exact.get(name).find(|it| fits(it)));
        exact.or_else(|| self.less_specific(name.unwrap_or_default(), fits))
    }

    /// Not inlined: those that find their exact name should not make room for it.
    #[inline(never)]
    fn less_specific(&self, name: &[u8], fits: impl Fn(&T) -> bool) -> Option<&T> {
        for length in &self.lengths {
            let Some(start) = name.len().checked_sub(*length) else { continue };
            let Some(([.., b'.'], end)) = name.split_at_checked(start) else { continue };
            if let Some(found) = self.below.get(end).find(|it| fits(it)) {
                return Some(found);
            }
        }
        self.rest.iter().find(|value| fits(value))
    }
}

impl<T> Default for Hosts<T> {
    fn default() -> Self {
        Self {
            exact: Names::default(),
            below: Names::default(),
            lengths: Vec::new(),
            rest: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hosts(names: &[&str]) -> Hosts<String> {
        let mut hosts = Hosts::default();
        for name in names {
            hosts.push(Some(&name.parse().expect(name)), (*name).to_owned());
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
        hosts.push(None, "rest".to_owned());
        assert_eq!(find(&hosts, "example"), Some("rest"));
    }

    #[test]
    fn what_does_not_fit_is_passed_over_for_the_less_specific() {
        let mut hosts = hosts(&["a.example", "*.example"]);
        hosts.push(Some(&"a.example".parse().expect("a host")), "again".to_owned());
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
