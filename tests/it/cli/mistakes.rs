//! Mistakes in the configuration: all at once, each at its place, and nothing starts.

use super::{checked, folder};
use crate::harness::run;

/// What is wrong with a file: each message with its place, and everything that was said.
fn mistakes(text: &str, words: &[&str]) -> (Vec<(String, String)>, String) {
    let folder = folder(text);
    let (code, stdout, stderr) = run(folder.path(), words);
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    let mut found = Vec::new();
    for line in stderr.lines() {
        if let Some(message) = line.strip_prefix("error: ") {
            found.push((message.to_owned(), String::new()));
        }
        if let Some(place) = line.trim_start().strip_prefix("--> ") {
            let last = found.last_mut().expect("a message before the place");
            last.1 = place.to_owned();
        }
    }
    let plural = if found.len() == 1 { "" } else { "s" };
    let count = format!("{} mistake{plural}: nothing was started", found.len());
    assert_eq!(stderr.lines().last(), Some(&*count), "{stderr}");
    (found, stderr)
}

/// This file has these mistakes and no others, whether it is checked or run.
fn has(text: &str, expected: &[(&str, &str)]) -> String {
    let (found, stderr) = mistakes(text, &["check"]);
    let found: Vec<_> = found.iter().map(|(one, other)| (one.as_str(), other.as_str())).collect();
    assert_eq!(found, expected, "{stderr}");
    assert_eq!(mistakes(text, &[]).1, stderr);
    stderr
}

#[test]
fn five_mistakes_are_five_errors_in_one_run() {
    let text = r#"[server]
port = 99999
peek_timeout = 1000

[[protocols]]
name = "htpp"
forward_to = "127.0.0.1:3000"

[[protocols]]
  name = "ssh"
  forward_to = ["127.0.0.1:22", "127.0.0.1"]

[[protocols]]
name = "my_app"
patterns = ["ok", ""]
forward_to = "127.0.0.1:9000"
"#;
    let said = has(
        text,
        &[
            ("expected a number from 0 to 65535", "refractium.toml:2:8"),
            ("unknown key `peek_timeout`", "refractium.toml:3:1"),
            ("unknown protocol `htpp`", "refractium.toml:6:8"),
            ("a port is missing: write HOST:PORT", "refractium.toml:11:33"),
            ("an empty pattern would match everything", "refractium.toml:15:19"),
        ],
    );
    for line in [
        " --> refractium.toml:2:8",
        " --> refractium.toml:3:1",
        " --> refractium.toml:6:8",
        "  --> refractium.toml:11:33",
        "  --> refractium.toml:15:19",
        "2 | port = 99999",
        "  |        ^^^^^",
        "  = help: did you mean `peek_timeout_ms`?",
        "  = help: did you mean `http`?",
    ] {
        assert!(said.lines().any(|it| it == line), "`{line}` is not in:\n{said}");
    }
}

#[test]
fn patterns_that_cannot_mean_anything_are_mistakes() {
    let app = |patterns: &str, name: &str| {
        format!("[[protocols]]\nname = \"{name}\"\npatterns = {patterns}\nforward_to = \"a:1\"\n")
    };
    let empty = "an empty pattern would match everything";
    has(&app("[\"\"]", "app"), &[(empty, "refractium.toml:3:13")]);
    has(&app("\"\"", "app"), &[(empty, "refractium.toml:3:12")]);
    has(&app("[]", "app"), &[("this list is empty", "refractium.toml:3:12")]);
    has(
        &app("[7]", "app"),
        &[("expected a string of bytes, found integer", "refractium.toml:3:13")],
    );
    let server = "[server]\npeek_buffer_size = 64\n";
    let long = format!("[\"{}\"]", "x".repeat(65));
    has(
        &(server.to_owned() + &app(&long, "app")),
        &[(
            "a pattern of 65 bytes can never be seen: `peek_buffer_size` is 64",
            "refractium.toml:5:13",
        )],
    );
    let fits = format!("[\"{}\"]", "\\xff".repeat(64));
    checked(&(server.to_owned() + &app(&fits, "app")), &[]);
    has(
        &(app("\"x\"", "app") + &app("\"y\"", "app")),
        &[
            ("`app` has a route already", "refractium.toml:6:8"),
            ("`app` has patterns already", "refractium.toml:7:12"),
        ],
    );
}

