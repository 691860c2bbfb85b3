//! The program under test, backends that record, and waits with a deadline.

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// No wait is longer: enough for a busy machine, short enough to notice.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

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
        let text = format!("[server]\nbind = \"127.0.0.1\"\nport = 0\n{server}\n{routes}");
        fs::write(folder.path().join("refractium.toml"), text).expect("a configuration");
        let mut words = vec!["-c", "refractium.toml"];
        words.extend(options);
        Self::spawn(folder, &words)
    }

    /// Runs with options alone, on loopback.
    pub(crate) fn with_options(options: &[&str]) -> Self {
        let mut words = vec!["-b", "127.0.0.1", "-p", "0"];
        words.extend(options);
        Self::spawn(tempfile::tempdir().expect("a folder"), &words)
    }

    /// Runs in this folder, with these words alone.
    pub(crate) fn spawn(folder: TempDir, words: &[&str]) -> Self {
        let mut child = program(folder.path(), words).spawn().expect("the program");
        let (lines, first) = channel();
        let stdout = Arc::default();
        let stderr = Arc::default();
        let readers = vec![
            collect(child.stdout.take().expect("a pipe"), Arc::clone(&stdout), Some(lines)),
            collect(child.stderr.take().expect("a pipe"), Arc::clone(&stderr), None),
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

/// The program, about to run in a folder, its output piped.
pub(crate) fn program(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_refractium"));
    command.args(words).current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end: its exit code and what it printed.
pub(crate) fn run(folder: &Path, words: &[&str]) -> (i32, String, String) {
    run_command(program(folder, words))
}

/// Runs a command to its end, under the deadline.
pub(crate) fn run_command(mut command: Command) -> (i32, String, String) {
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = Process(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
    let (stdout, stderr) = (Arc::default(), Arc::default());
    let readers = [
        collect(child.0.stdout.take().expect("a pipe"), Arc::clone(&stdout), None),
        collect(child.0.stderr.take().expect("a pipe"), Arc::clone(&stderr), None),
    ];
    let status = until(&format!("the end of {command:?}"), || child.0.try_wait().expect("a child"));
    for reader in readers {
        reader.join().expect("a reader");
    }
    let text = |it: &Arc<Mutex<String>>| it.lock().expect("sound").clone();
    (status.code().unwrap_or(-1), text(&stdout), text(&stderr))
}

/// A child process, killed when dropped.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Reads lines until one holds this word; what comes after is read and forgotten, so that the writer goes on.
pub(crate) fn read_until(word: &str, from: impl Read + Send + 'static) -> String {
    let (sender, lines) = channel();
    collect(from, Arc::default(), Some(sender));
    let mut said = String::new();
    while !said.contains(word) {
        said +=
            &(lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no {word}: {said}")) + "\n");
    }
    said
}

fn collect(
    from: impl Read + Send + 'static,
    to: Arc<Mutex<String>>,
    lines: Option<Sender<String>>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        for line in BufReader::new(from).split(b'\n') {
            let Ok(line) = line else { return };
            let line = String::from_utf8_lossy(&line).into_owned();
            to.lock().expect("sound").push_str(&format!("{line}\n"));
            if let Some(lines) = &lines {
                let _ = lines.send(line);
            }
        }
    })
}

fn listening_on(lines: &Receiver<String>) -> Option<SocketAddr> {
    loop {
        let line = lines.recv_timeout(DEADLINE).ok()?;
        if let Some(rest) = line.strip_prefix("listening on ") {
            return rest.split_whitespace().next()?.parse().ok();
        }
    }
}

/// Waits until `done` gives something. For what tells no event: other programs and the kernel's tables.
pub(crate) fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(result) = done() {
            return result;
        }
        assert!(Instant::now() < end, "waited too long for {what}");
        thread::park_timeout(Duration::from_millis(5));
    }
}

/// Connects, with deadlines on every read and write.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect_timeout(&address, DEADLINE).expect("a connection");
    with_deadlines(stream)
}

fn with_deadlines(stream: TcpStream) -> TcpStream {
    stream.set_read_timeout(Some(DEADLINE)).expect("an open socket");
    stream.set_write_timeout(Some(DEADLINE)).expect("an open socket");
    stream.set_nodelay(true).expect("an open socket");
    stream
}

