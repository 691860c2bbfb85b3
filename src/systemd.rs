//! What systemd is told of the service, and how it is kept from taking it for dead (sd_notify(3), sd_watchdog_enabled(3)).

use std::collections::BTreeSet;
use std::convert::Infallible as Never;
use std::env::var_os;
use std::ffi::OsString;
use std::future::pending;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::id;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use refractium::{Event, Observer};
use rustix::time::{ClockId, clock_gettime};

/// Hears every event, passes it on to the log, and tells systemd what concerns it; without systemd, nobody.
pub(crate) struct Systemd {
    log: Arc<dyn Observer>,
    channel: Option<Channel>,
    /// How long it may hear nothing before it takes us for dead.
    patience: Option<Duration>,
    stalled: Mutex<BTreeSet<usize>>,
    /// It is this process that systemd takes for the service.
    is_ours: AtomicBool,
}

/// The socket of `NOTIFY_SOCKET`.
struct Channel {
    socket: UnixDatagram,
    to: SocketAddr,
}

/// Never longer: what is told must not hold up who tells it.
const LONGEST_WRITE: Duration = Duration::from_secs(1);

/// What ending may take beyond the time-out of the drain.
const BESIDES: Duration = Duration::from_secs(10);

impl Systemd {
    /// As the environment says.
    pub(crate) fn from_env(log: Arc<dyn Observer>) -> Self {
        Self::new(log, |name| var_os(name))
    }

    fn new(log: Arc<dyn Observer>, variable: impl Fn(&str) -> Option<OsString>) -> Self {
        let number = |name| variable(name)?.to_str()?.parse::<u64>().ok();
        let is_ours = number("WATCHDOG_PID").is_none_or(|it| it == u64::from(id()));
        let patience = number("WATCHDOG_USEC").filter(|it| is_ours && *it > 0);
        // A name that cannot be used is nobody's socket.
        let channel = variable("NOTIFY_SOCKET").and_then(|name| Channel::to(name).ok());
        let (patience, stalled) = (patience.map(Duration::from_micros), Mutex::default());
        Self { log, channel, patience, stalled, is_ours: AtomicBool::new(false) }
    }

    /// Says again and again that all is well, as long as no worker stands still.
    pub(crate) async fn keep_alive(&self) -> Never {
        let Some(patience) = self.patience else { return pending().await };
        loop {
            if self.stalled().is_empty() {
                self.tell("WATCHDOG=1");
            }
            tokio::time::sleep(patience / 2).await;
        }
    }

    /// A reload begins. That it is over is told by [`Systemd::ready`], whatever became of it.
    pub(crate) fn reloading(&self) {
        let now = clock_gettime(ClockId::Monotonic);
        let now = now.tv_sec.saturating_mul(1_000_000).saturating_add(now.tv_nsec / 1_000);
        self.tell(&format!("RELOADING=1\nMONOTONIC_USEC={now}\nSTATUS=reloading"));
    }

    /// All is served that is to be.
    pub(crate) fn ready(&self) {
        // Before, it may be another process that serves.
        self.is_ours.store(true, Ordering::Relaxed);
        self.tell("READY=1\nSTATUS=serving");
    }

    /// Another process is the service now.
    pub(crate) fn is_succeeded_by(&self, process: u32) {
        self.tell(&format!("MAINPID={process}"));
        self.is_ours.store(false, Ordering::Relaxed);
    }

    fn tell(&self, state: &str) {
        if let Some(channel) = &self.channel
            && self.is_ours.load(Ordering::Relaxed)
        {
            // Nobody can be told of it. systemd notices that it hears nothing.
            let _ = channel.socket.send_to_addr(state.as_bytes(), &channel.to);
        }
    }

    fn stalled(&self) -> std::sync::MutexGuard<'_, BTreeSet<usize>> {
        // A set is whole at every step: a panic elsewhere spoils nothing.
        self.stalled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Systemd {
    fn on(&self, event: &Event<'_>) {
        self.log.on(event);
        match event {
            Event::Serving => self.ready(),
            Event::WorkerStalled { worker, .. } => drop(self.stalled().insert(*worker)),
            Event::WorkerResumed { worker, .. } => drop(self.stalled().remove(worker)),
            Event::Draining { open, limit } => {
                let micros = limit.saturating_add(BESIDES).as_micros();
                self.tell(&format!(
                    "STOPPING=1\nEXTEND_TIMEOUT_USEC={micros}\nSTATUS=draining: {open} open"
                ));
            }
            Event::Waiting { open, left, .. } => {
                let left = left.as_secs();
                self.tell(&format!("STATUS=draining: {open} open, {left} s left"));
            }
            _ => {}
        }
    }
}

impl Channel {
    /// A path, or an abstract name after an `@`.
    fn to(name: OsString) -> io::Result<Self> {
        let socket = UnixDatagram::unbound()?;
        socket.set_write_timeout(Some(LONGEST_WRITE))?;
        let to = match name.as_bytes().strip_prefix(b"@") {
            Some(name) => SocketAddr::from_abstract_name(name)?,
            None => SocketAddr::from_pathname(name)?,
        };
        Ok(Self { socket, to })
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    /// Somebody who hears what systemd would, and what says so.
    fn heard(patience: &str) -> (tempfile::TempDir, UnixDatagram, Systemd) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("an open socket");
        let variable = |name: &str| match name {
            "NOTIFY_SOCKET" => Some(path.clone().into_os_string()),
            "WATCHDOG_USEC" => Some(OsStr::new(patience).to_owned()),
            _ => None,
        };
        let systemd = Systemd::new(Arc::new(|_: &Event<'_>| {}), variable);
        (folder, socket, systemd)
    }

    fn all(socket: &UnixDatagram) -> Vec<String> {
        let mut buffer = [0; 1024];
        let next = || socket.recv(&mut buffer).ok().map(|it| buffer[..it].to_vec());
        let texts = std::iter::from_fn(next).map(|it| String::from_utf8(it).expect("text"));
        texts.collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_stands_still_ends_the_signs_of_life_until_it_goes_on() {
        let (_folder, socket, systemd) = heard("2000000");
        systemd.on(&Event::Serving);
        assert_eq!(all(&socket), ["READY=1\nSTATUS=serving"]);
        let stalled = Duration::from_secs(1);
        let rounds = async {
            for round in 0..3 {
                tokio::time::sleep(Duration::from_millis(4_500)).await;
                let signs = all(&socket).len();
                match round {
                    0 => {
                        assert_eq!(signs, 5);
                        systemd.on(&Event::WorkerStalled { worker: 1, stalled });
                    }
                    1 => {
                        assert_eq!(signs, 0);
                        systemd.on(&Event::WorkerResumed { worker: 1, stalled });
                    }
                    _ => assert!(signs > 3, "{signs}"),
                }
            }
        };
        tokio::select! {
            () = rounds => {}
            never = systemd.keep_alive() => match never {},
        }
    }
}
