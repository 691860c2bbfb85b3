//! Addresses that cannot be listened on together: the system would say only that one is in use, and not by whom.

use std::net::{IpAddr, SocketAddr};

use super::file::File;
use super::mistake::{Mistake, Mistakes, Place};
use super::{Known, Overrides};
use crate::own::{Reach, canonical, is_dual};

/// Says of each address that was typed for `bind`, and of each of the admin, that another one has its place: for the
/// admin one of those where `routes` are served over TCP.
pub(super) fn find(typed: &Overrides, file: &File, routes: &[SocketAddr], mistakes: &mut Mistakes) {
    let places = typed.bind.iter().map(|address| {
        let option = format!("-b {address}");
        let span = 3..option.len();
        let place = Place { source: mistakes.option(option), span };
        Known { value: *address, place }
    });
    let places: Vec<_> = places.collect();
    of_bind(&places, |place, message, help| {
        mistakes.push(Mistake { place: Some(place.clone()), message, beside: None, help });
    });
    if let Some(listen) = &file.admin_listen {
        for message in of_admin(&listen.value, routes) {
            let place = Some(listen.place.clone());
            let help = Some("give the admin an address or a port of its own".to_owned());
            mistakes.push(Mistake { place, message, beside: None, help });
        }
    }
}

/// Tells `say` what is wrong with addresses that are to be bound with one port, and what helps.
pub(super) fn of_bind(list: &[Known<IpAddr>], mut say: impl FnMut(&Place, String, Option<String>)) {
    let mut addresses: Vec<IpAddr> = Vec::new();
    for Known { value: address, place } in list {
        let plain = address.to_canonical();
        if plain != *address {
            // A socket for IPv6 alone takes no IPv4 address (IPV6_V6ONLY).
            let message = format!("`{address}` is an IPv4 address");
            say(place, message, Some(format!("write {plain}")));
        } else if addresses.contains(address) {
            say(place, format!("`{address}` stands here twice"), None);
        } else {
            addresses.push(*address);
        }
    }
    for Known { value: address, place } in list.iter().filter(|it| addresses.contains(&it.value)) {
        if let Some(all) = who_takes_it(*address, &addresses) {
            let message = format!("`{address}` is taken by `{all}` already");
            let help = format!("leave out one of them: `{all}` is every address");
            say(place, message, Some(help));
        }
    }
}

/// Which of these, listened on together, takes all that comes to another of them, so that the system refuses to bind both.
fn who_takes_it(ip: IpAddr, all: &[IpAddr]) -> Option<IpAddr> {
    // They have one port, whichever it is.
    let at = |ip| SocketAddr::new(ip, 0);
    let sockets: Vec<_> = all.iter().map(|ip| at(*ip)).collect();
    let reach = |ip| Reach { address: at(ip), is_dual: is_dual(at(ip), &sockets) };
    let mut others = all.iter().copied().filter(|other| *other != ip);
    others.find(|other| reach(*other).covers(reach(ip)))
}

/// What is wrong with the addresses of the admin beside each other and beside those of the routes over TCP. Where the
/// system chooses a port, it chooses a free one.
fn of_admin(listen: &[SocketAddr], routes: &[SocketAddr]) -> Vec<String> {
    let of_route = |&address: &SocketAddr| Reach { address, is_dual: is_dual(address, routes) };
    // Its sockets take IPv4 as well, whatever stands beside them.
    let of_admin = |&address: &SocketAddr| Reach {
        address: canonical(address),
        is_dual: is_dual(address, &[]),
    };
    let mut wrong = Vec::new();
    for (at, address) in listen.iter().enumerate().filter(|(_, it)| it.port() != 0) {
        let reach = of_admin(address);
        if let Some(route) = routes.iter().find(|it| of_route(it).meets(reach)) {
            wrong.push(format!(
                "the admin cannot listen on `{address}`: routes are served on `{route}`"
            ));
        }
        if let Some(other) = listen.iter().take(at).find(|it| of_admin(it).meets(reach)) {
            wrong.push(format!(
                "the admin cannot listen on `{address}`: it does on `{other}` already"
            ));
        }
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_admin(listen: &[&str], routes: &[&str]) -> usize {
        let all = |list: &[&str]| -> Vec<SocketAddr> {
            list.iter().map(|it| it.parse().expect("an address")).collect()
        };
        super::of_admin(&all(listen), &all(routes)).len()
    }

    #[test]
    fn the_admin_has_addresses_of_its_own() {
        for (listen, routes, wrong) in [
            (&["127.0.0.1:80"][..], &["127.0.0.1:80"][..], 1),
            (&["127.0.0.1:80"], &["0.0.0.0:80"], 1),
            (&["0.0.0.0:80"], &["127.0.0.1:80"], 1),
            (&["127.0.0.1:80"], &["[::]:80"], 1),
            (&["[::]:80"], &["127.0.0.1:80"], 1),
            (&["[::ffff:127.0.0.1]:80"], &["127.0.0.1:80"], 1),
            (&["127.0.0.1:80"], &["[::]:80", "127.0.0.2:80"], 0),
            (&["127.0.0.1:81"], &["127.0.0.1:80"], 0),
            (&["127.0.0.1:0"], &["127.0.0.1:0"], 0),
            (&["[::1]:80"], &["0.0.0.0:80"], 0),
            (&["127.0.0.1:81", "127.0.0.1:81"], &["127.0.0.1:80"], 1),
            (&["127.0.0.1:81", "127.0.0.2:81"], &["127.0.0.1:80"], 0),
        ] {
            assert_eq!(of_admin(listen, routes), wrong, "{listen:?} {routes:?}");
        }
    }
}
