//! curl and OpenSSL to nginx, by the name in the ClientHello.

use std::io::{Seek, Write};

use super::http::curl;
use super::servers::{Web, program, succeed};
use super::world::World;
use crate::harness::need;

/// curl must be answered by this site, whose certificate it trusts and no other.
pub(super) fn curl_reaches(world: &World, host: &str, path: &str, site: &str) {
    let port = world.proxy.port();
    let mut command = curl();
    command.args(["--http2", "--resolve", &format!("{host}:{port}:127.0.0.1")]);
    command.arg("--cacert").arg(world.web().certificate(site));
    command.arg(format!("https://{host}:{port}{path}"));
    assert_eq!(succeed(command), Web::answer(site, path), "{host}");
    assert_eq!(world.web().saw(site, path), format!("{host} HTTP/2.0 {path}"));
}

/// OpenSSL must be answered by this site, whose certificate it trusts and no other.
pub(super) fn openssl_reaches(world: &World, sni: &[&str], path: &str, site: &str) {
    let mut request = tempfile::tempfile().expect("a file");
    write!(request, "GET {path} HTTP/1.0\r\n\r\n").expect("room");
    request.rewind().expect("a file");
    let mut command = program("openssl");
    command.args(["s_client", "-quiet", "-verify_return_error"]);
    command.args(["-connect", &world.proxy.address().to_string()]).args(sni);
    command.arg("-CAfile").arg(world.web().certificate(site)).stdin(request);
    let said = succeed(command);
    assert!(said.ends_with(&Web::answer(site, path)), "{sni:?}: {said}");
    let seen = world.web().saw(site, path);
    assert!(seen.contains(" HTTP/1.0 "), "{seen}");
}

#[test]
fn tls_goes_by_its_server_name() {
    if !need(&["nginx", "openssl", "curl"]) {
        return;
    }
    let world = World::shared();
    curl_reaches(&world, "a.example", "/curl/a", "tls-a");
    curl_reaches(&world, "x.b.example", "/curl/x.b", "tls-b");
    for (name, site) in [
        ("a.example", "tls-a"),
        ("A.EXAMPLE", "tls-a"),
        ("A.EXAMPLE.", "tls-a"),
        ("x.b.example", "tls-b"),
        ("X.y.B.Example.", "tls-b"),
        ("b.example", "tls-any"),
        ("a.example.org", "tls-any"),
        ("c.example", "tls-any"),
    ] {
        openssl_reaches(&world, &["-servername", name], &format!("/openssl/{name}"), site);
    }
}

#[test]
fn tls_without_a_name_goes_to_any_other_tls() {
    if !need(&["nginx", "openssl"]) {
        return;
    }
    let world = World::shared();
    openssl_reaches(&world, &["-noservername"], "/nameless", "tls-any");
    openssl_reaches(&world, &["-noservername", "-tls1_2"], "/nameless-1.2", "tls-any");
}

#[test]
fn alpn_is_settled_between_client_and_server() {
    if !need(&["nginx", "openssl", "curl"]) {
        return;
    }
    let world = World::shared();
    let port = world.proxy.port();
    for (option, version) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2.0")] {
        let path = format!("/alpn/{version}");
        let mut command = curl();
        command.args([option, "--resolve", &format!("a.example:{port}:127.0.0.1")]);
        command.arg("--cacert").arg(world.web().certificate("tls-a"));
        command.arg(format!("https://a.example:{port}{path}"));
        assert_eq!(succeed(command), Web::answer("tls-a", &path));
        assert_eq!(world.web().saw("tls-a", &path), format!("a.example {version} {path}"));
    }
}

#[test]
fn a_certificate_of_another_site_is_not_believed() {
    if !need(&["nginx", "openssl", "curl"]) {
        return;
    }
    // What the other tests lean on: trust in one site's certificate is none in another's.
    let world = World::shared();
    let port = world.proxy.port();
    let mut command = curl();
    command.args(["--resolve", &format!("x.b.example:{port}:127.0.0.1")]);
    command.arg("--cacert").arg(world.web().certificate("tls-a"));
    command.arg(format!("https://x.b.example:{port}/"));
    let (code, _, stderr) = crate::harness::run_command(command);
    assert_eq!(code, 60, "{stderr}"); // CURLE_PEER_FAILED_VERIFICATION
}
