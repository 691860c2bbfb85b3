//! Prepares this process and becomes another program.
//!
//! What a child is to inherit has to be set in the child, between its start and its program; in Rust that is safe only
//! in a process of its own.

use std::ffi::OsString;
use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::cli::Cores;

/// Becomes `program`, with all the descriptors that may be had, on these cores, in this control group; it ends when its parent ends.
pub(crate) fn run(cores: Option<&Cores>, group: Option<&Path>, program: &[OsString]) -> Result<()> {
    let Some((name, arguments)) = program.split_first() else {
        bail!("nothing to launch");
    };
    raise_descriptor_limit()?;
    if let Some(cores) = cores {
        let mut set = CpuSet::new();
        cores.0.iter().for_each(|core| set.set(*core));
        sched_setaffinity(None, &set).with_context(|| format!("taking the cores {cores}"))?;
    }
    if let Some(group) = group {
        // 0 stands for the process that writes.
        fs::write(group, "0").with_context(|| format!("joining {}", group.display()))?;
    }
    set_parent_process_death_signal(Some(Signal::TERM))?;
    let error = Command::new(name).args(arguments).exec();
    Err(error).with_context(|| format!("starting {}", name.display()))
}

/// As many descriptors as the hard limit allows; how many that is, `None` being no limit.
pub(crate) fn raise_descriptor_limit() -> Result<Option<u64>> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("raising the descriptor limit")?;
    Ok(limit.maximum)
}
