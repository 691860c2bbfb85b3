//! Rows C3 to C6 and C15: however a file comes to have other content.

use std::os::unix::fs::symlink;
use std::process::Command;
use std::time::{Duration, Instant};

use super::*;
use crate::harness::{need, need_root, pause, route, run_command, skipped};

/// Two configurations of which one leads to `one` and the other to `two`.
struct Two {
    _echoes: [Backend; 2],
    routes: [String; 2],
    texts: [String; 2],
}

const NAMES: [&str; 2] = ["one", "two"];

impl Two {
    fn new() -> Self {
        let echoes = NAMES.map(Backend::echo);
        let routes = echoes.each_ref().map(|it| route("ssh", "", it.address()));
        let texts = routes.each_ref().map(|it| text("", it));
        Self { _echoes: echoes, routes, texts }
    }

    /// Served from this file, in this folder.
    fn start(&self, folder: tempfile::TempDir, file: &str) -> Proxy {
        Proxy::spawn(folder, &["-c", file])
    }

    fn plain(&self) -> Proxy {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("refractium.toml"), &self.texts[0]).expect("room");
        self.start(folder, "refractium.toml")
    }
}

/// Waits until clients get there; how long that took.
fn leads_to(proxy: &Proxy, name: &str) -> Duration {
    let start = Instant::now();
    until(name, || {
        (crate::harness::ask(proxy.address(), SSH).starts_with(name.as_bytes())).then_some(())
    });
    start.elapsed()
}

fn renames(times: usize) -> Duration {
    let two = Two::new();
    let proxy = two.plain();
    let times = 1..=times;
    let slowest = times.map(|round| {
        save(&proxy, &two.texts[round % 2]);
        leads_to(&proxy, NAMES[round % 2])
    });
    let slowest = slowest.max().expect("some");
    assert_eq!(failures(&proxy), 0, "{}", proxy.stderr());
    println!("the slowest took {slowest:?}");
    slowest
}

#[test]
fn a_file_that_is_renamed_into_place_is_followed() {
    renames(8);
}

/// Row C4.
#[test]
#[ignore = "a minute; .ci/deep"]
fn a_hundred_renames_are_followed_within_a_second_each() {
    assert!(renames(100) < Duration::from_secs(1));
}

/// What would be waited for, or has no end, keeps nobody from anything.
#[test]
fn what_is_no_file_is_not_read() {
    let two = Two::new();
    let proxy = two.plain();
    let file = proxy.folder().join("refractium.toml");
    let pipe = |path: &std::path::Path| {
        let made = Command::new("mkfifo").arg(path).status().expect("mkfifo");
        assert!(made.success());
    };
    let device = |path: &std::path::Path| symlink("/dev/zero", path).expect("a link");
    let all: [fn(&std::path::Path); 2] = [pipe, device];
    for (round, put) in all.into_iter().enumerate() {
        let other = proxy.folder().join("other");
        put(&other);
        fs::rename(&other, &file).expect("our folder");
        until("a failure", || (failures(&proxy) == round + 1).then_some(()));
        assert!(proxy.stderr().contains("it is no regular file"), "{}", proxy.stderr());
        save(&proxy, &two.texts[(round + 1) % 2]);
        leads_to(&proxy, NAMES[(round + 1) % 2]);
    }
}

/// Row C3: it is empty for a moment, and then half of it is there.
#[test]
fn a_file_that_is_written_in_steps_is_read_when_it_is_whole() {
    let two = Two::new();
    let proxy = two.plain();
    let file = proxy.folder().join("refractium.toml");
    for round in 1..=6 {
        let text = &two.texts[round % 2];
        let mut writing = fs::File::create(&file).expect("room");
        pause(Duration::from_millis(50));
        writing.write_all(&text.as_bytes()[..text.len() / 2]).expect("room");
        pause(Duration::from_millis(50));
        writing.write_all(&text.as_bytes()[text.len() / 2..]).expect("room");
        drop(writing);
        leads_to(&proxy, NAMES[round % 2]);
    }
    assert_eq!(failures(&proxy), 0, "{}", proxy.stderr());
}

