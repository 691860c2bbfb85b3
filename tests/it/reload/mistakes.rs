//! Rows C1, C2, C11 and C16: a file that makes no sense changes nothing.

use super::*;
use crate::harness::route;

fn start(ssh: &Backend) -> Proxy {
    Proxy::start_with("hot_reload = false", &route("ssh", "", ssh.address()), &[])
}

#[test]
fn what_is_no_toml_is_pointed_at_and_changes_nothing() {
    let ssh = Backend::echo("ssh");
    let proxy = start(&ssh);
    let mut client = joined(proxy.address(), "ssh");
    let socket = inode(proxy.address());
    let sound = text("hot_reload = false", &route("ssh", "", ssh.address()));
    save(&proxy, &format!("{sound}[["));
    let said = hang_up_in_vain(&proxy);
    let line = sound.lines().count() + 1;
    assert!(said.contains(&format!("refractium.toml:{line}:")), "{line}: {said}");
    echoes(&mut client);
    joined(proxy.address(), "ssh");
    assert_eq!(inode(proxy.address()), socket);
}

#[test]
fn every_mistake_is_listed_at_once_and_none_of_it_is_followed() {
    let (ssh, web) = (Backend::echo("ssh"), Backend::echo("web"));
    let proxy = start(&ssh);
    let good = route("http", "", web.address());
    let wrong = "[[protocols]]\nname = \"htpp\"\nforward_to = \"127.0.0.1:1\"\n\
        [[protocols]]\nname = \"ssh\"\nforwrad_to = \"127.0.0.1:1\"\n";
    let server = "hot_reload = false\nproxy_protocol_from = [\"10.0.0.0/33\"]\nmax_connections = 0";
    save(&proxy, &text(server, &format!("{good}{wrong}")));
    let said = hang_up_in_vain(&proxy);
    for word in [
        "unknown protocol `htpp`",
        "did you mean `http`?",
        "forwrad_to",
        "did you mean `forward_to`?",
        "10.0.0.0/33",
        "max_connections",
        "refractium.toml:",
    ] {
        assert!(said.contains(word), "{word}: {said}");
    }
    joined(proxy.address(), "ssh");
    assert_eq!(crate::harness::ask(proxy.address(), b"GET / HTTP/1.1\r\n\r\n"), b"");
}

/// What cannot be followed changes nothing, that the file is watched neither.
#[test]
fn a_file_that_cannot_be_followed_is_watched_on() {
    let echoes = [Backend::echo("one"), Backend::echo("two")];
    let routes = echoes.each_ref().map(|it| route("ssh", "", it.address()));
    let proxy = Proxy::start_with("", &routes[0], &[]);
    let taken = std::net::TcpListener::bind(loopback()).expect("a port");
    let port = taken.local_addr().expect("an address").port();
    let wrong = text("hot_reload = false", &routes[1]);
    save(&proxy, &wrong.replace("port = 0", &format!("port = {port}")));
    until("a failure", || (failures(&proxy) == 1).then_some(()));
    save(&proxy, &text("", &routes[1]));
    until("a reload", || (reloads(&proxy) == 1).then_some(()));
    joined(proxy.address(), "two");
}

/// By signal, by the file, and by the library.
#[test]
fn a_good_one_after_a_bad_one_works_each_time() {
    let echoes = [Backend::echo("one"), Backend::echo("two")];
    let routes = echoes.each_ref().map(|it| route("ssh", "", it.address()));
    let proxy = start(&echoes[0]);
    for round in 0..50 {
        save(&proxy, "[server]\nport = \"none\"\n");
        hang_up_in_vain(&proxy);
        joined(proxy.address(), ["two", "one"][usize::from(round % 2 == 0)]);
        save(&proxy, &text("hot_reload = false", &routes[usize::from(round % 2 == 0)]));
        hang_up(&proxy);
        joined(proxy.address(), ["one", "two"][usize::from(round % 2 == 0)]);
    }
}

#[test]
fn the_library_reloads_after_a_failure_each_time() {
    let echoes = [Backend::echo("one"), Backend::echo("two")];
    let running = Running::start(builder(&[("ssh", echoes[0].address())]));
    let taken = std::net::TcpListener::bind(loopback()).expect("a port");
    let taken = taken.local_addr().expect("an address");
    for round in 0..50 {
        let to = usize::from(round % 2 == 0);
        let next = || plan(&[("ssh", echoes[to].address())]);
        running.reload_at(next(), &[running.address, taken]).expect_err("it is taken");
        joined(running.address, ["one", "two"][1 - to]);
        running.reload_at(next(), &[running.address]).expect("a reload");
        joined(running.address, ["one", "two"][to]);
    }
    running.stop();
}
