//! Senders whose datagrams must not be answered: ourselves, and our backends. Two ports that answer each other do so for
//! ever, and a stranger who lies about his address can start that with one datagram.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use refractium_protocol::Transport;

use crate::group::Group;
use crate::own::leads_back;
use crate::table::Table;

/// Our own addresses and those of the backends.
#[derive(Debug, Default)]
pub(crate) struct Circle {
    own: Arc<[SocketAddr]>,
    /// By port, because that is all that has to be looked at for nearly every sender.
    backends: HashMap<u16, Vec<Arc<Group>>>,
    /// Those whose ports come from SRV records.
    of_any_port: Vec<Arc<Group>>,
}

impl Circle {
    pub(crate) fn new(own: Arc<[SocketAddr]>, table: &Table) -> Self {
        let mut backends: HashMap<u16, Vec<Arc<Group>>> = HashMap::new();
        let mut of_any_port = Vec::new();
        for group in table.groups().into_iter().filter(|it| it.transport() == Transport::Udp) {
            let of_port = match group.endpoint().srv() {
                Some(_) => &mut of_any_port,
                None => backends.entry(group.endpoint().port()).or_default(),
            };
            of_port.push(group);
        }
        Self { own, backends, of_any_port }
    }

    /// Whether answers to this sender would come back to us.
    pub(crate) fn has(&self, sender: SocketAddr) -> bool {
        let is_it = |group: &Arc<Group>| group.has(sender);
        let is_backend = self.backends.get(&sender.port()).is_some_and(|it| it.iter().any(is_it));
        let is_backend = is_backend || self.of_any_port.iter().any(is_it);
        is_backend || leads_back(&self.own, sender)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Protocols, Routes};

    #[test]
    fn ourselves_and_backends_are_known_by_address_and_port() {
        let routes = Routes { fallback_udp: "192.0.2.7:53".parse().ok(), ..Routes::default() };
        let table = Table::new(&routes, &Protocols::default()).expect("a table");
        let at = |text: &str| -> SocketAddr { text.parse().expect(text) };
        let circle = Circle::new([at("0.0.0.0:8080")].into(), &table);
        for inside in ["127.0.0.1:8080", "127.9.9.9:8080", "192.0.2.7:53"] {
            assert!(circle.has(at(inside)), "{inside}");
        }
        for outside in ["127.0.0.1:8081", "192.0.2.1:8080", "192.0.2.7:54", "192.0.2.8:53"] {
            assert!(!circle.has(at(outside)), "{outside}");
        }
        let bound = Circle::new([at("127.0.0.1:8080")].into(), &table);
        assert!(bound.has(at("127.0.0.1:8080")) && !bound.has(at("127.0.0.2:8080")));
    }
}
