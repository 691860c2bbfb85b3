//! Where the configuration comes from, at start and whenever it is asked for again.

use std::error::Error;
use std::num::NonZeroUsize;

use refractium::admin::Door;
use refractium::config::{self, Config, Overrides};

use crate::descriptors::{self, Load};
use crate::way_back;

/// What was typed.
#[derive(Clone, Debug)]
pub(crate) struct Source {
    pub(crate) typed: Overrides,
}

/// Why there is no configuration to serve.
pub(crate) type Wrong = Box<dyn Error + Send + Sync>;

impl Source {
    /// Reads it, and fits it to what this machine allows for so many workers; `None`: for as many as it says.
    pub(crate) fn load_for(&self, workers: Option<usize>) -> Result<Config, Wrong> {
        let mut config = config::load(&self.typed)?;
        let transports = config.plan.table.transports();
        let workers = workers.unwrap_or_else(|| count(&config));
        let checks = config.plan.table.most_checks();
        let besides = checks.saturating_add(Door::descriptors(config.admin.listen.len()));
        let load = Load { workers, addresses: config.addresses.len(), transports, besides };
        config.notes.extend(descriptors::fit(&mut config.plan.limits, &load));
        let missing = way_back::missing(&config);
        config.warnings.extend(missing);
        Ok(config)
    }
}

/// How many workers it asks for.
pub(super) fn count(config: &Config) -> usize {
    if config.workers == 0 { cores() } else { config.workers }
}

/// How many threads can work at the same time.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}
