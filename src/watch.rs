//! Notices that a file has other content; without the feature `watch`, never.

#[cfg(feature = "watch")]
mod chain;
#[cfg(feature = "watch")]
mod file;
#[cfg(not(feature = "watch"))]
mod off;

#[cfg(feature = "watch")]
pub use file::Watch;
#[cfg(not(feature = "watch"))]
pub use off::Watch;
