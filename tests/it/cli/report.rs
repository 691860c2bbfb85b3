//! What `check` and `--debug` print.

use std::io::{Read, Write};

use super::{HTTP, SSH, checked, single_spaced};
use crate::harness::{Backend, Proxy, ask, route, run, until};

const FILE: &str = r#"[server]
port = 1234
peek_timeout_ms = 1000
fallback_tcp = "127.0.0.1:8081"

[[protocols]]
name = "http"
host = "a.example"
forward_to = ["127.0.0.1:3000", "backend.example:3001"]

[[protocols]]
name = "http"
forward_to = "127.0.0.1:3002"

[[protocols]]
name = "https"
sni = ["A.example", "*.b.example"]
forward_to = "[::1]:8443"

[[protocols]]
name = "dns"
forward_to = "127.0.0.1:53"

[[protocols]]
name = "ftp"
forward_to = "127.0.0.1:21"
"#;

#[test]
fn check_shows_where_each_value_comes_from() {
    let check = checked(FILE, &["-b", "127.0.0.2"]);
    for line in [
        "refractium.toml: no mistakes",
        "setting value from",
        "bind \"127.0.0.2\" --bind",
        "port 1234 line 2",
        "max_connections 10000 default",
        "max_connections_per_ip 0 default",
        "peek_timeout_ms 1000 line 3",
        "peek_buffer_size 16384 default",
        "server_first_delay_ms 300 default",
        "connect_timeout_ms 3000 default",
        "half_close_timeout_ms 30000 default",
        "drain_timeout_ms 30000 default",
        "fallback_tcp \"127.0.0.1:8081\" line 4",
        "fallback_udp unset default",
    ] {
        assert!(check.lines().any(|it| it == line), "`{line}` is not in:\n{check}");
    }
}

#[test]
fn check_shows_the_routes_in_the_order_they_are_asked() {
    let check = checked(FILE, &["-c", "refractium.toml", "-f", "ssh=127.0.0.1:22"]);
    let (_, routes) = check.split_once("route host over goes to from\n").expect("a head");
    assert_eq!(
        routes,
        "ssh tcp 127.0.0.1:22 -f\n\
         http a.example tcp 127.0.0.1:3000 backend.example:3001 line 7\n\
         http (any) tcp 127.0.0.1:3002 line 12\n\
         https a.example *.b.example tcp [::1]:8443 line 16\n\
         ftp tcp 127.0.0.1:21 and clients silent for 300 ms line 25\n\
         (rest) tcp 127.0.0.1:8081 line 4\n\
         dns udp 127.0.0.1:53 line 21\n\
         (rest) udp dropped\n\
         \n\
         note: route `dns` is not served: UDP is not built yet\n"
    );
}

#[test]
fn check_shows_how_backends_are_chosen() {
    let file = r#"[[protocols]]
name = "ssh"
balance = "source_hash"
forward_to = ["a:1", { address = "b:2", weight = 3, max_connections = 500, backup = true }]

[[protocols]]
name = "http"
balance = "least_connections"
forward_to = ["a:1", "b:2"]
"#;
    let check = checked(file, &[]);
    for line in [
        "ssh tcp source_hash: a:1, b:2 weight 3 max 500 backup line 2",
        "http (any) tcp least_connections: a:1 b:2 line 7",
    ] {
        assert!(check.lines().any(|it| it == line), "`{line}` is not in:\n{check}");
    }
}

#[test]
fn check_with_routes_typed_alone_says_that_no_file_is_read() {
    let folder = super::folder("no configuration");
    let (code, stdout, _) = run(folder.path(), &["-f", "ssh=127.0.0.1:22", "check"]);
    assert_eq!(code, 0);
    let check = single_spaced(&stdout);
    for line in [
        "bind \"0.0.0.0\" default",
        "port 8080 default",
        "ssh tcp 127.0.0.1:22 -f",
        "(rest) tcp closed",
    ] {
        assert!(check.lines().any(|it| it == line), "`{line}` is not in:\n{check}");
    }
    assert!(check.contains("note: no configuration file is read"), "{check}");
}

