//! OpenSSH and git to OpenSSH's server.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::servers::{program, succeed};
use super::world::World;
use crate::harness::{need, noise};

const PROGRAMS: &[&str] = &["sshd", "ssh-keygen", "ssh", "scp"];

/// A command's words about its connection: sshd's own port, and not the one that was connected to.
pub(super) fn runs_a_command(world: &World) {
    let mut command = world.shell().client("ssh", world.proxy.port());
    command.args(["127.0.0.1", "echo $SSH_CONNECTION"]);
    let said = succeed(command);
    let words: Vec<_> = said.split_whitespace().collect();
    assert_eq!(words.last(), Some(&&*world.shell().address().port().to_string()), "{said}");
}

/// Ten megabytes there and back.
pub(super) fn copies_files(world: &World) {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("sent"), noise(10_000_000)).expect("room");
    let remote = |name: &str| format!("127.0.0.1:{}", at(name).display());
    let mut up = world.shell().client("scp", world.proxy.port());
    up.arg(at("sent")).arg(remote("there"));
    succeed(up);
    assert!(same(&at("sent"), &at("there")));
    let mut down = world.shell().client("scp", world.proxy.port());
    down.arg(remote("there")).arg(at("back"));
    succeed(down);
    assert!(same(&at("sent"), &at("back")));
}

fn same(one: &Path, other: &Path) -> bool {
    fs::read(one).expect("a file") == fs::read(other).expect("a file")
}

#[test]
fn ssh_runs_a_command_on_its_own_server() {
    if !need(PROGRAMS) {
        return;
    }
    runs_a_command(&World::shared());
}

#[test]
fn scp_copies_ten_megabytes_there_and_back() {
    if !need(PROGRAMS) {
        return;
    }
    copies_files(&World::shared());
}

#[test]
fn a_pipe_through_ssh_ends_with_its_last_byte() {
    if !need(PROGRAMS) {
        return;
    }
    let world = World::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name);
    fs::write(at("sent"), noise(10_000_000)).expect("room");
    let mut up = world.shell().client("ssh", world.proxy.port());
    up.args(["127.0.0.1", &format!("cat > {0}; sync {0}", at("there").display())]);
    up.stdin(fs::File::open(at("sent")).expect("a file"));
    succeed(up);
    assert!(same(&at("sent"), &at("there")));
    let down = world.shell().client("ssh", world.proxy.port());
    let mut words: Vec<_> = vec![down.get_program()];
    words.extend(down.get_args());
    // run_command takes what is printed as text: a shell puts it into a file.
    let mut shell = Command::new("sh");
    shell.args(["-c", "\"$@\" > \"$0\""]).arg(at("back")).args(words);
    shell.args(["127.0.0.1", &format!("cat {}", at("there").display())]);
    shell.stdin(std::process::Stdio::null());
    succeed(shell);
    assert!(same(&at("sent"), &at("back")));
}

#[test]
fn git_clones_over_ssh() {
    if !need(PROGRAMS) || !need(&["git"]) {
        return;
    }
    let world = World::shared();
    let folder = tempfile::tempdir().expect("a folder");
    let git = |words: &[&str]| {
        let mut command = program("git");
        command.current_dir(folder.path()).args(words);
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.env("GIT_SSH_COMMAND", world.shell().client_line());
        succeed(command)
    };
    git(&["init", "-q", "-b", "main", "origin"]);
    fs::write(folder.path().join("origin/file"), "kept by git\n").expect("room");
    git(&["-C", "origin", "add", "file"]);
    let author = ["-c", "user.name=Test", "-c", "user.email=test@a.example"];
    git(&[&["-C", "origin"], &author[..], &["commit", "-q", "-m", "One file"]].concat());
    let origin = folder.path().join("origin");
    git(&["clone", "-q", &format!("ssh://{}{}", world.proxy.address(), origin.display()), "clone"]);
    let file = fs::read_to_string(folder.path().join("clone/file"));
    assert_eq!(file.expect("a file"), "kept by git\n");
    let heads = ["origin", "clone"].map(|name| git(&["-C", name, "rev-parse", "HEAD"]));
    assert_eq!(heads[0], heads[1]);
}
