//! What README.md says to type, typed. Its Rust is a doctest of the library.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::harness::{Process, read_until, run, run_command};

/// The blocks of README.md in one language.
fn blocks(language: &str) -> Vec<String> {
    let readme = include_str!("../../README.md");
    let fence = format!("```{language}\n");
    let blocks = readme.split(&fence).skip(1);
    blocks.map(|rest| rest.split("```").next().expect("a block").to_owned()).collect()
}

fn lines() -> Vec<String> {
    blocks("sh")
        .iter()
        .flat_map(|block| block.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect()
}

/// A line's words, as a shell would cut them where only single quotes are used.
fn words(line: &str) -> Vec<String> {
    line.split_whitespace().map(|word| word.trim_matches('\'').to_owned()).collect()
}

#[test]
fn every_configuration_shown_is_sound() {
    let blocks = blocks("toml");
    assert!(!blocks.is_empty());
    for block in blocks {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("refractium.toml"), &block).expect("a file");
        let (code, stdout, stderr) = run(folder.path(), &["check"]);
        assert_eq!(code, 0, "{stdout}{stderr}\n{block}");
    }
}

/// Lines that would serve are checked instead: their ports and backends are the reader's.
#[test]
fn every_refractium_line_shown_is_sound() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut seen = 0;
    for line in lines().iter().filter(|line| line.starts_with("refractium")) {
        let mut words = words(line).split_off(1);
        if !words.iter().any(|word| ["init", "check", "explain"].contains(&word.as_str())) {
            words.push("check".to_owned());
        }
        let words: Vec<_> = words.iter().map(String::as_str).collect();
        let (code, stdout, stderr) = run(folder.path(), &words);
        assert_eq!(code, 0, "{line}: {stdout}{stderr}");
        if words.contains(&"explain") {
            assert!(blocks("text").contains(&stdout), "README shows another output:\n{stdout}");
        }
        seen += 1;
    }
    assert!(seen >= 6, "{seen} lines");
}

/// The demo serves, and every curl line shown reaches the backend it names.
#[test]
fn every_curl_line_shown_works_against_the_demo() {
    let program = PathBuf::from(env!("CARGO_BIN_EXE_refractium"));
    let demo = program.parent().expect("a folder").join("examples/demo");
    let mut command = Command::new(demo);
    command.arg("0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = Process(command.spawn().expect("the demo"));
    let said = read_until("curl", child.0.stdout.take().expect("a pipe"));
    assert!(said.contains("All 6 requests reached the backend they should have."), "{said}");
    let at = said.split("One port, 127.0.0.1:").nth(1).expect("its port");
    let port = at.split(',').next().expect("its port");
    for line in lines().iter().filter(|line| line.starts_with("curl")) {
        let line = line.replace("8080", port);
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--max-time", "20"]).args(words(&line).split_off(1));
        let (code, stdout, stderr) = run_command(curl);
        assert_eq!(code, 0, "{line}: {stderr}");
        let name = if line.contains("a.example") {
            "a.example"
        } else if line.contains("b.example") {
            "b.example"
        } else {
            "web"
        };
        assert!(stdout.contains(&format!("I am {name}")), "{line}: {stdout}");
    }
}

/// Commands that would take this test into itself are only looked for.
#[test]
fn every_other_command_shown_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for line in lines() {
        let words = words(&line);
        match words[0].as_str() {
            "refractium" | "curl" => {}
            "cargo" => match words[1].as_str() {
                "run" => assert_eq!(words[2..], ["--release", "--example", "demo"]),
                "install" => assert_eq!(words[2..], ["--path", ".", "--locked"]),
                other => panic!("{other}: {line}"),
            },
            script => {
                let found =
                    std::fs::metadata(root.join(script)).unwrap_or_else(|_| panic!("{line}"));
                let mode = std::os::unix::fs::PermissionsExt::mode(&found.permissions());
                assert!(mode & 0o111 != 0, "{script} can be run");
            }
        }
    }
}
