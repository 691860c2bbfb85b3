//! How one of several backends is chosen.

use std::fmt;
use std::str::FromStr;

/// Who gets the next client.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Balance {
    /// Each in turn, as often as it weighs, evenly spread.
    #[default]
    RoundRobin,
    /// The one with the fewest open connections for its weight.
    LeastConnections,
    /// Of two drawn by weight, the one with fewer open connections for its weight.
    RandomTwo,
    /// The same for the same client address, in every process and on every machine: rendezvous hashing over the
    /// addresses of the backends. When one goes, only its clients move.
    SourceHash,
}

impl Balance {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::RoundRobin, Self::LeastConnections, Self::RandomTwo, Self::SourceHash];

    /// Its word in `refractium.toml`.
    pub const fn word(self) -> &'static str {
        match self {
            Self::RoundRobin => "round_robin",
            Self::LeastConnections => "least_connections",
            Self::RandomTwo => "random_two",
            Self::SourceHash => "source_hash",
        }
    }
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

/// No [`Balance`] has this word.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no way to balance")]
pub struct BalanceError(String);

impl FromStr for Balance {
    type Err = BalanceError;

    fn from_str(word: &str) -> Result<Self, BalanceError> {
        let found = Self::ALL.into_iter().find(|it| it.word() == word);
        found.ok_or_else(|| BalanceError(word.to_owned()))
    }
}
