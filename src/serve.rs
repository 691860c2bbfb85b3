//! Serves what the configuration says, until a signal ends it.

mod reload;
mod signals;
mod sockets;
mod source;
mod upgrade;

use std::cell::RefCell;
use std::convert::Infallible as Never;
use std::error::Error as StdError;
use std::future::pending;
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::sync::Arc;

use refractium::admin::{Admin, Door};
use refractium::config::Config;
use refractium::log::{self, Connections, Detail};
use refractium::{Error, Event, HandOverError, Observer, Predecessor, Refractium, Rest};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::systemd::Systemd;
use crate::{print, report};
use reload::Reload;
use signals::{Signals, Wish};
use sockets::Wanted;
pub(crate) use source::Source;
use upgrade::Program;

/// The second signal: the user does not want to wait.
const IMPATIENT: &str = "ended by a second signal";

/// Binds, serves, drains. The error is for the user to read.
pub(crate) fn serve(source: Source, detail: Detail) -> Result<(), Box<dyn StdError>> {
    let program = Program::started();
    let mut predecessor = Predecessor::from_env()?;
    let given = sockets::of_manager()?;
    // Each socket stays with its worker.
    let workers = predecessor.as_ref().map(Predecessor::workers);
    let config = source.load_for(workers).map_err(|error| error as Box<dyn StdError>)?;
    let workers = workers.unwrap_or_else(|| source::count(&config));
    let transports = config.plan.table.transports();
    let admin = Admin::default();
    let systemd = Arc::new(Systemd::from_env(observer(detail, &config, &admin)?));
    let observer: Arc<dyn Observer> = Arc::clone(&systemd) as _;
    let wanted = Wanted { addresses: &config.addresses, transports, workers };
    let groups = match &mut predecessor {
        Some(predecessor) => wanted.after(predecessor)?,
        None => wanted.beside(given)?,
    };
    let besides = predecessor.as_mut().map(Predecessor::take_besides).unwrap_or_default();
    let door = Door::bind_beside(besides, &config.admin.listen)?;
    let door = door.known_as(config.admin.hosts.clone());
    let besides = door.copies()?;
    let addresses = sockets::addresses(&groups, transports);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let report = report::start(&config, &addresses, &door.addresses());
        // Where a program reads lines of connections, nothing else stands.
        let is_aside = config.connections != Connections::Off;
        // It is for whoever looks on: nothing is served worse without it.
        let say = move |report: &str| {
            if is_aside {
                let _ = io::stderr().lock().write_all(report.as_bytes());
            } else {
                let _ = print(report);
            }
        };
        let reload = Reload::new(source, &config, workers, &systemd);
        let engine = Refractium::new(config.plan, observer);
        let (asked, ending) = (Notify::new(), CancellationToken::new());
        let handed = CancellationToken::new();
        let (told, shutdown) = tokio::sync::oneshot::channel();
        let shutdown = async {
            // A reader that is slow, or none, must not keep us from serving.
            // If not even one thread more is to be had, only the report is missing.
            let _ = std::thread::Builder::new().spawn(move || say(&report));
            // The sender lives as long as this: an error cannot come.
            let _ = shutdown.await;
        };
        let running = async {
            match predecessor {
                Some(predecessor) => engine.take_over(predecessor, groups, shutdown).await,
                None => engine.run_on_workers(groups, shutdown).await,
            }
        };
        let signalled = async {
            let (engine, systemd, asked, ending) = (&engine, &systemd, &asked, &ending);
            let (handed, besides) = (&handed, RefCell::new(besides.into()));
            let follower = Follower { engine, systemd, program, besides, asked, handed, ending };
            follower.follow(&mut signals).await;
            ending.cancel();
            let _ = told.send(());
            end(&mut signals, systemd).await;
        };
        let reloading = async {
            // Who has begun to end follows nothing any more.
            ending.run_until_cancelled(reload.keep(&engine, &asked)).await;
            pending::<Never>().await
        };
        tokio::select! {
            ended = running => ended.map_err(Into::into),
            () = signalled => Err(IMPATIENT.into()),
            never = reloading => match never {},
            never = systemd.keep_alive() => match never {},
            failed = until(&handed, admin.serve(door)) => match failed? {},
        }
    });
    // Names that are still being looked up are nobody's concern any more.
    runtime.shutdown_background();
    ended
}

