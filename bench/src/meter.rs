//! How a proxy's processor time is read.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::children;
use crate::usage::{self, Process};

/// Where the hierarchy of version 2 is mounted: by itself, or beside version 1.
const MOUNTS: [&str; 2] = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];

/// A control group of one proxy; removed when dropped.
#[derive(Debug)]
pub(crate) struct Group {
    path: PathBuf,
}

/// Where the processor time is read.
#[derive(Debug)]
pub(crate) enum Meter {
    /// /proc, over all processes and threads.
    Processes(Process),
    /// A control group, which counts children that ended without anybody waiting for them as well.
    Group(Group),
    /// Nowhere: it is a proxy that needs a group, and none may be made.
    Nowhere,
}

impl Meter {
    /// Processor time used so far; none if it cannot be known.
    pub(crate) fn read(&self) -> Result<Option<Duration>> {
        match self {
            Self::Processes(root) => usage::processor_time(*root).map(Some),
            Self::Group(group) => group.processor_time().map(Some),
            Self::Nowhere => Ok(None),
        }
    }
}

impl Group {
    /// A group inside our own; who may not make one gets the reason.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let own = fs::read_to_string("/proc/self/cgroup")?;
        let own = own.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
        let mut mounts = MOUNTS.map(Path::new).into_iter();
        let mount = mounts.find(|mount| mount.join("cgroup.controllers").exists());
        let mount = mount.context("no control groups of version 2")?;
        let name = format!("refractium-bench-{}-{name}", std::process::id());
        let path = mount.join(own.trim_start_matches('/')).join(name);
        fs::create_dir(&path).with_context(|| format!("making {}", path.display()))?;
        children::remove_if_interrupted(&path);
        Ok(Self { path })
    }

    /// The file that takes the processes of the group.
    pub(crate) fn members(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    fn processor_time(&self) -> Result<Duration> {
        let text = fs::read_to_string(self.path.join("cpu.stat"))?;
        parse_usage(&text).context("cpu.stat without usage_usec")
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        children::remove(&self.path);
    }
}

fn parse_usage(text: &str) -> Option<Duration> {
    let line = text.lines().find_map(|line| line.strip_prefix("usage_usec "))?;
    line.trim().parse().ok().map(Duration::from_micros)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_time_is_in_microseconds() {
        let text = "usage_usec 1500\nuser_usec 1000\nsystem_usec 500\n";
        assert_eq!(parse_usage(text), Some(Duration::from_micros(1500)));
        assert_eq!(parse_usage("user_usec 1000\n"), None);
    }
}
