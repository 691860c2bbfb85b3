//! The descriptor limit: raised as far as allowed, and what does not fit is said.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use refractium::Limits;
use refractium::protocol::Transport;

/// Client and backend of one connection.
const PER_CONNECTION: u64 = 2;

/// The two ends of a pipe.
const PER_PIPE: u64 = 2;

/// What the runtime of a worker has open.
const PER_WORKER: u64 = 4;

/// What a socket for datagrams has beside itself: the watch over its sessions.
const PER_PORT: u64 = 1;

/// Standard streams, the runtime that oversees the workers, name look-ups, and some slack.
const BESIDES: u64 = 24;

/// The part of the descriptors that pipes may have where not everything fits.
const PART_OF_PIPES: u64 = 8;

/// The part that sessions keep where connections alone would need all.
const PART_OF_SESSIONS: u64 = 4;

/// What is to be served.
pub(crate) struct Load<'a> {
    pub(crate) workers: usize,
    pub(crate) addresses: usize,
    pub(crate) transports: &'a [Transport],
    /// What checks of backends and the admin may have open at the same time.
    pub(crate) besides: usize,
}

/// Raises the soft limit to what connections, sessions and pipes may need. Where that is not allowed, `max_pipes` is
/// lowered, which nobody notices, and `max_connections` and `max_udp_sessions`, which is said.
pub(crate) fn fit(limits: &mut Limits, load: &Load<'_>) -> Vec<String> {
    fit_within(limits, load, allow)
}

/// The same with so many descriptors as are allowed to who wants this many.
fn fit_within(limits: &mut Limits, load: &Load<'_>, allow: impl Fn(u64) -> u64) -> Vec<String> {
    let has = |transport| u64::from(load.transports.contains(&transport));
    let (tcp, udp) = (has(Transport::Tcp), has(Transport::Udp));
    let [connections, pipes] =
        [limits.max_connections, limits.max_pipes].map(|it| count(it).saturating_mul(tcp));
    let is_said = limits.max_udp_sessions > 0;
    let wanted = if is_said { limits.max_udp_sessions } else { Limits::UDP_SESSIONS };
    let wanted = count(wanted).saturating_mul(udp);
    let per_spare = count(Limits::SESSIONS_PER_SPARE);
    let spares = wanted / per_spare;
    let sockets = count(load.addresses).saturating_mul(tcp + udp * (1 + PER_PORT));
    let besides = count(load.workers)
        .saturating_mul(PER_WORKER.saturating_add(sockets))
        .saturating_add(BESIDES)
        .saturating_add(count(load.besides));
    let needed = connections.saturating_mul(PER_CONNECTION).saturating_add(besides);
    let all = needed.saturating_add(pipes.saturating_mul(PER_PIPE)).saturating_add(wanted + spares);
    let allowed = allow(all);
    let mut notes = Vec::new();

    let left = allowed.saturating_sub(needed);
    let free = allowed.saturating_sub(besides);
    // Who says how many sessions wants them, whatever connections want. Not all even so: a flood must leave something to work
    // with.
    let share = if is_said { free } else { left.max(free / PART_OF_SESSIONS) };
    let share = share / (per_spare + 1) * per_spare;
    let sessions = wanted.min(share).min(Limits::udp_share(allowed)).max(udp);
    if is_said && sessions < wanted {
        notes.push(format!(
            "max_udp_sessions is lowered from {wanted} to {sessions}: {allowed} descriptors are allowed, {all} would be needed"
        ));
    }
    limits.max_udp_sessions = size(sessions);

    let descriptors = sessions + sessions / per_spare;
    let free = free.saturating_sub(descriptors);
    let beyond = left.saturating_sub(descriptors);
    let pipes = pipes.min(beyond.max(free / PART_OF_PIPES) / PER_PIPE);
    limits.max_pipes = size(pipes);
    let fits = (free.saturating_sub(pipes.saturating_mul(PER_PIPE)) / PER_CONNECTION).max(1);
    if fits < connections {
        limits.max_connections = size(fits);
        notes.push(format!(
            "max_connections is lowered from {connections} to {fits}: {allowed} descriptors are allowed, {all} would be needed"
        ));
    }
    notes
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Who follows the note is told nothing more.
    #[test]
    fn what_is_said_to_be_needed_is_enough() {
        let transports = &[Transport::Tcp, Transport::Udp];
        let load = Load { workers: 2, addresses: 1, transports, besides: 3 };
        for max_udp_sessions in [0, 9000] {
            let limits = || Limits { max_udp_sessions, ..Limits::default() };
            let notes = fit_within(&mut limits(), &load, |_| 8000);
            assert!(!notes.is_empty());
            for note in notes {
                let (_, rest) = note.split_once("allowed, ").expect("a number");
                let needed: u64 = rest.split(' ').next().expect("it").parse().expect("a number");
                let mut fitted = limits();
                assert_eq!(fit_within(&mut fitted, &load, |_| needed), Vec::<String>::new());
                assert_eq!(fitted.max_connections, limits().max_connections);
            }
        }
    }
}
