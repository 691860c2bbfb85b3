//! The whole program once through: bytes reach the backend that is theirs, and its answer comes back.

use crate::harness::{Backend, Proxy, ask, route};

#[test]
fn each_protocol_reaches_its_backend() {
    let (http, ssh) = (Backend::echo("http"), Backend::echo("ssh"));
    let proxy =
        Proxy::start(&(route("http", "", http.address()) + &route("ssh", "", ssh.address())));
    assert_eq!(ask(proxy.address(), b"GET / HTTP/1.1\r\n\r\n"), b"http: GET / HTTP/1.1\r\n\r\n");
    assert_eq!(ask(proxy.address(), b"SSH-2.0-x\r\n"), b"ssh: SSH-2.0-x\r\n");
    let (status, ..) = proxy.terminate();
    assert_eq!(status.code(), Some(0));
}

#[test]
fn tcp_alone_ignores_the_routes_of_udp() {
    let (ssh, dns) = (Backend::echo("ssh"), Backend::echo("dns"));
    let routes = route("ssh", "", ssh.address()) + &route("dns", "", dns.address());
    let (_, stdout, _) = Proxy::start(&routes).terminate();
    assert!(stdout.contains("(udp)") && stdout.contains("dns"), "{stdout}");
    let tcp = Proxy::start_with("", &routes, &["tcp"]);
    assert_eq!(ask(tcp.address(), b"SSH-2.0-x\r\n"), b"ssh: SSH-2.0-x\r\n");
    let (status, stdout, _) = tcp.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(!stdout.contains("udp") && !stdout.contains("dns"), "{stdout}");
}
