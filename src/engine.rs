//! The engine: built without effects, run on the caller's runtime until told to end.

use std::convert::Infallible as Never;
use std::fmt;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use refractium_protocol::RefractiumProtocol;
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admission::Admission;
use crate::cut::Cutter;
use crate::endpoint::Endpoint;
use crate::error::Error;
use crate::event::{Event, Observer};
use crate::forward::Forward;
use crate::limits::Limits;
use crate::listeners::Listeners;
use crate::plan::Plan;
use crate::protocols::Protocols;
use crate::table::{Routes, Table};
use crate::tcp::Shared;
use crate::{resolve, tcp};

/// A port-multiplexing engine. Cheap to clone; several live in one process.
///
/// ```no_run
/// use refractium::{Listeners, Refractium};
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let engine = Refractium::builder()
///     .forward("http=127.0.0.1:3000".parse()?)
///     .forward("https:a.example=127.0.0.1:8443".parse()?)
///     .build()?;
/// let listeners = Listeners::bind(&["0.0.0.0:8080".parse()?])?;
/// engine.run(listeners, std::future::pending()).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Refractium {
    plan: Arc<Plan>,
    observer: Arc<dyn Observer>,
    admission: Arc<Admission>,
    ids: Arc<AtomicU64>,
}

/// Puts an engine together. Pure: nothing is bound, spawned or looked up before [`Refractium::run`].
#[derive(Default)]
pub struct Builder {
    protocols: Protocols,
    routes: Routes,
    limits: Limits,
    observer: Option<Arc<dyn Observer>>,
}

impl Refractium {
    /// Starts putting an engine together.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// An engine for a plan that is made already.
    pub fn new(plan: Plan, observer: Arc<dyn Observer>) -> Self {
        let plan = Plan { limits: plan.limits.bounded(), ..plan };
        Self {
            plan: Arc::new(plan),
            observer: Arc::new(Guarded(observer)),
            admission: Arc::new(Admission::new()),
            ids: Arc::default(),
        }
    }

    /// Its routes and limits.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// How many connections are open.
    pub fn open(&self) -> usize {
        self.admission.open()
    }

    /// Serves the listeners until `shutdown` is done, then lets open connections finish for
    /// [`Limits::drain_timeout`] and resets the rest. Dropping the future ends everything at once.
    ///
    /// Needs a tokio runtime with I/O and time. What befalls single connections is told to the observer. What
    /// `shutdown` gives is given back.
    ///
    /// # Errors
    ///
    /// [`Error::Listener`], before anything is served.
    pub async fn run<T>(
        &self,
        listeners: Listeners,
        shutdown: impl Future<Output = T>,
    ) -> Result<T, Error> {
        let listeners = listeners.register()?;
        let shared = Arc::new(Shared {
            plan: Arc::clone(&self.plan),
            observer: Arc::clone(&self.observer),
            admission: Arc::clone(&self.admission),
            stop: CancellationToken::new(),
            cutter: Cutter::default(),
            tasks: TaskTracker::new(),
            ids: Arc::clone(&self.ids),
            cuts: AtomicUsize::new(0),
        });
        let _stop = shared.stop.clone().drop_guard();
        let _cut = CutOnDrop(&shared);
        let told = tokio::select! {
            told = shutdown => told,
            never = self.serve(listeners, &shared) => match never {},
        };
        self.drain(&shared).await;
        Ok(told)
    }

    /// Resolves the backends' names, accepts, and goes on resolving.
    async fn serve(
        &self,
        listeners: Vec<(SocketAddr, TcpListener)>,
        shared: &Arc<Shared>,
    ) -> Never {
        let Plan { table, limits } = self.plan.as_ref();
        resolve::resolve_all(table, limits.connect_timeout, &self.observer).await;
        for (local, listener) in listeners {
            shared.tasks.spawn(tcp::accept(listener, local, Arc::clone(shared)));
            self.observer.on(&Event::Listening { local });
        }
        resolve::keep_resolving(table, limits.connect_timeout, &self.observer).await
    }

    async fn drain(&self, shared: &Shared) {
        let limit = self.plan.limits.drain_timeout;
        shared.stop.cancel();
        shared.tasks.close();
        self.observer.on(&Event::Draining { open: self.open(), limit });
        if timeout(limit, shared.tasks.wait()).await.is_err() {
            shared.cutter.cut();
            shared.tasks.wait().await;
        }
        self.observer.on(&Event::Drained { cut: shared.cuts.load(Ordering::Relaxed) });
    }
}

/// Ends what is still open.
struct CutOnDrop<'s>(&'s Shared);

impl Drop for CutOnDrop<'_> {
    fn drop(&mut self) {
        self.0.cutter.cut();
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

impl Builder {
    /// Makes a protocol known by its name, before every other of that name.
    #[must_use]
    pub fn protocol(mut self, protocol: impl RefractiumProtocol + 'static) -> Self {
        self.protocols.add(protocol);
        self
    }

    /// Adds a route behind the others; one with the same left side adds its backends to the first.
    #[must_use]
    pub fn forward(mut self, forward: Forward) -> Self {
        self.routes.forwards.push(forward);
        self
    }

    /// Where a TCP connection goes that matches nothing; without one it is closed.
    #[must_use]
    pub fn fallback_tcp(mut self, endpoint: Endpoint) -> Self {
        self.routes.fallback_tcp = Some(endpoint);
        self
    }

    /// What is allowed.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Who is told what happens.
    #[must_use]
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Makes the engine.
    ///
    /// # Errors
    ///
    /// [`Error::Routes`] with every mistake in the routes, counted after those with the same left side were merged.
    pub fn build(mut self) -> Result<Refractium, Error> {
        for forward in &mut self.routes.forwards {
            self.protocols.name_canonically(forward);
        }
        self.routes.forwards = Forward::merge(self.routes.forwards);
        let table = Table::new(&self.routes, &self.protocols).map_err(Error::Routes)?;
        let plan = Plan { table, limits: self.limits };
        Ok(Refractium::new(plan, self.observer.unwrap_or_else(|| Arc::new(|_: &Event<'_>| {}))))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("protocols", &self.protocols)
            .field("routes", &self.routes)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}
