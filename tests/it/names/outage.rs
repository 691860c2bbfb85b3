//! Row H9: ten minutes without an answer from DNS.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use super::dns::{Answer, Dns};
use super::{OFTEN, OPENING, at, backends, srv, to};
use crate::harness::{Backend, ask, pause, until};

/// How long.
const OUTAGE: Duration = Duration::from_secs(600);

/// Clients come all the time, of a name and of SRV records, and each is served; afterwards traffic follows again.
#[test]
#[ignore = "deep: ten minutes"]
fn ten_minutes_without_dns_cost_no_client_anything() {
    let Some(dns) = Dns::start() else { return };
    let (port, _backends) = backends([(at(1), "a"), (at(2), "b")]);
    let (c, d) = (Backend::echo("c"), Backend::echo("d"));
    let records =
        |backend: &Backend| Answer::Services(vec![(1, 1, backend.address().port(), "here.test")]);
    let here = Answer::Addresses(vec![Ipv4Addr::LOCALHOST.into()]);
    dns.says("here.test", here.clone());
    dns.says("moving.test", Answer::Addresses(vec![at(1)]));
    dns.says("svc.test", records(&c));
    let routes = to("moving.test", port)
        + &srv::to("svc.test", "").replace("name = \"ssh\"", "name = \"app\"\npatterns = \"APP\"");
    let proxy = dns.proxy(OFTEN, &routes, &[]);
    let answers = || [OPENING, b"APP"].map(|opening| ask(proxy.address(), opening)[..1].to_vec());
    assert_eq!(answers(), [b"a", b"c"]);
    for name in ["moving.test", "svc.test", "here.test"] {
        dns.says(name, Answer::None);
    }
    let (start, asked) = (Instant::now(), dns.asked());
    let mut clients = 0;
    while start.elapsed() < OUTAGE {
        assert_eq!(answers(), [b"a", b"c"], "after {:?}", start.elapsed());
        clients += 2;
        pause(Duration::from_millis(20));
    }
    // Each question is given up after a second.
    let (asked, least) = (dns.asked() - asked, usize::try_from(OUTAGE.as_secs()).expect("few"));
    assert!(asked >= least, "it is asked on: {asked}");
    println!("{clients} clients and {asked} questions in {:?}", start.elapsed());
    dns.says("here.test", here);
    dns.says("moving.test", Answer::Addresses(vec![at(2)]));
    dns.says("svc.test", records(&d));
    until("traffic to follow", || (answers() == [b"b", b"d"]).then_some(()));
}
