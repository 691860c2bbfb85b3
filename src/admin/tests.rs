use std::net::SocketAddr;
use std::time::Duration;

use super::*;
use crate::admission::Gates;
use crate::forward::Forward;
use crate::group::{Found, Rank};
use crate::magic::Magic;
use crate::plan::Plan;
use crate::protocols::Protocols;
use crate::table::{Routes, Table};

/// Two that lead to one name are told apart by what `forward_to` says, not by the names behind it.
#[test]
fn what_records_lead_to_is_shown_under_their_name() {
    let mut protocols = Protocols::default();
    protocols.add(Magic::new("one", &[Transport::Tcp], [b"one".to_vec()]).expect("sound"));
    let records = "srv+_one._tcp.test";
    let forward = Forward::new("one")
        .to("127.0.0.1:1".parse::<crate::Endpoint>().expect("an endpoint"))
        .to(records.parse::<crate::Endpoint>().expect("an endpoint"));
    let routes = Routes { forwards: vec![forward], ..Routes::default() };
    let table = Table::new(&routes, &protocols).expect("a table");
    let group = table.groups().into_iter().find(|it| it.endpoint().srv().is_some()).expect("one");
    let address = SocketAddr::from(([127, 0, 0, 2], 80));
    let endpoint = "a.test:80".parse().expect("an endpoint");
    group.take(&[Found { endpoint, address, rank: Rank::default() }]);
    let plan = Plan { table, ..Plan::default() };
    let admin = Admin::default();
    admin.on(&Event::Planned { plan: &plan, open: &Open::of(Gates::default()) });
    let route = plan.table.routes(Transport::Tcp)[0];
    let backend = &group.backends()[0];
    let (id, transport) = (1, Transport::Tcp);
    let conn = &Conn { id, client: address, peer: address, local: address, transport };
    admin.on(&Event::Welded { conn, route, backend, connect: Duration::ZERO });
    let seen = admin.status();
    let [plain, named] = seen.routes[0].backends.as_slice() else { panic!("{seen:?}") };
    assert_eq!((named.endpoint.as_str(), named.open), (records, 1));
    assert_eq!(named.addresses.iter().map(|it| it.address).collect::<Vec<_>>(), [address]);
    assert_eq!((plain.open, plain.addresses.len()), (0, 1));
}
