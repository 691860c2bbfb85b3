//! Another plan for an engine that runs.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{mpsc, oneshot};

use crate::changes::Changes;
use crate::engine::Refractium;
use crate::error::Error;
use crate::event::Event;
use crate::handover::Request;
use crate::plan::Plan;
use crate::succession::Succession;
use crate::table::Route;

/// What a run is told.
pub(crate) enum Order {
    Change(Change),
    HandOver(Request),
}

/// To follow another plan.
pub(crate) struct Change {
    pub(crate) plan: Arc<Plan>,
    /// Where to listen; `None`: where it does.
    pub(crate) addresses: Option<Vec<SocketAddr>>,
    pub(crate) reply: oneshot::Sender<Result<Changes, Error>>,
}

/// The runs of an engine.
#[derive(Default)]
pub(crate) struct Runs {
    /// One reload at a time. Nobody else waits for it.
    reloading: tokio::sync::Mutex<()>,
    list: Mutex<Vec<mpsc::Sender<Order>>>,
    /// Routes of earlier plans that may carry something yet.
    retired: Mutex<Vec<Weak<Route>>>,
}

/// A run that its engine knows. Dropping it has it forgotten.
pub(crate) struct Known<'r> {
    runs: &'r Runs,
    orders: mpsc::Sender<Order>,
}

impl Runs {
    /// Makes a run known that is about to begin, and gives what it is told.
    pub(crate) fn begin(&self) -> (Known<'_>, mpsc::Receiver<Order>) {
        let (orders, told) = mpsc::channel(1);
        lock(&self.list).push(orders.clone());
        (Known { runs: self, orders }, told)
    }

    /// Keeps others from changing anything, if nobody does now.
    pub(crate) fn change_alone(&self) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        self.reloading.try_lock().ok()
    }

    /// The run, if there is one alone.
    pub(crate) fn only(&self) -> Option<mpsc::Sender<Order>> {
        match lock(&self.list).as_slice() {
            [run] => Some(run.clone()),
            _ => None,
        }
    }

    /// Routes of earlier plans that carry something yet.
    pub(crate) fn retired(&self) -> Vec<Arc<Route>> {
        let routes = lock(&self.retired);
        routes.iter().filter_map(Weak::upgrade).filter(|it| it.open() > 0).collect()
    }

    pub(crate) fn retire(&self, routes: Vec<Weak<Route>>) {
        let mut retired = lock(&self.retired);
        retired.retain(|it| it.strong_count() > 0);
        retired.extend(routes);
    }
}

impl Drop for Known<'_> {
    fn drop(&mut self) {
        lock(&self.runs.list).retain(|it| !it.same_channel(&self.orders));
    }
}

/// What is in there is whole at every step: a panic elsewhere spoils nothing.
fn lock<T>(it: &Mutex<T>) -> MutexGuard<'_, T> {
    it.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Refractium {
    /// Follows another plan from now on, without a connection or a session lost; or changes nothing.
    ///
    /// Who comes from now on has its routes and limits. Who is here goes on as it began: on a route that is gone too, until
    /// it ends. Backends of the same endpoint and transport stay what they are: their liveness, their counts, the addresses
    /// of their names. New names have half a second to be resolved. What is listened on stays; see
    /// [`reload_at`](Self::reload_at).
    ///
    /// Reloads come one after the other. An engine that does not run has the plan when it does.
    ///
    /// # Errors
    ///
    /// [`Error::Ending`] once a run has begun to end.
    pub async fn reload(&self, plan: Plan) -> Result<Changes, Error> {
        self.change(plan, None).await
    }

    /// The same, and listens on exactly these addresses from then on, for the transports that [`Table::transports`] of the
    /// plan tells: with a socket for each worker, as [`Listeners::bind_each`] has them.
    ///
    /// An address that is listened on already keeps its sockets; port 0 stands for the one that the system chose for it. New
    /// ones are bound before others are closed. One that is closed for TCP has first accepted who has come; one for UDP
    /// stays bound for the sessions that it has, and takes no other client, until they are over.
    ///
    /// [`Table::transports`]: crate::Table::transports
    /// [`Listeners::bind_each`]: crate::Listeners::bind_each
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] and [`Error::Listener`] if a new address cannot be listened on, and then nothing has changed;
    /// [`Error::Listens`] if the engine has not exactly one run; [`Error::Ending`].
    pub async fn reload_at(&self, plan: Plan, addresses: &[SocketAddr]) -> Result<Changes, Error> {
        self.change(plan, Some(addresses.to_vec())).await
    }

    async fn change(
        &self,
        plan: Plan,
        addresses: Option<Vec<SocketAddr>>,
    ) -> Result<Changes, Error> {
        let _one = self.runs.reloading.lock().await;
        let changed = self.change_now(Arc::new(plan.bounded()), addresses).await;
        self.observer().on(&match &changed {
            Ok(changes) => Event::Reloaded { changes },
            Err(error) => Event::ReloadFailed { error },
        });
        changed
    }

    async fn change_now(
        &self,
        plan: Arc<Plan>,
        addresses: Option<Vec<SocketAddr>>,
    ) -> Result<Changes, Error> {
        let runs = lock(&self.runs.list).clone();
        if addresses.is_some() && runs.len() != 1 {
            return Err(Error::Listens);
        }
        if runs.is_empty() {
            let succession = Succession::new(&self.plan().table, &plan.table);
            succession.commit();
            self.follow(&plan, succession.retired);
            return Ok(succession.changes);
        }
        let mut first = None;
        for run in runs {
            let (reply, told) = oneshot::channel();
            let order = Change { plan: Arc::clone(&plan), addresses: addresses.clone(), reply };
            let order = Order::Change(order);
            run.send(order).await.map_err(|_| Error::Ending)?;
            let changes = told.await.map_err(|_| Error::Ending)??;
            first.get_or_insert(changes);
        }
        Ok(first.unwrap_or_default())
    }
}
