//! The comparison: Refractium beside HAProxy, nginx and sslh, in one run. See bench/README.md.

mod backend;
mod children;
mod cli;
mod compare;
mod datagram;
mod flow;
mod generator;
mod launch;
mod ledger;
mod load;
mod meter;
mod opening;
mod order;
mod pattern;
mod peer;
mod report;
mod runtime;
mod sample;
mod socket;
mod stats;
mod usage;
mod work;

use std::process::ExitCode;

use clap::Parser;
use cli::{Cli, Inner};

fn main() -> ExitCode {
    let cli = Cli::parse();
    let ended = match &cli.inner {
        None => compare::run(&cli),
        Some(Inner::Backend { threads }) => backend::run(*threads),
        Some(Inner::Load { threads }) => load::run(*threads),
        Some(Inner::Launch { cores, group, program }) => {
            launch::run(cores.as_ref(), group.as_deref(), program)
        }
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("refractium-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