#[test]
fn what_is_printed_at_start_is_what_is_served() {
    let [http, ssh] = ["http", "ssh"].map(Backend::echo);
    let routes =
        route("http", "host = \"a.example\"", http.address()) + &route("ssh", "", ssh.address());
    let proxy = Proxy::start(&routes);
    assert!(ask(proxy.address(), HTTP).starts_with(b"http: "));
    assert!(ask(proxy.address(), SSH).starts_with(b"ssh: "));
    let (_, stdout, _) = proxy.terminate();
    let start = single_spaced(&stdout);
    assert!(
        start.contains(&format!("\nhttp a.example tcp {} line 6\n", http.address())),
        "{start}"
    );
    assert!(start.contains(&format!("\nssh tcp {} line 11\n", ssh.address())), "{start}");
}

#[test]
fn debug_shows_each_decision_with_route_and_host() {
    let [http, rest] = ["http", "rest"].map(Backend::echo);
    let routes = route("http", "host = \"a.example\"", http.address());
    let fallback = format!("fallback_tcp = \"{}\"", rest.address());
    let proxy = Proxy::start_with(&fallback, &routes, &["--debug"]);
    assert!(ask(proxy.address(), HTTP).starts_with(b"http: "));
    assert!(ask(proxy.address(), SSH).starts_with(b"rest: "));
    let decided = |words: &str| {
        until(words, || {
            let stderr = proxy.stderr();
            stderr.lines().any(|it| it.contains("decided") && it.contains(words)).then_some(())
        });
    };
    decided("route=\"http\" host=\"a.example\" by=verdict bytes=35");
    decided("route=\"fallback\" host=\"-\" by=verdict bytes=11");
}

#[test]
fn without_debug_single_connections_are_not_shown() {
    let http = Backend::echo("http");
    let proxy = Proxy::start(&route("http", "", http.address()));
    assert!(ask(proxy.address(), HTTP).starts_with(b"http: "));
    let (_, _, stderr) = proxy.terminate();
    assert!(!stderr.contains("a.example"), "{stderr}");
}

#[test]
fn nothing_a_client_sends_reaches_the_terminal_as_it_is() {
    let [http, rest] = ["http", "rest"].map(Backend::echo);
    let fallback = format!("fallback_tcp = \"{}\"", rest.address());
    let routes = route("http", "host = \"*.example\"", http.address());
    let proxy = Proxy::start_with(&fallback, &routes, &["--debug"]);
    let hostile = [
        &b"GET /\x1b[2J HTTP/1.1\r\nHost: a\x1b[31m.example\r\n\r\n"[..],
        b"GET / HTTP/1.1\r\nHost: a\rINFO forged\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: \xe2\x80\xae\x07\x9b\r\n\r\n",
    ];
    for opening in hostile {
        assert!(ask(proxy.address(), opening).ends_with(opening));
    }
    until("the decisions", || (proxy.stderr().matches(" decided ").count() == 3).then_some(()));
    let (_, _, stderr) = proxy.terminate();
    let is_plain = |it: char| it == '\n' || it == 'µ' || (' '..='~').contains(&it);
    assert!(stderr.chars().all(is_plain), "{stderr:?}");
    assert!(!stderr.lines().any(|line| line.starts_with("INFO")), "{stderr:?}");
}

#[test]
fn a_backend_that_cannot_be_resolved_is_a_warning_and_not_an_end() {
    let ssh = Backend::echo("ssh");
    let http = "[[protocols]]\nname = \"http\"\nforward_to = \"nowhere.invalid:80\"\n".to_owned();
    let proxy = Proxy::start(&(http + &route("ssh", "", ssh.address())));
    assert!(ask(proxy.address(), SSH).starts_with(b"ssh: "));
    let mut client = proxy.connect();
    client.write_all(HTTP).expect("room");
    let mut answer = Vec::new();
    // Closed or reset: there is nothing to answer with.
    let _ = client.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    assert!(ask(proxy.address(), SSH).starts_with(b"ssh: "));
    until("the warning", || {
        let stderr = proxy.stderr();
        (stderr.contains("WARN") && stderr.contains("nowhere.invalid:80")).then_some(())
    });
}
