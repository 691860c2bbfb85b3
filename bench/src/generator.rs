//! The load generator and the backends, as seen by the comparison: two processes that are told what to do.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::process::{ChildStdin, ChildStdout, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, setpriority_process};
use serde::de::DeserializeOwned;

use crate::children::{self, Place, Running};
use crate::cli::Cores;
use crate::order::{CALL, Done, Load, Order, Outcome, Ports, Status, Udp};
use crate::sample::WITHIN;

/// How long connections may take to end after their clients have gone.
const SETTLE: Duration = Duration::from_secs(5);

/// After the last connection has ended at its backend, the proxy may still be about to end its side.
const AFTERWARDS: Duration = Duration::from_millis(30);

/// Niceness of clients and servers that go before the proxies.
const FIRST: i32 = -10;

/// How clients and servers share processors with the proxies.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    Equal,
    First,
}

/// A process that answers lines with lines.
#[derive(Debug)]
struct Partner {
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Ended after the pipes are closed.
    running: Running,
}

/// Clients and servers around the proxies.
#[derive(Debug)]
pub(crate) struct Generator {
    load: Partner,
    backend: Partner,
    pub(crate) ports: Ports,
}

impl Generator {
    pub(crate) fn start(cores: Option<&Cores>, threads: usize) -> Result<Self> {
        let load = Partner::start("load", cores, threads)?;
        let mut backend = Partner::start("backend", cores, threads)?;
        let ports = backend.hear()?;
        Ok(Self { load, backend, ports })
    }

    /// Puts a load on a proxy; the outer failure is this program's, the inner one the proxy's.
    pub(crate) fn put(
        &mut self,
        to: SocketAddr,
        load: Load,
        within: u64,
    ) -> Result<Result<Done, String>> {
        self.load.say(&serde_json::to_string(&Order {
            to,
            side: self.ports.side,
            load,
            within,
        })?)?;
        let outcome = self.load.hear::<Outcome>()?;
        let errors = self.status()?.errors;
        Ok(match outcome {
            Outcome::Failed(reason) if errors.is_empty() => Err(reason),
            Outcome::Failed(reason) => Err(format!("{reason}; {}", errors.join("; "))),
            Outcome::Done(_) if !errors.is_empty() => Err(errors.join("; ")),
            Outcome::Done(done) => Ok(done),
        })
    }

    /// Waits until the backends have no more than `open` connections and the proxies have nothing left to do. If they
    /// then have fewer, a proxy has ended connections by itself, and has failed.
    pub(crate) fn settle(&mut self, open: u64) -> Result<Result<(), String>> {
        let deadline = Instant::now() + SETTLE;
        let mut status = self.status()?;
        while status.errors.is_empty() && status.open > open && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
            status = self.status()?;
        }
        if let wrong @ Err(_) = status.check(open) {
            return Ok(wrong);
        }
        thread::sleep(AFTERWARDS);
        Ok(self.status()?.check(open))
    }

    /// Lets clients and servers go before the proxies, or no longer; where that is not allowed, nothing changes.
    ///
    /// With one thread each, as where they share cores with the proxies, their threads are meant by their process.
    pub(crate) fn set_pace(&self, pace: Pace) {
        let nice = match pace {
            Pace::First => FIRST,
            Pace::Equal => 0,
        };
        for partner in [&self.load, &self.backend] {
            let _ = setpriority_process(Pid::from_raw(partner.running.process.pid), nice);
        }
    }

    /// Has the backends send a datagram to each session that is kept, which they then forget; that it arrives shows
    /// that a proxy has kept it as well.
    pub(crate) fn call(&mut self, at: SocketAddr) -> Result<Result<Done, String>> {
        self.backend.say(CALL)?;
        let called: Status = self.backend.hear()?;
        let arrived = self.put(at, Load::Udp(Udp::Called), WITHIN)?;
        Ok(if called.errors.is_empty() { arrived } else { Err(called.errors.join("; ")) })
    }

    fn status(&mut self) -> Result<Status> {
        self.backend.say("status")?;
        self.backend.hear()
    }
}

impl Partner {
    fn start(part: &str, cores: Option<&Cores>, threads: usize) -> Result<Self> {
        let program = std::env::current_exe()?.into_os_string();
        let threads = threads.to_string();
        let program = [program, part.into(), "--threads".into(), threads.into()];
        let mut running = children::start(Place { cores, group: None }, &program, |command| {
            command.stdin(Stdio::piped()).stdout(Stdio::piped());
        })?;
        let input = running.child.stdin.take().context("no pipe to a process")?;
        let output = running.child.stdout.take().context("no pipe from a process")?;
        Ok(Self { input, output: BufReader::new(output), running })
    }

    fn say(&mut self, line: &str) -> Result<()> {
        writeln!(self.input, "{line}").context("the load generator or its backends have ended")
    }

    fn hear<T: DeserializeOwned>(&mut self) -> Result<T> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            bail!("the load generator or its backends have ended");
        }
        serde_json::from_str(&line).with_context(|| format!("not understood: {line}"))
    }
}
