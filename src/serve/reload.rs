//! Reloads: whenever SIGHUP asks for one, and when the file has other content.

use std::collections::HashSet;
use std::convert::Infallible as Never;
use std::error::Error;
use std::future::pending;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use refractium::config::{Config, ConfigError, Setting};
use refractium::watch::Watch;
use refractium::{Event, Observer, Refractium};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use super::source::{Source, Wrong};
use crate::systemd::Systemd;

/// Follows what the user says while the engine runs.
pub(super) struct Reload {
    pub(super) systemd: Arc<Systemd>,
    source: Arc<Source>,
    workers: usize,
    file: Option<PathBuf>,
    watch: Option<Watch>,
    /// What was said at start, of which some stays.
    settings: Vec<Setting>,
    /// What the user has been told already.
    told: HashSet<String>,
}

/// A file that cannot be understood may be half written: so long it is waited for the rest.
const HALF: Duration = Duration::from_millis(750);

/// How long reading may take. Where it never ends, the next wish to reload has its turn.
const READING: Duration = Duration::from_secs(30);

/// Settings that hold from start to end.
const LASTING: [&str; 4] = ["workers", "log.connections", "admin.listen", "admin.hosts"];

impl Reload {
    /// From this configuration on, which is served by so many workers.
    pub(super) fn new(
        source: Source,
        config: &Config,
        workers: usize,
        systemd: &Arc<Systemd>,
    ) -> Self {
        Self {
            systemd: Arc::clone(systemd),
            source: Arc::new(source),
            workers,
            file: config.file.clone(),
            watch: followed(config).map(Followed::watch),
            settings: config.settings.clone(),
            told: config.warnings.iter().chain(&config.notes).cloned().collect(),
        }
    }

    /// Reloads until dropped. Who asks while a reload goes on gets one more.
    pub(super) async fn keep(mut self, engine: &Refractium, asked: &Notify) -> Never {
        loop {
            self.tell_trouble();
            tokio::select! {
                () = asked.notified() => {
                    if let Some(watch) = &mut self.watch {
                        watch.look().await;
                    }
                    if let Err(error) = self.reload(engine).await {
                        self.fails(error.as_ref());
                    }
                }
                changed = changed(&mut self.watch) => match changed {
                    Ok(()) => self.follow_file(engine, asked).await,
                    Err(source) => {
                        let path = self.file.clone().unwrap_or_default();
                        self.fails(&ConfigError::Unreadable { path, source });
                    }
                },
            }
        }
    }

    /// Reloads because the file has changed.
    async fn follow_file(&mut self, engine: &Refractium, asked: &Notify) {
        while let Err(error) = self.reload(engine).await {
            // Nobody knows what that was; it may have changed back meanwhile.
            self.watch.iter_mut().for_each(|it| it.know(None));
            let again = async {
                tokio::select! {
                    _ = changed(&mut self.watch) => {}
                    () = asked.notified() => {}
                }
            };
            if timeout(HALF, again).await.is_err() {
                return self.fails(error.as_ref());
            }
        }
    }

    /// One reload, from its beginning to its end. What the configuration lacks is the error; of all else the engine tells.
    async fn reload(&mut self, engine: &Refractium) -> Result<(), Wrong> {
        self.systemd.reloading();
        let done = self.try_reload(engine).await;
        self.systemd.ready();
        done
    }

    async fn try_reload(&mut self, engine: &Refractium) -> Result<(), Wrong> {
        if self.file.is_none() {
            return Err("no file is read that could say something else".into());
        }
        let (source, workers) = (Arc::clone(&self.source), self.workers);
        let load = spawn_blocking(move || source.load_for(Some(workers)));
        let Ok(config) = timeout(READING, load).await else {
            return Err(format!("it could not be read within {READING:?}").into());
        };
        let config = config??;
        // It may have changed once more since that was told: what counts is what was read.
        self.watch.iter_mut().for_each(|it| it.know(config.digest));
        self.warn(&config);
        let (is_wanted, followed) = (config.hot_reload, followed(&config));
        // An error has changed nothing, and been told.
        if engine.reload_at(config.plan, &config.addresses).await.is_ok() {
            let known = self.watch.take().filter(|_| is_wanted);
            self.watch = known.or_else(|| followed.map(Followed::watch));
        }
        Ok(())
    }

    /// Tells what is worth it and was not told before.
    fn warn(&mut self, config: &Config) {
        let value = |of: &[Setting], name: &str| {
            of.iter().find(|it| it.name == name).map(|it| it.value.clone())
        };
        let waits = |name: &&str| value(&self.settings, name) != value(&config.settings, name);
        let lasting = LASTING.into_iter().filter(waits);
        let lasting = lasting.map(|name| format!("`{name}` takes a restart to change"));
        let all = config.warnings.iter().chain(&config.notes).cloned();
        let now: HashSet<_> = lasting.chain(all).collect();
        let mut news: Vec<_> = now.difference(&self.told).collect();
        news.sort_unstable();
        for warning in news {
            self.systemd.on(&Event::Warned { warning });
        }
        self.told = now;
    }

    fn tell_trouble(&mut self) {
        if let Some(trouble) = self.watch.as_mut().and_then(Watch::trouble) {
            let warning = &format!("the file is looked at every two seconds: {trouble}");
            self.systemd.on(&Event::Warned { warning });
        }
    }

    fn fails(&self, error: &(dyn Error + 'static)) {
        self.systemd.on(&Event::ReloadFailed { error });
    }
}

/// A file that is to be followed, and what it held.
struct Followed {
    file: PathBuf,
    digest: Option<u64>,
}

/// The file of this configuration, if it is to be. What a shell has put in its place, a pipe, cannot be read again.
fn followed(config: &Config) -> Option<Followed> {
    let file = config.file.clone().filter(|file| config.hot_reload && file.is_file())?;
    Some(Followed { file, digest: config.digest })
}

impl Followed {
    fn watch(self) -> Watch {
        Watch::new(&self.file, self.digest)
    }
}

async fn changed(watch: &mut Option<Watch>) -> io::Result<()> {
    match watch {
        Some(watch) => watch.changed().await,
        None => pending().await,
    }
}

#[cfg(all(test, feature = "watch"))]
mod tests {
    use refractium::config::{Overrides, parse};

    use super::*;

    /// As shells have it: `-c <(generate)`.
    #[test]
    fn what_is_read_from_a_pipe_is_not_followed() {
        let text = "[[protocols]]\nname = \"ssh\"\nforward_to = \"127.0.0.1:22\"\n";
        let read_from =
            |path| parse(Some((path, text)), &Overrides::default()).expect("a sound configuration");
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("refractium.toml");
        assert!(followed(&read_from(&file)).is_none(), "it is not there");
        std::fs::write(&file, text).expect("room");
        assert!(followed(&read_from(&file)).is_some());
        let (pipe, _writer) = std::io::pipe().expect("a pipe");
        let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&pipe));
        assert!(followed(&read_from(path.as_ref())).is_none());
    }
}
