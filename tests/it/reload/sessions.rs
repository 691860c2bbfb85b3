//! Sessions through reloads: row U16, and a port that is closed.

use std::sync::mpsc::channel;
use std::time::Duration;

use super::*;
use crate::harness::udp::{self, Client};

const GAME: &str = "[[protocols]]\nname = \"game\"\npatterns = [\"GAME\"]\ntransport = \"udp\"\n";

fn game(name: &str, to: SocketAddr) -> String {
    format!("{}forward_to = \"{to}\"\n", GAME.replace("game", name))
}

/// So many sessions on a route that stays, as many on one that is removed, and reloads meanwhile: nothing is lost.
fn flows_through(flows: usize, reloads: usize) {
    let (kept, gone) = (udp::Backend::echo("kept"), udp::Backend::echo("gone"));
    let head = "hot_reload = false\nfallback_udp = ";
    let with = format!("{head}\"{}\"", gone.address());
    let proxy = Proxy::start_with(&with, &game("game", kept.address()), &[]);
    let address = proxy.address();
    let clients: Vec<_> = (0..flows).map(|_| (Client::of(address), Client::of(address))).collect();
    for (of_kept, of_gone) in &clients {
        of_kept.reaches("kept", b"GAME on");
        of_gone.reaches("gone", b"anything");
    }
    let ports = |backend: &udp::Backend| {
        backend.rest().into_iter().map(|it| it.peer).collect::<std::collections::BTreeSet<_>>()
    };
    let before = [ports(&kept), ports(&gone)];
    assert_eq!(before.each_ref().map(std::collections::BTreeSet::len), [flows; 2]);
    let descriptors = proxy.descriptors();
    for _ in 0..reloads {
        let other = game("other", kept.address()).replace("GAME", "OTHER");
        let routes = format!("{}{other}", game("game", kept.address()));
        save(&proxy, &text("hot_reload = false", &routes));
        hang_up(&proxy);
        // A flow of each kind has a word after each.
        let (of_kept, of_gone) = &clients[reloads % flows];
        of_kept.reaches("kept", b"GAME on");
        of_gone.reaches("gone", b"anything");
    }
    for (of_kept, of_gone) in &clients {
        of_kept.reaches("kept", b"still");
        of_gone.reaches("gone", b"still");
    }
    let after = [ports(&kept), ports(&gone)];
    assert_eq!(before, after, "every flow has the socket that it had");
    assert!(proxy.descriptors() <= descriptors + 2, "{} then {}", descriptors, proxy.descriptors());
    // Who comes now has no fallback.
    let newcomer = Client::of(address);
    newcomer.send(b"anything");
    newcomer.receive_within(Duration::from_millis(200)).expect_err("nobody answers");
}

#[test]
fn sessions_go_on_through_reloads_whether_their_route_does_or_not() {
    flows_through(60, 10);
}

/// Row U16.
#[test]
#[ignore = "half a minute; .ci/deep"]
fn a_thousand_sessions_go_on_through_a_hundred_reloads() {
    flows_through(1000, 100);
}

#[test]
fn a_port_that_is_closed_serves_the_sessions_that_it_has_and_may_be_called_back() {
    let (sender, refused) = channel();
    let backend = udp::Backend::echo("rest");
    let routes = || {
        let limits = refractium::Limits {
            udp_idle_timeout: Duration::from_millis(600),
            ..Default::default()
        };
        Refractium::builder().fallback_udp(backend.address().into()).limits(limits)
    };
    let observed = routes().observer(move |event: &Event<'_>| {
        if let Event::Refused { refusal, .. } = event {
            let _ = sender.send(refusal.to_string());
        }
    });
    let running = Running::start_for(observed, &[Transport::Udp]);
    let plan = || routes().plan().expect("sound routes");
    let client = Client::of(running.address);
    client.reaches("rest", b"one");
    let changes = running.reload_at(plan(), &[loopback_other()]).expect("a reload");
    assert_eq!(changes.closed, [(running.address, Transport::Udp)]);
    let [(other, Transport::Udp)] = changes.opened[..] else { panic!("{changes:?}") };
    Client::of(other).reaches("rest", b"elsewhere");
    for _ in 0..40 {
        client.reaches("rest", b"two");
        let newcomer = Client::of(running.address);
        newcomer.send(b"three");
        let reason = refused.recv_timeout(DEADLINE).expect("a refusal");
        assert_eq!(reason, "this address is about to be closed");
        // It is wanted again while it is there: from the moment that this is said on.
        let changes = running.reload_at(plan(), &[running.address]).expect("a reload");
        assert_eq!(changes.opened, [(running.address, Transport::Udp)]);
        newcomer.reaches("rest", b"four");
        client.reaches("rest", b"five");
        running.reload_at(plan(), &[other]).expect("a reload");
    }
    // And it is free once nobody is left.
    until("the port to be free", || std::net::UdpSocket::bind(running.address).ok());
    running.stop();
}

/// Another address of this machine, where any port will do.
fn loopback_other() -> SocketAddr {
    (Ipv4Addr::new(127, 0, 0, 2), 0).into()
}