/// Does what signals ask for.
struct Follower<'a> {
    engine: &'a Refractium,
    systemd: &'a Arc<Systemd>,
    program: Program,
    /// Sockets that are none of the engine's; none once another process has taken over.
    besides: RefCell<Arc<[OwnedFd]>>,
    /// Notified of each wish to reload.
    asked: &'a Notify,
    /// Cancelled once another process has taken over.
    handed: &'a CancellationToken,
    /// Cancelled once no reload is followed any more.
    ending: &'a CancellationToken,
}

impl Follower<'_> {
    /// Says why, if another process cannot take over.
    async fn hand_over(&self) -> Option<Rest> {
        let besides = Arc::clone(&self.besides.borrow());
        let handed = self.program.succeed(self.engine, self.systemd, &besides).await;
        handed.inspect_err(|error| self.systemd.on(&Event::HandOverFailed { error })).ok()
    }

    /// Until the end is wished for, or nothing is left because another process has taken over.
    async fn follow(&self, signals: &mut Signals) {
        let mut handing = pin!(None);
        let mut rest = None;
        loop {
            tokio::select! {
                wish = signals.next() => match wish {
                    Wish::End => return,
                    Wish::Reload if rest.is_some() => {
                        let error = &HandedOver;
                        self.systemd.on(&Event::ReloadFailed { error });
                    }
                    Wish::Reload => self.asked.notify_one(),
                    Wish::Upgrade if handing.is_none() && rest.is_none() => {
                        handing.set(Some(self.hand_over()));
                    }
                    Wish::Upgrade => {
                        let error = &HandOverError::UnderWay;
                        self.systemd.on(&Event::HandOverFailed { error });
                    }
                },
                handed = done(handing.as_mut().as_pin_mut()) => {
                    handing.set(None);
                    rest = handed;
                    if rest.is_some() {
                        // They would keep addresses of which the other may have let go.
                        self.besides.replace(Arc::default());
                        self.handed.cancel();
                        self.ending.cancel();
                    }
                }
                () = ended(rest.as_ref()) => return,
            }
        }
    }
}

/// Another process serves: what is wished for is to be wished for there.
#[derive(Debug, thiserror::Error)]
#[error("another process has taken over")]
struct HandedOver;

/// Waits for one more wish to end; of others it says that they come too late.
async fn end(signals: &mut Signals, systemd: &Systemd) {
    loop {
        match signals.next().await {
            Wish::End => return,
            Wish::Reload => systemd.on(&Event::ReloadFailed { error: &Error::Ending }),
            Wish::Upgrade => {
                systemd.on(&Event::HandOverFailed { error: &HandOverError::NothingServed });
            }
        }
    }
}

/// The same, but no more once another process has taken over.
async fn until<T>(handed: &CancellationToken, work: impl Future<Output = T>) -> T {
    match handed.run_until_cancelled(work).await {
        Some(done) => done,
        None => pending().await,
    }
}

/// Waits for what there is to wait for, or for ever.
async fn done<T>(work: Option<impl Future<Output = T>>) -> T {
    match work {
        Some(work) => work.await,
        None => pending().await,
    }
}

async fn ended(rest: Option<&Rest>) {
    match rest {
        Some(rest) => rest.ended().await,
        None => pending().await,
    }
}

/// Who says what happens.
fn observer(detail: Detail, config: &Config, admin: &Admin) -> io::Result<Arc<dyn Observer>> {
    let mut all = vec![log::to_stderr(detail)?];
    all.extend(log::connections_to_stdout(config.connections)?);
    if !config.admin.listen.is_empty() {
        all.push(Arc::new(admin.clone()));
    }
    Ok(Arc::new(all))
}
