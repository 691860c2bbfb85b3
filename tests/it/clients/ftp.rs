//! curl and lftp to vsftpd: clients that say nothing until they are greeted.

use std::fs;

use super::http::curl;
use super::servers::{FILE, Files, program, succeed};
use super::world::World;
use crate::harness::{need, need_root, until};

pub(super) fn curl_fetches(world: &World) {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("ftp://{}/", world.proxy.address());
    let mut list = curl();
    list.args(["--list-only", &url]);
    assert_eq!(succeed(list).trim_end(), FILE);
    let mut fetch = curl();
    fetch.arg("-o").arg(folder.path().join("fetched")).arg(url + FILE);
    succeed(fetch);
    assert!(fs::read(folder.path().join("fetched")).expect("a file") == Files::content());
}

pub(super) fn lftp_fetches(world: &World) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = program("lftp");
    command.current_dir(folder.path()).env("HOME", folder.path()).args(["--norc", "-c"]);
    command.arg(format!(
        "set net:timeout 10; set net:max-retries 1; set ftp:ssl-allow no; \
         open -u anonymous,x -p {} 127.0.0.1; cls -1; get {FILE}",
        world.proxy.port()
    ));
    assert_eq!(succeed(command).trim_end(), FILE);
    assert!(fs::read(folder.path().join(FILE)).expect("a file") == Files::content());
}

#[test]
fn curl_lists_and_fetches_by_ftp() {
    if !need(&["vsftpd", "curl"]) || !need_root() {
        return;
    }
    let world = World::shared();
    let before = world.files().downloads();
    curl_fetches(&world);
    until("the download in the server's log", || {
        (world.files().downloads() > before).then_some(())
    });
}

#[test]
fn lftp_lists_and_fetches_by_ftp() {
    if !need(&["vsftpd", "lftp"]) || !need_root() {
        return;
    }
    let world = World::shared();
    let before = world.files().downloads();
    lftp_fetches(&world);
    until("the download in the server's log", || {
        (world.files().downloads() > before).then_some(())
    });
}
