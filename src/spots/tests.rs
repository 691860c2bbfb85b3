use super::*;

const BOTH: &[Transport] = &[Transport::Tcp, Transport::Udp];

fn address(text: &str) -> SocketAddr {
    text.parse().expect(text)
}

fn spots(all: &[(&str, &str, Transport)]) -> Spots {
    let mut spots = Spots::default();
    for &(asked, local, transport) in all {
        let (asked, local) = (address(asked), address(local));
        let is_dual = is_dual(asked, &[asked]);
        let (spot, is_new) = spots.at(At { asked, local, is_dual, transport });
        assert!(spot.is_some() && is_new);
    }
    spots
}

fn missing(made: &Move) -> Vec<(SocketAddr, &[Transport])> {
    made.missing.iter().map(|it| (it.address, &*it.transports)).collect()
}

#[test]
fn what_is_listened_on_stays_and_the_rest_is_bound_or_closed() {
    let spots = spots(&[
        ("127.0.0.1:0", "127.0.0.1:4000", Transport::Tcp),
        ("127.0.0.2:80", "127.0.0.2:80", Transport::Tcp),
    ]);
    for same in ["127.0.0.1:0", "127.0.0.1:4000"] {
        let wanted = [address(same), address("127.0.0.2:80")];
        let made = spots.compare(&wanted, &[Transport::Tcp]);
        assert!(made.missing.is_empty() && made.unwanted.is_empty(), "{made:?}");
    }
    // The port that the system chose holds for the other transport too.
    let made = spots.compare(&[address("127.0.0.1:0"), address("127.0.0.3:80")], BOTH);
    let expected = [("127.0.0.1:4000", &BOTH[1..]), ("127.0.0.3:80", BOTH)];
    assert_eq!(missing(&made), expected.map(|(it, of)| (address(it), of)));
    assert_eq!(made.unwanted, [1]);
    assert_eq!(spots.own(&made, &[]).tcp, [address("127.0.0.1:4000")]);
}

/// One that takes IPv4 as well is another than one that does not.
#[test]
fn an_ipv6_wildcard_is_told_apart_by_what_it_takes() {
    let spots = spots(&[("[::]:80", "[::]:80", Transport::Tcp)]);
    let beside = [address("[::]:80"), address("0.0.0.0:80")];
    let made = spots.compare(&beside, &[Transport::Tcp]);
    assert_eq!((made.missing.len(), made.unwanted.len()), (2, 1));
    assert!(spots.compare(&beside[..1], &[Transport::Tcp]).missing.is_empty());
}

/// Where one takes the place of another, the new one is bound beside it, and it lingers for TCP; a wildcard has what it
/// covers go on.
#[test]
fn what_overlaps_is_bound_beside_what_is_there() {
    let both = |local| BOTH.iter().map(|it| (local, local, *it)).collect::<Vec<_>>();
    let one = spots(&both("127.0.0.1:80"));
    let made = one.compare(&[address("0.0.0.0:80")], BOTH);
    assert_eq!(missing(&made), [(address("0.0.0.0:80"), BOTH)]);
    assert_eq!(made.missing.first().expect("one").shared, BOTH);
    assert_eq!((&*made.unwanted, &*made.lingering), (&[][..], &[][..]));
    let made = one.compare(&[address("0.0.0.0:80")], &BOTH[..1]);
    assert_eq!((&*made.unwanted, &*made.lingering), (&[1][..], &[][..]), "nothing is for UDP");
    let any = spots(&both("0.0.0.0:80"));
    let made = any.compare(&[address("127.0.0.1:80")], BOTH);
    assert_eq!(made.missing.first().expect("one").shared, BOTH);
    assert_eq!((&*made.unwanted, &*made.lingering), (&[0, 1][..], &[0][..]));
    // What is wanted as well is in the way, as it is at a start.
    let made = one.compare(&["127.0.0.1:80", "0.0.0.0:80"].map(address), BOTH);
    assert!(made.missing.first().expect("one").shared.is_empty());
}

#[test]
fn a_port_with_sessions_is_called_back() {
    let mut spots = spots(&[("127.0.0.1:53", "127.0.0.1:53", Transport::Udp)]);
    let (spot, _) = spots.at(spots.open[0].at);
    let part = spot.expect("it is there").course.join();
    let gone = spots.compare(&[], &[]);
    assert_eq!(spots.make(&gone).1.len(), 1);
    let back = spots.compare(&[address("127.0.0.1:53")], &[Transport::Udp]);
    assert!(back.missing.is_empty());
    spots.undo(&back);
    assert_eq!(spots.make(&Move::default()), (Vec::new(), Vec::new()));
    // Who wants it twice cannot have it twice: it is bound once more, which fails as for any other.
    let twice = spots.compare(&[address("127.0.0.1:53"); 2], &[Transport::Udp]);
    assert_eq!((twice.wanted_again.as_slice(), twice.missing.len()), (&[0][..], 1));
    spots.undo(&twice);
    let back = spots.compare(&[address("127.0.0.1:53")], &[Transport::Udp]);
    assert_eq!(spots.make(&back).0.len(), 1);
    drop(part);
    spots.make(&spots.compare(&[], &[]));
    assert!(spots.closing.is_empty(), "its ports are gone");
}
