//! A new binary in the place of this one, without a client refused.

use std::env::{args_os, current_dir, current_exe, split_paths, var_os};
use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use refractium::{HandOverError, Refractium, Rest, Successor};

use crate::systemd::Systemd;

/// This program, to be started again as it was.
#[derive(Clone, Debug)]
pub(super) struct Program {
    path: PathBuf,
    words: Vec<OsString>,
}

impl Program {
    /// Remembers where it was started from. What is there when it is started again is what runs then: `/proc/self/exe`
    /// would be this very binary, which may have been replaced and deleted.
    pub(super) fn started() -> Self {
        let words: Vec<_> = args_os().collect();
        let path = words.first().and_then(|it| found(it)).or_else(|| current_exe().ok());
        Self { path: path.unwrap_or_default(), words }
    }

    /// With the same words and in the same folder.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        command.args(self.words.iter().skip(1));
        if let Some(name) = self.words.first() {
            command.arg0(name);
        }
        // The signs of life that this process gives are those of the next one then.
        command.env_remove("WATCHDOG_PID");
        command
    }

    /// Starts it and hands over to it, these sockets too.
    pub(super) async fn succeed(
        &self,
        engine: &Refractium,
        systemd: &Systemd,
        besides: &[OwnedFd],
    ) -> Result<Rest, HandOverError> {
        let besides: Result<_, _> = besides.iter().map(OwnedFd::try_clone).collect();
        let besides = besides.map_err(HandOverError::Sockets)?;
        let mut successor = Successor::start(self.command())?;
        let rest = engine.hand_over(&mut successor, besides).await?;
        systemd.is_succeeded_by(successor.id());
        Ok(rest)
    }
}

/// Where a program is that was started by this name: a shell looks in `PATH` for one without a slash.
fn found(name: &OsStr) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.components().count() > 1 {
        return Some(current_dir().ok()?.join(path));
    }
    let folders = var_os("PATH")?;
    split_paths(&folders).map(|folder| folder.join(path)).find(|it| it.is_file())
}
