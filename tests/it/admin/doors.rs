//! Row S3: who asks the admin what, and how.

use std::io::{Read, Write};
use std::time::Instant;

use super::{ADMIN, admin_of, get, send};
use crate::harness::{Backend, Proxy, ask, connect, route, until};

#[test]
fn it_answers_to_addresses_and_its_own_names_alone() {
    let web = Backend::echo("web");
    let own =
        "[admin]\nlisten = \"127.0.0.1:0\"\nhosts = [\"admin.example\", \"*.own.example\"]\n\n";
    let proxy = Proxy::start(&[own, &route("http", "", web.address())].concat());
    let admin = admin_of(&proxy);
    let code =
        |host: &str| send(admin, &format!("GET /live HTTP/1.1\r\nHost: {host}\r\n\r\n")).code;
    for host in [
        "127.0.0.1",
        "127.0.0.1:9090",
        "[::1]:80",
        "localhost",
        "LocalHost:1",
        "admin.example",
        "ADMIN.example:443",
        "a.own.example",
    ] {
        assert_eq!(code(host), 200, "{host}");
    }
    for host in [
        "",
        "evil.example",
        "localhost.evil.example",
        "own.example",
        "127.0.0.1.evil.example",
        "admin.example.evil.example:80",
    ] {
        assert_eq!(code(host), 421, "{host}");
    }
    // A browser that was lied to about a name says that name.
    let answer = send(admin, "GET /status HTTP/1.1\r\nHost: evil.example\r\n\r\n");
    assert!(!answer.body.contains("routes"), "{}", answer.body);
    assert_eq!(send(admin, "GET /live HTTP/1.1\r\n\r\n").code, 421);
}

#[test]
fn nothing_can_be_changed_and_nothing_else_is_there() {
    let web = Backend::echo("web");
    let proxy = Proxy::start(&[ADMIN, &route("http", "", web.address())].concat());
    let admin = admin_of(&proxy);
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let request = format!("{method} /status HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        assert_eq!(send(admin, &request).code, 405, "{method}");
    }
    let missing = get(admin, "/../etc/passwd");
    assert_eq!(missing.code, 404);
    for page in ["/metrics", "/status", "/events", "/live", "/ready"] {
        assert!(missing.body.contains(page), "{}", missing.body);
    }
    let head = get(admin, "/status").head;
    for line in ["cache-control: no-store", "x-content-type-options: nosniff", "connection: close"]
    {
        assert!(head.contains(line), "{head}");
    }
}

#[test]
fn what_is_too_long_is_refused_and_costs_no_memory() {
    let web = Backend::echo("web");
    let proxy = Proxy::start(&[ADMIN, &route("http", "", web.address())].concat());
    let admin = admin_of(&proxy);
    get(admin, "/metrics");
    let before = proxy.memory();
    let long =
        format!("GET /live HTTP/1.1\r\nHost: {admin}\r\nX: {}\r\n\r\n", "x".repeat(10_000_000));
    let many = format!("GET /live HTTP/1.1\r\nHost: {admin}\r\n{}\r\n", "X: y\r\n".repeat(100));
    for request in [&long, &many] {
        let mut stream = connect(admin);
        // It is answered before all of it is read.
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
    }
    let body = format!(
        "POST /status HTTP/1.1\r\nHost: {admin}\r\nContent-Length: 10000000\r\n\r\n{}",
        "x".repeat(10_000_000)
    );
    let mut stream = connect(admin);
    let _ = stream.write_all(body.as_bytes());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 405"), "{answer}");
    assert_eq!(get(admin, "/live").code, 200);
    let grown = proxy.memory().saturating_sub(before);
    assert!(grown < 4_000_000, "{grown} bytes more");
}

/// Forty clients that say nothing, or begin and go on for ever, have all places: the data plane does not notice, and they are
/// sent away in time.
#[test]
fn clients_that_hold_every_place_are_sent_away_and_cost_nobody_anything() {
    let web = Backend::echo("web");
    let proxy = Proxy::start(&[ADMIN, &route("http", "", web.address())].concat());
    let admin = admin_of(&proxy);
    let mut slow: Vec<_> = (0..40).map(|_| connect(admin)).collect();
    for stream in slow.iter_mut().skip(20) {
        stream.write_all(b"GET /status HTTP/1.1\r\nHost: 127.0.0.1\r\n").expect("room");
    }
    for _ in 0..20 {
        assert!(ask(proxy.address(), b"GET / HTTP/1.1\r\n\r\n").starts_with(b"web: "));
    }
    assert!(proxy.descriptors() < 90, "{} descriptors", proxy.descriptors());
    let start = Instant::now();
    assert_eq!(get(admin, "/live").code, 200);
    let waited = start.elapsed();
    for mut stream in slow {
        // An answer that says so, or none; but an end.
        let _ = stream.read_to_end(&mut Vec::new());
    }
    println!("answered after {waited:?}");
    until("places again", || (get(admin, "/live").code == 200).then_some(()));
}

/// Who watches and reads nothing is sent away; and sixteen may watch at a time, which leaves places for others.
#[test]
fn who_watches_has_places_of_its_own() {
    let web = Backend::echo("web");
    let proxy = Proxy::start(&[ADMIN, &route("http", "", web.address())].concat());
    let admin = admin_of(&proxy);
    let watch = || {
        let mut stream = connect(admin);
        let request = format!("GET /events HTTP/1.1\r\nHost: {admin}\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("room");
        let mut first = [0; 64];
        let count = stream.read(&mut first).expect("an answer");
        (stream, String::from_utf8_lossy(&first[..count]).into_owned())
    };
    let watching: Vec<_> = (0..16).map(|_| watch()).collect();
    assert!(watching.iter().all(|(_, first)| first.starts_with("HTTP/1.1 200")));
    assert!(watch().1.starts_with("HTTP/1.1 503"));
    assert_eq!(get(admin, "/live").code, 200);
    drop(watching);
    until("a place to watch from", || watch().1.starts_with("HTTP/1.1 200").then_some(()));
}
