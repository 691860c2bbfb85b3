//! The engine: built without effects, run on the caller's runtime until told to end.

use std::collections::BTreeSet;
use std::convert::Infallible as Never;
use std::fmt;
use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use refractium_protocol::Transport;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use crate::admission::{Gates, Open};
use crate::builder::Builder;
use crate::crew::Shared;
use crate::drain::{Drain, ended};
use crate::error::Error;
use crate::event::{Event, Observer};
use crate::handover::{Going, Predecessor};
use crate::listeners::Listeners;
use crate::plan::Plan;
use crate::reload::{Order, Runs};
use crate::steer::{Beginning, Run};
use crate::table::Route;
use crate::terms::Terms;
use crate::udp::{Backlogs, Circle};
use crate::watchdog;
use crate::worker::Workers;

/// A port-multiplexing engine. Cheap to clone; several live in one process.
///
/// ```no_run
/// use refractium::protocol::Transport;
/// use refractium::{Listeners, Refractium};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Refractium::builder()
///     .forward("http=127.0.0.1:3000".parse()?)
///     .forward("https:a.example=127.0.0.1:8443".parse()?)
///     .build()?;
/// let listeners = Listeners::bind(&["0.0.0.0:8080".parse()?], &[Transport::Tcp])?;
/// engine.run(listeners, std::future::pending()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Refractium {
    plan: Arc<ArcSwap<Plan>>,
    pub(crate) runs: Arc<Runs>,
    observer: Arc<dyn Observer>,
    gates: Gates,
    ids: Arc<AtomicU64>,
}

impl Refractium {
    /// Starts putting an engine together.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// An engine for a plan that is made already.
    pub fn new(plan: Plan, observer: Arc<dyn Observer>) -> Self {
        Self {
            plan: Arc::new(ArcSwap::from_pointee(plan.bounded())),
            runs: Arc::default(),
            observer: Arc::new(Guarded(observer)),
            gates: Gates::default(),
            ids: Arc::default(),
        }
    }

    /// Its routes and limits, as they are now.
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Has another plan from now on; these routes are no part of it.
    pub(crate) fn follow(&self, plan: &Arc<Plan>, retired: Vec<Weak<Route>>) {
        self.plan.store(Arc::clone(plan));
        self.runs.retire(retired);
    }

    /// Tells what holds from now on. To be told before anybody comes under it.
    pub(crate) fn tell(&self, plan: &Plan) {
        let open = &Open::of(self.gates.clone());
        self.observer.on(&Event::Planned { plan, open });
    }

    pub(crate) const fn observer(&self) -> &Arc<dyn Observer> {
        &self.observer
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.gates.connections.open()
    }

    /// How many UDP sessions are open.
    pub fn sessions(&self) -> usize {
        self.gates.sessions.open()
    }

    /// Serves the listeners until `shutdown` is done, then lets open connections finish for
    /// [`Limits::drain_timeout`](crate::Limits::drain_timeout) and resets the rest. Dropping the future ends everything at once.
    ///
    /// Needs a tokio runtime with I/O and time, and carries everything on it. What befalls single connections is told
    /// to the observer. What `shutdown` gives is given back.
    ///
    /// ```
    /// # use refractium::protocol::Transport;
    /// # use refractium::{Listeners, Refractium};
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let engine = Refractium::builder().fallback_tcp("127.0.0.1:9".parse()?).build()?;
    /// # let listeners = Listeners::bind(&["127.0.0.1:0".parse()?], &[Transport::Tcp])?;
    /// use tokio_util::sync::CancellationToken;
    ///
    /// let token = CancellationToken::new();
    /// let running = tokio::spawn({
    ///     let (engine, token) = (engine.clone(), token.clone());
    ///     async move { engine.run(listeners, token.cancelled_owned()).await }
    /// });
    /// token.cancel(); // whenever it is to end
    /// running.await??;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Listener`], before anything is served.
    pub async fn run<T>(
        &self,
        listeners: Listeners,
        shutdown: impl Future<Output = T>,
    ) -> Result<T, Error> {
        self.serve(vec![(Handle::current(), listeners)], None, shutdown).await
    }

    /// The same, with a thread and a runtime for each of the groups, as [`Listeners::bind_each`] makes them: nothing
    /// is shared between them on the way of a connection, which makes it cheaper. Dropping the future waits for the
    /// threads, at most for half a second, in which what they carry is reset and told of.
    ///
    /// # Errors
    ///
    /// [`Error::Worker`] and [`Error::Listener`], before anything is served.
    pub async fn run_on_workers<T>(
        &self,
        groups: Vec<Listeners>,
        shutdown: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let workers = Workers::start(groups.len()).map_err(Error::Worker)?;
        self.serve(workers.handles().cloned().zip(groups).collect(), None, shutdown).await
    }