/// Reads once. A socket with a deadline is not resumed after an interruption by the system (signal(7)).
pub(crate) fn read_once(stream: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match stream.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

/// A TCP server in this process, each connection on a thread of its own. It stops accepting when dropped.
pub(crate) struct Backend {
    address: SocketAddr,
    stop: Arc<std::sync::atomic::AtomicBool>,
    accepting: Option<thread::JoinHandle<()>>,
}

impl Backend {
    /// Serves each connection by calling `serve` with it.
    pub(crate) fn serving(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("an address");
        let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serve = Arc::new(serve);
        let accepting = thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(std::sync::atomic::Ordering::Relaxed) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                let serve = Arc::clone(&serve);
                thread::spawn(move || serve(with_deadlines(stream)));
            }
        });
        Self { address, stop, accepting: Some(accepting) }
    }

    /// Answers `name: ` at once, then sends back all it gets until the client has ended.
    pub(crate) fn echo(name: &'static str) -> Self {
        Self::serving(move |mut stream| {
            let _ = stream.write_all(format!("{name}: ").as_bytes());
            let mut reader = stream.try_clone().expect("an open socket");
            // The client may leave at any time.
            let _ = io::copy(&mut reader, &mut stream);
        })
    }

    /// Reads each connection to its end and hands over all its bytes.
    pub(crate) fn recording() -> (Self, Receiver<Vec<u8>>) {
        let (sender, receiver) = channel();
        let sender = Mutex::new(sender);
        let backend = Self::serving(move |mut stream| {
            let mut bytes = Vec::new();
            if stream.read_to_end(&mut bytes).is_ok() {
                let _ = sender.lock().expect("sound").send(bytes);
            }
        });
        (backend, receiver)
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.stop.store(true, std::sync::atomic::Ordering::Relaxed);
        // One connection wakes the accepting thread.
        let _ = TcpStream::connect(self.address);
        if let Some(accepting) = self.accepting.take() {
            let _ = accepting.join();
        }
    }
}

/// A port on loopback where nobody listens.
pub(crate) fn refusing() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    listener.local_addr().expect("an address")
}

/// One `[[protocols]]` block.
pub(crate) fn route(name: &str, more: &str, to: SocketAddr) -> String {
    format!("[[protocols]]\nname = \"{name}\"\n{more}\nforward_to = \"{to}\"\n\n")
}

/// Sends, ends the sending side, and gives back all that is answered.
pub(crate) fn ask(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    stream.write_all(bytes).expect("room");
    stream.shutdown(std::net::Shutdown::Write).expect("an open socket");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    answer
}

/// A captured opening.
pub(crate) fn opening(path: &str) -> Vec<u8> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("crates/protocol/tests/openings");
    fs::read(folder.join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The pause of a slow client: the fault itself, not a wait for something to happen.
pub(crate) fn pause(length: Duration) {
    let end = Instant::now() + length;
    while let Some(rest) = end.checked_duration_since(Instant::now()).filter(|it| !it.is_zero()) {
        thread::park_timeout(rest);
    }
}

/// Closes by a reset: the peer's reads and writes fail.
pub(crate) fn reset(stream: TcpStream) {
    let linger = Some(Duration::ZERO);
    socket2::SockRef::from(&stream).set_linger(linger).expect("an open socket");
}

/// Where a program is: on the path, or where daemons are.
pub(crate) fn installed(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let daemons = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    let mut folders = std::env::split_paths(&path).chain(daemons);
    folders.find_map(|folder| Some(folder.join(program)).filter(|file| file.is_file()))
}

/// Whether all these programs are here. If not, says that the test is skipped.
pub(crate) fn need(programs: &[&str]) -> bool {
    let missing = programs.iter().find(|program| installed(program).is_none());
    missing.is_none_or(|program| skipped(&format!("{program} is not installed")))
}

/// Whether the tests run as root. If not, says that the test is skipped.
pub(crate) fn need_root() -> bool {
    is_root() || skipped("not run as root")
}

pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").expect("proc").uid() == 0
}

/// Says why a test is skipped, also to the file that `scripts/test` counts the lines of.
pub(crate) fn skipped(reason: &str) -> bool {
    let line = format!("{}: {reason}\n", thread::current().name().unwrap_or("a test"));
    print!("skipped: {line}");
    if let Some(path) = std::env::var_os("REFRACTIUM_SKIPPED") {
        let mut file = fs::File::options().create(true).append(true).open(path).expect("a file");
        file.write_all(line.as_bytes()).expect("room");
    }
    false
}
