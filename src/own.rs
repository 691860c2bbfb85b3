//! What leads back to this program: a backend there would be sent its own connections, until there is no descriptor left.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};

/// An IPv4 address is the same however it is written.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

/// Whether an address takes IPv4 as well when it is listened on with these others.
pub(crate) fn is_dual(address: SocketAddr, all: &[SocketAddr]) -> bool {
    let port = address.port();
    let has_v4 = all.iter().any(|it| it.is_ipv4() && it.port() == port);
    address.is_ipv6() && address.ip().is_unspecified() && !has_v4
}

/// What a socket takes: an address, and whether IPv4 as well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reach {
    pub(crate) address: SocketAddr,
    pub(crate) is_dual: bool,
}

impl Reach {
    /// Whether all that comes to the other one would come here, were it not there.
    pub(crate) fn covers(self, other: Self) -> bool {
        let (own, of_other) = (self.address, other.address);
        let is_same = own.ip() == of_other.ip() || own.ip().is_unspecified();
        let has_family = own.is_ipv4() == of_other.is_ipv4() || self.is_dual;
        own.port() == of_other.port() && is_same && has_family && (self.is_dual || !other.is_dual)
    }

    /// Whether something may come to both: the system lets both be bound only if they share the port (SO_REUSEPORT).
    pub(crate) fn meets(self, other: Self) -> bool {
        self.covers(other) || other.covers(self)
    }
}

/// Whether one of these, listened on together, takes all that comes to a socket.
pub(crate) fn is_covered(one: Reach, all: &[SocketAddr]) -> bool {
    all.iter().any(|&it| Reach { address: it, is_dual: is_dual(it, all) }.covers(one))
}

/// Where what is sent to an address arrives: who sends to none in particular sends to himself.
fn reached(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    }
}

/// Whether what is sent to `to` arrives where it was sent from.
pub(crate) fn is_same(from: SocketAddr, to: SocketAddr) -> bool {
    from.port() == to.port() && from.ip().to_canonical() == reached(to.ip())
}

/// Whether what is sent to `to` arrives where we listen.
pub(crate) fn leads_back(listening: &[SocketAddr], to: SocketAddr) -> bool {
    let ip = reached(to.ip());
    let is_here = |own: SocketAddr| {
        if own.ip().is_unspecified() {
            (own.is_ipv4() == ip.is_ipv4() || is_dual(own, listening)) && is_local(ip)
        } else {
            own.ip().to_canonical() == ip
        }
    };
    listening.iter().any(|own| own.port() == to.port() && is_here(*own))
}

/// Whether this machine has the address: then that is where it would itself send from. Nothing is sent for that. Binding
/// would not tell, because the system may be told to allow it for any address (net.ipv4.ip_nonlocal_bind).
fn is_local(ip: IpAddr) -> bool {
    let any: IpAddr = match ip {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let source = || {
        let socket = UdpSocket::bind((any, 0))?;
        socket.connect((ip, DISCARD))?;
        socket.local_addr()
    };
    ip.is_loopback() || source().is_ok_and(|from| from.ip() == ip)
}

/// Any port will do.
const DISCARD: u16 = 9;

#[cfg(test)]
mod tests {
    fn leads_back(listening: &[&str], to: &str) -> bool {
        let address = |text: &&str| text.parse().expect("an address");
        let listening: Vec<_> = listening.iter().map(address).collect();
        super::leads_back(&listening, address(&to))
    }

    /// Where this machine has an address besides those of loopback, a wildcard takes it.
    #[test]
    fn every_address_of_this_machine_is_known() {
        let socket = std::net::UdpSocket::bind("0.0.0.0:0").expect("a port");
        if socket.connect("198.18.0.1:9").is_ok() {
            let ip = socket.local_addr().expect("an address").ip();
            // Where others take all ports for a moment, there is none to ask with.
            let leads = |own, to: &str| (0..1000).any(|_| leads_back(&[own], to));
            assert!(leads("0.0.0.0:80", &format!("{ip}:80")), "{ip}");
            assert!(leads("[::]:80", &format!("[::ffff:{ip}]:80")), "{ip}");
        }
    }

    #[test]
    fn a_wildcard_covers_what_it_takes() {
        let reach = |text: &str| super::Reach {
            address: text.trim_end_matches('+').parse().expect("an address"),
            is_dual: text.ends_with('+'),
        };
        for (one, other, covers, meets) in [
            ("0.0.0.0:80", "127.0.0.1:80", true, true),
            ("127.0.0.1:80", "0.0.0.0:80", false, true),
            ("127.0.0.1:80", "127.0.0.2:80", false, false),
            ("0.0.0.0:80", "127.0.0.1:81", false, false),
            ("0.0.0.0:80", "[::1]:80", false, false),
            ("[::]:80+", "0.0.0.0:80", true, true),
            ("[::]:80+", "127.0.0.1:80", true, true),
            ("[::]:80+", "[::]:80", true, true),
            ("[::]:80", "[::]:80+", false, true),
            ("[::]:80", "[::1]:80", true, true),
            ("[::]:80", "0.0.0.0:80", false, false),
            ("127.0.0.1:80", "[::]:80+", false, true),
        ] {
            let (one, other) = (reach(one), reach(other));
            assert_eq!(one.covers(other), covers, "{one:?} {other:?}");
            assert_eq!(one.meets(other), meets, "{one:?} {other:?}");
            assert_eq!(other.meets(one), meets, "{one:?} {other:?}");
        }
    }

    #[test]
    fn a_socket_is_the_same_however_it_is_written() {
        for (from, to, expected) in [
            ("127.0.0.1:40000", "127.0.0.1:40000", true),
            ("127.0.0.1:40000", "127.0.0.1:40001", false),
            ("127.0.0.1:40000", "127.0.0.2:40000", false),
            ("127.0.0.1:40000", "0.0.0.0:40000", true),
            ("[::ffff:127.0.0.1]:40000", "127.0.0.1:40000", true),
            ("[::1]:40000", "[::1]:40000", true),
            ("[::1]:40000", "[::]:40000", true),
            ("198.18.0.1:40000", "198.18.0.1:40000", true),
        ] {
            let [one, other] = [from, to].map(|it| it.parse().expect("an address"));
            assert_eq!(super::is_same(one, other), expected, "{from} {to}");
        }
    }

    /// 198.18.0.0/15 is no machine's (RFC 2544).
    #[test]
    fn our_own_address_leads_back_and_no_other_does() {
        for (listening, to, expected) in [
            (&["127.0.0.1:80"][..], "127.0.0.1:80", true),
            (&["127.0.0.1:80"], "[::ffff:127.0.0.1]:80", true),
            (&["127.0.0.1:80"], "0.0.0.0:80", true),
            (&["127.0.0.1:80"], "127.0.0.1:81", false),
            (&["127.0.0.1:80"], "127.0.0.2:80", false),
            (&["198.18.0.1:80", "198.18.0.2:80"], "198.18.0.2:80", true),
            (&["0.0.0.0:80"], "127.0.0.9:80", true),
            (&["0.0.0.0:80"], "[::1]:80", false),
            (&["0.0.0.0:80"], "198.18.0.1:80", false),
            (&["[::]:80"], "127.0.0.1:80", true),
            (&["[::]:80"], "[::1]:80", true),
            (&["[::]:80", "198.18.0.1:80"], "127.0.0.1:80", false),
            (&["0.0.0.0:80", "[::]:80"], "[::]:80", true),
            (&["[::1]:80", "[::]:80"], "0.0.0.0:81", false),
        ] {
            assert_eq!(leads_back(listening, to), expected, "{listening:?} {to}");
        }
    }
}
