//! What was typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

use clap::{Parser, Subcommand};

use crate::work::Work;

/// Measures Refractium beside HAProxy, nginx and sslh, and prints a table with ratios.
#[derive(Debug, Parser)]
#[command(name = "refractium-bench", version)]
pub(crate) struct Cli {
    /// Works to measure; all if left out
    #[arg(long, value_name = "WORK", value_delimiter = ',', value_enum)]
    pub(crate) only: Vec<Work>,

    /// Peers to measure beside Refractium: haproxy, haproxy-splice, nginx, sslh-select, sslh-fork; all installed ones if left out
    #[arg(long, value_name = "PEER", value_delimiter = ',')]
    pub(crate) peers: Option<Vec<String>>,

    /// Measure Refractium alone
    #[arg(long, conflicts_with = "peers")]
    pub(crate) alone: bool,

    /// How often each work is measured; the order of the proxies changes every time
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(crate) rounds: u32,

    /// A small run that only shows that everything works; its numbers mean nothing
    #[arg(long)]
    pub(crate) quick: bool,

    /// Also measure how a connection's cost grows with open connections and with routes
    #[arg(long)]
    pub(crate) scale: bool,

    /// Write the tables to a file as well
    #[arg(long, value_name = "FILE")]
    pub(crate) markdown: Option<PathBuf>,

    /// Write every round's values to a file
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,

    /// Draw the tables into a folder: comparison.svg and, with --scale, scale.svg
    #[arg(long, value_name = "FOLDER")]
    pub(crate) svg: Option<PathBuf>,

    /// Cores for the proxies, like 0,1; the load runs on the others if there are any. All cores for all if left out
    #[arg(long, value_name = "LIST")]
    pub(crate) cores: Option<Cores>,

    /// Refractium's program [default: `refractium` beside this program]
    #[arg(long, value_name = "PATH")]
    pub(crate) refractium: Option<PathBuf>,

    /// HAProxy's program [default: the installed one]
    #[arg(long, value_name = "PATH")]
    pub(crate) haproxy: Option<PathBuf>,

    /// nginx's program [default: the installed one]
    #[arg(long, value_name = "PATH")]
    pub(crate) nginx: Option<PathBuf>,

    /// sslh's program, of any variant; may be given again [default: the installed ones]
    #[arg(long, value_name = "PATH")]
    pub(crate) sslh: Vec<PathBuf>,

    #[command(subcommand)]
    pub(crate) inner: Option<Inner>,
}

/// How this program starts itself.
#[derive(Debug, Subcommand)]
pub(crate) enum Inner {
    /// The servers behind the proxies
    #[command(hide = true)]
    Backend {
        #[arg(long)]
        threads: usize,
    },
    /// The load generator
    #[command(hide = true)]
    Load {
        #[arg(long)]
        threads: usize,
    },
    /// Becomes another program, with many descriptors, on some cores, which ends when this one's parent does
    #[command(hide = true)]
    Launch {
        #[arg(long)]
        cores: Option<Cores>,
        /// File that takes the processes of a control group
        #[arg(long)]
        group: Option<PathBuf>,
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
}

/// Processor cores by number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cores(pub(crate) Vec<usize>);

impl FromStr for Cores {
    type Err = String;

    /// `0,2-3`
    fn from_str(text: &str) -> Result<Self, String> {
        let number = |digits: &str| {
            digits.trim().parse::<usize>().map_err(|_| format!("{digits:?} is not a core's number"))
        };
        let mut cores = Vec::new();
        for part in text.split(',') {
            match part.split_once('-') {
                Some((from, to)) => cores.extend(number(from)?..=number(to)?),
                None => cores.push(number(part)?),
            }
        }
        cores.sort_unstable();
        cores.dedup();
        if cores.is_empty() { Err("no core".to_owned()) } else { Ok(Self(cores)) }
    }
}

impl std::fmt::Display for Cores {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn cores_are_listed_or_ranged() {
        assert_eq!("3,0-1".parse(), Ok(Cores(vec![0, 1, 3])));
        assert_eq!(Cores(vec![0, 3]).to_string(), "0,3");
        assert!("a".parse::<Cores>().is_err());
        assert!("2-1".parse::<Cores>().is_err());
    }
}
