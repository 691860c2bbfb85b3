//! The comparison with nothing beside Refractium: a small run from start to end.

#![allow(clippy::expect_used)] // helpers of tests are tests too

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// A quick run takes a few seconds.
const DEADLINE: Duration = Duration::from_secs(60);

/// Refractium beside this test's programs; whoever tests the bench alone has not built it.
fn refractium() -> Option<PathBuf> {
    let beside = Path::new(env!("CARGO_BIN_EXE_refractium-bench")).with_file_name("refractium");
    let found = beside.exists();
    if !found {
        skipped(&format!("{} is not built", beside.display()));
    }
    found.then_some(beside)
}

/// Says that a test was skipped, also where scripts/test counts it.
fn skipped(reason: &str) {
    eprintln!("skipped: {reason}");
    if let Some(path) = std::env::var_os("REFRACTIUM_SKIPPED") {
        let mut file = File::options().create(true).append(true).open(path).expect("a file");
        writeln!(file, "bench: {reason}").expect("room");
    }
}

#[test]
fn a_quick_run_measures_and_draws() {
    let Some(refractium) = refractium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let markdown = folder.path().join("comparison.md");
    let mut child = Command::new(env!("CARGO_BIN_EXE_refractium-bench"))
        .args([
            "--quick",
            "--alone",
            "--only",
            "connect-tls,ping-pong-1,bulk-pull-1,idle,half-close",
        ])
        .arg("--refractium")
        .arg(refractium)
        .arg("--markdown")
        .arg(&markdown)
        .arg("--svg")
        .arg(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        match child.try_wait().unwrap() {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                child.kill().unwrap();
                panic!("not done within {DEADLINE:?}");
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    assert!(status.success());
    let text = std::fs::read_to_string(&markdown).unwrap();
    for work in ["connect-tls", "ping-pong-1", "bulk-pull-1", "memory of each", "Half-close"] {
        assert!(text.contains(work), "{work} is missing in\n{text}");
    }
    assert!(!text.contains("fails"), "{text}");
    assert!(folder.path().join("comparison.svg").exists());
}

#[test]
fn a_missing_refractium_is_said() {
    let output = Command::new(env!("CARGO_BIN_EXE_refractium-bench"))
        .args(["--quick", "--alone", "--refractium", "/nowhere/refractium"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("/nowhere/refractium"), "{said}");
}
