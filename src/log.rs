//! Events as a log on standard error, and a line for each connection on standard output; without the feature `logging`,
//! neither.

use std::fmt;

#[cfg(feature = "logging")]
mod connections;
#[cfg(feature = "logging")]
mod flood;
#[cfg(not(feature = "logging"))]
mod off;
#[cfg(feature = "logging")]
mod queue;
#[cfg(feature = "logging")]
mod spoken;
#[cfg(feature = "logging")]
mod teller;
#[cfg(feature = "logging")]
mod warned;

#[cfg(feature = "logging")]
pub use connections::connections_to_stdout;
#[cfg(not(feature = "logging"))]
pub use off::{connections_to_stdout, lost, to_stderr};
#[cfg(feature = "logging")]
pub use queue::lost;
#[cfg(feature = "logging")]
pub use spoken::{Log, to_stderr};

/// How much is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Detail {
    /// What an operator should know.
    Normal,
    /// Every decision.
    Debug,
}

/// Whether each connection and session is told of at its end, and how.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Connections {
    /// It is not.
    #[default]
    Off,
    /// One line of `key=value`.
    Text,
    /// One JSON object on a line.
    Json,
}

impl Connections {
    /// Its words in `refractium.toml`.
    pub const WORDS: [(&str, Self); 3] =
        [("off", Self::Off), ("text", Self::Text), ("json", Self::Json)];
}

impl fmt::Display for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Off => "off",
            Self::Text => "text",
            Self::Json => "json",
        })
    }
}
