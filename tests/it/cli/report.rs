//! What `check` and `--debug` print.

use std::io::{Read, Write};
use std::net::UdpSocket;

use super::{HTTP, SSH, checked, single_spaced};
use crate::harness::{Backend, DEADLINE, Proxy, ask, route, run, until};

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

/// The table of routes. Of the machine there may be notes behind it.
fn routes(check: &str) -> &str {
    let (_, routes) = check.split_once("route host over goes to from\n").expect("a head");
    let end = routes.find("\n\n").map_or(routes.len(), |end| end + 1);
    &routes[..end]
}

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
        "udp_idle_timeout_ms 60000 default",
        "max_udp_sessions 0 (derived from the descriptor limit) default",
        "max_udp_sessions_per_ip 0 default",
        "fallback_tcp \"127.0.0.1:8081\" line 4",
        "fallback_udp unset default",
    ] {
        assert!(check.lines().any(|it| it == line), "`{line}` is not in:\n{check}");
    }
}

#[test]
fn check_shows_the_routes_in_the_order_they_are_asked() {
    let check = checked(FILE, &["-c", "refractium.toml", "-f", "ssh=127.0.0.1:22"]);
    assert_eq!(
        routes(&check),
        "ssh tcp 127.0.0.1:22 -f\n\
         http a.example tcp 127.0.0.1:3000 backend.example:3001 line 7\n\
         http (any) tcp 127.0.0.1:3002 line 12\n\
         https a.example *.b.example tcp [::1]:8443 line 16\n\
         ftp tcp 127.0.0.1:21 and clients silent for 300 ms line 25\n\
         (rest) tcp 127.0.0.1:8081 line 4\n\
         dns udp 127.0.0.1:53 line 21\n\
         (rest) udp dropped\n"
    );
}

#[test]
fn check_shows_what_a_route_says_otherwise_than_its_protocol_and_the_server() {
    let route = |name: &str, more: &str| {
        format!("[[protocols]]\nname = \"{name}\"\n{more}\nforward_to = \"a:1\"\n")
    };
    let text = "[server]\nidle_timeout_ms = 7000\nudp_idle_timeout_ms = 8000\n".to_owned()
        + &route("http", "idle_timeout_ms = 1000")
        + &route("ssh", "idle_timeout_ms = 0")
        + &route("ftp", "idle_timeout_ms = 0")
        + &route("dns", "responses = 1\nidle_timeout_ms = 8000\namplification_limit = 0")
        + &route(
            "a",
            "patterns = \"a\"\ntransport = \"both\"\nidle_timeout_ms = 8000\nresponses = 2",
        )
        + &route(
            "b",
            "patterns = \"b\"\ntransport = \"udp\"\nresponses = 0\namplification_limit = 3",
        );
    let check = checked(&text, &[]);
    assert_eq!(
        routes(&check),
        "http (any) tcp a:1 with idle_timeout_ms = 1000 line 5\n\
         ssh tcp a:1 line 9\n\
         ftp tcp a:1 and clients silent for 300 ms with idle_timeout_ms = 0 line 13\n\
         a tcp a:1 with idle_timeout_ms = 8000 line 23\n\
         (rest) tcp closed\n\
         dns udp a:1 line 17\n\
         a udp a:1 with responses = 2 line 23\n\
         b udp a:1 with amplification_limit = 3 line 30\n\
         (rest) udp dropped\n"
    );
    let check = checked(&route("dns", "responses = 0\nidle_timeout_ms = 0"), &[]);
    let line = "dns udp a:1 with idle_timeout_ms = 0, responses = 0 line 2";
    assert!(check.lines().any(|it| it == line), "{check}");
}

