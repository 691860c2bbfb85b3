//! The new one has an address that overlaps with that of the old one.

use std::net::SocketAddr;
use std::time::Duration;

use super::heir::Upgradable;
use super::load::Load;
use crate::harness::{Backend, route, unchosen_port};

/// A wildcard takes the place of an address, or the other way round.
#[test]
fn no_client_is_refused_where_the_new_one_has_an_address_that_overlaps() {
    let ssh = Backend::echo("ssh");
    for binds in [["127.0.0.1", "0.0.0.0"], ["0.0.0.0", "127.0.0.1"]] {
        let port = unchosen_port();
        let server = format!("workers = 2\nbind = \"{}\"\nport = {port}", binds[0]);
        let proxy = Upgradable::start(&server, &route("ssh", "", ssh.address()));
        let to = SocketAddr::from(([127, 0, 0, 1], proxy.port()));
        let [before, after] = binds.map(|it| format!("bind = \"{it}\""));
        proxy.configure(&proxy.configuration().replace(&before, &after));
        let mut heir = None;
        let load = Load { rate: 200, length: Duration::from_secs(2), upgrades: 1 };
        let outcome = load.run(to, || heir = Some(proxy.upgrade()));
        assert!(outcome.has_no_failure(), "{outcome}");
        proxy.until_it_ends();
        heir.expect("one").terminate();
        proxy.finish();
    }
}