/// Row C3: the pause is longer than a file has to rest, and nothing is said of the half.
#[test]
fn a_half_that_makes_no_sense_is_given_time() {
    let two = Two::new();
    let proxy = two.plain();
    let file = proxy.folder().join("refractium.toml");
    let text = &two.texts[1];
    fs::write(&file, &text[..text.len() / 2]).expect("room");
    pause(Duration::from_millis(400));
    fs::write(&file, text).expect("room");
    leads_to(&proxy, "two");
    assert_eq!(failures(&proxy), 0, "{}", proxy.stderr());
}

#[test]
fn the_same_content_written_anew_is_no_change() {
    let two = Two::new();
    let proxy = two.plain();
    save(&proxy, &two.texts[0]);
    save(&proxy, &two.texts[1]);
    leads_to(&proxy, "two");
    // It is told of once it holds.
    until("a reload", || (reloads(&proxy) > 0).then_some(()));
    for _ in 0..3 {
        save(&proxy, &two.texts[1]);
        pause(Duration::from_millis(400));
    }
    assert_eq!(reloads(&proxy), 1, "{}", proxy.stderr());
    save(&proxy, &two.texts[0]);
    leads_to(&proxy, "one");
}

/// Row C5, as Kubernetes does it: a new folder, a new link to it, renamed into place, and the old folder goes.
fn swaps(times: usize) -> Duration {
    let two = Two::new();
    let folder = tempfile::tempdir().expect("a folder");
    let volume = folder.path().join("volume");
    let place = |round: usize| {
        let name = format!("..{round}");
        fs::create_dir_all(volume.join(&name)).expect("room");
        let file = volume.join(&name).join("refractium.toml");
        fs::write(file, &two.texts[round % 2]).expect("room");
        symlink(&name, volume.join("..data_tmp")).expect("a link");
        fs::rename(volume.join("..data_tmp"), volume.join("..data")).expect("a link");
        if round > 0 {
            fs::remove_dir_all(volume.join(format!("..{}", round - 1))).expect("a folder");
        }
    };
    place(0);
    symlink("..data/refractium.toml", volume.join("refractium.toml")).expect("a link");
    let volume_file = "volume/refractium.toml";
    let proxy = two.start(folder, volume_file);
    let slowest = (1..=times).map(|round| {
        place(round);
        leads_to(&proxy, NAMES[round % 2])
    });
    let slowest = slowest.max().expect("some");
    assert_eq!(failures(&proxy), 0, "{}", proxy.stderr());
    println!("the slowest took {slowest:?}");
    slowest
}

#[test]
fn a_link_that_leads_elsewhere_is_followed() {
    swaps(6);
}

/// Row C5.
#[test]
#[ignore = "a minute; .ci/deep"]
fn a_hundred_links_that_lead_elsewhere_are_followed_within_two_seconds_each() {
    assert!(swaps(100) < Duration::from_secs(2));
}

/// Row C6.
#[test]
fn a_file_that_is_gone_is_missed_once_and_followed_when_it_is_back() {
    let two = Two::new();
    let proxy = two.plain();
    let file = proxy.folder().join("refractium.toml");
    let mut client = joined(proxy.address(), "one");
    fs::remove_file(&file).expect("a file");
    until("a warning", || (failures(&proxy) == 1).then_some(()));
    assert!(proxy.stderr().contains("cannot read"), "{}", proxy.stderr());
    // Nothing else comes of it, however often it is looked for.
    pause(Duration::from_secs(3));
    assert_eq!(failures(&proxy), 1, "{}", proxy.stderr());
    joined(proxy.address(), "one");
    save(&proxy, &two.texts[1]);
    leads_to(&proxy, "two");
    // A folder in its place cannot be read, whoever asks.
    fs::remove_file(&file).expect("a file");
    fs::create_dir(&file).expect("room");
    until("a warning", || (failures(&proxy) == 2).then_some(()));
    fs::remove_dir(&file).expect("a folder");
    save(&proxy, &two.texts[0]);
    leads_to(&proxy, "one");
    echoes(&mut client);
}

