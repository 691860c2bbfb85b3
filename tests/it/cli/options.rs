//! What is typed, what the file says, and which of them holds.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use rustls::crypto::ring::default_provider;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::{HTTP, SSH, checked, folder};
use crate::harness::{Backend, Proxy, ask, route, run};

/// Who answered.
fn who(address: SocketAddr, opening: &[u8]) -> String {
    let answer = ask(address, opening);
    let name = answer.split(|&byte| byte == b':').next().unwrap_or_default();
    assert!(answer.ends_with(opening), "the opening came back changed");
    String::from_utf8(name.to_vec()).expect("a name")
}

/// The first bytes of a TLS client that asks for this name.
fn hello(name: &str) -> Vec<u8> {
    let config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().expect("a name");
    let mut client = ClientConnection::new(Arc::new(config), name).expect("a client");
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).expect("room");
    bytes
}

fn forward(left: &str, to: &Backend) -> String {
    format!("{left}={}", to.address())
}

#[test]
fn init_writes_a_commented_file_that_passes_check() {
    let folder = tempfile::tempdir().expect("a folder");
    let (code, stdout, stderr) = run(folder.path(), &["init"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout.contains("wrote refractium.toml"), "{stdout}");
    let text = fs::read_to_string(folder.path().join("refractium.toml")).expect("a file");
    assert!(text.contains("[server]") && text.contains("[[protocols]]"), "{text}");
    assert!(text.lines().filter(|line| line.contains('#')).count() > 10, "{text}");
    let (code, _, stderr) = run(folder.path(), &["check"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    // What it offers in comments is sound too.
    let bare = |line: &str| {
        let is_offer = |line: &str| line.starts_with("[[") || line.contains(" = ");
        let bare = line.strip_prefix("# ").filter(|line| is_offer(line));
        bare.unwrap_or(line).to_owned() + "\n"
    };
    let offered: String = text.lines().map(bare).collect();
    assert_ne!(offered, text);
    let check = checked(&offered, &[]);
    let ssh = "\nssh tcp 127.0.0.1:22 with health.kind = \"banner\", health.expect = \"SSH-2.0\", \
               idle_timeout_ms = 43200000 line ";
    assert!(check.contains(ssh), "{check}");
    assert!(check.contains("\nmy_app tcp 127.0.0.1:9000 line "), "{check}");
    assert!(check.contains("\ndns udp 1.1.1.1:53 line "), "{check}");
    let game = "\nmy_game udp 127.0.0.1:9001 with idle_timeout_ms = 20000 line ";
    assert!(check.contains(game), "{check}");
    assert!(check.contains("\n(rest) udp 127.0.0.1:5353 line "), "{check}");
    // Every key there is stands in it, in use or in a comment.
    for key in [
        "udp_idle_timeout_ms = ",
        "max_udp_sessions = ",
        "max_udp_sessions_per_ip = ",
        "idle_timeout_ms = ",
        "responses = ",
        "amplification_limit = ",
    ] {
        let is_it = |line: &str| line.trim_start_matches("# ").starts_with(key);
        assert!(text.lines().any(is_it), "{key} is not in:\n{text}");
    }
}

#[test]
fn init_leaves_a_file_that_is_there_as_it_is() {
    let folder = folder("# mine\n");
    let (code, stdout, stderr) = run(folder.path(), &["init"]);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("refractium.toml"), "{stderr}");
    let text = fs::read_to_string(folder.path().join("refractium.toml")).expect("a file");
    assert_eq!(text, "# mine\n");
}

#[test]
fn init_leaves_a_link_that_leads_nowhere_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let link = folder.path().join("refractium.toml");
    std::os::unix::fs::symlink("elsewhere", &link).expect("a link");
    let (code, ..) = run(folder.path(), &["init"]);
    assert_eq!(code, 1);
    assert!(!folder.path().join("elsewhere").exists());
}

#[test]
fn options_stand_before_and_after_the_command() {
    let (http, ssh) = (Backend::echo("http"), Backend::echo("ssh"));
    let (http_to, ssh_to) = (forward("http", &http), forward("ssh", &ssh));
    for words in [
        ["-f", &http_to, "tcp", "-f", &ssh_to],
        ["tcp", "--forward", &http_to, "-f", &ssh_to],
        ["-f", &http_to, "--forward", &ssh_to, "tcp"],
    ] {
        let proxy = Proxy::with_options(&words);
        assert_eq!(who(proxy.address(), HTTP), "http", "{words:?}");
        assert_eq!(who(proxy.address(), SSH), "ssh", "{words:?}");
    }
}

#[test]
fn a_default_never_overwrites_what_the_file_says() {
    let ssh = Backend::echo("ssh");
    let text = "[server]\nbind = \"127.0.0.2\"\nport = 0\n".to_owned();
    let proxy = Proxy::spawn(folder(&(text + &route("ssh", "", ssh.address()))), &[]);
    assert_eq!(proxy.address().ip(), Ipv4Addr::new(127, 0, 0, 2));
    assert_ne!(proxy.port(), 8080);
    assert_eq!(who(proxy.address(), SSH), "ssh");
}

#[test]
fn what_is_typed_holds_against_the_file() {
    let ssh = Backend::echo("ssh");
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let text = format!("[server]\nbind = \"127.0.0.1\"\nport = {port}\n");
    let text = text + &route("ssh", "", ssh.address());
    for words in [&["-p", "0", "-b", "127.0.0.3"][..], &["tcp", "--port=0", "--bind=127.0.0.3"]] {
        let proxy = Proxy::spawn(folder(&text), words);
        assert_eq!(proxy.address().ip(), Ipv4Addr::new(127, 0, 0, 3));
        assert_ne!(proxy.port(), port);
        assert_eq!(who(proxy.address(), SSH), "ssh");
    }
    // One of them typed leaves the other to the file.
    let proxy = Proxy::spawn(folder(&text), &["-p", "0"]);
    assert_eq!(proxy.address().ip(), Ipv4Addr::LOCALHOST);
    let check = checked(&text, &["-b", "127.0.0.3"]);
    assert!(check.contains("\nbind \"127.0.0.3\" --bind\n"), "{check}");
    assert!(check.contains(&format!("\nport {port} line 3\n")), "{check}");
}

#[test]
fn several_addresses_may_be_typed() {
    let ssh = Backend::echo("ssh");
    let proxy = Proxy::with_options(&["-b", "127.0.0.2", "-f", &forward("ssh", &ssh)]);
    let addresses = proxy.addresses(2);
    let ips: Vec<_> = addresses.iter().map(SocketAddr::ip).collect();
    assert_eq!(ips, ["127.0.0.1", "127.0.0.2"].map(|ip| ip.parse::<IpAddr>().expect("an address")));
    for address in addresses {
        assert_eq!(who(address, SSH), "ssh");
    }
}

#[test]
fn a_typed_route_alone_reads_no_file_and_says_so() {
    let ssh = Backend::echo("typed");
    let words = ["-b", "127.0.0.1", "-p", "0", "-f", &forward("ssh", &ssh)];
    let proxy = Proxy::spawn(folder("this is no configuration"), &words);
    assert_eq!(who(proxy.address(), SSH), "typed");
    let (status, stdout, _) = proxy.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(stdout.contains("no configuration file is read"), "{stdout}");
}

#[test]
fn a_typed_route_replaces_the_files_of_the_same_left_side() {
    let [file_http, file_ssh, typed] = ["file http", "file ssh", "typed"].map(Backend::echo);
    let routes = route("http", "", file_http.address()) + &route("ssh", "", file_ssh.address());
    let proxy = Proxy::start_with("", &routes, &["-f", &forward("http", &typed)]);
    assert_eq!(who(proxy.address(), HTTP), "typed");
    assert_eq!(who(proxy.address(), SSH), "file ssh");
    assert!(!proxy.stdout().contains("no configuration file is read"));
    // The file's backend is replaced, not added to.
    for _ in 0..4 {
        assert_eq!(who(proxy.address(), HTTP), "typed");
    }
    // Another left side is another route.
    let proxy = Proxy::start_with("", &routes, &["-f", &forward("http:a.example", &typed)]);
    assert_eq!(who(proxy.address(), HTTP), "typed");
    assert_eq!(who(proxy.address(), b"GET / HTTP/1.1\r\nHost: b.example\r\n\r\n"), "file http");
}

#[test]
fn a_typed_route_replaces_one_name_of_several() {
    let [file, rest, typed] = ["file", "rest", "typed"].map(Backend::echo);
    let names = "sni = [\"a.example\", \"b.example\", \"*.c.example\"]";
    let routes = route("https", names, file.address()) + &route("https", "", rest.address());
    for name in ["https", "tls"] {
        let to = forward(&format!("{name}:B.example."), &typed);
        let proxy = Proxy::start_with("", &routes, &["-f", &to]);
        assert_eq!(who(proxy.address(), &hello("a.example")), "file", "{name}");
        assert_eq!(who(proxy.address(), &hello("b.example")), "typed", "{name}");
        assert_eq!(who(proxy.address(), &hello("x.c.example")), "file", "{name}");
        assert_eq!(who(proxy.address(), &hello("d.example")), "rest", "{name}");
    }
}

#[test]
fn typed_routes_come_first() {
    let [app, file, typed] = ["app", "file", "typed"].map(Backend::echo);
    let routes = route("my_app", "patterns = [\"GET /x\"]", app.address())
        + &route("ssh", "", file.address());
    let proxy = Proxy::start(&(routes.clone() + &route("http", "", file.address())));
    assert_eq!(who(proxy.address(), b"GET /x HTTP/1.1\r\n\r\n"), "app");
    let proxy = Proxy::start_with("", &routes, &["-f", &forward("http", &typed)]);
    assert_eq!(who(proxy.address(), b"GET /x HTTP/1.1\r\n\r\n"), "typed");
    assert_eq!(who(proxy.address(), SSH), "file");
}

#[test]
fn the_same_left_side_typed_again_adds_a_backend() {
    let [one, two, other] = ["one", "two", "other"].map(Backend::echo);
    let words = [("http", &one), ("ssh", &other), ("http", &two)].map(|(l, to)| forward(l, to));
    let proxy = Proxy::with_options(&["-f", &words[0], "-f", &words[1], "-f", &words[2]]);
    let mut answers: Vec<_> = (0..8).map(|_| who(proxy.address(), HTTP)).collect();
    answers.sort();
    assert_eq!(answers, ["one", "one", "one", "one", "two", "two", "two", "two"]);
    assert_eq!(who(proxy.address(), SSH), "other");
}

#[test]
fn with_neither_file_nor_route_it_names_init() {
    let folder = tempfile::tempdir().expect("a folder");
    for words in [&[][..], &["tcp"], &["check"], &["-p", "0"]] {
        let (code, stdout, stderr) = run(folder.path(), words);
        assert_eq!((code, stdout.as_str()), (2, ""), "{words:?}");
        assert!(stderr.contains("refractium init"), "{stderr}");
    }
}

#[test]
fn a_typed_file_that_is_not_there_is_an_error() {
    let folder = folder(&route("ssh", "", "127.0.0.1:1".parse().expect("an address")));
    for words in [&["-c", "none.toml"][..], &["-c", "none.toml", "-f", "ssh=127.0.0.1:1"]] {
        let (code, stdout, stderr) = run(folder.path(), words);
        assert_eq!((code, stdout.as_str()), (2, ""), "{words:?}");
        assert!(stderr.contains("none.toml"), "{stderr}");
    }
}

#[test]
fn a_typed_file_is_read_and_no_other() {
    let [typed, default] = ["typed", "default"].map(Backend::echo);
    let folder = folder(&route("ssh", "", default.address()));
    let other = "[server]\nbind = \"127.0.0.1\"\nport = 0\n".to_owned();
    let other = other + &route("ssh", "", typed.address());
    fs::write(folder.path().join("other.toml"), other).expect("room");
    let proxy = Proxy::spawn(folder, &["--config", "other.toml"]);
    assert_eq!(who(proxy.address(), SSH), "typed");
    // It only reads them.
    let files = fs::read_dir(proxy.folder()).expect("a folder").flatten();
    let mut names: Vec<_> = files.map(|file| file.file_name()).collect();
    names.sort();
    assert_eq!(names, ["other.toml", "refractium.toml"]);
}

#[test]
fn words_that_mean_nothing_are_usage_errors() {
    let folder = folder(&route("ssh", "", "127.0.0.1:1".parse().expect("an address")));
    for words in [&["serve"][..], &["--prot", "1"], &["-p", "65536"], &["-b", "localhost"], &["-f"]]
    {
        let (code, stdout, stderr) = run(folder.path(), words);
        assert_eq!((code, stdout.as_str()), (2, ""), "{words:?}");
        assert!(stderr.contains("error"), "{stderr}");
    }
}

/// It always writes the same to the same place: whoever types more expects something else.
#[test]
fn init_takes_no_options() {
    for words in [
        &["-c", "site.toml"][..],
        &["-p", "80"],
        &["-b", "127.0.0.1"],
        &["-f", "ssh=127.0.0.1:22"],
        &["--debug"],
    ] {
        let folder = tempfile::tempdir().expect("a folder");
        let (code, stdout, stderr) = run(folder.path(), &[&["init"], words].concat());
        assert_eq!((code, stdout.as_str()), (2, ""), "{words:?}");
        assert!(stderr.contains("`init` takes no options"), "{stderr}");
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 0, "{words:?}");
    }
}
