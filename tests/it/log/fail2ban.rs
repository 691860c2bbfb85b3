//! The filter and the jail in `packaging/fail2ban`, read by the real fail2ban.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{proxy, told};
use crate::harness::udp::Client;
use crate::harness::{Backend, Proxy, connect_from, need, refusing, route, run_command};

fn packaging() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/fail2ban")
}

/// Whom the filter finds in this log, in its order.
fn found(log: &Path) -> Vec<String> {
    let mut command = Command::new("fail2ban-regex");
    command.args(["--out", "ip"]).arg(log).arg(packaging().join("filter.d/refractium.conf"));
    let (code, stdout, stderr) = run_command(command);
    // It ends with 255 where nobody is found.
    assert!(code == 0 || stdout.trim().is_empty(), "{code}: {stdout}{stderr}");
    stdout.split_whitespace().map(str::to_owned).collect()
}

fn ask(proxy: &Proxy, from: u8, bytes: &[u8]) {
    let mut client = connect_from(Ipv4Addr::new(127, 0, 0, from), proxy.address());
    let _ = client.write_all(bytes);
    let _ = client.shutdown(Shutdown::Write);
    // It may be reset.
    let _ = client.read_to_end(&mut Vec::new());
}

#[test]
fn its_filter_finds_who_is_to_be_banned_and_nobody_else() {
    if !need(&["fail2ban-regex"]) {
        return;
    }
    let shell = Backend::echo("ssh");
    for form in ["text", "json"] {
        let game = "patterns = \"GAME\"\ntransport = \"udp\"";
        let routes = route("ssh", "", shell.address())
            + &route("http", "", refusing())
            + &route("game", game, refusing());
        // Of one worker, who takes clients in the order in which they came.
        let server = "workers = 1\nproxy_protocol_from = [\"127.0.0.4\"]\n\
            max_connections_per_ip = 1\n";
        let proxy = proxy(form, server, &routes, &[]);
        ask(&proxy, 2, b"SSH-2.0-good\r\n");
        ask(&proxy, 3, b"\0 end=no_route");
        ask(&proxy, 4, b"SSH-2.0-without a header\r\n");
        // Served by nobody, for no fault of its own; whatever it names.
        ask(&proxy, 5, b"GET / HTTP/1.1\r\nHost: a\" end=no_route\r\n\r\n");
        let held = connect_from(Ipv4Addr::new(127, 0, 0, 6), proxy.address());
        ask(&proxy, 6, b"SSH-2.0-second\r\n");
        Client::from(Ipv4Addr::new(127, 0, 0, 7).into(), proxy.address()).send(b"nobody's");
        drop(held);
        let ends = ["closed", "no_backend", "no_header", "full_for_address"];
        let mut lines: Vec<_> = ends.iter().flat_map(|end| told(&proxy, end, 1)).collect();
        let nobodys = told(&proxy, "no_route", 3);
        assert!(nobodys.iter().any(|it| it.contains("127.0.0.7:")), "{nobodys:?}");
        lines.extend(nobodys);
        lines.sort();
        lines.dedup();
        let log = proxy.folder().join("connections.log");
        fs::write(&log, lines.join("\n") + "\n").expect("a log");
        let mut banned = found(&log);
        banned.sort();
        // The one that was held said nothing, and is gone: that is no route as well.
        banned.dedup();
        assert_eq!(banned, ["127.0.0.3", "127.0.0.4", "127.0.0.6"], "{lines:#?}");
        // As fail2ban puts together what the journal has.
        let journal: Vec<_> = lines
            .iter()
            .map(|line| format!("2026-11-26T10:00:00Z host refractium[12]: {line}"))
            .collect();
        fs::write(&log, journal.join("\n") + "\n").expect("a log");
        let mut banned = found(&log);
        banned.sort();
        banned.dedup();
        assert_eq!(banned, ["127.0.0.3", "127.0.0.4", "127.0.0.6"], "{journal:#?}");
    }
}

/// IPv6, and lines in which somebody else is named behind the client.
#[test]
fn its_filter_reads_the_client_and_nothing_that_looks_like_one() {
    if !need(&["fail2ban-regex"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let log = folder.path().join("connections.log");
    let other = "conn=9 client=192.0.2.99:1 transport=tcp end=no_route";
    let lines = [
        "2026-11-26T15:14:05.123456Z conn=1 client=[2001:db8::1]:5 transport=tcp host=- end=too_fast".to_owned(),
        format!("2026-11-26T15:14:05.123456Z conn=2 client=192.0.2.2:5 transport=tcp host=\"{other}\" end=closed"),
        format!("2026-11-26T15:14:05.123456Z conn=3 client=192.0.2.3:5 transport=udp host=\"{other}\" end=no_route"),
        "{\"time\":\"2026-11-26T15:14:05.123456Z\",\"conn\":4,\"client\":\"[2001:db8::4]:5\",\"transport\":\"tcp\",\"host\":null,\"end\":\"no_route\"}".to_owned(),
        "2026-11-26T15:14:06.123456Z suppressed=12 no_route=12".to_owned(),
    ];
    fs::write(&log, lines.join("\n") + "\n").expect("a log");
    assert_eq!(found(&log), ["2001:db8::1", "2001:db8::4"]);
}

#[test]
fn its_jail_is_one_that_fail2ban_takes() {
    if !need(&["fail2ban-client", "cp"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let own = folder.path().join("fail2ban");
    let mut copy = Command::new("cp");
    copy.args(["-r", "/etc/fail2ban"]).arg(&own);
    assert_eq!(run_command(copy).0, 0);
    let log = folder.path().join("connections.log");
    fs::write(&log, "").expect("a log");
    let filter = packaging().join("filter.d/refractium.conf");
    fs::copy(filter, own.join("filter.d/refractium.conf")).expect("a filter");
    let jail = fs::read_to_string(packaging().join("jail.d/refractium.conf")).expect("a jail");
    let placed = jail.replace("/var/log/refractium/connections.log", &log.display().to_string());
    assert_ne!(placed, jail);
    // The jails of the system are nobody's concern here.
    fs::remove_dir_all(own.join("jail.d")).expect("a folder");
    fs::create_dir(own.join("jail.d")).expect("a folder");
    fs::write(own.join("jail.d/refractium.conf"), placed).expect("a jail");
    let mut command = Command::new("fail2ban-client");
    command.arg("-c").arg(&own).arg("-d");
    let (code, stdout, stderr) = run_command(command);
    assert_eq!(code, 0, "{stdout}{stderr}");
    for said in [
        "['set', 'refractium', 'maxretry', 10]",
        "['set', 'refractium', 'bantime', '600']",
        "['start', 'refractium']",
        "conn=\\\\d+ client=",
        "iptables-allports",
    ] {
        assert!(stdout.contains(said), "no {said} in:\n{stdout}{stderr}");
    }
}
