//! Host names of backends become addresses, away from the data path.

use std::convert::Infallible;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::lookup_host;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::event::{Event, Observer};
use crate::group::Group;
use crate::table::Table;

/// How often names are asked for again.
const INTERVAL: Duration = Duration::from_secs(30);

/// How many names are asked for at a time: each takes a thread, for that is how systems resolve.
const AT_A_TIME: usize = 16;

/// Resolves every name once, many at the same time and each within `limit`. A name that fails is reported and counts as down.
pub(crate) async fn resolve_all(table: &Table, limit: Duration, observer: &Arc<dyn Observer>) {
    let mut names = JoinSet::new();
    for group in named(table) {
        if names.len() >= AT_A_TIME {
            names.join_next().await;
        }
        let observer = Arc::clone(observer);
        names.spawn(async move { resolve(&group, limit, observer.as_ref()).await });
    }
    while names.join_next().await.is_some() {}
}

/// Resolves every name again and again, until dropped.
pub(crate) async fn keep_resolving(
    table: &Table,
    limit: Duration,
    observer: &Arc<dyn Observer>,
) -> Infallible {
    if named(table).is_empty() {
        return pending().await;
    }
    loop {
        sleep(INTERVAL).await;
        resolve_all(table, limit, observer).await;
    }
}

fn named(table: &Table) -> Vec<Arc<Group>> {
    let groups = table.groups().into_iter();
    groups.filter(|group| group.endpoint().name().is_some()).cloned().collect()
}

async fn resolve(group: &Group, limit: Duration, observer: &dyn Observer) {
    let endpoint = group.endpoint();
    let Some(name) = endpoint.name() else { return };
    let lookup = lookup_host((name, endpoint.port()));
    let found = match timeout(limit, lookup).await {
        Ok(Ok(found)) => Ok(found.collect::<Vec<SocketAddr>>()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    let found = found.and_then(|mut addresses| {
        addresses.sort_unstable();
        addresses.dedup();
        if addresses.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "the name has no address"));
        }
        Ok(addresses)
    });
    match found {
        Ok(addresses) => {
            if group.set(&addresses) {
                observer.on(&Event::Resolved { endpoint, addresses: &addresses });
            }
        }
        // The last good answer is kept.
        Err(error) => {
            let kept = group.backends().len();
            observer.on(&Event::Unresolved { endpoint, kept, error: &error });
        }
    }
}
