//! The program that is started by its path, and those that take over from it.

use std::fs;
use std::net::SocketAddr;
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::harness::{Proxy, copy_program, until};

/// The program, as a file that can be replaced.
pub(in crate::life) struct Upgradable {
    proxy: Proxy,
    folder: PathBuf,
}

impl Upgradable {
    pub(in crate::life) fn start(server: &str, routes: &str) -> Self {
        Self::start_with(server, routes, &[])
    }

    /// With these variables.
    pub(in crate::life) fn start_with(
        server: &str,
        routes: &str,
        variables: &[(&str, &str)],
    ) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().to_owned();
        let bind = if server.contains("bind") { "" } else { "bind = \"127.0.0.1\"\n" };
        let port = if server.contains("port") { "" } else { "port = 0\n" };
        let text = format!("[server]\n{bind}{port}{server}\n{routes}");
        fs::write(path.join("refractium.toml"), text).expect("a configuration");
        put_binary(&path);
        let mut command = Command::new(path.join("refractium"));
        command.args(["-c", "refractium.toml"]).envs(variables.iter().copied());
        Self { proxy: run(command, folder), folder: path }
    }

    pub(in crate::life) fn binary(&self) -> PathBuf {
        self.folder.join("refractium")
    }

    /// Another file, with the same in it, takes the place of the binary.
    pub(in crate::life) fn replace_binary(&self) {
        put_binary(&self.folder);
    }

    pub(in crate::life) fn write_binary(&self, bytes: &[u8]) {
        let (text, other) = (self.folder.join("text"), self.folder.join("other"));
        fs::write(&text, bytes).expect("room");
        copy_program(text, &other);
        fs::set_permissions(&other, PermissionsExt::from_mode(0o755)).expect("our file");
        fs::rename(other, self.binary()).expect("our folder");
    }

    pub(in crate::life) fn remove_binary(&self) {
        fs::remove_file(self.binary()).expect("our file");
    }

    pub(in crate::life) fn configuration(&self) -> String {
        fs::read_to_string(self.folder.join("refractium.toml")).expect("a file")
    }

    pub(in crate::life) fn configure(&self, text: &str) {
        fs::write(self.folder.join("refractium.toml"), text).expect("room");
    }

    /// Has another process take over, and waits until it has.
    pub(in crate::life) fn upgrade(&self) -> Heir {
        Heir::of(&self.proxy, self.id())
    }

    /// Waits until the first process has ended. Its output is that of the others too.
    pub(in crate::life) fn until_it_ends(&self) {
        until("the end of the old process", || (!lives(self.id())).then_some(()));
    }

    /// All that was said, once all have ended.
    pub(in crate::life) fn finish(self) -> String {
        self.proxy.wait().2
    }
}

impl Deref for Upgradable {
    type Target = Proxy;

    fn deref(&self) -> &Proxy {
        &self.proxy
    }
}

fn run(command: Command, folder: TempDir) -> Proxy {
    Proxy::watch(command, folder)
}

/// Renamed over the old one: what runs is not to be written to.
fn put_binary(folder: &std::path::Path) {
    let other = folder.join("other");
    copy_program(env!("CARGO_BIN_EXE_refractium"), &other);
    fs::rename(other, folder.join("refractium")).expect("our folder");
}

/// A process that has taken over. Killed when dropped.
pub(in crate::life) struct Heir {
    id: u32,
    /// What was said before.
    before: usize,
    said: Box<dyn Fn() -> String + Send>,
}

impl Heir {
    /// Has another process take over from this one.
    pub(in crate::life) fn of(proxy: &Proxy, id: u32) -> Self {
        let before = proxy.stderr().matches("handed over process=").count();
        let stdout = proxy.stdout().len();
        signal(id, "USR2");
        let heir = until("another process to take over", || {
            let stderr = proxy.stderr();
            let (_, rest) = stderr
                .match_indices("handed over process=")
                .nth(before)
                .map(|(at, word)| stderr.split_at(at + word.len()))?;
            rest.split_whitespace().next()?.parse().ok()
        });
        Self { id: heir, before: stdout, said: proxy.reader() }
    }

    pub(in crate::life) fn id(&self) -> u32 {
        self.id
    }

    /// Where it listens at this address, as it says.
    pub(in crate::life) fn listens_on(&self, ip: &str) -> SocketAddr {
        until("the address", || {
            let stdout = (self.said)();
            let lines = stdout.get(self.before..)?.lines();
            let addresses = lines.filter_map(|it| it.strip_prefix("listening on "));
            let mut addresses =
                addresses.filter_map(|it| it.split(' ').next()?.parse::<SocketAddr>().ok());
            addresses.find(|it| it.ip().to_string() == ip)
        })
    }

    pub(in crate::life) fn until_it_ends(&self) {
        until("the end of an heir", || (!lives(self.id)).then_some(()));
    }

    pub(in crate::life) fn terminate(self) {
        signal(self.id, "TERM");
        self.until_it_ends();
    }
}

impl Drop for Heir {
    fn drop(&mut self) {
        if lives(self.id) {
            signal(self.id, "KILL");
        }
    }
}

/// The next one, after one that has taken over.
pub(in crate::life) fn again(proxy: &Upgradable, heir: &Heir) -> Heir {
    Heir::of(proxy, heir.id)
}

pub(in crate::life) fn signal(id: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &id.to_string()]).status().expect("kill");
    assert!(sent.success());
}

/// Whether a process has not ended; one that nobody has asked about yet has.
pub(in crate::life) fn lives(id: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

pub(in crate::life) fn child_of(parent: u32) -> Option<u32> {
    let tasks = fs::read_dir(format!("/proc/{parent}/task")).ok()?;
    let children = tasks.filter_map(|it| fs::read_to_string(it.ok()?.path().join("children")).ok());
    children.collect::<Vec<_>>().join(" ").split_whitespace().next()?.parse().ok()
}

/// How many connections of clients and of its own a process has, without its listeners: two for each that is joined.
pub(in crate::life) fn connections(id: u32) -> usize {
    let inodes: Vec<_> = fs::read_dir(format!("/proc/{id}/fd"))
        .expect("alive")
        .filter_map(|it| {
            let link = fs::read_link(it.ok()?.path()).ok()?;
            let link = link.to_string_lossy().into_owned();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let table = fs::read_to_string("/proc/net/tcp").expect("proc");
    let is_ours = |line: &&str| {
        let words: Vec<_> = line.split_whitespace().collect();
        words.get(3) == Some(&"01")
            && words.get(9).is_some_and(|it| inodes.iter().any(|ours| ours == it))
    };
    table.lines().filter(is_ours).count() / 2
}
