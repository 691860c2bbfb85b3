//! The descriptor limit: raised as far as allowed, and what does not fit is said.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use refractium::Limits;

/// Client and backend of one connection.
const PER_CONNECTION: u64 = 2;

/// The two ends of a pipe.
const PER_PIPE: u64 = 2;

/// What the runtime of a worker has open.
const PER_WORKER: u64 = 4;

/// Standard streams, the runtime that oversees the workers, name look-ups, and some slack.
const BESIDES: u64 = 24;

/// The part of the descriptors that pipes may have where not everything fits.
const PART_OF_PIPES: u64 = 8;

/// Raises the soft limit to what connections and pipes may need. Where that is not allowed, `max_pipes` is lowered,
/// which nobody notices, and `max_connections`, which is said.
pub(crate) fn fit(limits: &mut Limits, workers: usize, addresses: usize) -> Option<String> {
    let [connections, pipes, workers, addresses] =
        [limits.max_connections, limits.max_pipes, workers, addresses].map(count);
    let besides =
        workers.saturating_mul(PER_WORKER.saturating_add(addresses)).saturating_add(BESIDES);
    let needed = connections.saturating_mul(PER_CONNECTION).saturating_add(besides);
    let allowed = allow(needed.saturating_add(pipes.saturating_mul(PER_PIPE)));
    let free = allowed.saturating_sub(besides);
    let beyond = allowed.saturating_sub(needed);
    let pipes = pipes.min(beyond.max(free / PART_OF_PIPES) / PER_PIPE);
    limits.max_pipes = size(pipes);
    let fits = (free.saturating_sub(pipes.saturating_mul(PER_PIPE)) / PER_CONNECTION).max(1);
    if fits >= connections {
        return None;
    }
    limits.max_connections = size(fits);
    Some(format!(
        "max_connections is lowered from {connections} to {fits}: {allowed} descriptors are allowed, {needed} would be needed"
    ))
}

/// Raises the soft limit to `wanted`, or as far as it may go; how many are allowed then.
fn allow(wanted: u64) -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current.unwrap_or(u64::MAX);
    if current >= wanted {
        return current;
    }
    let raised = wanted.min(maximum.unwrap_or(u64::MAX));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(raised), maximum }) {
        Ok(()) => raised,
        Err(_) => current, // what was allowed before still is
    }
}

fn count(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn size(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
