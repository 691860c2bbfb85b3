//! `refractium status`: what a person, a watcher and a script get to see, and what is said where nobody answers.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{ChildStdout, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use refractium::admin::Status;

use crate::calm::free_port;
use crate::harness::{
    Backend, DEADLINE, Process, Proxy, ask, need, program, refusing, route, run, run_command, until,
};

const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const SSH: &[u8] = b"SSH-2.0-x\r\n";

/// The program with an admin on a port that its file says.
fn proxy(routes: &str) -> (Proxy, SocketAddr) {
    let admin = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let proxy = Proxy::start(&format!("{routes}[admin]\nlisten = \"{admin}\"\n"));
    until("the admin", || std::net::TcpStream::connect(admin).ok());
    (proxy, admin)
}

fn single_spaced(text: &str) -> Vec<String> {
    text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// `refractium status` with more words, about the program of that folder.
fn status(folder: &Path, words: &[&str]) -> (i32, String, String) {
    run(folder, &[&["status"], words].concat())
}

#[test]
fn the_tables_tell_what_the_program_does() {
    let [web, shell] = ["web", "shell"].map(Backend::echo);
    let dead = refusing();
    let to = format!("forward_to = [\"{dead}\", \"{}\"]", web.address());
    let routes = format!("[[protocols]]\nname = \"http\"\nhost = [\"a.example\", \"b\"]\n{to}\n")
        + &route("ssh", "", shell.address());
    let (proxy, admin) = proxy(&routes);
    for _ in 0..3 {
        ask(proxy.address(), HTTP);
    }
    let mut held = proxy.connect();
    held.write_all(SSH).expect("room");
    held.read_exact(&mut [0; 7]).expect("an answer");
    ask(proxy.address(), b"nobody's\r\n");
    let (code, stdout, stderr) = status(proxy.folder(), &[]);
    assert_eq!(code, 0, "{stderr}");
    let lines = single_spaced(&stdout);
    let version = env!("CARGO_PKG_VERSION");
    assert!(lines[0].starts_with(&format!("refractium {version}: serving, up for ")), "{stdout}");
    let web = web.address();
    let shell = shell.address();
    for line in [
        "listening on over".to_owned(),
        format!("{} tcp", proxy.address()),
        "route over open new/s in all up down ended".to_owned(),
        "http:a.example+1 tcp 0 0.0 3 0.0 B/s 0.0 B/s 3 closed".to_owned(),
        "ssh tcp 1 0.0 1 0.0 B/s 0.0 B/s".to_owned(),
        format!("{dead} http:a.example+1 tcp ASIDE 0 0.0 0 1"),
        format!("{web} http:a.example+1 tcp alive 0 0.0 3 0"),
        format!("{shell} ssh tcp alive 1 0.0 1 0"),
    ] {
        assert!(lines.contains(&line), "`{line}` is not in:\n{stdout}");
    }
    let connections = lines.iter().find(|it| it.starts_with("connections 1 ")).expect("a line");
    assert!(connections.ends_with(" 0.0 5 0.0 1 no_route"), "{connections}");
    // From anywhere, and about a file that says nothing of an admin.
    let elsewhere = tempfile::tempdir().expect("a folder");
    let (code, there, stderr) = status(elsewhere.path(), &["--admin", &admin.to_string()]);
    assert_eq!((code, single_spaced(&there)[1..].to_vec()), (0, lines[1..].to_vec()), "{stderr}");
}

#[test]
fn rates_are_those_of_the_second_between() {
    let web = Backend::echo("web");
    let (proxy, _) = proxy(&route("http", "", web.address()));
    let address = proxy.address();
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                ask(address, HTTP);
            }
        });
        let rates = until("rates", || {
            let (_, stdout, _) = status(proxy.folder(), &[]);
            let lines = single_spaced(&stdout);
            let line = lines.iter().find(|it| it.starts_with("http tcp "))?.clone();
            let words: Vec<_> = line.split(' ').map(str::to_owned).collect();
            let rate: f64 = words[3].parse().expect("a rate");
            (rate > 1.0).then_some((words, line))
        });
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        let (words, line) = rates;
        assert_ne!((words[5].as_str(), words[7].as_str()), ("0.0", "0.0"), "{line}");
    });
}

