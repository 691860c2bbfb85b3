//! What signals mean.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// SIGTERM and SIGINT.
    End,
    /// SIGHUP.
    Reload,
    /// SIGUSR2.
    Upgrade,
}

/// The signals that mean something. From when this is made, those that mean nothing end nothing.
pub(super) struct Signals {
    hangup: Signal,
    terminate: Signal,
    interrupt: Signal,
    second: Signal,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        for number in MEANINGLESS.into_iter().chain(REAL_TIME) {
            // Whoever listens once is never ended by it: the handler stays. One that does not exist here cannot come.
            drop(signal(SignalKind::from_raw(number)));
        }
        let hangup = signal(SignalKind::hangup())?;
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        let second = signal(SignalKind::user_defined2())?;
        Ok(Self { hangup, terminate, interrupt, second })
    }

    /// The next wish.
    pub(super) async fn next(&mut self) -> Wish {
        tokio::select! {
            _ = self.terminate.recv() => Wish::End,
            _ = self.interrupt.recv() => Wish::End,
            _ = self.hangup.recv() => Wish::Reload,
            _ = self.second.recv() => Wish::Upgrade,
        }
    }
}

/// Signals that would end a process which does not listen, though nothing is wrong with it: SIGUSR1, SIGALRM,
/// SIGSTKFLT, SIGVTALRM, SIGPROF, SIGIO and SIGPWR of Linux (signal(7)). SIGPIPE is ignored by every Rust program.
#[cfg(target_os = "linux")]
const MEANINGLESS: [i32; 7] = [10, 14, 16, 26, 27, 29, 30];
#[cfg(not(target_os = "linux"))]
const MEANINGLESS: [i32; 0] = [];

/// Those that have no meaning but what a program gives them; the C library keeps the first two for itself.
#[cfg(target_os = "linux")]
const REAL_TIME: std::ops::RangeInclusive<i32> = 34..=64;
#[cfg(not(target_os = "linux"))]
const REAL_TIME: std::ops::Range<i32> = 0..0;
