//! `bind`.

use std::net::{IpAddr, SocketAddr};

use super::{Reader, Value};
use crate::config::Known;
use crate::own::{Reach, is_dual};

impl Reader<'_> {
    pub(super) fn bind(&mut self, value: &Value<'_>) -> Known<Vec<IpAddr>> {
        let list = self.list(value, "an IP address such as \"0.0.0.0\" or \"::\"");
        let mut addresses: Vec<IpAddr> = Vec::new();
        for Known { value: address, place } in &list {
            if addresses.contains(address) {
                self.mistake(place.span.clone(), format!("`{address}` stands here twice"), None);
            } else {
                addresses.push(*address);
            }
        }
        for Known { value: address, place } in &list {
            if let Some(all) = who_takes_it(*address, &addresses) {
                let message = format!("`{address}` is taken by `{all}` already");
                let help = format!("leave out one of them: `{all}` is every address");
                self.mistake(place.span.clone(), message, Some(help));
            }
        }
        self.known(addresses, value.span())
    }
}

/// Which other address takes all that comes to this one, so that the system refuses to bind both.
fn who_takes_it(address: IpAddr, all: &[IpAddr]) -> Option<IpAddr> {
    // They have one port, whichever it is.
    let at = |ip| SocketAddr::new(ip, 0);
    let sockets: Vec<_> = all.iter().map(|ip| at(*ip)).collect();
    let reach = |ip| Reach { address: at(ip), is_dual: is_dual(at(ip), &sockets) };
    let mut others = all.iter().copied().filter(|other| *other != address);
    others.find(|other| reach(*other).covers(reach(address)))
}
