//! Notices that a file has other content: soon, because the system tells, and in any case because it is looked at.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::future::pending;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{ErrorKind, Event, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use super::chain::{Link, chain};
use crate::config::{content, digest};

/// Watches the content of one file.
///
/// A file that was written anew with the same content has not changed. A change is told once it has rested for a quarter of
/// a second, because many programs write in two steps. However it came about, by a rename, by a link that leads elsewhere,
/// in a folder that was replaced, it is noticed: after two seconds at the latest, where the system does not tell.
///
/// ```no_run
/// use refractium::config::{self, Overrides};
/// use refractium::watch::Watch;
/// # async fn follow(engine: refractium::Refractium) -> std::io::Result<()> {
/// let typed = Overrides::default();
/// let mut watch = Watch::new(config::DEFAULT_FILE.as_ref(), None);
/// loop {
///     watch.changed().await?;
///     match config::load(&typed) {
///         Ok(config) => {
///             watch.know(config.digest);
///             drop(engine.reload_at(config.plan, &config.addresses).await);
///         }
///         Err(error) => eprintln!("{error}"),
///     }
/// }
/// # }
/// ```
#[derive(Debug)]
pub struct Watch {
    path: PathBuf,
    /// What it held when that was told last; `None`: it could not be read.
    known: Option<u64>,
    /// How it looked when it was last read.
    looks: Option<Looks>,
    /// Something may have happened that was not looked at yet.
    is_hinted: bool,
    hints: Arc<Hints>,
    system: Result<System, String>,
}

/// What the system tells of a file and of the folders on the way to it.
#[derive(Debug)]
struct System {
    watcher: RecommendedWatcher,
    watched: BTreeSet<PathBuf>,
}

/// The system's word that something has happened.
#[derive(Debug, Default)]
struct Hints {
    /// What counts, for in these folders others may change all the time.
    links: Mutex<Vec<Link>>,
    came: Notify,
}

/// What changes whenever a file does: device, number, size, and the times of its content and of itself.
type Looks = (u64, u64, u64, (i64, i64), (i64, i64));

/// How long the file has to rest.
const REST: Duration = Duration::from_millis(250);

/// It is not waited for longer than this, if it never rests.
const LONGEST: Duration = Duration::from_millis(500);

/// A file that is gone may be about to be replaced.
const ABSENCE: Duration = Duration::from_millis(500);

/// How often it is looked at without being told.
const ROUND: Duration = Duration::from_secs(2);

