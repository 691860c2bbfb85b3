//! The runtime of the load generator and of the backends.

use anyhow::{Context, Result};
use tokio::runtime::{Builder, Runtime};

/// One that runs on so many threads; on one, no work is moved between threads.
pub(crate) fn build(threads: usize) -> Result<Runtime> {
    let mut builder = match threads {
        0 | 1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    builder.worker_threads(threads.max(1)).enable_io().enable_time();
    builder.build().context("starting a runtime")
}
