//! The comparison with nothing beside Refractium: a small run from start to end.

#![allow(clippy::expect_used, clippy::panic)] // helpers of tests are tests too

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

/// What a quick run of these works writes, and that it draws into `folder`.
fn quick(refractium: &Path, works: &str, more: &[&str], folder: &Path) -> String {
    let markdown = folder.join("comparison.md");
    let mut child = Command::new(env!("CARGO_BIN_EXE_refractium-bench"))
        .args(["--quick", "--alone", "--only", works])
        .args(more)
        .arg("--refractium")
        .arg(refractium)
        .arg("--markdown")
        .arg(&markdown)
        .arg("--svg")
        .arg(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("the comparison");
    let deadline = Instant::now() + DEADLINE;
    let status = loop {
        match child.try_wait().expect("a child") {
            Some(status) => break status,
            None if Instant::now() > deadline => {
                child.kill().expect("a child");
                panic!("not done within {DEADLINE:?}");
            }
            None => thread::sleep(Duration::from_millis(20)),
        }
    };
    assert!(status.success());
    assert!(folder.join("comparison.svg").exists());
    std::fs::read_to_string(&markdown).expect("a table")
}

/// All of these are in the table, and nothing has failed.
fn shows(text: &str, rows: &[&str]) {
    for row in rows {
        assert!(text.contains(row), "{row} is missing in\n{text}");
    }
    assert!(!text.contains("fails"), "{text}");
}

#[test]
fn a_quick_run_measures_and_draws() {
    let Some(refractium) = refractium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let works = "connect-tls,ping-pong-1,bulk-pull-1,idle,half-close";
    let text = quick(&refractium, works, &[], folder.path());
    shows(
        &text,
        &["connect-tls", "ping-pong-1", "bulk-pull-1", "connections, memory of each", "Half-close"],
    );
}

#[test]
fn a_quick_run_with_datagrams_measures_and_draws() {
    let Some(refractium) = refractium() else { return };
    let folder = tempfile::tempdir().unwrap();
    let works = "udp-ping-pong-1,udp-ping-pong-64,udp-push-gso,udp-push-plain,udp-pull-gso,\
                 udp-pull-plain,udp-sessions,udp-rate,udp-idle";
    let text = quick(&refractium, works, &["--scale"], folder.path());
    let traffic = works.split(',').filter(|work| !["udp-rate", "udp-idle"].contains(work));
    shows(&text, &traffic.collect::<Vec<_>>());
    shows(
        &text,
        &["the fastest pace without a loss", "sessions, memory of each", "Growth with sessions"],
    );
    assert!(folder.path().join("scale.svg").exists());
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