#[test]
fn a_script_gets_what_the_admin_says() {
    let shell = Backend::echo("shell");
    let (proxy, _) = proxy(&route("ssh", "", shell.address()));
    ask(proxy.address(), SSH);
    let (code, stdout, stderr) = status(proxy.folder(), &["--json"]);
    assert_eq!((code, stdout.lines().count()), (0, 1), "{stderr}");
    let seen: Status = serde_json::from_str(&stdout).expect("a status");
    assert_eq!(seen.connections.total, 1);
    assert_eq!(seen.routes[0].label, "ssh");
}

/// Lines of a child until these words are in one.
fn read_to(lines: &Receiver<String>, words: &str) -> String {
    let end = Instant::now() + DEADLINE;
    let mut said = String::new();
    loop {
        let rest = end.saturating_duration_since(Instant::now());
        let line = lines.recv_timeout(rest).unwrap_or_else(|_| panic!("no `{words}` in:\n{said}"));
        said += &(line.clone() + "\n");
        if line.contains(words) {
            return said;
        }
    }
}

fn lines_of(stdout: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let lines = BufReader::new(stdout).lines().map_while(Result::ok);
        // Nobody may listen any more.
        let _ = lines.map(|line| sender.send(line)).find(Result::is_err);
    });
    lines
}

fn interrupt(child: &mut Process) -> Option<i32> {
    let mut kill = Command::new("kill");
    kill.args(["-s", "INT", &child.0.id().to_string()]);
    assert_eq!(run_command(kill).0, 0);
    until("its end", || child.0.try_wait().expect("a child")).code()
}

#[test]
fn a_watcher_sees_block_after_block_and_a_backend_that_falls() {
    let shell = Backend::echo("shell");
    let (proxy, _) = proxy(&route("ssh", "", shell.address()));
    let mut watcher = program(proxy.folder(), &["status", "--watch"]);
    let mut watcher = Process(watcher.spawn().expect("the program"));
    let lines = lines_of(watcher.0.stdout.take().expect("a pipe"));
    let first = read_to(&lines, " alive ");
    assert!(first.starts_with("refractium ") && !first.contains('\x1b'), "{first}");
    drop(shell);
    ask_nobody(&proxy);
    let later = read_to(&lines, " ASIDE ");
    assert!(later.contains("\nrefractium "), "{later}");
    // It may come back.
    let (ended, ..) = proxy.terminate();
    assert!(ended.success());
    read_to(&lines, "nobody answers on 127.0.0.1:");
    assert_eq!(interrupt(&mut watcher), Some(0));
}

/// The client of a backend that is gone.
fn ask_nobody(proxy: &Proxy) {
    let mut client = proxy.connect();
    let _ = client.write_all(SSH);
    let _ = client.read_to_end(&mut Vec::new());
}

#[test]
fn on_a_terminal_it_stays_in_its_place() {
    if !need(&["script"]) {
        return;
    }
    let shell = Backend::echo("shell");
    let (proxy, _) = proxy(&route("ssh", "", shell.address()));
    let words = format!("exec {} status --watch", env!("CARGO_BIN_EXE_refractium"));
    let mut script = Command::new("script");
    script.args(["-qec", &words, "/dev/null"]).current_dir(proxy.folder()).stdin(Stdio::piped());
    script.stdout(Stdio::piped()).stderr(Stdio::null()).env("TERM", "xterm");
    let mut script = Process(script.spawn().expect("script"));
    let lines = lines_of(script.0.stdout.take().expect("a pipe"));
    let first = read_to(&lines, " alive ");
    assert!(first.starts_with("\x1b[Hrefractium "), "{first:?}");
    let second = read_to(&lines, " alive ");
    assert!(second.starts_with("\x1b[J\x1b[Hrefractium "), "{second:?}");
    // As a person ends it.
    script.0.stdin.take().expect("a pipe").write_all(b"\x03").expect("room");
    let ended = until("its end", || script.0.try_wait().expect("a child"));
    assert_eq!(ended.code(), Some(0));
}