#[test]
fn a_route_that_another_takes_everything_of_is_a_mistake() {
    let route = |name: &str, more: &str| {
        format!("[[protocols]]\nname = \"{name}\"\n{more}\nforward_to = \"a:1\"\n")
    };
    let said = has(
        &(route("http", "") + &route("ssh", "") + &route("http", "")),
        &[("`http` has a route already", "refractium.toml:10:8")],
    );
    assert!(said.contains("the first is here"), "{said}");
    let one = route("http", "host = [\"a.example\", \"b.example\"]");
    has(
        &(one.clone() + &route("http", "host = [\"c.example\", \"B.example.\"]")),
        &[("`http:b.example` has a route already", "refractium.toml:7:22")],
    );
    has(
        &route("http", "host = [\"a.example\", \"a.example\"]"),
        &[("`http:a.example` has a route already", "refractium.toml:3:22")],
    );
    // `tls` is `https`.
    has(
        &(route("https", "") + &route("tls", "")),
        &[("`https` has a route already", "refractium.toml:6:8")],
    );
    // Other names are other routes.
    let check = checked(
        &(route("https", "sni = \"a.example\"")
            + &route("tls", "sni = \"*.a.example\"")
            + &route("https", "")
            + &one
            + &route("http", "")),
        &[],
    );
    assert!(check.contains("\nhttps *.a.example tcp a:1 line 6\n"), "{check}");
}

#[test]
fn the_numbers_of_a_route_have_ranges_and_fit_its_transport() {
    let route = |name: &str, more: &str| {
        format!("[[protocols]]\nname = \"{name}\"\n{more}\nforward_to = \"a:1\"\n")
    };
    for (more, what) in [
        ("idle_timeout_ms = 86400001", "expected a number from 0 to 86400000"),
        ("idle_timeout_ms = -1", "expected a number from 0 to 86400000"),
        ("idle_timeout_ms = \"1 s\"", "expected a number from 0 to 86400000, found string"),
        ("responses = 65536", "expected a number from 0 to 65535"),
        ("responses = 1.5", "expected a number from 0 to 65535, found float"),
        ("amplification_limit = 65536", "expected a number from 0 to 65535"),
    ] {
        let column = more.find("= ").expect("a value") + 3;
        has(&route("dns", more), &[(what, &format!("refractium.toml:3:{column}"))]);
    }
    for key in ["responses", "amplification_limit"] {
        let told = |name: &str| {
            format!("`{name}` is carried by tcp alone, and `{key}` is about datagrams")
        };
        let three = format!("{key} = 3");
        has(&route("http", &three), &[(&told("http"), "refractium.toml:3:1")]);
        has(&route("tls", &three), &[(&told("https"), "refractium.toml:3:1")]);
        let app = format!("patterns = \"x\"\n{key} = 0\ntransport = ");
        has(&route("app", &(app.clone() + "\"tcp\"")), &[(&told("app"), "refractium.toml:4:1")]);
        checked(&route("app", &(app.clone() + "\"udp\"")), &[]);
        checked(&route("app", &(app + "\"both\"")), &[]);
    }
    checked(&route("ssh", "idle_timeout_ms = 0"), &[]);
}

#[test]
fn the_numbers_of_udp_have_ranges() {
    let route = "[[protocols]]\nname = \"dns\"\nforward_to = \"a:1\"\n";
    for (key, most) in [
        ("udp_idle_timeout_ms", 86_400_000),
        ("max_udp_sessions", 10_000_000),
        ("max_udp_sessions_per_ip", 10_000_000),
    ] {
        let told = format!("expected a number from 0 to {most}");
        let place = format!("refractium.toml:2:{}", key.len() + 4);
        has(&format!("[server]\n{key} = {}\n{route}", most + 1), &[(&told, &place)]);
        checked(&format!("[server]\n{key} = {most}\n{route}"), &[]);
    }
}

