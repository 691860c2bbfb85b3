//! Backends and clients that are not there: whose datagram that costs, and nobody else's.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use super::{magic, proxy, said, told};
use crate::harness::udp::{Backend, Client, refusing};
use crate::harness::{Proxy, until};

const REFUSED: &str = "a backend does not take connections";

/// Row U1.
#[test]
fn a_dead_backend_is_nothing_to_other_sessions() {
    const DATAGRAMS: usize = 10_000;
    let good = Backend::echo("good");
    let routes = magic("dead", "DEAD", "", refusing()) + &magic("good", "GOOD", "", good.address());
    let proxy = Proxy::start_with("workers = 1", &routes, &["--debug"]);
    let (to_dead, to_good) = (Client::of(proxy.address()), Client::of(proxy.address()));
    for at in 0..DATAGRAMS {
        to_dead.send(b"DEAD");
        // Each answer proves that all before it was taken as well.
        if at % 20 == 0 {
            to_good.reaches("good", format!("GOOD {at}").as_bytes());
        }
    }
    to_good.reaches("good", b"GOOD, at the end");
    let recorded = good.take(DATAGRAMS / 20 + 1);
    let ports: BTreeSet<_> = recorded.iter().map(|it| it.peer.port()).collect();
    assert_eq!(ports.len(), 1, "of one session");
    told(&proxy, REFUSED, 1);
    // Said when it falls, and not for each datagram.
    let warnings = said(&proxy, "WARN");
    assert!(warnings.len() <= 20, "{} warnings: {}", warnings.len(), warnings[0]);
    // The client of the dead one may still do what others do.
    assert_eq!(proxy.terminate().0.code(), Some(0));
}

/// A backend that refused is set aside: whoever comes next does not notice, and who was refused goes to another.
#[test]
fn who_was_refused_goes_on_with_another_backend() {
    let good = Backend::echo("good");
    for dead_comes in ["first", "last"] {
        let (one, two) = match dead_comes {
            "first" => (refusing(), good.address()),
            _ => (good.address(), refusing()),
        };
        let routes = format!(
            "[[protocols]]\nname = \"app\"\npatterns = [\"APP\"]\ntransport = \"udp\"\n\
             forward_to = [\"{one}\", \"{two}\"]\n"
        );
        let proxy = Proxy::start_with("workers = 1", &routes, &["--debug"]);
        let clients = [(); 4].map(|()| Client::of(proxy.address()));
        // Half of them go to the dead one, before anybody knows.
        clients.iter().for_each(|client| client.send(b"APP before"));
        told(&proxy, REFUSED, 1);
        for client in &clients {
            client.send(b"APP after");
            until("the answer", || (client.receive() == b"good: APP after").then_some(()));
        }
        for _ in 0..10 {
            let client = Client::of(proxy.address());
            client.reaches("good", b"APP, new");
            client.reaches("good", b"APP, again");
        }
        let recorded = good.rest();
        let count = |bytes: &[u8]| recorded.iter().filter(|it| it.bytes == bytes).count();
        assert_eq!([b"APP after" as &[u8], b"APP, new", b"APP, again"].map(count), [4, 10, 10]);
        assert!((2..4).contains(&count(b"APP before")), "one at least went to the dead one");
        assert!(!said(&proxy, "session moved").is_empty(), "who was refused has moved");
    }
}

/// A backend whose address the system refuses to send to.
#[test]
fn an_address_that_cannot_be_sent_to_is_nothing_to_other_sessions() {
    let good = Backend::echo("good");
    // To broadcast takes a permission that nobody asks for (EACCES).
    let broadcast = (Ipv4Addr::BROADCAST, 9).into();
    let routes = magic("dead", "DEAD", "", broadcast) + &magic("good", "GOOD", "", good.address());
    let proxy = Proxy::start_with("workers = 1", &routes, &["--debug"]);
    for round in 0..20 {
        let client = Client::of(proxy.address());
        client.send(b"DEAD");
        Client::of(proxy.address()).reaches("good", format!("GOOD {round}").as_bytes());
        // The address is not poisoned either.
        client.send(b"DEAD again");
    }
    told(&proxy, "no backend takes", 1);
    assert_eq!(good.take(20).last().map(|it| it.bytes.clone()), Some(b"GOOD 19".to_vec()));
}

/// Row U2: the answers of clients that are gone are refused by ICMP, which ends nothing.
#[test]
fn clients_that_are_gone_before_the_answer_are_nothing_to_others() {
    const ROUNDS: usize = 10_000;
    let backend = Backend::mirror();
    let proxy = proxy(&backend, "workers = 1\nudp_idle_timeout_ms = 1000");
    let stays = Client::of(proxy.address());
    // Answers that are late are not to reach another test's client at the same port.
    let elsewhere = IpAddr::from([127, 0, 2, 2]);
    for round in 0..ROUNDS {
        Client::from(elsewhere, proxy.address()).send(b"bye");
        if round % 20 == 0 {
            let here = round.to_be_bytes();
            assert_eq!(stays.ask(&here), here);
        }
    }
    assert_eq!(stays.ask(b"last"), b"last");
    let recorded = backend.take(ROUNDS + ROUNDS / 20 + 1);
    assert_eq!(recorded.iter().filter(|it| it.bytes == b"bye").count(), ROUNDS);
    let of_stays = recorded.iter().filter(|it| it.bytes != b"bye");
    let ports: BTreeSet<_> = of_stays.map(|it| it.peer.port()).collect();
    assert_eq!(ports.len(), 1, "of one session");
    assert_eq!(stays.receive_within(Duration::from_millis(1)), Err(BTreeSet::new()));
}
