//! The descriptor limit: raised as far as allowed, and what does not fit is said.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use refractium::Limits;

/// Client and backend of one connection.
const PER_CONNECTION: u64 = 2;

/// Standard streams, listeners, the runtime, name look-ups and some slack.
const BESIDES: u64 = 64;

/// Raises the soft limit to what the connections may need, and lowers `max_connections` to what fits; then says so.
pub(crate) fn fit(limits: &mut Limits) -> Option<String> {
    let wanted = u64::try_from(limits.max_connections).unwrap_or(u64::MAX);
    let needed = wanted.saturating_mul(PER_CONNECTION).saturating_add(BESIDES);
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let current = current.unwrap_or(u64::MAX);
    if current >= needed {
        return None;
    }
    let most = maximum.unwrap_or(u64::MAX);
    let raised = Rlimit { current: Some(needed.min(most)), maximum };
    let allowed = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => needed.min(most),
        Err(_) => current, // what was allowed before still is
    };
    if allowed >= needed {
        return None;
    }
    let fits = (allowed.saturating_sub(BESIDES) / PER_CONNECTION).max(1);
    limits.max_connections = usize::try_from(fits).unwrap_or(usize::MAX);
    Some(format!(
        "max_connections is lowered from {wanted} to {fits}: {allowed} descriptors are allowed, {needed} would be needed"
    ))
}