/// Row U6: it would go round in circles.
#[test]
fn a_backend_that_is_this_program_is_a_mistake() {
    let text = |server: &str, to: &str| {
        format!(
            "[server]\n{server}\n[[protocols]]\nname = \"dns\"\nforward_to = [\"a:1\", \"{to}\"]\n"
        )
    };
    let told = |to: &str| format!("`{to}` is where this program itself listens");
    for (server, to) in [
        ("port = 53", "127.0.0.1:53"),
        ("port = 53\nbind = \"::\"", "127.0.0.1:53"),
        ("port = 53", "localhost:53"),
        ("port = 53", "0.0.0.0:53"),
        ("port = 53\nbind = [\"10.0.0.1\", \"10.0.0.2\"]", "10.0.0.2:53"),
    ] {
        let line = server.lines().count() + 4;
        let place = format!("refractium.toml:{line}:22");
        has(&text(server, to), &[(&told(to), &place)]);
    }
    let to = "127.0.0.1:53";
    has(
        &format!("[server]\nport = 53\nfallback_udp = \"{to}\"\n"),
        &[(&told(to), "refractium.toml:3:16")],
    );
    let (found, said) = mistakes("", &["check", "-p", "53", "-f", "dns=127.0.0.1:53"]);
    assert_eq!(found, [(told(to), "command line:1:8".to_owned())], "{said}");
    // Another address, another port, and a route that is replaced.
    checked(&text("port = 53\nbind = \"127.0.0.2\"", to), &[]);
    checked(&text("port = 5353", to), &[]);
    checked(&text("port = 53", "198.18.0.1:53"), &[]);
    let options = ["-c", "refractium.toml", "-f", "dns=127.0.0.1:54"];
    checked(&text("port = 53", to), &options);
}

#[test]
fn two_routes_for_silence_say_why_that_cannot_be() {
    let text = |more: &str| {
        format!(
            "[[protocols]]\nname = \"ftp\"\nforward_to = \"a:1\"\n\
             [[protocols]]\nname = \"smtp\"\n{more}\nforward_to = \"a:1\"\n"
        )
    };
    let why = "`smtp` and `ftp` are both server-first: \
        a silent client says nothing that could tell them apart";
    let said = has(&text(""), &[(why, "refractium.toml:5:8")]);
    assert!(said.contains("the first is here"), "{said}");
    assert!(said.contains("`server_first = false`"), "{said}");
    has(&text("server_first = true"), &[(why, "refractium.toml:6:16")]);
    checked(&text("server_first = false"), &[]);
}

#[test]
fn the_word_that_was_meant_is_offered() {
    let route = |more: &str| format!("[[protocols]]\n{more}\n");
    for (text, place, meant) in [
        ("[sever]\n".to_owned(), "1:2", "server"),
        ("[server]\nprot = 1\n".into(), "2:1", "port"),
        ("[server]\nmax_connection = 1\n".into(), "2:1", "max_connections"),
        (route("name = \"shh\"\nforward_to = \"a:1\""), "2:8", "ssh"),
        (route("name = \"ssh\"\nforward = \"a:1\""), "3:1", "forward_to"),
        (route("name = \"a\"\npattern = \"x\"\nforward_to = \"a:1\""), "3:1", "patterns"),
        (route("name = \"dns\"\nresponse = 1\nforward_to = \"a:1\""), "3:1", "responses"),
        ("[server]\nmax_udp_session = 1\n".into(), "2:1", "max_udp_sessions"),
        (
            route("name = \"a\"\npatterns = \"x\"\ntransport = \"upd\"\nforward_to = \"a:1\""),
            "4:13",
            "udp",
        ),
    ] {
        let (found, said) = mistakes(&text, &["check"]);
        assert!(found.iter().any(|(_, it)| *it == format!("refractium.toml:{place}")), "{said}");
        assert!(said.contains(&format!("did you mean `{meant}`?")), "{said}");
    }
}