#[test]
fn a_transport_without_a_route_is_said_not_to_be_listened_on() {
    let note =
        |transport: &str| format!("note: no route is for {transport}: it is not listened on\n");
    let [ssh, dns] = ["-f=ssh=a:1", "-f=dns=a:1"];
    for (words, silent) in [(&[ssh, dns][..], None), (&[ssh], Some("udp")), (&[dns], Some("tcp"))] {
        let folder = super::folder("");
        let (_, stdout, _) = run(folder.path(), &[&["check"], words].concat());
        for transport in ["tcp", "udp"] {
            let is_said = stdout.contains(&note(transport));
            assert_eq!(is_said, silent == Some(transport), "{words:?}: {stdout}");
            let rest = format!("\n(rest) {transport} ");
            assert_eq!(single_spaced(&stdout).contains(&rest), !is_said, "{stdout}");
        }
    }
    let ssh = Backend::echo("ssh");
    let to = format!("-f=ssh={}", ssh.address());
    for (words, is_said) in [(&[to.as_str()][..], true), (&["tcp", &to], false)] {
        let proxy = Proxy::with_options(words);
        let (_, stdout, _) = proxy.terminate();
        assert_eq!(stdout.contains(&note("udp")), is_said, "{stdout}");
        assert_eq!(stdout.matches("\nlistening on ").count(), 1, "{stdout}");
    }
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

[[protocols]]
name = "https"
forward_to = [{ address = "srv+_tls._tcp.example", backup = true }, "a:1"]
"#;
    let check = checked(file, &[]);
    for line in [
        "ssh tcp source_hash: a:1, b:2 weight 3 max 500 backup line 2",
        "http (any) tcp least_connections: a:1 b:2 line 7",
        "https (any) tcp srv+_tls._tcp.example backup, a:1 line 12",
    ] {
        assert!(check.lines().any(|it| it == line), "`{line}` is not in:\n{check}");
    }
}

#[test]
fn check_shows_how_backends_are_checked_otherwise_than_is_usual() {
    let route = |name: &str, more: &str| {
        format!("[[protocols]]\nname = \"{name}\"\nforward_to = \"a:1\"\n{more}\n")
    };
    let http = "kind = \"http\", path = \"/up\", host = \"b\", expect_status = 204, rise = 1";
    let text = route("http", &format!("close_on_down = true\nhealth = {{ {http} }}"))
        + &route(
            "ssh",
            "connect_timeout_ms = 50\nhealth = { kind = \"banner\", expect = \"S\\xff\" }",
        )
        + &route("ftp", "health = { kind = \"tcp\", interval_ms = 500 }")
        + &route("dns", "health = { kind = \"none\" }");
    let check = checked(&text, &[]);
    for line in [
        "http (any) tcp a:1 with health.kind = \"http\", health.path = \"/up\", health.host = \"b\", \
         health.expect_status = [204], health.rise = 1, close_on_down = true line 2",
        "ssh tcp a:1 with health.kind = \"banner\", health.expect = \"S\\xff\", \
         connect_timeout_ms = 50 line 7",
        "ftp tcp a:1 and clients silent for 300 ms with health.interval_ms = 500, \
         health.timeout_ms = 500 line 12",
        "dns udp a:1 line 16",
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
fn debug_shows_what_a_session_carried_and_how_it_ended() {
    let backend = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let to = backend.local_addr().expect("an address");
    let more = "patterns = \"ask\"\ntransport = \"udp\"\nresponses = 2";
    let proxy = Proxy::start_with("", &route("app", more, to), &["--debug"]);
    let client = UdpSocket::bind("127.0.0.1:0").expect("a port");
    for socket in [&backend, &client] {
        socket.set_read_timeout(Some(DEADLINE)).expect("an open socket");
    }
    client.send_to(b"ask", proxy.address()).expect("room");
    let (_, upstream) = backend.recv_from(&mut [0; 9]).expect("the question");
    for answer in [&b"one"[..], b"and two"] {
        backend.send_to(answer, upstream).expect("room");
        let length = client.recv(&mut [0; 9]).expect("an answer");
        assert_eq!(length, answer.len());
    }
    let line = |words: &str| {
        until(words, || proxy.stderr().lines().any(|line| line.contains(words)).then_some(()));
    };
    line("decided conn=0 route=\"app\" host=\"-\" by=verdict bytes=3");
    line(&format!("route=\"app\" backend={to} address={to}"));
    line("session ended conn=0 up=1 up_bytes=3 down=2 down_bytes=10 end=answered");
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
