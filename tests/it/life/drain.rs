//! The end of the program while something is open: what may finish, and what is said of it.

use std::io::{Read, Write};
use std::net::Shutdown;

use super::{joined, said, told};
use crate::harness::udp::{Backend, Client};
use crate::harness::{Backend as Stream, Proxy, route};

/// P4: an idle tunnel stays until it ends, a session until it has been quiet for a while; the log says what is waited for.
#[test]
fn a_drain_waits_for_tunnels_and_sessions_and_says_so() {
    let (ssh, app) = (Stream::echo("ssh"), Backend::echo("app"));
    let udp = "patterns = [\"APP\"]\ntransport = \"udp\"";
    let routes = route("ssh", "", ssh.address()) + &route("app", udp, app.address());
    let proxy = Proxy::start_with("", &routes, &[]);
    let (mut tunnel, session) = (joined(&proxy), Client::of(proxy.address()));
    session.reaches("app", b"APP 1");
    let undecided = proxy.connect();
    proxy.signal("TERM");
    told(&proxy, &["waiting open=3 of=\"1 ssh, 1 app, 1 other\"", "left="]);
    drop(undecided);
    session.reaches("app", b"APP 2");
    let newcomer = Client::of(proxy.address());
    newcomer.send(b"APP of a newcomer");
    session.reaches("app", b"APP 3");
    let seen: Vec<_> = app.rest().into_iter().map(|it| it.bytes).collect();
    assert_eq!(seen, [b"APP 1", b"APP 2", b"APP 3"]);
    told(&proxy, &["waiting open=1 of=\"1 ssh\"", "left="]);
    tunnel.write_all(b"the last").expect("an open connection");
    tunnel.shutdown(Shutdown::Write).expect("an open socket");
    let mut rest = Vec::new();
    tunnel.read_to_end(&mut rest).expect("the rest");
    assert_eq!(rest, b"the last");
    let lines = said(&proxy, "waiting").len();
    let (status, _, stderr) = proxy.wait();
    assert_eq!(status.code(), Some(0));
    assert!(stderr.contains("ended cut=0"), "{stderr}");
    assert!((2..=6).contains(&lines), "every five seconds: {stderr}");
}
