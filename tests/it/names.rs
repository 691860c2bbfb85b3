//! Host names of backends: a DNS server that this test is moves them, fails and lies; traffic tells what becomes of that.

mod dns;
mod outage;
mod reload;
mod srv;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::harness::{Backend, Proxy, ask, refusing, route, until};
use dns::{Answer, Dns};

const OPENING: &[u8] = b"SSH-2.0-test\r\n";

fn name(proxy: &Proxy) -> String {
    let answer = String::from_utf8_lossy(&ask(proxy.address(), OPENING)).into_owned();
    answer.split(": ").next().expect("a word").to_owned()
}

fn names(proxy: &Proxy, count: usize) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for _ in 0..count {
        *counts.entry(name(proxy)).or_insert(0) += 1;
    }
    counts
}

/// Backends with one port, each at an address and with a name of its own.
fn backends<const N: usize>(list: [(IpAddr, &'static str); N]) -> (u16, Vec<Backend>) {
    until("a port that is free at every address", || {
        let (first, word) = list[0];
        let first = Backend::echo_at((first, 0).into(), word);
        let port = first.address().port();
        let free = |(ip, _): &(IpAddr, &str)| std::net::TcpListener::bind((*ip, port)).is_ok();
        if !list[1..].iter().all(free) {
            return None;
        }
        let rest = list[1..].iter().map(|(ip, word)| Backend::echo_at((*ip, port).into(), word));
        Some((port, std::iter::once(first).chain(rest).collect()))
    })
}

fn at(last: u8) -> IpAddr {
    Ipv4Addr::new(127, 0, 3, last).into()
}

/// A route of `ssh` to this name.
fn to(name: &str, port: u16) -> String {
    format!("[[protocols]]\nname = \"ssh\"\nforward_to = \"{name}:{port}\"\n")
}

const OFTEN: &str = "resolve_interval_ms = 100";

/// Row H9: a name moves, and traffic follows; whatever then becomes of DNS, clients are served where it was last.
#[test]
fn traffic_follows_a_name_and_the_last_good_answer_outlives_its_server() {
    let Some(dns) = Dns::start() else { return };
    let (port, _backends) = backends([(at(1), "a"), (at(2), "b")]);
    dns.says("moving.test", Answer::Addresses(vec![at(1)]));
    let proxy = dns.proxy(OFTEN, &to("moving.test", port), &[]);
    assert_eq!(names(&proxy, 5), HashMap::from([("a".to_owned(), 5)]));
    dns.says("moving.test", Answer::Addresses(vec![at(2)]));
    until("traffic to follow", || (name(&proxy) == "b").then_some(()));
    for failure in [Answer::Code(3), Answer::Code(2), Answer::Addresses(Vec::new()), Answer::None] {
        dns.says("moving.test", failure.clone());
        let asked = dns.asked();
        until("it to be asked again", || (dns.asked() >= asked + 4).then_some(()));
        assert_eq!(names(&proxy, 5), HashMap::from([("b".to_owned(), 5)]), "{failure:?}");
    }
    until("it to be told", || proxy.stderr().contains("cannot resolve now").then_some(()));
    dns.says("moving.test", Answer::Addresses(vec![at(1)]));
    until("traffic to follow", || (name(&proxy) == "a").then_some(()));
}

/// All addresses are backends, of both families, with the liveness of each.
#[test]
fn every_address_of_a_name_is_used() {
    let Some(dns) = Dns::start() else { return };
    let six = IpAddr::V6(Ipv6Addr::LOCALHOST);
    let (port, mut backends) = backends([(six, "six"), (at(1), "a"), (at(2), "b")]);
    dns.says("many.test", Answer::Addresses(vec![at(1), at(2), six]));
    let proxy = dns.proxy(OFTEN, &to("many.test", port), &[]);
    let even = ["six", "a", "b"].map(|name| (name.to_owned(), 4));
    assert_eq!(names(&proxy, 12), HashMap::from(even));
    drop(backends.remove(1));
    let left = names(&proxy, 12);
    assert_eq!(left.get("six").zip(left.get("b")).map(|(six, b)| six + b), Some(12), "{left:?}");
}

/// Row H9: two hundred records, which no datagram of DNS carries.
#[test]
fn a_name_may_have_two_hundred_addresses() {
    let Some(dns) = Dns::start() else { return };
    let many: Vec<_> = (1..=200).map(at).collect();
    let backend = Backend::echo_at((Ipv4Addr::UNSPECIFIED, 0).into(), "a");
    dns.says("many.test", Answer::Addresses(many));
    let routes = to("many.test", backend.address().port());
    let proxy = dns.proxy(OFTEN, &routes, &["--debug"]);
    assert_eq!(names(&proxy, 200), HashMap::from([("a".to_owned(), 200)]));
    let said = until("all to be told", || {
        let said = proxy.stderr();
        (said.matches(" welded ").count() == 200).then_some(said)
    });
    let used = (1..=200).filter(|last| said.contains(&format!("address={}:", at(*last)))).count();
    assert_eq!(used, 200);
}

/// The first client of another route comes before the slow name is given up.
#[test]
fn a_name_that_is_slow_keeps_nobody_waiting() {
    let Some(dns) = Dns::start() else { return };
    dns.says("slow.test", Answer::None);
    let backend = Backend::echo("a");
    let routes = route("http", "", backend.address()) + &to("slow.test", 1);
    let proxy = dns.proxy("connect_timeout_ms = 60000", &routes, &[]);
    let answer = ask(proxy.address(), b"GET / HTTP/1.1\r\n\r\n");
    assert!(answer.starts_with(b"a: "), "{answer:?}");
    // Nor does its own: it is down.
    assert_eq!(ask(proxy.address(), OPENING), b"");
    assert!(!proxy.stderr().contains("cannot resolve"), "{}", proxy.stderr());
    assert!(dns.asked() > 0);
}

#[test]
fn a_name_that_is_not_there_at_start_is_tried_again() {
    let Some(dns) = Dns::start() else { return };
    let backend = Backend::echo("a");
    dns.says("late.test", Answer::Code(3));
    let proxy = dns.proxy("", &to("late.test", backend.address().port()), &[]);
    assert_eq!(ask(proxy.address(), OPENING), b"");
    dns.says("late.test", Answer::Addresses(vec![Ipv4Addr::LOCALHOST.into()]));
    // Well before the usual interval of half a minute.
    until("it to be found", || (name(&proxy) == "a").then_some(()));
}

/// Row H11: a name that leads back to us is not followed, at start and later.
#[test]
fn a_name_that_leads_back_is_not_followed() {
    let Some(dns) = Dns::start() else { return };
    let port = refusing().port();
    let backend = Backend::echo_at((at(1), port).into(), "a");
    let own: IpAddr = Ipv4Addr::LOCALHOST.into();
    dns.says("back.test", Answer::Addresses(vec![own]));
    let options = ["--debug", "-p", &port.to_string()];
    let proxy = dns.proxy(OFTEN, &to("back.test", port), &options);
    let told = || proxy.stderr().matches("a backend is this program itself").count();
    until("it to be told", || (told() == 1).then_some(()));
    assert_eq!(ask(proxy.address(), OPENING), b"");
    dns.says("back.test", Answer::Addresses(vec![own, at(1)]));
    until("the other address to be found", || (name(&proxy) == "a").then_some(()));
    assert_eq!(names(&proxy, 10), HashMap::from([("a".to_owned(), 10)]));
    dns.says("back.test", Answer::Addresses(vec![own]));
    let asked = dns.asked();
    until("it to be asked again", || (dns.asked() >= asked + 4).then_some(()));
    assert_eq!(names(&proxy, 5), HashMap::from([("a".to_owned(), 5)]), "the last good answer");
    assert_eq!(told(), 1, "told once while it lasts");
    // Nobody but clients ever connected.
    nobody_but_clients_connected(&proxy);
    drop(backend);
}

/// Whoever was accepted has said something; each is told of.
fn nobody_but_clients_connected(proxy: &Proxy) {
    until("as many decisions as clients", || {
        let said = proxy.stderr();
        let count = |word: &str| said.matches(word).count();
        (count(" accepted ") == count(" decided ")).then_some(())
    });
}

/// A datagram's route as well.
#[test]
fn datagrams_follow_a_name_too() {
    let Some(dns) = Dns::start() else { return };
    let socket = |ip: IpAddr, port| std::net::UdpSocket::bind((ip, port));
    let (one, other) = until("a port that is free at both", || {
        let one = socket(at(1), 0).ok()?;
        let other = socket(at(2), one.local_addr().ok()?.port()).ok()?;
        Some((one, other))
    });
    let port = one.local_addr().expect("an address").port();
    for backend in [&one, &other] {
        backend.set_read_timeout(Some(crate::harness::DEADLINE)).expect("an open socket");
    }
    dns.says("moving.test", Answer::Addresses(vec![at(1)]));
    let routes = to("moving.test", port)
        .replace("name = \"ssh\"", "name = \"app\"\npatterns = \"A\"\ntransport = \"udp\"");
    let proxy = dns.proxy(OFTEN, &routes, &[]);
    let ask = |to: SocketAddr| {
        let client = socket(Ipv4Addr::LOCALHOST.into(), 0).expect("a port");
        client.send_to(b"A", to).expect("sent");
    };
    ask(proxy.address());
    one.recv_from(&mut [0; 8]).expect("a datagram");
    dns.says("moving.test", Answer::Addresses(vec![at(2)]));
    until("it to be told", || proxy.stderr().contains("127.0.3.2").then_some(()));
    ask(proxy.address());
    other.recv_from(&mut [0; 8]).expect("a datagram");
}
