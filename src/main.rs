//! The program: reads what the user says, runs the engine, ends on a signal.

mod capture;
mod cli;
mod descriptors;
mod explain;
mod report;
mod way_back;

use std::error::Error;
use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use refractium::config::{self, Config, ConfigError};
use refractium::log::{self, Detail};
use refractium::protocol::Transport;
use refractium::{Listeners, Refractium};
use tokio::signal::unix::{Signal, SignalKind, signal};

use cli::{Cli, Command};
use descriptors::Load;

/// The second signal: the user does not want to wait.
const IMPATIENT: &str = "ended by a second signal";

fn main() -> ExitCode {
    match run(&Cli::typed()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = if error.is::<ConfigError>() { 2 } else { 1 };
            complain(error.as_ref());
            ExitCode::from(code)
        }
    }
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let detail = cli.detail();
    match cli.command {
        Some(Command::Init) => {
            config::init(Path::new("."))?;
            print(&format!("wrote {}: edit it, then `refractium check`\n", config::DEFAULT_FILE));
            Ok(())
        }
        Some(Command::Check) => {
            let mut config = config::load(&cli.overrides())?;
            config.warnings.extend(way_back::missing(&config.plan.table));
            print(&report::check(&config));
            Ok(())
        }
        Some(Command::Explain) => {
            let config = config::load(&cli.overrides())?;
            print(&explain::explain(&config, cli.opening())?);
            Ok(())
        }
        None => serve(config::load(&cli.overrides())?, detail),
        Some(Command::Tcp) => serve(config::load(&cli.overrides())?.only(Transport::Tcp), detail),
        Some(Command::Udp) => serve(config::load(&cli.overrides())?.only(Transport::Udp), detail),
    }
}

fn serve(mut config: Config, detail: Detail) -> Result<(), Box<dyn Error>> {
    let transports = config.plan.table.transports();
    if transports.is_empty() {
        return Err("no route is left to serve: all are for the other transport".into());
    }
    let workers = if config.workers == 0 { cores() } else { config.workers };
    let checks = config.plan.table.most_checks();
    let load = Load { workers, addresses: config.addresses.len(), transports, checks };
    config.notes.extend(descriptors::fit(&mut config.plan.limits, &load));
    config.warnings.extend(way_back::missing(&config.plan.table));
    let observer = log::to_stderr(detail)?;
    let groups = Listeners::bind_each(&config.addresses, transports, workers)?;
    let addresses_of = |&transport| {
        let addresses = groups.first().map(|it| it.addresses_of(transport)).unwrap_or_default();
        addresses.into_iter().map(move |address| (address, transport))
    };
    let addresses: Vec<_> = transports.iter().flat_map(addresses_of).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(async {
        let mut signals = Signals::new()?;
        let report = report::start(&config, &addresses);
        let engine = Refractium::new(config.plan, Arc::clone(&observer));
        let (told, shutdown) = tokio::sync::oneshot::channel();
        let running = engine.run_on_workers(groups, async {
            // A reader that is slow, or none, must not keep us from serving.
            // If not even one thread more is to be had, only the report is missing.
            let _ = std::thread::Builder::new().spawn(move || print(&report));
            // The sender lives as long as this: an error cannot come.
            let _ = shutdown.await;
        });
        let signalled = async {
            signals.next().await;
            let _ = told.send(());
            signals.next().await;
        };
        tokio::select! {
            ended = running => ended.map_err(Into::into),
            () = signalled => Err(IMPATIENT.into()),
        }
    });
    // Names that are still being looked up are nobody's concern any more.
    runtime.shutdown_background();
    ended
}

/// How many threads can work at the same time.
fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// SIGTERM and SIGINT, each a wish to end. SIGHUP is none: it will mean "reload".
struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let hangup = signal(SignalKind::hangup())?;
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        Ok(Self { hangup, terminate, interrupt })
    }

    async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => return,
                _ = self.interrupt.recv() => return,
                _ = self.hangup.recv() => {}
            }
        }
    }
}

/// Prints; a closed standard output is nobody's loss.
fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Prints an error and what caused it, once.
fn complain(error: &(dyn Error + 'static)) {
    let mut text = match error.downcast_ref() {
        Some(ConfigError::Mistakes(mistakes)) => {
            let plural = if mistakes.count() == 1 { "" } else { "s" };
            format!("{mistakes}\n\n{} mistake{plural}: nothing was started", mistakes.count())
        }
        _ => format!("error: {error}"),
    };
    let mut cause = error.source();
    while let Some(error) = cause {
        text += &format!(": {error}");
        cause = error.source();
    }
    let _ = writeln!(io::stderr().lock(), "{text}");
}
