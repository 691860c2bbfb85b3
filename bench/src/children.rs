//! Programs that are started, and that none of them is left behind.

use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Cores;
use crate::meter::Group;
use crate::usage::Process;

/// How long a program may take to end when it is told to.
const PATIENCE: Duration = Duration::from_secs(3);

/// The same when the user does not want to wait.
const INTERRUPTED_PATIENCE: Duration = Duration::from_millis(500);

/// Exit code after SIGINT, as shells have it.
const INTERRUPTED: i32 = 130;

/// What runs now.
static RUNNING: Mutex<Vec<Process>> = Mutex::new(Vec::new());

/// Nothing more is to be started.
static ENDING: AtomicBool = AtomicBool::new(false);

/// What is to be removed if nobody else does.
static FOLDERS: Mutex<Vec<PathBuf>> = Mutex::new(Vec::new());

/// A program that runs; dropping this ends it and all that it started.
#[derive(Debug)]
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) process: Process,
}

/// Where a program is to run.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Place<'a> {
    /// All of them if none are named.
    pub(crate) cores: Option<&'a Cores>,
    pub(crate) group: Option<&'a Group>,
}

/// Starts a program by way of `launch`.
pub(crate) fn start(
    place: Place<'_>,
    program: &[OsString],
    streams: impl FnOnce(&mut Command),
) -> Result<Running> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("launch");
    if let Some(cores) = place.cores {
        command.arg("--cores").arg(cores.to_string());
    }
    if let Some(group) = place.group {
        command.arg("--group").arg(group.members());
    }
    command.arg("--").args(program).stdin(Stdio::null());
    streams(&mut command);
    let name = program.first().map(|name| name.display().to_string()).unwrap_or_default();
    let child = command.spawn().with_context(|| format!("starting {name}"))?;
    let process = i32::try_from(child.id()).ok().and_then(Process::find);
    let process = process.with_context(|| format!("{name} cannot be seen in /proc"))?;
    running().push(process);
    Ok(Running { child, process })
}

/// Ends what runs, and this program, on SIGINT and SIGTERM.
pub(crate) fn end_on_signals() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! { _ = interrupt.recv() => {}, _ = terminate.recv() => {} }
        });
        eprintln!("interrupted: ending what was started");
        end_all();
        std::process::exit(INTERRUPTED);
    });
    Ok(())
}

impl Running {
    /// Whether it runs still; a program that could not start has ended.
    pub(crate) fn lives(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let tree = self.process.tree();
        if self.lives() {
            send(self.process, Signal::TERM);
        }
        let deadline = Instant::now() + PATIENCE;
        while self.lives() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(5));
        }
        if self.lives() {
            send(self.process, Signal::KILL);
        }
        // Only its exit code, which tells nothing more.
        let _ = self.child.wait();
        for left in tree {
            send(left, Signal::KILL);
        }
        running().retain(|process| *process != self.process);
    }
}

fn end_all() {
    ENDING.store(true, Ordering::SeqCst);
    let trees: Vec<Process> = running().drain(..).flat_map(Process::tree).collect();
    trees.iter().for_each(|process| send(*process, Signal::TERM));
    let deadline = Instant::now() + INTERRUPTED_PATIENCE;
    while trees.iter().any(|process| process.lives()) && Instant::now() < deadline {
        thread::sleep(Duration::from_millis(5));
    }
    trees.into_iter().for_each(|left| send(left, Signal::KILL));
    for folder in lock(&FOLDERS).drain(..) {
        remove(&folder);
    }
}

/// Removes a folder, with what is in it; one of control groups only when its last process has gone.
pub(crate) fn remove(folder: &Path) {
    for _ in 0..50 {
        let gone = fs::remove_dir(folder).or_else(|_| fs::remove_dir_all(folder));
        match gone {
            // A folder that is not there need not be removed.
            Err(error) if error.kind() != ErrorKind::NotFound => {
                thread::sleep(Duration::from_millis(10));
            }
            _ => return,
        }
    }
}

/// Goes on, unless this program is about to end because it was interrupted.
pub(crate) fn go_on_unless_interrupted() {
    while ENDING.load(Ordering::SeqCst) {
        thread::park();
    }
}

/// Has a folder removed if this program is interrupted.
pub(crate) fn remove_if_interrupted(folder: &Path) {
    lock(&FOLDERS).push(folder.to_owned());
}

/// Sends a signal to this very process, if it still lives.
pub(crate) fn send(process: Process, what: Signal) {
    if let (true, Some(pid)) = (process.lives(), Pid::from_raw(process.pid)) {
        // It may end by itself at this moment; then the signal is not needed.
        let _ = kill_process(pid, what);
    }
}

fn running() -> MutexGuard<'static, Vec<Process>> {
    lock(&RUNNING)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
