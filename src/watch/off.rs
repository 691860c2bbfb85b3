//! What stands in for the watch where the feature `watch` is off.

use std::future::pending;
use std::io;
use std::path::Path;

/// Watches nothing.
#[derive(Debug)]
pub struct Watch(());

impl Watch {
    /// Does nothing.
    pub const fn new(_path: &Path, _known: Option<u64>) -> Self {
        Self(())
    }

    /// None that anybody has to be told: whoever left the feature out knows.
    pub const fn trouble(&mut self) -> Option<String> {
        None
    }

    /// Does nothing.
    pub async fn look(&mut self) {}

    /// Does nothing.
    pub const fn know(&mut self, _digest: Option<u64>) {}

    /// Never comes.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn changed(&mut self) -> io::Result<()> {
        pending().await
    }
}
