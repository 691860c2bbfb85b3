//! One line for each connection, session and refusal.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use serde_json::{Value as Json, json};

use super::{fields, proxy, told};
use crate::harness::udp::{Backend as UdpBackend, Client};
use crate::harness::{Backend, Proxy, connect, refusing, route};

const FORMS: [&str; 2] = ["text", "json"];

/// Sends, and gives what was answered and the client's address.
fn ask(proxy: &Proxy, bytes: &[u8]) -> (SocketAddr, Vec<u8>) {
    let mut client = connect(proxy.address());
    let address = client.local_addr().expect("an address");
    client.write_all(bytes).expect("room");
    client.shutdown(Shutdown::Write).expect("an open socket");
    let mut answer = Vec::new();
    // It may be reset.
    let _ = client.read_to_end(&mut answer);
    (address, answer)
}

/// Takes times out, and looks whether they are some.
fn without_times(mut line: Json, some: &[&str]) -> Json {
    let all = line.as_object_mut().expect("an object");
    let time = all.remove("time").expect("a time");
    assert!(time.as_str().is_some_and(|it| it.starts_with("20") && it.ends_with('Z')), "{time}");
    for key in ["decide_ms", "connect_ms", "total_ms"] {
        let value = all.remove(key).unwrap_or_else(|| panic!("no {key}"));
        let expected = some.contains(&key);
        assert_eq!(value.as_f64().is_some_and(|it| it >= 0.0), expected, "{key}: {value}");
    }
    line
}

#[test]
fn a_connection_is_a_line_at_its_end() {
    let backend = Backend::echo("web");
    for form in FORMS {
        let routes = route("http", "host = [\"a.example\", \"b.example\"]", backend.address());
        let proxy = proxy(form, "", &routes, &[]);
        let request = b"GET / HTTP/1.1\r\nHost: B.example:80\r\n\r\n";
        let (client, answer) = ask(&proxy, request);
        let line = fields(&told(&proxy, "closed", 1)[0]);
        let expected = json!({
            "conn": 0,
            "client": client.to_string(),
            "transport": "tcp",
            "listener": proxy.address().to_string(),
            "protocol": "http",
            "host": "B.example",
            "route": "http:a.example+1",
            "backend": backend.address().to_string(),
            "address": backend.address().to_string(),
            "by": "verdict",
            "looked": request.len(),
            "up": request.len(),
            "down": answer.len(),
            "end": "closed",
        });
        assert_eq!(without_times(line, &["decide_ms", "connect_ms", "total_ms"]), expected);
    }
}

#[test]
fn a_session_is_a_line_at_its_end() {
    let backend = UdpBackend::echo("game");
    for form in FORMS {
        let more = "patterns = \"GAME\"\ntransport = \"udp\"\nresponses = 2";
        let proxy = proxy(form, "", &route("game", more, backend.address()), &[]);
        let client = Client::of(proxy.address());
        client.reaches("game", b"GAME 1");
        let address = backend.next().peer;
        backend.send(address, b"more");
        assert_eq!(client.receive(), b"more");
        let line = fields(&told(&proxy, "answered", 1)[0]);
        let expected = json!({
            "conn": 0,
            "client": client.address().to_string(),
            "transport": "udp",
            "listener": proxy.address().to_string(),
            "protocol": "game",
            "host": null,
            "route": "game",
            "backend": backend.address().to_string(),
            "address": backend.address().to_string(),
            "by": "verdict",
            "looked": 6,
            "up": 6,
            "down": b"game: GAME 1more".len(),
            "end": "answered",
        });
        assert_eq!(without_times(line, &["decide_ms", "total_ms"]), expected);
    }
}

#[test]
fn who_is_turned_away_is_a_line_that_says_why() {
    let gone = refusing();
    for form in FORMS {
        // Of one worker, who takes clients in the order in which they came.
        let server = "workers = 1\nmax_connections_per_ip = 1\npeek_timeout_ms = 20000\n";
        let proxy = proxy(form, server, &route("ssh", "", gone), &[]);
        let (stranger, _) = ask(&proxy, b"\0nobody's");
        let line = fields(&told(&proxy, "no_route", 1)[0]);
        assert_eq!(line["client"], stranger.to_string());
        assert_eq!((&line["looked"], &line["by"]), (&json!(9), &json!("verdict")));
        assert_eq!(
            (&line["route"], &line["up"], &line["backend"]),
            (&Json::Null, &Json::Null, &Json::Null)
        );
        let (unlucky, _) = ask(&proxy, b"SSH-2.0-x\r\n");
        let line = fields(&told(&proxy, "no_backend", 1)[0]);
        assert_eq!((&line["client"], &line["route"]), (&json!(unlucky.to_string()), &json!("ssh")));
        let undecided = connect(proxy.address());
        // It may be reset before it knows that it is connected.
        drop(TcpStream::connect(proxy.address()));
        let line = fields(&told(&proxy, "full_for_address", 1)[0]);
        assert!(line["client"].as_str().is_some_and(|it| it.starts_with("127.0.0.1:")), "{line}");
        assert_eq!(line["total_ms"], Json::Null);
        drop(undecided);
        told(&proxy, "no_route", 2);
    }
}

/// What reads lines gets nothing else, and who wants none gets none.
#[test]
fn standard_output_has_the_lines_alone() {
    let backend = Backend::echo("ssh");
    let routes = route("ssh", "", backend.address());
    let logged = proxy("json", "", &routes, &["--debug"]);
    ask(&logged, b"SSH-2.0-x\r\n");
    told(&logged, "closed", 1);
    let (_, stdout, stderr) = logged.terminate();
    assert_eq!(stdout.lines().map(fields).filter(|it| it["end"] == "closed").count(), 1);
    assert_eq!(stdout.lines().count(), 1, "{stdout}");
    assert!(stderr.contains("listening on ") && stderr.contains("goes to"), "{stderr}");
    let silent = Proxy::start(&routes);
    ask(&silent, b"SSH-2.0-x\r\n");
    let (_, stdout, _) = silent.terminate();
    assert!(stdout.contains("listening on ") && !stdout.contains("conn="), "{stdout}");
}
