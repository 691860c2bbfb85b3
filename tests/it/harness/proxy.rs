//! The program under test.

use std::fs;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use tempfile::TempDir;

use super::process::{collect, piped, program};
use super::{DEADLINE, connect, until};

/// The built program, serving on a port that the system chose. Killed when dropped.
pub(crate) struct Proxy {
    child: Child,
    address: SocketAddr,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<thread::JoinHandle<()>>,
    folder: TempDir,
}

impl Proxy {
    /// Runs with this configuration file; `[server]` and port 0 on loopback are put in front of it.
    pub(crate) fn start(config: &str) -> Self {
        Self::start_with("", config, &[])
    }

    /// Runs with more keys of `[server]`, routes, and options.
    pub(crate) fn start_with(server: &str, routes: &str, options: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = program(folder.path(), &["-c", "refractium.toml"]);
        command.args(options);
        Self::spawn_command(command, folder, server, routes)
    }

    /// Runs under another program, as `prlimit` is one, and tells of every connection.
    pub(crate) fn start_under(program: &[&str], server: &str, routes: &str) -> Self {
        let mut command = Command::new(program[0]);
        command.args(&program[1..]).arg(env!("CARGO_BIN_EXE_refractium"));
        command.args(["-c", "refractium.toml", "--debug"]);
        Self::spawn_command(command, tempfile::tempdir().expect("a folder"), server, routes)
    }

    /// Runs a command in this folder, which gets a `refractium.toml`.
    pub(crate) fn spawn_command(
        command: Command,
        folder: TempDir,
        server: &str,
        routes: &str,
    ) -> Self {
        let text = format!("[server]\nbind = \"127.0.0.1\"\nport = 0\n{server}\n{routes}");
        fs::write(folder.path().join("refractium.toml"), text).expect("a configuration");
        Self::watch(command, folder)
    }

    /// Runs with options alone, on loopback.
    pub(crate) fn with_options(options: &[&str]) -> Self {
        let mut words = vec!["-b", "127.0.0.1", "-p", "0"];
        words.extend(options);
        Self::spawn(tempfile::tempdir().expect("a folder"), &words)
    }

    /// Runs in this folder, with these words alone.
    pub(crate) fn spawn(folder: TempDir, words: &[&str]) -> Self {
        Self::watch(program(folder.path(), words), folder)
    }

    /// Runs a command in this folder as it is.
    pub(crate) fn watch(mut command: Command, folder: TempDir) -> Self {
        let mut child = piped(&mut command, folder.path()).spawn().expect("the program");
        let (lines, first) = channel();
        let stdout = Arc::default();
        let stderr = Arc::default();
        let readers = vec![
            collect(child.stdout.take().expect("a pipe"), Arc::clone(&stdout), Some(lines.clone())),
            // Beside a connection log the report stands here.
            collect(child.stderr.take().expect("a pipe"), Arc::clone(&stderr), Some(lines)),
        ];
        let address = listening_on(&first).unwrap_or_else(|| {
            let _ = child.kill();
            let _ = child.wait();
            panic!("it did not start: {}", stderr.lock().expect("sound"));
        });
        Self { child, address, stdout, stderr, readers, folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The first addresses it listens on.
    pub(crate) fn addresses(&self, count: usize) -> Vec<SocketAddr> {
        until("the other addresses", || {
            let stdout = self.stdout();
            let lines = stdout.lines().filter_map(|line| line.strip_prefix("listening on "));
            let words = lines.filter_map(|line| line.split_whitespace().next()?.parse().ok());
            let addresses: Vec<_> = words.take(count).collect();
            (addresses.len() == count).then_some(addresses)
        })
    }

    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The folder it runs in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A client connection with deadlines on it.
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// What it printed on standard output so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.lock().expect("sound").clone()
    }

    /// What it printed on standard output, whenever that is asked.
    pub(crate) fn reader(&self) -> Box<dyn Fn() -> String + Send> {
        let stdout = Arc::clone(&self.stdout);
        Box::new(move || stdout.lock().expect("sound").clone())
    }

    /// What it printed on standard error so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().expect("sound").clone()
    }

    /// Processor time used so far (proc(5): utime and stime, in ticks of 10 ms).
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("alive");
        let (_, after_name) = stat.rsplit_once(')').expect("a name");
        let fields: Vec<&str> = after_name.split_whitespace().collect();
        let ticks = |at: usize| fields[at].parse::<u64>().expect("ticks");
        Duration::from_millis((ticks(11) + ticks(12)) * 10)
    }

    /// How often its threads have waited and been woken (proc(5): voluntary context switches).
    pub(crate) fn wakeups(&self) -> usize {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.id())).expect("alive");
        let of_task = |task: io::Result<fs::DirEntry>| {
            let status = fs::read_to_string(task.expect("a task").path().join("status"));
            let status = status.unwrap_or_default(); // the thread may have ended
            let count = status.lines().find_map(|it| it.strip_prefix("voluntary_ctxt_switches:"));
            count.and_then(|count| count.trim().parse::<usize>().ok()).unwrap_or(0)
        };
        tasks.map(of_task).sum()
    }

    /// How many descriptors are open.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.id())).expect("alive").count()
    }

    /// Resident memory in bytes.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).expect("alive");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
        let kib = line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number");
        kib * 1024
    }

    pub(crate) fn signal(&self, name: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status().expect("kill");
        assert!(sent.success());
    }

    /// Waits for its end; gives its status and all it printed.
    pub(crate) fn wait(mut self) -> (ExitStatus, String, String) {
        let status = until("the end of the program", || self.child.try_wait().expect("a child"));
        for reader in self.readers.drain(..) {
            reader.join().expect("a reader");
        }
        (status, self.stdout(), self.stderr())
    }

    /// Asks it to end, and waits.
    pub(crate) fn terminate(self) -> (ExitStatus, String, String) {
        self.signal("TERM");
        self.wait()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("--- the program said:\n{}\n{}", self.stdout(), self.stderr());
        }
    }
}

fn listening_on(lines: &Receiver<String>) -> Option<SocketAddr> {
    loop {
        let line = lines.recv_timeout(DEADLINE).ok()?;
        if let Some(rest) = line.strip_prefix("listening on ") {
            return rest.split_whitespace().next()?.parse().ok();
        }
    }
}
