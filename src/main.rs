//! The program: reads what the user says, and does it.

mod capture;
mod cli;
mod descriptors;
mod explain;
mod report;
mod serve;
mod status;
#[cfg_attr(not(target_os = "linux"), path = "systemd_other.rs")]
mod systemd;
mod way_back;

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use refractium::config::{self, ConfigError};

use cli::{Cli, Command};
use serve::{Source, serve};
use status::NotThere;

fn main() -> ExitCode {
    match run(&Cli::typed()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let is_said = error.is::<ConfigError>() || error.is::<NotThere>();
            let code = if is_said { 2 } else { 1 };
            complain(error.as_ref());
            ExitCode::from(code)
        }
    }
}

fn run(cli: &Cli) -> Result<(), Box<dyn Error>> {
    let source = Source { typed: cli.overrides() };
    match cli.command {
        Some(Command::Init) => {
            config::init(Path::new("."))?;
            let done =
                format!("wrote {}: edit it, then `refractium check`\n", config::DEFAULT_FILE);
            print(&done)?;
        }
        Some(Command::Check) => {
            // With what a start would say here: what the limits of this shell do not allow is lowered.
            let config = source.load_for(None).map_err(|error| error as Box<dyn Error>)?;
            print(&report::check(&config))?;
        }
        Some(Command::Explain) => {
            let config = config::load(&cli.overrides())?;
            print(&explain::explain(&config, cli.opening())?)?;
        }
        Some(Command::Status) => status::status(cli.status(), &cli.overrides())?,
        None | Some(Command::Tcp | Command::Udp) => serve(source, cli.detail())?,
    }
    Ok(())
}

/// Whether anybody reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reader {
    There,
    Gone,
}

/// What was to be printed is not there for its reader: the disk is full, say.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to standard output")]
struct Unwritten(#[source] io::Error);

/// Prints. A reader who has gone has read enough.
fn print(text: &str) -> Result<Reader, Unwritten> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Unwritten(error)),
    }
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
    if let Some(help) = help(error) {
        text += &format!("\nhelp: {help}");
    }
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// What to do where the system does not let an address be listened on.
fn help(error: &(dyn Error + 'static)) -> Option<&'static str> {
    let Some(refractium::Error::Bind { source, .. }) = error.downcast_ref() else { return None };
    match source.kind() {
        io::ErrorKind::PermissionDenied => {
            Some("a port below 1024 needs root or the capability CAP_NET_BIND_SERVICE")
        }
        io::ErrorKind::AddrInUse => Some("somebody listens there: `ss -lntup` shows who"),
        io::ErrorKind::AddrNotAvailable => {
            Some("this machine does not have that address: `ip address` shows those that it has")
        }
        _ => None,
    }
}