#[test]
fn names_and_addresses_are_checked_where_they_stand() {
    let route = |more: &str| format!("[[protocols]]\n{more}\n");
    for (text, message, place) in [
        ("[server]\nbind = \"localhost\"\n".to_owned(), "invalid IP address syntax", "2:8"),
        ("[server]\nbind = [\"::\", \"1.2.3\"]\n".into(), "invalid IP address syntax", "2:15"),
        (
            "[server]\nbind = [\"127.0.0.1\", \"0.0.0.0\"]\n".into(),
            "`127.0.0.1` is taken by `0.0.0.0` already",
            "2:9",
        ),
        ("[server]\nbind = [\"::\", \"::1\"]\n".into(), "`::1` is taken by `::` already", "2:15"),
        ("[server]\nport = \"80\"\n".into(), "a number from 0 to 65535, found string", "2:8"),
        ("[server]\nfallback_tcp = \"a\"\n".into(), "a port is missing", "2:16"),
        ("[server]\nport = 1\nport = 2\n".into(), "duplicate key", "3:1"),
        (route("name = \"http\"\nforward_to = []"), "this list is empty", "3:14"),
        (route("forward_to = \"a:1\""), "a route needs `name`", "1:1"),
        (route("name = \"http\""), "a route needs `forward_to`", "1:1"),
        (route("name = \"a b\"\nforward_to = \"a:1\""), "a name is made of letters", "2:8"),
        (
            route("name = \"https\"\nsni = \"*\"\nforward_to = \"a:1\""),
            "`*` alone stands for no name",
            "3:7",
        ),
        (
            route("name = \"https\"\nsni = [\"a.example\", \"a.*.example\"]\nforward_to = \"a:1\""),
            "a `*` can only be the whole first label",
            "3:21",
        ),
        (
            route("name = \"https\"\nhost = \"a.example\"\nforward_to = \"a:1\""),
            "routes of `https` are told apart by `sni`",
            "3:1",
        ),
        (
            route("name = \"ssh\"\nsni = \"a.example\"\nforward_to = \"a:1\""),
            "`ssh` names no host",
            "3:7",
        ),
        (
            route("name = \"ssh\"\ntransport = \"udp\"\nforward_to = \"a:1\""),
            "`ssh` is carried by tcp",
            "3:13",
        ),
    ] {
        let (found, said) = mistakes(&text, &["check"]);
        let place = format!("refractium.toml:{place}");
        assert!(
            found.iter().any(|(it, at)| it.contains(message) && *at == place),
            "{message}: {place}\n{said}"
        );
    }
}

#[test]
fn syntax_errors_point_at_their_place() {
    for (text, place) in [
        ("[server]\nport = \n", "2:8"),
        ("[server]\nport = 80 81\n", "2:8"),
        ("[server]\nport 80\n", "2:6"),
        ("[[protocols]]\nname = \"http\n", "2:13"),
        ("[[protocols]]\nname = \"app\"\npatterns = [\"\\xzz\"]\n", "3:16"),
    ] {
        let (found, said) = mistakes(text, &["check"]);
        assert_eq!(found[0].1, format!("refractium.toml:{place}"), "{said}");
    }
}

#[test]
fn a_mistake_in_an_option_is_shown_as_it_was_typed() {
    let sound = "[[protocols]]\nname = \"ssh\"\nforward_to = \"a:1\"\n";
    let words = ["-c", "refractium.toml", "-f", "htp=a:1", "-f", "http", "-f", "https:a.*=a:1"];
    let (found, said) = mistakes(sound, &words);
    let places: Vec<_> = found.iter().map(|(_, place)| place.as_str()).collect();
    assert_eq!(places, ["command line:1:4"; 3], "{said}");
    assert!(said.contains("-f htp=a:1") && said.contains("did you mean `http`?"), "{said}");
}

#[test]
fn nothing_starts_when_only_the_last_line_is_wrong() {
    let text = "[server]\nbind = \"127.0.0.1\"\nport = 0\n\
        [[protocols]]\nname = \"ssh\"\nforward_to = \"127.0.0.1:22\"\n\
        [[protocols]]\nname = \"http\"\nforward_to = \"127.0.0.1\"\n";
    has(text, &[("a port is missing: write HOST:PORT", "refractium.toml:9:14")]);
}

#[test]
fn a_file_that_routes_nothing_is_a_mistake() {
    has("", &[("there is no route and no fallback: nothing could be served", "")]);
}

#[test]
fn what_is_wrong_with_a_backend_is_shown_where_it_stands() {
    let text = r#"[[protocols]]
name = "ssh"
balance = "round_robbin"
forward_to = ["127.0.0.1:22", { address = "127.0.0.1", wieght = 3, weight = 0 }, { weight = 2 }]

[[protocols]]
name = "http"
balance = 3
forward_to = { address = "a:80", backup = "yes", max_connections = -1, weight = 257 }
"#;
    let said = has(
        text,
        &[
            ("`round_robbin` is no way to balance", "refractium.toml:3:11"),
            ("a port is missing: write HOST:PORT", "refractium.toml:4:43"),
            ("unknown key `wieght`", "refractium.toml:4:56"),
            ("expected a number from 1 to 256", "refractium.toml:4:77"),
            ("a backend needs `address`", "refractium.toml:4:82"),
            (
                "expected one of \"round_robin\", \"least_connections\", \"random_two\", \"source_hash\", found integer",
                "refractium.toml:8:11",
            ),
            ("expected true or false, found string", "refractium.toml:9:43"),
            ("expected a number from 0 to 10000000", "refractium.toml:9:68"),
            ("expected a number from 1 to 256", "refractium.toml:9:81"),
        ],
    );
    for help in ["did you mean `round_robin`?", "did you mean `weight`?"] {
        assert!(said.contains(help), "{said}");
    }
}

