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
use refractium::protocol::Transport;

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
    let detail = cli.detail();
    let source = |only| Source { typed: cli.overrides(), only };
    match cli.command {
        Some(Command::Init) => {
            config::init(Path::new("."))?;
            print(&format!("wrote {}: edit it, then `refractium check`\n", config::DEFAULT_FILE));
            Ok(())
        }
        Some(Command::Check) => {
            let mut config = config::load(&cli.overrides())?;
            let missing = way_back::missing(&config);
            config.warnings.extend(missing);
            print(&report::check(&config));
            Ok(())
        }
        Some(Command::Explain) => {
            let config = config::load(&cli.overrides())?;
            print(&explain::explain(&config, cli.opening())?);
            Ok(())
        }
        Some(Command::Status) => status::status(cli.status(), &cli.overrides()),
        None => serve(source(None), detail),
        Some(Command::Tcp) => serve(source(Some(Transport::Tcp)), detail),
        Some(Command::Udp) => serve(source(Some(Transport::Udp)), detail),
    }
}

/// Prints; a closed standard output is nobody's loss.
pub(crate) fn print(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

/// Prints on standard error.
fn print_aside(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
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
