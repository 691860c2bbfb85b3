//! Other programs, and ours where it is to end by itself.

use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{DEADLINE, until};

/// The program, about to run in a folder, its output piped.
pub(crate) fn program(folder: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_refractium"));
    command.args(words);
    piped(&mut command, folder);
    command
}

/// In a folder, with nothing to read, its output piped.
pub(super) fn piped<'c>(command: &'c mut Command, folder: &Path) -> &'c mut Command {
    command.current_dir(folder);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped())
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

/// Copies a program that is to be run. By another process: a child that is started here at this moment would have the copy open
/// for writing, and nobody can run it then (execve(2), ETXTBSY).
pub(crate) fn copy_program(from: impl AsRef<Path>, to: impl AsRef<Path>) {
    let copied = Command::new("cp").arg(from.as_ref()).arg(to.as_ref()).status().expect("cp");
    assert!(copied.success());
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
    loop {
        let line = lines.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("no {word}: {said}"));
        said += &(line.clone() + "\n");
        if line.contains(word) {
            return said;
        }
    }
}

pub(super) fn collect(
    from: impl Read + Send + 'static,
    to: Arc<Mutex<String>>,
    lines: Option<Sender<String>>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut from = BufReader::with_capacity(64 * 1024, from);
        let mut rest = Vec::new();
        while let Some(length) = read_more(&mut from, &mut rest) {
            if length == 0 && !rest.is_empty() {
                rest.push(b'\n');
            }
            let end = rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
            // What is written at once is there at once: who sees the first of its lines sees all of them.
            let whole: Vec<_> = rest.drain(..end).collect();
            let text = String::from_utf8_lossy(&whole);
            to.lock().expect("sound").push_str(&text);
            if let Some(lines) = &lines {
                text.split_terminator('\n').for_each(|line| drop(lines.send(line.to_owned())));
            }
            if length == 0 {
                return;
            }
        }
    })
}

/// Reads what has come, and waits for that; how much it is, `None` after a failure.
fn read_more(from: &mut impl BufRead, to: &mut Vec<u8>) -> Option<usize> {
    loop {
        match from.fill_buf() {
            Ok(got) => {
                let length = got.len();
                to.extend_from_slice(got);
                from.consume(length);
                return Some(length);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
