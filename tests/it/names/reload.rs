//! SRV records while the configuration changes.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::dns::{Answer, Dns};
use super::srv::to;
use super::{OFTEN, OPENING, name};
use crate::harness::{Backend, Proxy, ask, route, until};
use crate::reload::{hang_up, save, text};

const SERVER: &str = "resolve_interval_ms = 100\nconnect_timeout_ms = 400";

/// A client that its backend has answered, and is held.
fn held(proxy: &Proxy) -> TcpStream {
    let mut client = proxy.connect();
    client.write_all(OPENING).expect("room");
    echoed(&mut client, &[b"a: ", OPENING].concat());
    client
}

fn echoed(client: &mut TcpStream, expected: &[u8]) {
    let mut got = vec![0; expected.len()];
    client.read_exact(&mut got).expect("an echo");
    assert_eq!(String::from_utf8_lossy(&got), String::from_utf8_lossy(expected));
}

/// Its backends stay, with what is known of them, though nobody answers for their name any more.
#[test]
fn a_reload_keeps_the_backends_of_records_and_interrupts_nobody() {
    let Some(dns) = Dns::start() else { return };
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    dns.says("here.test", Answer::Addresses(vec![Ipv4Addr::LOCALHOST.into()]));
    let of = |backend: &Backend| vec![(1, 1, backend.address().port(), "here.test")];
    dns.says("full.test", Answer::Services(of(&a)));
    dns.says("svc.test", Answer::Services(of(&b)));
    let kept = to("full.test", ", max_connections = 1")
        + &to("svc.test", "").replace("name = \"ssh\"", "name = \"app\"\npatterns = \"APP\"");
    let proxy = dns.proxy(SERVER, &kept, &[]);
    let mut client = held(&proxy);
    assert_eq!(ask(proxy.address(), b"APP"), b"b: APP");
    dns.says("full.test", Answer::None);
    dns.says("svc.test", Answer::None);
    let is_over = Arc::new(AtomicBool::new(false));
    let others = thread::spawn({
        let (is_over, to) = (Arc::clone(&is_over), proxy.address());
        move || {
            let mut served = 0;
            while !is_over.load(Ordering::Relaxed) {
                assert_eq!(ask(to, b"APP"), b"b: APP");
                served += 1;
            }
            served
        }
    });
    let other = route("http", "", b.address());
    for round in 0..6 {
        let routes = if round % 2 == 0 { kept.clone() + &other } else { kept.clone() };
        save(&proxy, &text(SERVER, &routes));
        hang_up(&proxy);
        client.write_all(b"still here\n").expect("room");
        echoed(&mut client, b"still here\n");
    }
    assert_eq!(ask(proxy.address(), OPENING), b"", "its place is taken still");
    is_over.store(true, Ordering::Relaxed);
    assert!(others.join().expect("each is served") > 0);
    drop(client);
    until("its place", || (name(&proxy) == "a").then_some(()));
}

/// They are known when the reload is told of, and nobody asks for them any more when their route is gone.
#[test]
fn a_reload_adds_and_removes_a_route_to_records() {
    let Some(dns) = Dns::start() else { return };
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    dns.says("here.test", Answer::Addresses(vec![Ipv4Addr::LOCALHOST.into()]));
    let records = [&a, &b].map(|it| (1, 1, it.address().port(), "here.test"));
    dns.says("svc.test", Answer::Services(records.to_vec()));
    let plain = route("http", "", b.address());
    let proxy = dns.proxy(OFTEN, &plain, &[]);
    assert_eq!(ask(proxy.address(), OPENING), b"");
    assert_eq!(dns.asked(), 0);
    save(&proxy, &text(OFTEN, &(plain.clone() + &to("svc.test", ""))));
    hang_up(&proxy);
    let mut both = [name(&proxy), name(&proxy)];
    both.sort_unstable();
    assert_eq!(both, ["a", "b"]);
    let asked = dns.asked();
    until("it to be asked again", || (dns.asked() >= asked + 4).then_some(()));
    save(&proxy, &text(OFTEN, &plain));
    hang_up(&proxy);
    assert_eq!(ask(proxy.address(), OPENING), b"");
    // What was on its way is answered within the interval; then nothing comes for ten of them.
    crate::harness::pause(std::time::Duration::from_millis(300));
    let asked = dns.asked();
    crate::harness::pause(std::time::Duration::from_millis(1000));
    assert_eq!(dns.asked(), asked);
}
