//! The end of a run: what is open may finish, within a limit.

use std::convert::Infallible as Never;
use std::sync::Arc;
use std::time::Duration;

use refractium_protocol::Transport;
use tokio::time::{Instant, sleep, timeout};

use crate::admission::Gates;
use crate::crew::Shared;
use crate::engine::Refractium;
use crate::event::Event;
use crate::table::{Route, Table};

/// What ends, and who is told of it.
pub(crate) struct Drain<'a> {
    pub(crate) engine: &'a Refractium,
    pub(crate) gates: &'a Gates,
}

/// How long cutting what is still open may take.
const CUTTING: Duration = Duration::from_secs(5);

/// How often it is told what has not finished.
const TELLING: Duration = Duration::from_secs(5);

impl Drain<'_> {
    /// Stops accepting, and returns once everything has finished, or was cut because its time was over.
    pub(crate) async fn run(&self, all: &[Arc<Shared>]) {
        let limit = self.engine.plan().limits.drain_timeout;
        for worker in all {
            worker.stop.cancel();
            worker.tasks.close();
        }
        self.engine.observer().on(&Event::Draining { open: self.open(), limit });
        let has_ended = tokio::select! {
            biased;
            has_ended = timeout(limit, ended(all)) => has_ended.is_ok(),
            never = self.keep_telling(Instant::now() + limit) => match never {},
        };
        if !has_ended {
            all.iter().for_each(|worker| worker.cutter.cut());
            // Who does not come round is not waited for.
            let _ = timeout(CUTTING, ended(all)).await;
        }
        self.engine
            .observer()
            .on(&Event::Drained { cut: all.iter().map(|worker| worker.cuts()).sum() });
    }

    async fn keep_telling(&self, end: Instant) -> Never {
        loop {
            let open = self.open();
            if open > 0 {
                let left = end.saturating_duration_since(Instant::now());
                let (plan, retired) = (self.engine.plan(), self.engine.runs.retired());
                let routes = &by_route(&plan.table, &retired);
                self.engine.observer().on(&Event::Waiting { open, routes, left });
            }
            sleep(TELLING).await;
        }
    }

    fn open(&self) -> usize {
        self.gates.connections.open() + self.gates.sessions.open()
    }
}

/// The routes that have something open, and how much.
fn by_route<'a>(table: &'a Table, retired: &'a [Arc<Route>]) -> Vec<(&'a Route, usize)> {
    let all = [Transport::Tcp, Transport::Udp].into_iter().flat_map(|it| table.routes(it));
    let all = all.chain(retired);
    let mut routes: Vec<_> = all.map(|it| (&**it, it.open())).filter(|it| it.1 > 0).collect();
    routes.sort_by_key(|(_, open)| std::cmp::Reverse(*open));
    routes
}

/// Waits until no worker has anything to do. One may still hand a connection to another that had nothing left.
pub(crate) async fn ended(all: &[Arc<Shared>]) {
    while all.iter().any(|worker| !worker.tasks.is_empty()) {
        for worker in all {
            worker.tasks.wait().await;
        }
    }
}