impl Watch {
    /// Begins to watch. `known` is the [digest](crate::config::Config::digest) of what was read last; `None`: what it holds
    /// now.
    pub fn new(path: &Path, known: Option<u64>) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let hints = Arc::new(Hints::default());
        let system = System::new(&hints);
        let is_hinted = known.is_some();
        let mut watch = Self { path, known, looks: None, is_hinted, hints, system };
        watch.follow();
        if known.is_none() {
            watch.known = read(&watch.path).ok();
        }
        watch
    }

    /// Why changes are noticed late, if they are; told once.
    pub fn trouble(&mut self) -> Option<String> {
        self.system.as_mut().err().map(std::mem::take).filter(|it| !it.is_empty())
    }

    /// Takes what the file holds now as known.
    pub async fn look(&mut self) {
        self.looks = aside(&self.path, looks).await;
        self.known = aside(&self.path, read).await.ok();
    }

    /// Takes what was read as known, by its [digest](crate::config::Config::digest): it may be something else than the file held
    /// when that was told, and what it held then would be no change any more. `None`: that is not known, and whatever the file
    /// holds when it is next looked at is a change.
    pub fn know(&mut self, digest: Option<u64>) {
        self.known = digest.or_else(|| self.known.map(std::ops::Not::not));
    }

    /// Waits until the file holds something else than was told last. May be dropped at any time.
    ///
    /// # Errors
    ///
    /// If it cannot be read any more; told once.
    pub async fn changed(&mut self) -> io::Result<()> {
        loop {
            self.hint().await;
            self.rest().await;
            let mut content = self.read_on().await;
            if content.is_err() && self.known.is_some() {
                let _ = timeout(ABSENCE, self.hints.came.notified()).await;
                self.rest().await;
                content = self.read_on().await;
            }
            self.is_hinted = false;
            let before = std::mem::replace(&mut self.known, content.as_ref().ok().copied());
            match content {
                Ok(_) if before == self.known => {}
                Ok(_) => return Ok(()),
                Err(_) if before.is_none() => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits until something may have happened.
    async fn hint(&mut self) {
        while !self.is_hinted {
            let told = timeout(ROUND, self.hints.came.notified()).await;
            self.is_hinted = told.is_ok() || aside(&self.path, looks).await != self.looks;
        }
    }

    /// Waits until nothing has happened for a while.
    async fn rest(&self) {
        let end = Instant::now() + LONGEST;
        while timeout(REST, self.hints.came.notified()).await.is_ok() {
            let left = end.saturating_duration_since(Instant::now());
            if left < REST {
                return sleep(left).await;
            }
        }
    }

    /// Reads the file, and watches where the path leads now.
    async fn read_on(&mut self) -> io::Result<u64> {
        self.follow();
        aside(&self.path, read).await
    }

    fn follow(&mut self) {
        self.looks = looks(&self.path);
        let links = chain(&self.path);
        if let Ok(system) = &mut self.system
            && let Err(error) = system.follow(&self.path, &links)
        {
            self.system = Err(error.to_string());
        }
        self.hints.count(links);
    }
}

impl System {
    fn new(hints: &Arc<Hints>) -> Result<Self, String> {
        let hints = Arc::clone(hints);
        let watcher = notify::recommended_watcher(move |event| hints.hear(event));
        let watcher = watcher.map_err(|error| error.to_string())?;
        Ok(Self { watcher, watched: BTreeSet::new() })
    }

    /// The file itself as well: what is written to one that is mounted is told of in no folder that leads there.
    fn follow(&mut self, file: &Path, links: &[Link]) -> notify::Result<()> {
        // All anew: a folder of the same name may be another one.
        for path in std::mem::take(&mut self.watched) {
            // It may be gone already.
            let _ = self.watcher.unwatch(&path);
        }
        let folders = links.iter().map(|link| link.folder.clone());
        let paths: BTreeSet<_> = folders.chain([file.to_owned()]).collect();
        for path in paths {
            match self.watcher.watch(&path, RecursiveMode::NonRecursive) {
                Ok(()) => drop(self.watched.insert(path)),
                // What is not there, or not ours to see, is looked at all the same.
                Err(error) if is_of_the_path(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether a failure says nothing of the system's room for watches.
fn is_of_the_path(error: &notify::Error) -> bool {
    match &error.kind {
        ErrorKind::PathNotFound | ErrorKind::WatchNotFound => true,
        ErrorKind::Io(error) => {
            matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied)
        }
        _ => false,
    }
}

impl Hints {
    fn count(&self, links: Vec<Link>) {
        // A list is whole at every step: a panic elsewhere spoils nothing.
        *self.links.lock().unwrap_or_else(PoisonError::into_inner) = links;
    }

    /// On the system's own thread.
    fn hear(&self, event: notify::Result<Event>) {
        if event.is_ok_and(|event| !self.counts(&event)) {
            return;
        }
        self.came.notify_one();
    }

    fn counts(&self, event: &Event) -> bool {
        let is_written = |kind| kind == AccessKind::Close(AccessMode::Write);
        if matches!(event.kind, EventKind::Access(kind) if !is_written(kind)) {
            return false;
        }
        let links = self.links.lock().unwrap_or_else(PoisonError::into_inner);
        let is_one = |path: &PathBuf| {
            let is_named = |name: &OsString| path.file_name() == Some(name);
            links.iter().any(|link| link.folder == *path || is_named(&link.name))
        };
        // What names no path is an overflow: anything may have happened.
        event.paths.is_empty() || event.paths.iter().any(is_one)
    }
}

fn looks(path: &Path) -> Option<Looks> {
    let it = fs::metadata(path).ok()?;
    let (content, itself) = ((it.mtime(), it.mtime_nsec()), (it.ctime(), it.ctime_nsec()));
    Some((it.dev(), it.ino(), it.size(), content, itself))
}

/// Does something with a path on another thread: what is mounted may not answer.
async fn aside<T: Send + 'static>(path: &Path, work: fn(&Path) -> T) -> T {
    let path = path.to_owned();
    match spawn_blocking(move || work(&path)).await {
        Ok(done) => done,
        // It panicked, or the runtime ends: either way nobody is waiting for more.
        Err(_) => pending().await,
    }
}

/// What would be waited for, or has no end, is not read: only a file may be followed.
fn read(path: &Path) -> io::Result<u64> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no regular file"));
    }
    content(path).map(|bytes| digest(&bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a change is told, at a time when one would be.
    async fn is_told(watch: &mut Watch) -> bool {
        timeout(ROUND + LONGEST * 4, watch.changed()).await.is_ok_and(|it| it.is_ok())
    }

    /// Between the moment when a change is told and that when the file is read it may change once more, and then back.
    #[tokio::test]
    async fn what_was_told_and_never_read_is_a_change_again() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        let holds = |text: &str| fs::write(&file, text).expect("room");
        holds("one");
        let mut watch = Watch::new(&file, Some(digest(b"one")));
        holds("two");
        assert!(is_told(&mut watch).await);
        watch.know(Some(digest(b"three")));
        holds("two");
        assert!(is_told(&mut watch).await, "it is what was told before, and not what was read");
        watch.know(Some(digest(b"two")));
        holds("two");
        assert!(!is_told(&mut watch).await, "it is what was read");
        watch.know(None);
        holds("two");
        assert!(is_told(&mut watch).await, "nobody knows what was read");
    }
}