#[test]
fn what_srv_records_say_themselves_is_not_said_of_them() {
    let text = r#"[[protocols]]
name = "ssh"
forward_to = ["srv+_ssh._tcp.example:22", { weight = 3, address = "srv+_ssh._tcp.example" }, "srv+a b"]
"#;
    has(
        text,
        &[
            ("SRV records give the port: write srv+NAME without one", "refractium.toml:3:15"),
            ("SRV records say themselves what each target weighs", "refractium.toml:3:45"),
            ("`a b` is neither an IP address nor a host name", "refractium.toml:3:94"),
        ],
    );
}

#[test]
fn what_is_wrong_with_a_check_is_shown_where_it_stands() {
    let text = r#"[[protocols]]
name = "ssh"
forward_to = "a:1"
[protocols.health]
kind = "baner"
intervall_ms = 3

[[protocols]]
name = "http"
forward_to = "a:1"
[protocols.health]
kind = "http"
path = "health"
expect_status = [200, 99]
interval_ms = 0

[[protocols]]
name = "https"
forward_to = "a:1"
health = { kind = "tls", host = "*.a.example", timeout_ms = 6000, interval_ms = 5000 }

[[protocols]]
name = "ftp"
forward_to = "a:1"
health = { kind = "tcp", path = "/", send = "x" }

[[protocols]]
name = "app"
patterns = "app"
forward_to = "a:1"
health = { kind = "payload" }

[[protocols]]
name = "other"
patterns = "other"
forward_to = "a:1"
health = { kind = "payload", send = "" }
"#;
    let said = has(
        text,
        &[
            ("`baner` is no kind of check", "refractium.toml:5:8"),
            ("unknown key `intervall_ms`", "refractium.toml:6:1"),
            ("expected a path such as \"/health\"", "refractium.toml:13:8"),
            ("expected a number from 100 to 599", "refractium.toml:14:23"),
            ("expected a number from 1 to 86400000", "refractium.toml:15:15"),
            ("expected a host name such as \"a.example\"", "refractium.toml:20:33"),
            ("`timeout_ms` is longer than `interval_ms`", "refractium.toml:20:61"),
            ("`path` belongs to kind = \"http\"", "refractium.toml:25:26"),
            ("`send` belongs to kind = \"payload\"", "refractium.toml:25:38"),
            ("a check of kind \"payload\" needs `send`", "refractium.toml:31:10"),
            ("expected from 1 to 1200 bytes", "refractium.toml:37:37"),
        ],
    );
    for help in ["did you mean `banner`?", "did you mean `interval_ms`?"] {
        assert!(said.contains(help), "{said}");
    }
}

#[test]
fn a_check_fits_its_route() {
    let route = |name: &str, more: &str| {
        format!("[[protocols]]\nname = \"{name}\"\nforward_to = \"a:1\"\n{more}\n")
    };
    has(
        &route("ssh", "health = { kind = \"dns\" }"),
        &[("`dns` asks over UDP, and `ssh` is carried by TCP", "refractium.toml:4:19")],
    );
    let said = has(
        &route("dns", "close_on_down = true"),
        &[(
            "`dns` has no health check whose failure could close its connections",
            "refractium.toml:4:17",
        )],
    );
    assert!(said.contains("give it a `[protocols.health]` with a kind"), "{said}");
    checked(&route("dns", "close_on_down = true\nhealth = { kind = \"dns\" }"), &[]);
    checked(&route("ssh", "close_on_down = true"), &[]);
}

