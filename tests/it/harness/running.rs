//! An engine inside this program.

use std::net::SocketAddr;

use refractium::protocol::Transport;
use refractium::{Builder, Changes, Error, Listeners, Plan, Refractium};
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::{DEADLINE, loopback};

/// An engine on a runtime of its own.
pub(crate) struct Running {
    pub(crate) engine: Refractium,
    pub(crate) address: SocketAddr,
    pub(crate) runtime: Runtime,
    pub(crate) task: JoinHandle<Result<&'static str, Error>>,
    stop: Option<oneshot::Sender<&'static str>>,
}

/// Why it is to end.
const REASON: &str = "told to";

impl Running {
    /// On a port for TCP that the system chose.
    pub(crate) fn start(builder: Builder) -> Self {
        Self::start_for(builder, &[Transport::Tcp])
    }

    /// On a port that the system chose.
    pub(crate) fn start_for(builder: Builder, transports: &[Transport]) -> Self {
        Self::start_on(builder, Listeners::bind(&[loopback()], transports).expect("a port"))
    }

    pub(crate) fn start_on(builder: Builder, listeners: Listeners) -> Self {
        let engine = builder.build().expect("sound routes");
        let address = listeners.addresses()[0];
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let (stop, stopped) = oneshot::channel();
        let running = engine.clone();
        let task = runtime.spawn(async move {
            running.run(listeners, async { stopped.await.expect("a reason") }).await
        });
        Self { engine, address, runtime, task, stop: Some(stop) }
    }

    pub(crate) fn reload(&self, plan: Plan) -> Changes {
        self.runtime.block_on(self.engine.reload(plan)).expect("a reload")
    }

    pub(crate) fn reload_at(&self, plan: Plan, addresses: &[SocketAddr]) -> Result<Changes, Error> {
        self.runtime.block_on(self.engine.reload_at(plan, addresses))
    }

    /// Tells it to end, and waits for that.
    pub(crate) fn stop(mut self) {
        self.tell();
        self.ended();
    }

    /// Tells it to end.
    pub(crate) fn tell(&mut self) {
        let stop = self.stop.take().expect("told once");
        stop.send(REASON).expect("a running engine");
    }

    /// Waits for the end: a clean one, for the reason given.
    pub(crate) fn ended(self) {
        let ended = self.runtime.block_on(async { timeout(DEADLINE, self.task).await });
        let reason = ended.expect("an end").expect("no panic").expect("a clean end");
        assert_eq!(reason, REASON);
    }
}
