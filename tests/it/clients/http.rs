//! curl to nginx, by host.

use std::process::Command;

use super::servers::{Web, program, succeed};
use super::world::World;
use crate::harness::{Backend, Proxy, ask, need, route};

/// curl without the user's settings, under a deadline.
pub(super) fn curl() -> Command {
    let mut command = program("curl");
    command.args(["-q", "--silent", "--show-error", "--noproxy", "*", "--max-time", "15"]);
    command
}

/// A request for a host must be answered by this site, and be in its log alone.
pub(super) fn reaches(world: &World, host: &str, path: &str, site: &str) {
    let mut command = curl();
    let port = world.proxy.port();
    command.args(["--http1.1", "--resolve", &format!("{host}:{port}:127.0.0.1")]);
    command.arg(format!("http://{host}:{port}{path}"));
    assert_eq!(succeed(command), Web::answer(site, path), "{host}");
    assert_eq!(world.web().saw(site, path), format!("- HTTP/1.1 {path}"));
}

#[test]
fn http_goes_by_host_and_what_has_no_route_of_its_own_to_the_rest() {
    if !need(&["nginx", "openssl", "curl"]) {
        return;
    }
    let world = World::shared();
    for (host, site) in [
        ("one.example", "one"),
        ("two.example", "two"),
        ("deep.er.two.example", "two"),
        ("x.one.example", "plain"),
        ("plain.example", "plain"),
    ] {
        reaches(&world, host, &format!("/by-host/{host}"), site);
    }
    let literal = format!("http://{}/by-address", world.proxy.address());
    let mut command = curl();
    command.arg(literal);
    assert_eq!(succeed(command), Web::answer("plain", "/by-address"));
    world.web().saw("plain", "/by-address");
}

#[test]
fn http2_without_tls_is_known_by_its_preface() {
    if !need(&["nginx", "openssl", "curl"]) {
        return;
    }
    let world = World::shared();
    let ssh = Backend::echo("ssh");
    let routes = route("ssh", "", ssh.address()) + &route("http", "", world.web().address("h2c"));
    let proxy = Proxy::start(&routes);
    let mut command = curl();
    command.args(["--http2-prior-knowledge", &format!("http://{}/preface", proxy.address())]);
    assert_eq!(succeed(command), Web::answer("h2c", "/preface"));
    assert_eq!(world.web().saw("h2c", "/preface"), "- HTTP/2.0 /preface");
    assert_eq!(ask(proxy.address(), b"SSH-2.0-x\r\n"), b"ssh: SSH-2.0-x\r\n");
}
