//! Serves what the configuration says, until a signal ends it.

mod reload;
mod signals;
mod source;

use std::convert::Infallible as Never;
use std::error::Error;
use std::future::pending;
use std::io;
use std::sync::Arc;

use refractium::admin::{Admin, Door};
use refractium::config::Config;
use refractium::log::{self, Connections, Detail};
use refractium::{Listeners, Observer, Refractium};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::systemd::Systemd;
use crate::{print, print_aside, report};
use reload::Reload;
use signals::{Signals, Wish};
pub(crate) use source::Source;

/// The second signal: the user does not want to wait.
const IMPATIENT: &str = "ended by a second signal";

/// Binds, serves, drains. The error is for the user to read.
pub(crate) fn serve(source: Source, detail: Detail) -> Result<(), Box<dyn Error>> {
    let config = source.load_for(None).map_err(|error| error as Box<dyn Error>)?;
    let (transports, workers) = (config.plan.table.transports(), source::count(&config));
    let admin = Admin::default();
    let systemd = Arc::new(Systemd::from_env(observer(detail, &config, &admin)?));
    let observer: Arc<dyn Observer> = Arc::clone(&systemd) as _;
    let groups = Listeners::bind_each(&config.addresses, transports, workers)?;
    let door = Door::bind(&config.admin.listen)?.known_as(config.admin.hosts.clone());
    let addresses_of = |&transport| {
        let addresses = groups.first().map(|it| it.addresses_of(transport)).unwrap_or_default();
        addresses.into_iter().map(move |address| (address, transport))
    };
    let addresses: Vec<_> = transports.iter().flat_map(addresses_of).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let report = report::start(&config, &addresses, &door.addresses());
        // Where a program reads lines of connections, nothing else stands.
        let say = if config.connections == Connections::Off { print } else { print_aside };
        let reload = Reload::new(source, &config, workers, &systemd);
        let engine = Refractium::new(config.plan, observer);
        let (asked, ending) = (Notify::new(), CancellationToken::new());
        let (told, shutdown) = tokio::sync::oneshot::channel();
        let running = engine.run_on_workers(groups, async {
            // A reader that is slow, or none, must not keep us from serving.
            // If not even one thread more is to be had, only the report is missing.
            let _ = std::thread::Builder::new().spawn(move || say(&report));
            // The sender lives as long as this: an error cannot come.
            let _ = shutdown.await;
        });
        let signalled = async {
            while signals.next().await == Wish::Reload {
                asked.notify_one();
            }
            ending.cancel();
            let _ = told.send(());
            signals.end().await;
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
            failed = admin.serve(door) => match failed? {},
        }
    });
    // Names that are still being looked up are nobody's concern any more.
    runtime.shutdown_background();
    ended
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
