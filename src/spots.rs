//! What a run listens on.

use std::net::SocketAddr;
use std::sync::{Arc, Weak};

use refractium_protocol::Transport;
use socket2::SockRef;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::keepalive;
use crate::limits::Limits;
use crate::listeners::Place;
use crate::own::is_dual;
use crate::resolve::Own;
use crate::udp::{Course, Steered};

/// One address and one transport, with the sockets of all workers.
#[derive(Debug)]
pub(crate) struct Spot {
    pub(crate) at: At,
    /// Lets nobody in any more; one for each TCP listener.
    pub(crate) stops: Vec<CancellationToken>,
    /// Each with its worker.
    pub(crate) listeners: Vec<(usize, Weak<TcpListener>)>,
    /// Sockets of datagrams, each with its worker.
    pub(crate) ports: Vec<(usize, Steered)>,
    pub(crate) course: Arc<Course>,
}

/// Where a socket is bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    /// What was said; port 0 let the system choose.
    pub(crate) asked: SocketAddr,
    pub(crate) local: SocketAddr,
    pub(crate) is_dual: bool,
    pub(crate) transport: Transport,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Spots {
    open: Vec<Spot>,
    /// Those of datagrams whose sessions are not over.
    closing: Vec<Spot>,
}

/// From what is listened on to what is to be.
#[derive(Debug, Default)]
pub(crate) struct Move {
    pub(crate) missing: Vec<Place>,
    /// Places in [`Spots::open`] that are not wanted any more, in order.
    unwanted: Vec<usize>,
    /// Places in [`Spots::closing`] that are wanted again, in order.
    wanted_again: Vec<usize>,
}

impl At {
    /// Whether this is what is meant by an address.
    fn is_for(&self, wanted: SocketAddr, is_dual: bool, transport: Transport) -> bool {
        let is_there = self.asked == wanted || self.local == wanted;
        is_there && self.is_dual == is_dual && self.transport == transport
    }
}

impl Spots {
    /// What is to be done so that exactly these addresses are listened on for these transports. Those that are about to be
    /// closed and are wanted again are called back at once; [`Move::undo`] sends them away again.
    pub(crate) fn compare(&self, wanted: &[SocketAddr], transports: &[Transport]) -> Move {
        let mut kept = Vec::new();
        let mut made = Move::default();
        for &asked in wanted {
            let is_dual = is_dual(asked, wanted);
            let mut place = Place { asked, address: asked, is_dual, transports: Vec::new() };
            for &transport in transports {
                let is_it = |spot: &Spot| spot.at.is_for(asked, is_dual, transport);
                let open = self.open.iter().enumerate();
                let known = open.filter(|(at, _)| !kept.contains(at)).find(|(_, it)| is_it(it));
                let again = self.closing.iter().enumerate().find(|(_, it)| is_it(it));
                if let Some((at, spot)) = known {
                    kept.push(at);
                    place.address = spot.at.local;
                } else if let Some((at, spot)) = again.filter(|(_, it)| it.course.reopen()) {
                    made.wanted_again.push(at);
                    place.address = spot.at.local;
                } else {
                    place.transports.push(transport);
                }
            }
            if !place.transports.is_empty() {
                made.missing.push(place);
            }
        }
        made.unwanted = (0..self.open.len()).filter(|at| !kept.contains(at)).collect();
        made.wanted_again.sort_unstable();
        made
    }

    /// Forgets a move that cannot be made.
    pub(crate) fn undo(&self, made: &Move) {
        let again = made.wanted_again.iter().filter_map(|at| self.closing.get(*at));
        again.for_each(|spot| spot.course.close());
    }

    /// Where all listen once the move is made, with what is opened besides.
    pub(crate) fn own(&self, made: &Move, besides: &[At]) -> Own {
        let stay = self.open.iter().enumerate().filter(|(at, _)| !made.unwanted.contains(at));
        let again = made.wanted_again.iter().filter_map(|at| self.closing.get(*at));
        let all = stay.map(|(_, spot)| spot.at).chain(again.map(|spot| spot.at));
        let mut own = Own::default();
        for at in all.chain(besides.iter().copied()) {
            let list = match at.transport {
                Transport::Tcp => &mut own.tcp,
                Transport::Udp => &mut own.udp,
            };
            if !list.contains(&at.local) {
                list.push(at.local);
            }
        }
        own
    }

    /// Closes what is not wanted any more, and takes back what is wanted again; both, as it was bound.
    pub(crate) fn make(&mut self, made: &Move) -> (Vec<At>, Vec<At>) {
        let again = take(&mut self.closing, &made.wanted_again);
        let unwanted = take(&mut self.open, &made.unwanted);
        let reopened = again.iter().map(|spot| spot.at).collect();
        let closed = unwanted.iter().map(|spot| spot.at).collect();
        self.open.extend(again);
        for spot in unwanted {
            spot.stops.iter().for_each(CancellationToken::cancel);
            spot.course.close();
            if spot.at.transport == Transport::Udp {
                self.closing.push(spot);
            }
        }
        // Its ports are gone if nobody else knows its course.
        self.closing.retain(|spot| Arc::strong_count(&spot.course) > 1);
        (reopened, closed)
    }

    /// The one for sockets that are bound so, and whether it is new.
    pub(crate) fn at(&mut self, at: At) -> (Option<&mut Spot>, bool) {
        let known = self.open.iter().position(|spot| spot.at == at);
        let place = known.unwrap_or_else(|| {
            let (stops, listeners, course) = (Vec::new(), Vec::new(), Arc::default());
            self.open.push(Spot { at, stops, listeners, ports: Vec::new(), course });
            self.open.len() - 1
        });
        (self.open.get_mut(place), known.is_none())
    }

    /// Those that take clients.
    pub(crate) fn open(&self) -> &[Spot] {
        &self.open
    }

    /// Lets what is accepted from now on live as long as these limits say.
    pub(crate) fn set_keepalive(&self, limits: &Limits) {
        let listeners = self.open.iter().flat_map(|spot| &spot.listeners);
        for listener in listeners.filter_map(|(_, it)| it.upgrade()) {
            keepalive::set_anew(SockRef::from(&*listener), limits);
        }
    }
}

/// Takes those at these places, which are in order, out of a list.
fn take(list: &mut Vec<Spot>, places: &[usize]) -> Vec<Spot> {
    let mut taken: Vec<_> = places.iter().rev().map(|at| list.remove(*at)).collect();
    taken.reverse();
    taken
}

#[cfg(test)]
mod tests {
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
        let back = spots.compare(&[address("127.0.0.1:53")], &[Transport::Udp]);
        assert_eq!(spots.make(&back).0.len(), 1);
        drop(part);
        spots.make(&spots.compare(&[], &[]));
        assert!(spots.closing.is_empty(), "its ports are gone");
    }
}
