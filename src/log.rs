//! Events as a log on standard error; without the feature `logging`, none.

#[cfg(not(feature = "logging"))]
mod off;
#[cfg(feature = "logging")]
mod spoken;

#[cfg(not(feature = "logging"))]
pub use off::to_stderr;
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
