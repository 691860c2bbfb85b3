//! A status as tables, rates told from two of them.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use refractium::admin::{AddressStatus, BackendState, OpenStatus, RouteStatus, State, Status};

use crate::report::columns;

/// What was seen, and when.
pub(super) struct Sample {
    pub(super) at: Instant,
    pub(super) status: Status,
}

/// Everything, with what happened in each second between the two.
pub(super) fn all(before: &Sample, now: &Sample) -> String {
    let time = now.at.saturating_duration_since(before.at);
    // It was started anew in between, and counts from 0.
    let is_same = before.status.started_unix == now.status.started_unix;
    let none = Status::default();
    let since = Since { time, before: if is_same { &before.status } else { &none } };
    let status = &now.status;
    [
        head(status),
        listeners(status),
        open(&since, status),
        routes(&since, status),
        backends(&since, status),
    ]
    .join("\n")
}

/// What was seen before, and how long ago.
struct Since<'a> {
    time: Duration,
    before: &'a Status,
}

impl Since<'_> {
    /// How much more of it there is in a second.
    fn rate(&self, before: u64, now: u64) -> f64 {
        let more = u32::try_from(now.saturating_sub(before)).unwrap_or(u32::MAX);
        f64::from(more) / self.time.as_secs_f64().max(0.001)
    }

    fn route(&self, now: &RouteStatus) -> Option<&RouteStatus> {
        let is_it = |it: &&RouteStatus| (&it.label, &it.transport) == (&now.label, &now.transport);
        self.before.routes.iter().find(is_it)
    }
}

fn head(status: &Status) -> String {
    let state = match status.state {
        State::Starting => "starting",
        State::Serving => "serving",
        State::Draining => "draining",
        State::Ended => "ended",
        _ => "in a state that this program does not know",
    };
    let up = Duration::try_from_secs_f64(status.uptime_seconds).unwrap_or_default();
    format!("refractium {}: {state}, up for {}\n", shown(&status.version), lasted(up))
}

fn listeners(status: &Status) -> String {
    let row =
        |it: &refractium::admin::ListenerStatus| vec![it.address.to_string(), shown(&it.transport)];
    columns(&["listening on", "over"], status.listeners.iter().map(row).collect())
}

fn open(since: &Since<'_>, status: &Status) -> String {
    let row = |name: &str, before: &OpenStatus, now: &OpenStatus| {
        let refused = |it: &OpenStatus| it.refused.values().sum();
        vec![
            name.to_owned(),
            now.open.to_string(),
            now.most.to_string(),
            decimal(since.rate(before.total, now.total)),
            now.total.to_string(),
            decimal(since.rate(refused(before), refused(now))),
            reasons(&now.refused),
        ]
    };
    let mut rows = vec![
        row("connections", &since.before.connections, &status.connections),
        row("sessions", &since.before.sessions, &status.sessions),
    ];
    if let Some(it) = &status.descriptors {
        rows.push(vec!["descriptors".to_owned(), it.open.to_string(), it.most.to_string()]);
    }
    let head = ["", "open", "at most", "new/s", "in all", "refused/s", "refused"];
    let mut text = columns(&head, rows);
    for (count, what) in [
        (status.overflowed, "datagrams came faster than they were read"),
        (status.queue_overflowed, "times a client came faster than it was accepted"),
        (status.accept_failures, "times accepting failed"),
    ] {
        if count > 0 {
            text += &format!("  {count} {what}\n");
        }
    }
    text
}

fn routes(since: &Since<'_>, status: &Status) -> String {
    let none = RouteStatus::default();
    let row = |now: &RouteStatus| {
        let before = since.route(now).unwrap_or(&none);
        let decided = |it: &RouteStatus| it.decided.values().sum();
        vec![
            shown(&now.label),
            shown(&now.transport),
            now.open.to_string(),
            decimal(since.rate(decided(before), decided(now))),
            decided(now).to_string(),
            format!("{}/s", bytes(since.rate(before.bytes_up, now.bytes_up))),
            format!("{}/s", bytes(since.rate(before.bytes_down, now.bytes_down))),
            reasons(&now.ended),
        ]
    };
    let head = ["route", "over", "open", "new/s", "in all", "up", "down", "ended"];
    columns(&head, status.routes.iter().map(row).collect())
}

fn backends(since: &Since<'_>, status: &Status) -> String {
    let mut rows = Vec::new();
    for route in &status.routes {
        for (at, backend) in route.backends.iter().enumerate() {
            let before = since.route(route).and_then(|it| it.backends.get(at));
            let before = before.filter(|it| it.endpoint == backend.endpoint);
            let total = before.map_or(0, |it| it.total);
            rows.push(vec![
                shown(&backend.endpoint),
                shown(&route.label),
                shown(&route.transport),
                states(&backend.addresses),
                backend.open.to_string(),
                decimal(since.rate(total, backend.total)),
                backend.total.to_string(),
                backend.failures.to_string(),
            ]);
        }
    }
    let head = ["backend", "route", "over", "state", "open", "new/s", "in all", "failures"];
    columns(&head, rows)
}

/// The state of a backend, or of each of its addresses.
fn states(addresses: &[AddressStatus]) -> String {
    match addresses {
        [] => "not resolved".to_owned(),
        [one] => state(one.state).to_owned(),
        several => {
            let one = |it: &AddressStatus| format!("{} {}", it.address, state(it.state));
            several.iter().map(one).collect::<Vec<_>>().join(", ")
        }
    }
}

const fn state(state: BackendState) -> &'static str {
    match state {
        BackendState::Alive => "alive",
        BackendState::Aside => "ASIDE",
        BackendState::Down => "DOWN",
        _ => "?",
    }
}

/// Counts by reason, the most first.
fn reasons(counts: &BTreeMap<String, u64>) -> String {
    let mut counts: Vec<_> = counts.iter().filter(|(_, count)| **count > 0).collect();
    counts.sort_by_key(|(_, count)| std::cmp::Reverse(**count));
    let counts = counts.into_iter().map(|(reason, count)| format!("{count} {}", shown(reason)));
    counts.collect::<Vec<_>>().join(", ")
}

/// What another program said, harmless to a terminal.
fn shown(text: &str) -> String {
    text.escape_default().to_string()
}

fn decimal(rate: f64) -> String {
    format!("{rate:.1}")
}

/// With a unit of which there are fewer than 1,024.
fn bytes(count: f64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let mut left = count;
    for unit in units {
        if left < 1024.0 {
            return format!("{left:.1} {unit}");
        }
        left /= 1024.0;
    }
    format!("{left:.1} TiB")
}

/// In the two largest units.
fn lasted(time: Duration) -> String {
    let seconds = time.as_secs();
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    match (days, hours, seconds / 60 % 60) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min {} s", seconds % 60),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_for_people() {
        let lasted = |seconds| lasted(Duration::from_secs(seconds));
        assert_eq!([lasted(59), lasted(61), lasted(7260)], ["59 s", "1 min 1 s", "2 h 1 min"]);
        assert_eq!(lasted(90_000), "1 d 1 h");
        assert_eq!([bytes(0.0), bytes(1023.0), bytes(1536.0)], ["0.0 B", "1023.0 B", "1.5 KiB"]);
        assert_eq!(bytes(3.0 * 1024_f64.powi(4)), "3.0 TiB");
        let counts = [("a", 1), ("b", 3), ("c", 0)].map(|(word, count)| (word.to_owned(), count));
        assert_eq!(reasons(&counts.into()), "3 b, 1 a");
    }
}
