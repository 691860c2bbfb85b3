//! Commands, options, the configuration file, exit codes.

mod ending;
mod mistakes;
mod options;
mod report;

use std::fs;

use tempfile::TempDir;

use crate::harness::run;

/// A folder with this `refractium.toml`.
fn folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("refractium.toml"), text).expect("room");
    folder
}

/// `check` must find no mistake; what it prints, with single spaces.
fn checked(text: &str, options: &[&str]) -> String {
    let (code, stdout, stderr) = run(folder(text).path(), &[&["check"], options].concat());
    assert_eq!((code, stderr.as_str()), (0, ""), "{stdout}");
    single_spaced(&stdout)
}

/// Each line without what only lines its columns up.
fn single_spaced(text: &str) -> String {
    let line = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ") + "\n";
    text.lines().map(line).collect()
}

const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";
const SSH: &[u8] = b"SSH-2.0-x\r\n";