#[test]
fn what_is_wrong_is_said_with_its_code() {
    let shell = Backend::echo("shell");
    let folder = tempfile::tempdir().expect("a folder");
    let write = |more: &str| {
        let text = route("ssh", "", shell.address()) + more;
        std::fs::write(folder.path().join("refractium.toml"), text).expect("a file");
    };
    let wrong = |words: &[&str], code: i32, what: &str| {
        let (ended, stdout, stderr) = run(folder.path(), words);
        assert_eq!((ended, stdout.as_str()), (code, ""), "{words:?}: {stderr}");
        assert!(stderr.contains(what) && stderr.lines().count() < 8, "no `{what}` in: {stderr}");
    };
    wrong(&["status"], 2, "there is no `refractium.toml` here");
    write("");
    wrong(&["status"], 2, "the admin is off");
    write("[admin]\nlisten = \"127.0.0.1:0\"\n");
    wrong(&["status"], 2, "`--admin` has to say it");
    let nobody = refusing().to_string();
    write(&format!("[admin]\nlisten = \"{nobody}\"\n"));
    wrong(&["status"], 1, &format!("nobody answers on {nobody}: is Refractium running"));
    wrong(&["status", "--watch"], 1, "Connection refused");
    let echo = shell.address().to_string();
    wrong(&["status", "--admin", &echo], 1, "does not answer as an admin does");
    wrong(&["check", "--json"], 2, "go with `status`");
    for (answer, what) in [
        ("404 Not Found", "answers 404 Not Found"),
        ("200 OK\r\nContent-Length: 2\r\n\r\n{]", "error: "),
    ] {
        let other = answering(answer.to_owned());
        wrong(&["status", "--json", "--admin", &other.address().to_string()], 1, what);
    }
}

/// Answers every request so.
fn answering(answer: String) -> Backend {
    Backend::serving(move |mut stream| {
        let _ = stream.read(&mut [0; 4096]);
        let _ = stream.write_all(format!("HTTP/1.1 {answer}\r\n\r\n").as_bytes());
    })
}

/// Fault row S1: who answers may be anybody.
#[test]
fn what_another_program_says_is_harmless_to_a_terminal() {
    let worst = "\\u001b[31m\\u009b\\u202e\\r\\n";
    let body = format!(
        "{{\"version\":\"{worst}\",\"routes\":[{{\"label\":\"{worst}\",\"ended\":{{\"{worst}\":1}},\
         \"backends\":[{{\"endpoint\":\"{worst}\"}}]}}],\"connections\":{{\"refused\":{{\"{worst}\":1}}}}}}"
    );
    let other = answering(format!("200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()));
    let folder = tempfile::tempdir().expect("a folder");
    let (code, stdout, stderr) = status(folder.path(), &["--admin", &other.address().to_string()]);
    assert_eq!(code, 0, "{stderr}");
    assert!(stdout.matches(r"\u{1b}[31m").count() >= 5, "{stdout}");
    assert!(stdout.chars().all(|it| it == '\n' || (' '..='~').contains(&it)), "{stdout:?}");
}

#[cfg(target_os = "linux")]
#[test]
fn what_cannot_be_written_is_an_error() {
    let shell = Backend::echo("shell");
    let (proxy, _) = proxy(&route("ssh", "", shell.address()));
    for words in [&[][..], &["--json"], &["--json", "--watch"], &["--watch"]] {
        let full = std::fs::File::options().write(true).open("/dev/full").expect("a device");
        let mut command = program(proxy.folder(), &[&["status"], words].concat());
        command.stdout(full).stderr(Stdio::piped());
        let mut child = Process(command.spawn().expect("a program"));
        let mut said = String::new();
        let stderr = child.0.stderr.take().expect("a pipe");
        BufReader::new(stderr).read_to_string(&mut said).expect("text");
        assert!(
            said.contains("cannot write to standard output: No space left"),
            "{words:?} {said}"
        );
        assert_eq!(child.0.wait().expect("an end").code(), Some(1), "{words:?}");
    }
}
