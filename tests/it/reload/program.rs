//! What the program follows, and what takes a restart.

use std::time::Instant;

use super::*;
use crate::harness::{ask, route, run};

const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// Row C13: what was typed goes before the file, after a reload as at start.
#[test]
fn what_was_typed_goes_on_before_the_file() {
    let [typed, filed, rest] = ["typed", "filed", "rest"].map(Backend::echo);
    let option = format!("ssh={}", typed.address());
    let ssh = route("ssh", "", filed.address());
    let options = ["-f", &option, "-b", "127.0.0.1", "-p", "0"];
    let proxy = Proxy::start_with("hot_reload = false", &ssh, &options);
    joined(proxy.address(), "typed");
    let http = route("http", "", filed.address());
    let fallback = format!("fallback_tcp = \"{}\"", rest.address());
    let said = text(&format!("hot_reload = false\n{fallback}"), &format!("{ssh}{http}"));
    // The file says another port and another address, which were typed.
    save(&proxy, &said.replace("port = 0", "port = 1").replace("127.0.0.1\"\n", "127.0.0.9\"\n"));
    hang_up(&proxy);
    joined(proxy.address(), "typed");
    assert!(ask(proxy.address(), HTTP).starts_with(b"filed: "), "the file's own routes are there");
    assert!(ask(proxy.address(), b"x\r\n").starts_with(b"rest: "));
    save(&proxy, &text("hot_reload = false", &http));
    hang_up(&proxy);
    joined(proxy.address(), "typed");
    assert_eq!(ask(proxy.address(), b"x\r\n"), b"", "what the file says no more is the default");
}

#[test]
fn what_takes_a_restart_is_said_once() {
    let ssh = Backend::echo("ssh");
    let routes = route("ssh", "", ssh.address());
    let proxy = Proxy::start_with("hot_reload = false\nworkers = 1", &routes, &[]);
    save(&proxy, &text("hot_reload = false\nworkers = 2", &routes));
    for _ in 0..3 {
        hang_up(&proxy);
    }
    let said = proxy.stderr();
    assert_eq!(said.matches("`workers` takes a restart").count(), 1, "{said}");
    joined(proxy.address(), "ssh");
}

#[test]
fn warnings_of_the_new_file_are_in_the_log() {
    let ssh = Backend::echo("ssh");
    let routes = route("ssh", "", ssh.address());
    let proxy = Proxy::start_with("hot_reload = false", &routes, &[]);
    let hidden = route("mine", "patterns = [\"SSH-2.0-mine\"]", ssh.address());
    save(&proxy, &text("hot_reload = false", &format!("{routes}{hidden}")));
    hang_up(&proxy);
    assert!(proxy.stderr().contains("mine"), "{}", proxy.stderr());
}

#[test]
fn without_a_file_there_is_nothing_to_reload() {
    let ssh = Backend::echo("ssh");
    let proxy = Proxy::with_options(&["-f", &format!("ssh={}", ssh.address())]);
    let mut client = joined(proxy.address(), "ssh");
    let said = hang_up_in_vain(&proxy);
    assert!(said.contains("no file is read"), "{said}");
    echoes(&mut client);
    joined(proxy.address(), "ssh");
}

/// Routes for UDP may come where there were none, and go.
#[test]
fn a_transport_comes_and_goes_with_its_routes() {
    let (ssh, game) = (Backend::echo("ssh"), crate::harness::udp::Backend::echo("game"));
    let tcp = route("ssh", "", ssh.address());
    let udp = route("game", "patterns = [\"GAME\"]\ntransport = \"udp\"", game.address());
    // Where nobody else has the port of the other transport by chance.
    let bind = crate::harness::udp::own_ip().to_string();
    let proxy = Proxy::start_with("hot_reload = false", &tcp, &["-b", &bind]);
    save(&proxy, &text("hot_reload = false", &format!("{tcp}{udp}")));
    hang_up(&proxy);
    // On the port that the system chose for TCP.
    crate::harness::udp::Client::of(proxy.address()).reaches("game", b"GAME on");
    joined(proxy.address(), "ssh");
    save(&proxy, &text("hot_reload = false", &tcp));
    hang_up(&proxy);
    until("it to be told", || proxy.stderr().contains("not listening any more").then_some(()));
}

/// Row C14: 10,000 routes, a megabyte.
#[test]
fn ten_thousand_routes_are_read_and_reloaded() {
    let web = Backend::echo("web");
    let one = |at: usize| {
        let host = format!("host = \"host-{at}.of-a-name-that-is-long-enough.example\"");
        route("http", &host, web.address())
    };
    let routes: String = (0..10_000).map(one).collect();
    let ssh = Backend::echo("ssh");
    let first = route("ssh", "", ssh.address());
    let proxy = Proxy::start_with("hot_reload = false", &first, &[]);
    let all = text("hot_reload = false", &format!("{first}{routes}"));
    assert!(all.len() > 1_000_000, "{}", all.len());
    save(&proxy, &all);
    let start = Instant::now();
    let (code, ..) = run(proxy.folder(), &["check"]);
    let checked = start.elapsed();
    assert_eq!(code, 0);
    let start = Instant::now();
    hang_up(&proxy);
    println!("checked in {checked:?}, reloaded in {:?}", start.elapsed());
    let asked = b"GET / HTTP/1.1\r\nHost: host-9999.of-a-name-that-is-long-enough.example\r\n\r\n";
    assert!(ask(proxy.address(), asked).starts_with(b"web: "));
    joined(proxy.address(), "ssh");
}
