//! Backends that are this program itself.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Whether what is sent to `to` arrives where we listen. Addresses that the system has without our knowing are not
/// thought of.
pub(super) fn leads_back(listening: &[SocketAddr], to: SocketAddr) -> bool {
    let ip = match to.ip().to_canonical() {
        // Who sends to no address in particular sends to himself.
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    // Alone, it takes IPv4 as well.
    let takes_both =
        |own: IpAddr| own.is_ipv6() && !listening.iter().any(|it| it.ip() == Ipv4Addr::UNSPECIFIED);
    let is_here = |own: IpAddr| {
        if own.is_unspecified() {
            ip.is_loopback() && (own.is_ipv4() == ip.is_ipv4() || takes_both(own))
        } else {
            own.to_canonical() == ip
        }
    };
    listening.iter().any(|own| own.port() == to.port() && is_here(own.ip()))
}

#[cfg(test)]
mod tests {
    fn leads_back(listening: &[&str], to: &str) -> bool {
        let address = |text: &&str| text.parse().expect("an address");
        let listening: Vec<_> = listening.iter().map(address).collect();
        super::leads_back(&listening, address(&to))
    }

    #[test]
    fn our_own_address_leads_back_and_no_other_does() {
        for (listening, to, expected) in [
            (&["127.0.0.1:80"][..], "127.0.0.1:80", true),
            (&["127.0.0.1:80"], "[::ffff:127.0.0.1]:80", true),
            (&["127.0.0.1:80"], "0.0.0.0:80", true),
            (&["127.0.0.1:80"], "127.0.0.1:81", false),
            (&["127.0.0.1:80"], "127.0.0.2:80", false),
            (&["10.0.0.1:80", "10.0.0.2:80"], "10.0.0.2:80", true),
            (&["0.0.0.0:80"], "127.0.0.9:80", true),
            (&["0.0.0.0:80"], "[::1]:80", false),
            (&["0.0.0.0:80"], "10.0.0.1:80", false),
            (&["[::]:80"], "127.0.0.1:80", true),
            (&["[::]:80"], "[::1]:80", true),
            (&["[::]:80", "10.0.0.1:80"], "127.0.0.1:80", true),
            (&["0.0.0.0:80", "[::]:80"], "[::]:80", true),
            (&["[::1]:80", "[::]:80"], "0.0.0.0:81", false),
        ] {
            assert_eq!(leads_back(listening, to), expected, "{listening:?} {to}");
        }
    }
}
