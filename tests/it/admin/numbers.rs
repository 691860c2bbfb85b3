//! Numbers that the admin shows, beside what clients and backends counted themselves.

use std::io::Write;
use std::net::Shutdown;

use refractium::admin::{BackendState, State};

use super::{ADMIN, admin_of, get, status, status_with};
use crate::harness::{Backend, Proxy, ask, opening, refusing, route, until};

const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

#[test]
fn the_status_tells_what_went_where() {
    let [web, shell] = ["web", "shell"].map(Backend::echo);
    let dead = refusing();
    let routes = [
        ADMIN,
        &format!(
            "[[protocols]]\nname = \"http\"\nforward_to = [\"{dead}\", \"{}\"]\nhealth = {{ kind = \"none\" }}\n\n",
            web.address()
        ),
        &route("ssh", "", shell.address()),
    ];
    let proxy = Proxy::start(&routes.concat());
    let admin = admin_of(&proxy);
    let (mut up, mut down) = (0, 0);
    for _ in 0..3 {
        down += ask(proxy.address(), HTTP).len();
        up += HTTP.len();
    }
    let hello = opening("ssh/git-over-ssh.bin");
    let mut held = proxy.connect();
    held.write_all(&hello).expect("room");
    ask(proxy.address(), b"nobody's\r\n");
    let seen = status_with(admin, "three closed, one open, one refused", |it| {
        let [http, ssh] = it.routes.as_slice() else { panic!("{it:?}") };
        let is_over =
            http.ended.get("closed") == Some(&3) && ssh.open == 1 && it.connections.open == 1;
        (is_over && it.connections.refused.contains_key("no_route")).then(|| it.clone())
    });
    assert_eq!(seen.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(seen.state, State::Serving);
    assert_eq!(seen.listeners.len(), 1);
    assert_eq!(seen.listeners[0].address, proxy.address());
    assert_eq!((seen.connections.total, seen.connections.open), (5, 1));
    assert_eq!(seen.connections.refused.get("no_route"), Some(&1));
    let [http, ssh] = seen.routes.as_slice() else { panic!("{seen:?}") };
    assert_eq!((http.label.as_str(), http.transport.as_str()), ("http", "tcp"));
    assert_eq!(http.decided.get("verdict"), Some(&3));
    let bytes = (u64::try_from(up).expect("few"), u64::try_from(down).expect("few"));
    assert_eq!((http.bytes_up, http.bytes_down), bytes);
    let [refuses, takes] = http.backends.as_slice() else { panic!("{http:?}") };
    assert_eq!((refuses.total, refuses.failures), (0, 1));
    assert_eq!(refuses.addresses[0].state, BackendState::Aside);
    assert_eq!((takes.total, takes.open, takes.failures), (3, 0, 0));
    assert_eq!(takes.addresses[0].state, BackendState::Alive);
    assert_eq!(takes.endpoint, web.address().to_string());
    assert_eq!((ssh.open, ssh.backends[0].open, ssh.backends[0].addresses[0].open), (1, 1, 1));
    held.shutdown(Shutdown::Write).expect("an open socket");
    status_with(admin, "nothing open", |it| (it.routes[1].open == 0).then_some(()));
}

#[test]
fn a_route_that_stays_counts_on_after_a_reload_and_a_new_one_from_nothing() {
    let [web, shell] = ["web", "shell"].map(Backend::echo);
    let http = route("http", "", web.address());
    let proxy = Proxy::start(&[ADMIN, &http].concat());
    let admin = admin_of(&proxy);
    ask(proxy.address(), HTTP);
    status_with(admin, "one", |it| (it.routes[0].decided.get("verdict") == Some(&1)).then_some(()));
    let file = proxy.folder().join("refractium.toml");
    let text = std::fs::read_to_string(&file).expect("a file");
    std::fs::write(&file, text + &route("ssh", "", shell.address())).expect("room");
    // What has not been is 0, and not missing.
    let none = [("done".to_owned(), 0), ("failed".to_owned(), 0)];
    assert_eq!(status_with(admin, "it", |it| Some(it.reloads.clone())), none.into());
    proxy.signal("HUP");
    let seen = status_with(admin, "two routes", |it| (it.routes.len() == 2).then(|| it.clone()));
    let labels: Vec<_> = seen.routes.iter().map(|it| it.label.as_str()).collect();
    assert_eq!(labels, ["http", "ssh"]);
    ask(proxy.address(), HTTP);
    ask(proxy.address(), &opening("ssh/git-over-ssh.bin"));
    status_with(admin, "two and one", |it| {
        let decided = |at: usize| it.routes[at].decided.get("verdict").copied();
        (decided(0) == Some(2) && decided(1) == Some(1)).then_some(())
    });
    let metrics = get(admin, "/metrics").body;
    assert!(metrics.contains("refractium_reloads_total{result=\"done\"} 1"), "{metrics}");
}

#[test]
fn it_is_ready_while_it_serves_and_not_while_it_drains() {
    let shell = Backend::echo("shell");
    let proxy = Proxy::start(&[ADMIN, &route("ssh", "", shell.address())].concat());
    let admin = admin_of(&proxy);
    until("that it is ready", || (get(admin, "/ready").code == 200).then_some(()));
    assert_eq!(get(admin, "/live").code, 200);
    let mut held = proxy.connect();
    held.write_all(&opening("ssh/git-over-ssh.bin")).expect("room");
    status_with(admin, "an open connection", |it| (it.routes[0].open == 1).then_some(()));
    proxy.signal("TERM");
    let drains = until("that it is not ready", || {
        let answer = get(admin, "/ready");
        (answer.code == 503).then_some(answer)
    });
    assert_eq!(drains.body, "draining\n");
    assert_eq!(get(admin, "/live").code, 200);
    assert_eq!(status(admin).state, State::Draining);
    held.shutdown(Shutdown::Write).expect("an open socket");
    let (ended, ..) = proxy.wait();
    assert!(ended.success());
}