    /// The same in a process that is to take over from another: it gets the UDP sessions that the other has, and the other
    /// takes no more clients once this one serves.
    ///
    /// # Errors
    ///
    /// As [`run_on_workers`](Self::run_on_workers), and [`Error::Predecessor`]; the other process goes on then.
    pub async fn take_over<T>(
        &self,
        predecessor: Predecessor,
        groups: Vec<Listeners>,
        shutdown: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let workers = Workers::start(groups.len()).map_err(Error::Worker)?;
        let groups = workers.handles().cloned().zip(groups).collect();
        self.serve(groups, Some(predecessor), shutdown).await
    }

    async fn serve<T>(
        &self,
        groups: Vec<(Handle, Listeners)>,
        predecessor: Option<Predecessor>,
        shutdown: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let (known, orders) = self.runs.begin();
        let plan = self.plan();
        let mut all = Vec::new();
        let mut listeners = Vec::new();
        let own = groups.iter().flat_map(|(_, group)| group.addresses_of(Transport::Udp));
        let own = own.collect::<BTreeSet<_>>().into_iter().collect();
        let circle = Arc::new(Circle::new(own, &plan.table));
        for (runtime, group) in groups {
            let _inside = runtime.enter();
            let terms = Terms::new(Arc::clone(&plan), Arc::clone(&circle));
            let worker = Arc::new(self.shared(runtime.clone(), terms));
            listeners.push(group.register(&worker)?);
            all.push(worker);
        }
        let all = CutOnDrop(all.into());
        let (gone, going) = oneshot::channel();
        let beginning = Beginning { listeners, predecessor, gone };
        let told = tokio::select! {
            told = shutdown => told,
            failed = self.accept(beginning, &all.0, orders) => match failed? {},
            never = see_off(going, &all.0) => match never {},
        };
        // Orders find nobody who would follow them; the run is known until all is over.
        Drain { engine: self, gates: &self.gates }.run(&all.0).await;
        drop(known);
        Ok(told)
    }

    fn shared(&self, runtime: Handle, terms: Terms) -> Shared {
        let observer = Arc::clone(&self.observer);
        Shared::new(terms, observer, self.gates.clone(), Arc::clone(&self.ids), runtime)
    }

    /// Accepts, looks after all there is, and follows orders.
    async fn accept(
        &self,
        beginning: Beginning,
        all: &Arc<[Arc<Shared>]>,
        orders: mpsc::Receiver<Order>,
    ) -> Result<Never, Error> {
        let backlogs = Backlogs::default();
        let mut run = Run::begin(self, all, &backlogs, beginning).await?;
        self.observer.on(&Event::Serving);
        tokio::select! {
            never = run.steer(orders) => match never {},
            never = watchdog::watch(all, self.observer.as_ref()) => match never {},
            never = backlogs.watch(self.observer.as_ref()) => match never {},
            never = self.gates.unaccepted.watch(self.observer.as_ref()) => match never {},
        }
    }
}

/// Takes nobody any more once another process has taken over, and tells when nothing is left.
async fn see_off(going: oneshot::Receiver<Going>, all: &[Arc<Shared>]) -> Never {
    if let Ok(going) = going.await {
        for worker in all {
            worker.stop.cancel();
            worker.tasks.close();
            worker.doors.close();
        }
        for worker in all {
            worker.doors.wait().await;
        }
        going.is_closed.cancel();
        ended(all).await;
        going.has_ended.cancel();
    }
    pending().await
}

/// Ends what is still open.
struct CutOnDrop(Arc<[Arc<Shared>]>);

impl Drop for CutOnDrop {
    fn drop(&mut self) {
        for worker in self.0.iter() {
            worker.stop.cancel();
            worker.cutter.cut();
        }
    }
}

/// An observer whose panics end nothing but its own note; the panic hook has told of them.
struct Guarded(Arc<dyn Observer>);

impl Observer for Guarded {
    fn on(&self, event: &Event<'_>) {
        let _ = catch_unwind(AssertUnwindSafe(|| self.0.on(event)));
    }
}

impl fmt::Debug for Refractium {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Refractium").field("plan", &self.plan).finish_non_exhaustive()
    }
}
