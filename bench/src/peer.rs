//! The proxies: where each is found, which version it is, how it is configured and started.

mod file;
mod knock;
mod routes;

use std::ffi::OsString;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use crate::children::{self, Place, Running};
use crate::cli::Cores;
use crate::meter::{Group, Meter};
use crate::order::Ports;

/// How long a proxy may take until it carries something.
const START: Duration = Duration::from_secs(10);

/// Another program may take the port that was chosen, before the proxy does.
const ATTEMPTS: u32 = 3;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Make {
    Refractium,
    Haproxy,
    /// The same program, which splices always.
    HaproxySplice,
    Nginx,
    Sslh,
}

/// One build of a proxy.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) make: Make,
    pub(crate) program: PathBuf,
    pub(crate) version: String,
}

/// What a configuration depends on beside the make.
#[derive(Clone, Debug)]
pub(crate) struct Setting {
    pub(crate) ports: Ports,
    /// Cores for the proxies, if not all.
    pub(crate) cores: Option<Cores>,
    /// One thread or worker for each core.
    pub(crate) threads: usize,
    pub(crate) purpose: Purpose,
}

/// What a proxy is started for; where its documentation names a setting for speed and one for memory, it gets the one
/// that fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Traffic,
    Idle,
    /// Traffic, with so many routes by name.
    Routes(usize),
    /// Datagrams.
    Udp(Sessions),
}

/// What the sessions are like, where datagrams are carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sessions {
    /// They go on.
    Long,
    /// Each ends with its answer.
    Short,
    /// They say nothing for long.
    Idle,
}

/// A proxy that accepts connections.
#[derive(Debug)]
pub(crate) struct Proxy {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
    /// Dropped after what it measures.
    pub(crate) meter: Meter,
    /// Its configuration; gone when the proxy is.
    _directory: TempDir,
}

impl Make {
    fn version_option(self) -> &'static str {
        match self {
            Self::Refractium => "--version",
            Self::Haproxy | Self::HaproxySplice | Self::Nginx => "-v",
            Self::Sslh => "-V",
        }
    }

    /// How the program is told its file; each runs in the foreground.
    fn arguments(self, file: &Path, purpose: Purpose) -> Vec<OsString> {
        let file = file.as_os_str();
        let joined = |option: &str| {
            let mut joined = OsString::from(option);
            joined.push(file);
            joined
        };
        match (self, purpose) {
            (Self::Refractium, Purpose::Udp(_)) => vec!["-c".into(), file.into()],
            (Self::Refractium, _) => vec!["tcp".into(), "-c".into(), file.into()],
            (Self::Haproxy | Self::HaproxySplice, _) => {
                vec!["-db".into(), "-f".into(), file.into()]
            }
            (Self::Nginx, _) => vec!["-c".into(), file.into()],
            (Self::Sslh, _) => vec![joined("-F")],
        }
    }
}

impl Peer {
    /// The build at `program`; its first line of version says what it is.
    pub(crate) fn new(make: Make, program: PathBuf) -> Result<Self> {
        let version = said(&program, make.version_option())?;
        let version = version.lines().next().unwrap_or_default().trim().to_owned();
        let name = match make {
            Make::Refractium => "refractium".to_owned(),
            Make::Haproxy => "haproxy".to_owned(),
            Make::HaproxySplice => "haproxy-splice".to_owned(),
            Make::Nginx => "nginx".to_owned(),
            // "sslh-fork 1.20"
            Make::Sslh => version.split(' ').next().unwrap_or("sslh").to_owned(),
        };
        Ok(Self { name, make, program, version })
    }

    /// Whether it has a process for each connection, and waits for none of them.
    pub(crate) fn forks(&self) -> bool {
        self.name == "sslh-fork"
    }

    /// Whether it can do what `purpose` asks for. HAProxy and sslh 1.20 carry no datagrams.
    pub(crate) fn can(&self, purpose: Purpose) -> bool {
        match purpose {
            Purpose::Udp(_) => matches!(self.make, Make::Refractium | Make::Nginx),
            _ => true,
        }
    }

    /// Starts it with a port that the system chose, and waits until it carries something.
    pub(crate) fn start(&self, setting: &Setting) -> Result<Proxy> {
        let mut last = None;
        for _ in 0..ATTEMPTS {
            match self.attempt(setting) {
                Ok(proxy) => return Ok(proxy),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("not started")?.context(format!("{} cannot be started", self.name)))
    }

    fn attempt(&self, setting: &Setting) -> Result<Proxy> {
        children::go_on_unless_interrupted();
        let directory = tempfile::Builder::new().prefix("refractium-bench-").tempdir()?;
        children::remove_if_interrupted(directory.path());
        let port = free_port()?;
        let file = file::write(self, port, directory.path(), setting)?;
        let log = directory.path().join("log");
        let output = fs::File::create(&log)?;
        let errors = output.try_clone()?;
        let mut program = vec![self.program.clone().into_os_string()];
        program.extend(self.make.arguments(&file, setting.purpose));
        // Only root may make a group, usually; without one it is said that the time is not known.
        let group = if self.forks() { Group::new(&port.to_string()).ok() } else { None };
        let place = Place { cores: setting.cores.as_ref(), group: group.as_ref() };
        let mut running = children::start(place, &program, |command| {
            command.stdout(output).stderr(errors);
        })?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let deadline = Instant::now() + START;
        while !carries(address, setting.purpose) {
            if !running.lives() || Instant::now() > deadline {
                bail!("{}", fs::read_to_string(&log).unwrap_or_default().trim());
            }
            thread::sleep(Duration::from_millis(10));
        }
        let meter = match group {
            Some(group) => Meter::Group(group),
            None if self.forks() => Meter::Nowhere,
            None => Meter::Processes(running.process),
        };
        Ok(Proxy { running, address, meter, _directory: directory })
    }
}

/// What a program prints, on either stream.
fn said(program: &Path, option: &str) -> Result<String> {
    let output = Command::new(program)
        .arg(option)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {} {option}", program.display()))?;
    let text = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&text).into_owned())
}

/// Whether it accepts connections, or has a datagram answered.
fn carries(address: SocketAddr, purpose: Purpose) -> bool {
    match purpose {
        Purpose::Udp(_) => knock::answered(address).is_ok(),
        _ => TcpStream::connect_timeout(&address, START).is_ok(),
    }
}

/// One that neither TCP nor UDP uses: sessions of a proxy that is about to end may have half of all.
fn free_port() -> Result<u16> {
    let mut taken = Vec::new();
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("a free port")?;
        let port = listener.local_addr()?.port();
        match UdpSocket::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(_) => return Ok(port),
            // Kept, so that the next one is another.
            Err(_) => taken.push(listener),
        }
    }
}