/// Row C6: the folder is another one.
#[test]
fn a_file_in_a_folder_that_is_replaced_is_followed() {
    let two = Two::new();
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path().to_owned();
    fs::create_dir(at.join("etc")).expect("room");
    fs::write(at.join("etc/refractium.toml"), &two.texts[0]).expect("room");
    let proxy = two.start(folder, "etc/refractium.toml");
    for round in 1..=3 {
        fs::create_dir(at.join("new")).expect("room");
        fs::write(at.join("new/refractium.toml"), &two.texts[round % 2]).expect("room");
        fs::rename(at.join("etc"), at.join("old")).expect("a folder");
        fs::rename(at.join("new"), at.join("etc")).expect("a folder");
        leads_to(&proxy, NAMES[round % 2]);
        fs::remove_dir_all(at.join("old")).expect("a folder");
    }
    // What is written there later is noticed as well.
    fs::write(at.join("etc/refractium.toml"), &two.texts[0]).expect("room");
    leads_to(&proxy, "one");
}

/// Row C6: a file that is mounted by itself, as into a container. What is written to it is followed. One that takes its
/// place where it comes from is another file, which the mount does not show: it is followed once it is mounted.
#[test]
fn a_file_that_is_mounted_alone_is_followed() {
    let two = Two::new();
    if !need(&["unshare", "nsenter", "mount"]) || !need_root() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let source = folder.path().join("source.toml");
    fs::write(&source, &two.texts[0]).expect("room");
    fs::write(folder.path().join("refractium.toml"), &two.texts[0]).expect("room");
    let script = "mount --bind source.toml refractium.toml && exec \"$0\" -c refractium.toml";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, env!("CARGO_BIN_EXE_refractium")]);
    let proxy = Proxy::watch(command, folder);
    let mut client = joined(proxy.address(), "one");
    for round in [1, 2] {
        fs::write(&source, &two.texts[round % 2]).expect("room");
        println!("after {:?}", leads_to(&proxy, NAMES[round % 2]));
    }
    let new = proxy.folder().join("new.toml");
    fs::write(&new, &two.texts[1]).expect("room");
    fs::rename(new, &source).expect("a file");
    // SIGHUP reads what is there.
    hang_up(&proxy);
    joined(proxy.address(), "one");
    let mut mount = Command::new("nsenter");
    let script = "umount \"$1\" && mount --bind \"$0\" \"$1\"";
    mount.args(["--mount", "--target", &proxy.id().to_string(), "sh", "-c", script]);
    mount.arg(&source).arg(proxy.folder().join("refractium.toml"));
    let (code, _, stderr) = run_command(mount);
    assert_eq!(code, 0, "{stderr}");
    leads_to(&proxy, "two");
    assert_eq!(failures(&proxy), 0, "{}", proxy.stderr());
    echoes(&mut client);
}

#[test]
fn a_file_that_is_not_to_be_followed_is_not() {
    let two = Two::new();
    let proxy = two.plain();
    let off = |text: &str| text.replace("port = 0", "port = 0\nhot_reload = false");
    save(&proxy, &off(&two.texts[1]));
    leads_to(&proxy, "two");
    save(&proxy, &off(&two.texts[0]));
    pause(Duration::from_secs(3));
    joined(proxy.address(), "two");
    // SIGHUP always reloads.
    hang_up(&proxy);
    joined(proxy.address(), "one");
    save(&proxy, &two.texts[1]);
    hang_up(&proxy);
    joined(proxy.address(), "two");
    save(&proxy, &two.texts[0]);
    leads_to(&proxy, "one");
}

/// Row C15: the system has no watch to give.
#[test]
fn where_nothing_can_be_watched_the_file_is_looked_at() {
    let two = Two::new();
    let folder = tempfile::tempdir().expect("a folder");
    let script = "echo 0 > /proc/sys/user/max_inotify_instances && exec \"$0\" -c refractium.toml";
    let words = ["--user", "--map-root-user", "sh", "-c"];
    let probe = Command::new("unshare")
        .args(words)
        .arg("echo 0 > /proc/sys/user/max_inotify_instances")
        .status();
    if !probe.is_ok_and(|it| it.success()) {
        skipped("no user namespace is to be had");
        return;
    }
    let mut command = Command::new("unshare");
    command.args(words).args([script, env!("CARGO_BIN_EXE_refractium")]);
    let proxy = Proxy::spawn_command(command, folder, "", &two.routes[0]);
    for round in 1..=3 {
        save(&proxy, &two.texts[round % 2]);
        let after = leads_to(&proxy, NAMES[round % 2]);
        println!("after {after:?}");
    }
    let said = proxy.stderr();
    assert_eq!(said.matches("the file is looked at every two seconds").count(), 1, "{said}");
}
