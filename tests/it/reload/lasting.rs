//! What is carried through reloads.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::thread;

use ring::digest::{Context, SHA256};

use super::*;
use crate::clients::servers::Shell;
use crate::harness::{Process, need, noise, route};

/// A session of OpenSSH says a word after every so many reloads; its shell is the same one at the end.
fn a_shell_through(reloads: usize, step: usize) {
    if !need(&["sshd", "ssh-keygen", "ssh"]) {
        return;
    }
    let (shell, other) = (Shell::start(), Backend::echo("other"));
    let ssh = route("ssh", "", shell.address());
    let proxy = Proxy::start_with("hot_reload = false", &ssh, &[]);
    let mut command = shell.client("ssh", proxy.port());
    command.args(["127.0.0.1", "while read word; do echo \"$word $$\"; done"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut client = Process(command.spawn().expect("ssh"));
    let mut input = client.0.stdin.take().expect("a pipe");
    let mut lines = BufReader::new(client.0.stdout.take().expect("a pipe")).lines();
    let mut say = |word: &str| {
        writeln!(input, "{word}").expect("an open session");
        let line = lines.next().expect("an open session").expect("a line");
        line.strip_prefix(word).expect("the same word").to_owned()
    };
    let first = say("begin");
    for round in 1..=reloads {
        // Its route stays, is gone, and comes back.
        let http = route("http", "", other.address());
        let routes = [&ssh, &http, &format!("{http}{ssh}")][round % 3].clone();
        save(&proxy, &text("hot_reload = false", &routes));
        hang_up(&proxy);
        if round % step == 0 {
            assert_eq!(say(&format!("after {round}")), first);
        }
    }
    assert_eq!(say("end"), first);
}

#[test]
fn an_ssh_session_goes_on_through_reloads() {
    a_shell_through(60, 10);
}

#[test]
#[ignore = "half a minute; .ci/deep"]
fn an_ssh_session_goes_on_through_a_thousand_reloads() {
    a_shell_through(1000, 50);
}

const GIBIBYTE: usize = 1 << 30;

/// A gibibyte comes from a backend whose route is there, gone, and there again, and no byte is another.
#[test]
fn a_gibibyte_arrives_whole_through_reloads() {
    let block = noise(1_000_003);
    let (sent, sums) = std::sync::mpsc::channel();
    let sent = std::sync::Mutex::new(sent);
    let backend = Backend::serving(move |mut stream| {
        // Who closes with something unread resets, and what was not taken by then is lost.
        stream.read_exact(&mut [0; SSH.len()]).expect("the opening");
        let mut sum = Context::new(&SHA256);
        let mut left = GIBIBYTE;
        while left > 0 {
            let size = left.min(block.len());
            if stream.write_all(&block[..size]).is_err() {
                return;
            }
            sum.update(&block[..size]);
            left -= size;
        }
        let _ = sent.lock().expect("sound").send(sum.finish());
    });
    let ssh = route("ssh", "", backend.address());
    let proxy = Proxy::start_with("hot_reload = false", &ssh, &[]);
    let mut client = proxy.connect();
    client.write_all(SSH).expect("room");
    let mut first = [0; 1];
    client.read_exact(&mut first).expect("the beginning");
    let received = thread::spawn(move || {
        let mut sum = Context::new(&SHA256);
        sum.update(&first);
        let (mut count, mut buffer) = (1, vec![0; 256 * 1024]);
        while let Ok(size @ 1..) = crate::harness::read_once(&mut client, &mut buffer) {
            sum.update(&buffer[..size]);
            count += size;
        }
        (count, sum.finish())
    });
    let other = route("http", "", backend.address());
    let mut rounds = 0;
    while !received.is_finished() {
        rounds += 1;
        let routes = [&ssh, &other, &format!("{other}{ssh}")][rounds % 3].clone();
        save(&proxy, &text("hot_reload = false", &routes));
        hang_up(&proxy);
    }
    let (count, sum) = received.join().expect("a reader");
    let expected = sums.recv_timeout(crate::harness::DEADLINE).expect("all was sent");
    assert_eq!((count, sum.as_ref()), (GIBIBYTE, expected.as_ref()));
    println!("{rounds} reloads");
    assert!(rounds > 1, "it was too quick to reload meanwhile");
}