#[test]
fn datagrams_are_told_of_in_version_2() {
    let route = |name: &str, version: &str| {
        format!(
            "[[protocols]]\nname = \"{name}\"\nforward_to = \"a:1\"\nproxy_protocol = {version}\n"
        )
    };
    let message =
        "`dns` is carried by udp too, and datagrams have version 2 of the PROXY protocol alone";
    let said = has(&route("dns", "\"v1\""), &[(message, "refractium.toml:4:18")]);
    assert!(said.contains("write `proxy_protocol = \"v2\"`"), "{said}");
    let said = has(
        &route("ssh", "\"v3\""),
        &[("there is no such version of the PROXY protocol", "refractium.toml:4:18")],
    );
    assert!(said.contains("did you mean `v1`?") || said.contains("did you mean `v2`?"), "{said}");
    let expected = "expected one of \"v1\", \"v2\", found integer";
    has(&route("ssh", "2"), &[(expected, "refractium.toml:4:18")]);
    for (name, version) in [("dns", "v2"), ("ssh", "v1"), ("ssh", "v2")] {
        let said = checked(&route(name, &format!("\"{version}\"")), &[]);
        assert!(said.contains(&format!("proxy_protocol = \"{version}\"")), "{said}");
    }
}

#[test]
fn who_is_trusted_is_a_list_of_networks() {
    let server = |trusted: &str| {
        format!(
            "[server]\nproxy_protocol_from = {trusted}\n[[protocols]]\nname = \"ssh\"\nforward_to = \"a:1\"\n"
        )
    };
    let message = "neither an address nor a network";
    let said = has(
        &server("[\"10.0.0.0/8\", \"10.0.0.0/33\", \"lb.example\"]"),
        &[(message, "refractium.toml:2:38"), (message, "refractium.toml:2:53")],
    );
    assert!(said.contains("write a network such as \"10.0.0.0/8\", or an address"), "{said}");
    for (said, shown) in [
        ("[]", "[]"),
        ("\"10.0.0.1\"", "[\"10.0.0.1\"]"),
        ("[\"10.0.0.0/8\", \"::1/128\"]", "[\"10.0.0.0/8\", \"::1\"]"),
    ] {
        let checked = checked(&server(said), &[]);
        assert!(checked.contains(&format!("proxy_protocol_from {shown} line 2")), "{checked}");
    }
}

/// They have one port: the system would refuse the second, and not say whose the first is.
#[test]
fn addresses_that_cannot_be_bound_together_are_mistakes() {
    let ssh = "[[protocols]]\nname = \"ssh\"\nforward_to = \"127.0.0.1:9\"\n";
    for (typed, message) in [
        (&["::", "::1"][..], "`::1` is taken by `::` already"),
        (&["127.0.0.1", "0.0.0.0"], "`127.0.0.1` is taken by `0.0.0.0` already"),
        (&["127.0.0.1", "127.0.0.1"], "`127.0.0.1` stands here twice"),
        (&["::ffff:127.0.0.1"], "`::ffff:127.0.0.1` is an IPv4 address"),
    ] {
        let options: Vec<_> = typed.iter().flat_map(|it| ["-b", it]).collect();
        for command in [&["check"][..], &["tcp"], &[]] {
            let (found, said) = mistakes(ssh, &[command, &options].concat());
            let expected = (message.to_owned(), "command line:1:4".to_owned());
            assert_eq!(found, [expected], "{said}");
        }
        let list = format!("{typed:?}");
        let (found, said) = mistakes(&format!("[server]\nbind = {list}\n{ssh}"), &[]);
        assert_eq!(found.len(), 1, "{said}");
        assert_eq!(found[0].0, message, "{said}");
    }
    let (_, said) = mistakes(ssh, &["-b", "::ffff:127.0.0.1"]);
    assert!(said.contains("-b ::ffff:127.0.0.1") && said.contains("write 127.0.0.1"), "{said}");
    checked(ssh, &["-b", "::", "-b", "0.0.0.0"]);
    checked(ssh, &["-b", "::1", "-b", "127.0.0.1", "-b", "127.0.0.2"]);
}

