//! Row C9: what is listened on.

use std::net::TcpListener;
use std::sync::mpsc::channel;

use refractium::Limits;

use super::*;
use crate::harness::{ask, until_refused};

#[test]
fn addresses_come_and_go_and_the_others_keep_their_sockets() {
    let ssh = Backend::echo("ssh");
    let routes = [("ssh", ssh.address())];
    let running = Running::start(builder(&routes));
    let mut client = joined(running.address, "ssh");
    let socket = inode(running.address).expect("a listener");
    let changes = running.reload_at(plan(&routes), &[loopback(), (Ipv4Addr::LOCALHOST, 0).into()]);
    // Port 0 is the port that the system has chosen already; the other is one more.
    let changes = changes.expect("a reload");
    let [(added, Transport::Tcp)] = changes.opened[..] else { panic!("{changes:?}") };
    assert!(changes.closed.is_empty(), "{changes:?}");
    joined(added, "ssh");
    assert_eq!(inode(running.address), Some(socket));
    let mut of_added = joined(added, "ssh");
    let changes = running.reload_at(plan(&routes), &[running.address]).expect("a reload");
    assert_eq!(changes.closed, [(added, Transport::Tcp)]);
    until_refused(added);
    assert_eq!(inode(running.address), Some(socket));
    echoes(&mut client);
    echoes(&mut of_added);
    drop((client, of_added));
    running.stop();
}

#[test]
fn one_that_cannot_be_bound_changes_nothing() {
    let (ssh, web) = (Backend::echo("ssh"), Backend::echo("web"));
    let running = Running::start(builder(&[("ssh", ssh.address())]));
    joined(running.address, "ssh");
    let socket = inode(running.address).expect("a listener");
    let free = crate::harness::refusing();
    let taken = TcpListener::bind(loopback()).expect("a port");
    let taken = taken.local_addr().expect("an address");
    for _ in 0..10 {
        let error = running.reload_at(plan(&[("http", web.address())]), &[free, taken]);
        let Err(Error::Bind { address, .. }) = error else { panic!("{error:?}") };
        assert_eq!(address, taken);
        assert_eq!(inode(free), None, "it was bound and is closed again");
        assert_eq!(inode(running.address), Some(socket));
        joined(running.address, "ssh");
        assert_eq!(ask(running.address, b"GET / HTTP/1.1\r\n\r\n"), b"", "no route leads there");
    }
    // And it works once it can.
    let changes = running.reload_at(plan(&[("http", web.address())]), &[free]).expect("a reload");
    assert_eq!(changes.closed, [(running.address, Transport::Tcp)]);
    assert!(ask(free, b"GET / HTTP/1.1\r\n\r\n").starts_with(b"web: "));
    until_refused(running.address);
    running.stop();
}

/// Clients that the kernel has shaken hands with are served, though nobody had accepted them yet.
#[test]
fn who_has_come_to_an_address_that_is_closed_is_served() {
    const CLIENTS: usize = 300;
    let ssh = Backend::echo("ssh");
    let routes = crate::harness::route("ssh", "", ssh.address());
    let proxy = Proxy::start_with("hot_reload = false", &routes, &[]);
    let other = crate::harness::refusing();
    save(&proxy, &text(&format!("hot_reload = false\n#{other}"), &routes));
    let moved = text("hot_reload = false", &routes)
        .replace("port = 0", &format!("port = {}", other.port()));
    save(&proxy, &moved);
    proxy.signal("STOP");
    let clients: Vec<_> = (0..CLIENTS).map(|_| proxy.connect()).collect();
    proxy.signal("HUP");
    proxy.signal("CONT");
    let served = clients.into_iter().filter(|mut client| {
        client.write_all(SSH).is_ok()
            && client.shutdown(std::net::Shutdown::Write).is_ok()
            && client.read_to_end(&mut Vec::new()).is_ok_and(|count| count > 0)
    });
    assert_eq!(served.count(), CLIENTS);
    until_refused(proxy.address());
    joined(other, "ssh");
    until("it to be told", || proxy.stderr().contains("not listening any more").then_some(()));
}

#[test]
fn the_program_listens_where_the_file_says() {
    let ssh = Backend::echo("ssh");
    let routes = crate::harness::route("ssh", "", ssh.address());
    let said = |bind: &str| {
        let text = text("hot_reload = false\nworkers = 2", &routes);
        text.replace("bind = \"127.0.0.1\"", &format!("bind = {bind}"))
    };
    let proxy = Proxy::start_with("hot_reload = false\nworkers = 2", &routes, &[]);
    let address = proxy.address();
    let socket = inode(address).expect("a listener");
    save(&proxy, &said("[\"127.0.0.1\", \"127.0.0.2\"]"));
    hang_up(&proxy);
    joined(address, "ssh");
    let stderr = proxy.stderr();
    let other = stderr.rsplit_once("listening local=").expect("a line").1;
    let other: SocketAddr = other.split_whitespace().next().expect("a word").parse().expect(other);
    assert_eq!(other.ip().to_string(), "127.0.0.2");
    for _ in 0..8 {
        joined(other, "ssh");
    }
    let taken = TcpListener::bind("127.0.0.3:0").expect("a port");
    let port = taken.local_addr().expect("an address").port();
    save(
        &proxy,
        &said("[\"127.0.0.1\", \"127.0.0.3\"]").replace("port = 0", &format!("port = {port}")),
    );
    let said_so = hang_up_in_vain(&proxy);
    assert!(said_so.contains(&format!("127.0.0.3:{port}")), "{said_so}");
    joined(address, "ssh");
    joined(other, "ssh");
    save(&proxy, &said("\"127.0.0.1\""));
    hang_up(&proxy);
    until_refused(other);
    joined(address, "ssh");
    assert_eq!(inode(address), Some(socket));
}

/// Row H11: where a name led to a backend that is gone we listen ourselves now.
#[test]
fn a_name_that_led_to_where_we_begin_to_listen_is_not_followed() {
    let ssh = Backend::echo("ssh");
    let place = ssh.address();
    let make = || {
        let route = format!("ssh=localhost:{}", place.port()).parse().expect("a forward");
        // A circle would end soon.
        let limits = Limits { max_connections: 64, ..Limits::default() };
        Refractium::builder().forward(route).limits(limits)
    };
    let (sender, told) = channel();
    let running = Running::start(make().observer(move |event: &Event<'_>| {
        let seen = match event {
            Event::Accepted { .. } => None,
            Event::LeadsBack { address, .. } => Some(*address),
            _ => return,
        };
        sender.send(seen).expect("somebody who listens");
    }));
    until("the name", || ask(running.address, SSH).starts_with(b"ssh: ").then_some(()));
    drop(ssh);
    assert!(told.try_iter().all(|it| it.is_none()));
    running.reload_at(make().plan().expect("a plan"), &[place]).expect("a reload");
    assert_eq!(ask(place, SSH), b"");
    let next = |_| told.recv_timeout(DEADLINE).expect("an event");
    let mut seen: Vec<_> = (0..2).map(next).collect();
    running.stop();
    seen.extend(told.try_iter());
    seen.sort_unstable();
    assert_eq!(seen, [None, Some(place)], "one client, and told once");
}
