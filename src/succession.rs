//! What of one plan goes on in the next.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::{Arc, Weak};

use refractium_protocol::Transport;

use crate::changes::Changes;
use crate::check::Check;
use crate::endpoint::Endpoint;
use crate::group::Group;
use crate::table::{Route, Table};

/// The backends that go on, and those that do not. Nothing happens to them before [`Succession::commit`].
pub(crate) struct Succession {
    /// Groups of the old plan that the new one has checked otherwise.
    rechecked: Vec<(Arc<Group>, Arc<Check>)>,
    gone: Vec<Arc<Group>>,
    /// Of routes and backends.
    pub(crate) changes: Changes,
    /// Routes that no client finds any more.
    pub(crate) retired: Vec<Weak<Route>>,
}

/// Groups by what they stand for.
type ByPlace = HashMap<(Endpoint, Transport), Vec<Arc<Group>>>;

impl Succession {
    /// Puts the groups of the old table in the place of those of the new one that stand for the same backends, with their
    /// liveness, counts and addresses; first those that are checked as before.
    pub(crate) fn new(old: &Table, new: &Table) -> Self {
        let mut left = ByPlace::new();
        for group in old.groups() {
            left.entry(place(&group)).or_default().push(group);
        }
        let (mut heirs, mut rest, mut rechecked) = (HashMap::new(), Vec::new(), Vec::new());
        for group in new.groups() {
            match take(&mut left, &group, |known| known.check() == group.check()) {
                Some(known) => drop(heirs.insert(Arc::as_ptr(&group), known)),
                None => rest.push(group),
            }
        }
        let mut added = 0;
        for group in rest {
            match take(&mut left, &group, |_| true) {
                Some(known) => {
                    rechecked.push((Arc::clone(&known), group.check()));
                    heirs.insert(Arc::as_ptr(&group), known);
                }
                None => added += 1,
            }
        }
        let gone: Vec<_> = left.into_values().flatten().collect();
        let mut changes = Changes { backends_added: added, ..Changes::default() };
        changes.backends_removed = gone.len();
        let before = routes(old);
        let after = routes(new);
        for (name, route) in &after {
            route.pool().adopt(|group| heirs.get(&Arc::as_ptr(group)).cloned());
            if let Some(other) = before.get(name) {
                route.succeed(other);
            }
        }
        let names = |of: &HashMap<String, _>, but: &HashMap<String, _>| {
            let mut names: Vec<_> =
                of.keys().filter(|it| !but.contains_key(*it)).cloned().collect();
            names.sort_unstable();
            names
        };
        changes.routes_added = names(&after, &before);
        changes.routes_removed = names(&before, &after);
        let has_left = |name: &&String| !after.contains_key(*name);
        let retired = before.iter().filter(|(name, _)| has_left(name));
        let retired = retired.map(|(_, route)| Arc::downgrade(route)).collect();
        Self { rechecked, gone, changes, retired }
    }

    /// Lets the new plan hold for the backends.
    pub(crate) fn commit(&self) {
        for (group, check) in &self.rechecked {
            group.set_check(Arc::clone(check));
        }
        self.gone.iter().for_each(|group| group.leave());
    }
}

fn place(group: &Group) -> (Endpoint, Transport) {
    (group.endpoint().clone(), group.transport())
}

fn take(left: &mut ByPlace, group: &Group, fits: impl Fn(&Group) -> bool) -> Option<Arc<Group>> {
    let there = left.get_mut(&place(group))?;
    let at = there.iter().position(|known| fits(known))?;
    Some(there.swap_remove(at))
}

/// Every route by what it takes.
fn routes(table: &Table) -> HashMap<String, &Arc<Route>> {
    let all = [Transport::Tcp, Transport::Udp].into_iter();
    let all = all.flat_map(|it| table.routes(it).into_iter().map(move |route| (it, route)));
    all.map(|(transport, route)| (name(route, transport), route)).collect()
}

/// What a route takes: its name, its hosts, what its clients offer, and over which transport.
pub(crate) fn name(route: &Route, transport: Transport) -> String {
    let mut name = route.name().to_owned();
    let hosts = route.hosts().iter().map(ToString::to_string).chain(route.alpn().iter().cloned());
    for (at, host) in hosts.enumerate() {
        // Writing to a String cannot fail.
        let _ = write!(name, "{}{host}", if at == 0 { ":" } else { "," });
    }
    let _ = write!(name, "/{transport}");
    name
}