#[test]
fn an_address_of_the_admin_that_routes_have_is_a_mistake() {
    let text = |server: &str, admin: &str, protocol: &str| {
        format!(
            "[admin]\nlisten = {admin}\n[server]\n{server}\n[[protocols]]\nname = \"{protocol}\"\nforward_to = \"10.0.0.1:9\"\n"
        )
    };
    for (server, admin, route) in [
        ("bind = \"127.0.0.1\"\nport = 90", "127.0.0.1:90", "127.0.0.1:90"),
        ("port = 90", "127.0.0.1:90", "0.0.0.0:90"),
        ("bind = \"127.0.0.1\"\nport = 90", "0.0.0.0:90", "127.0.0.1:90"),
        ("bind = \"::\"\nport = 90", "127.0.0.1:90", "[::]:90"),
    ] {
        let told = format!("the admin cannot listen on `{admin}`: routes are served on `{route}`");
        let text = text(server, &format!("\"{admin}\""), "ssh");
        has(&text, &[(&told, "refractium.toml:2:10")]);
    }
    // A typed port counts as well.
    let sound = text("port = 91", "\"127.0.0.1:90\"", "ssh");
    checked(&sound, &[]);
    let (found, said) = mistakes(&sound, &["-p", "90"]);
    assert_eq!(found.len(), 1, "{said}");
    // The system chooses another; and datagrams come to another socket.
    checked(&text("port = 0", "\"127.0.0.1:0\"", "ssh"), &[]);
    checked(&text("port = 90", "\"127.0.0.1:90\"", "dns"), &[]);
    checked(&text("bind = \"::1\"\nport = 90", "\"127.0.0.1:90\"", "ssh"), &[]);
    let told = "the admin cannot listen on `127.0.0.1:91`: it does on `0.0.0.0:91` already";
    let twice = text("port = 90", "[\"0.0.0.0:91\", \"127.0.0.1:91\"]", "ssh");
    has(&twice, &[(told, "refractium.toml:2:10")]);
}

#[test]
fn a_command_that_leaves_no_route_is_a_mistake() {
    for (command, other, protocol) in [("tcp", "udp", "dns"), ("udp", "tcp", "ssh")] {
        let text = format!("[[protocols]]\nname = \"{protocol}\"\nforward_to = \"127.0.0.1:9\"\n");
        let typed = format!("{protocol}=127.0.0.1:9");
        for words in [&[command][..], &[command, "-f", &typed]] {
            let (found, said) = mistakes(&text, words);
            assert_eq!(found.len(), 1, "{said}");
            let told = format!(
                "`{command}` was typed, and no route is for {command}: nothing could be served"
            );
            assert_eq!(found[0].0, told, "{said}");
            assert!(said.contains(&format!("leave out `{command}`")), "{other}: {said}");
        }
    }
}

/// What does not fit the protocol hides nothing else that is wrong with the route.
#[test]
fn all_that_does_not_fit_a_protocol_is_said_at_once() {
    let text = "[[protocols]]\nname = \"http\"\nforward_to = \"a:1\"\nalpn = \"h2\"\n\
        responses = 1\namplification_limit = 2\nclose_on_down = true\n\
        health = { kind = \"none\" }\n\
        [[protocols]]\nname = \"ssh\"\nforward_to = \"a:1\"\nhost = \"a\"\nalpn = \"h2\"\n\
        responses = 1\n";
    let (found, said) = mistakes(text, &["check"]);
    let places: Vec<_> = found.iter().map(|(_, place)| place.as_str()).collect();
    let expected = ["4:1", "5:1", "6:1", "7:1", "12:9", "13:8", "14:1"]
        .map(|it| format!("refractium.toml:{it}"));
    let lines = |places: &[&str]| -> Vec<String> {
        places.iter().filter_map(|it| it.split(':').nth(1).map(str::to_owned)).collect()
    };
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    assert_eq!(lines(&places), lines(&expected), "{said}");
}

#[test]
fn a_syntax_error_is_said_first_and_what_comes_of_it_is_not() {
    let text = "[server\nport = 80\n[[protocols]]\nname = \"ssh\"\nforward_to = \"a:1\"\n";
    let (found, said) = mistakes(text, &["check"]);
    assert_eq!(found[0].1, "refractium.toml:1:8", "{said}");
    assert!(!said.contains("expected tables"), "{said}");
    // It comes before what stands before it.
    let text =
        "[server]\nprot = 80\nport = \n[[protocols]]\nname = \"ssh\"\nforward_to = \"a:1\"\n";
    let (found, said) = mistakes(text, &["check"]);
    let places: Vec<_> = found.iter().map(|(_, place)| place.as_str()).collect();
    assert_eq!(places[..2], ["refractium.toml:3:8", "refractium.toml:2:1"], "{said}");
}
