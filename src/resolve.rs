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

use crate::backend::Backend;
use crate::event::{Event, Observer};
use crate::table::Table;

/// How often names are asked for again.
const INTERVAL: Duration = Duration::from_secs(30);

/// How many names are asked for at a time: each takes a thread, for that is how systems resolve.
const AT_A_TIME: usize = 16;

/// Resolves every name once, many at the same time and each within `limit`. A name that fails is reported and counts as down.
pub(crate) async fn resolve_all(table: &Table, limit: Duration, observer: &Arc<dyn Observer>) {
    let mut names = JoinSet::new();
    for backend in named(table) {
        if names.len() >= AT_A_TIME {
            names.join_next().await;
        }
        let observer = Arc::clone(observer);
        names.spawn(async move { resolve(&backend, limit, observer.as_ref()).await });
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

fn named(table: &Table) -> Vec<Arc<Backend>> {
    let backends = table.backends().into_iter();
    backends.filter(|backend| backend.endpoint().name().is_some()).cloned().collect()
}

async fn resolve(backend: &Backend, limit: Duration, observer: &dyn Observer) {
    let Some(name) = backend.endpoint().name() else { return };
    let lookup = lookup_host((name, backend.endpoint().port()));
    let found = match timeout(limit, lookup).await {
        Ok(Ok(found)) => Ok(found.collect::<Vec<_>>()),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::ErrorKind::TimedOut.into()),
    };
    match found {
        Ok(addresses) if !addresses.is_empty() => {
            let sorted = |mut list: Vec<SocketAddr>| {
                list.sort_unstable();
                list
            };
            // A server that only turns its answer round has nothing new to say.
            if sorted(backend.addresses()) != sorted(addresses.clone()) {
                backend.resolved(addresses);
                observer.on(&Event::Resolved { backend });
            }
        }
        Ok(_) => {
            let error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
            observer.on(&Event::Unresolved { backend, error: &error });
        }
        // The last good answer is kept.
        Err(error) => observer.on(&Event::Unresolved { backend, error: &error }),
    }
}
