//! Row S3: who asks the admin what, and how.

use super::{ADMIN, admin_of, get, send};
use crate::harness::{Backend, Proxy, route};

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
    assert_eq!(get(admin, "/../etc/passwd").code, 404);
    let head = get(admin, "/status").head;
    for line in ["cache-control: no-store", "x-content-type-options: nosniff", "connection: close"]
    {
        assert!(head.contains(line), "{head}");
    }
}
