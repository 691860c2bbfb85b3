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
use crate::own::{Reach, is_covered, is_dual};
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

impl Spot {
    /// Whether it has a socket yet. Its ports are gone if nobody else knows its course.
    fn is_there(&self) -> bool {
        let has_listener = self.listeners.iter().any(|(_, it)| it.strong_count() > 0);
        has_listener || Arc::strong_count(&self.course) > 1
    }
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
    /// Those of datagrams whose sessions are not over, and those of TCP that others take the place of.
    closing: Vec<Spot>,
}

/// From what is listened on to what is to be.
#[derive(Debug, Default)]
pub(crate) struct Move {
    pub(crate) missing: Vec<Place>,
    /// Places in [`Spots::open`] that are not wanted any more, in order.
    unwanted: Vec<usize>,
    /// Those of them for TCP that others take the place of: not closed at once, for whose handshake has begun there.
    lingering: Vec<usize>,
    /// Places in [`Spots::closing`] that are wanted again, in order.
    wanted_again: Vec<usize>,
}

impl At {
    /// Whether this is what is meant by an address.
    fn is_for(&self, wanted: SocketAddr, is_dual: bool, transport: Transport) -> bool {
        let is_there = self.asked == wanted || self.local == wanted;
        is_there && self.is_dual == is_dual && self.transport == transport
    }

    const fn reach(&self) -> Reach {
        Reach { address: self.local, is_dual: self.is_dual }
    }
}

impl Spots {
    /// What is to be done so that exactly these addresses are listened on for these transports. Those that are about to be
    /// closed and are wanted again are called back at once; [`Spots::undo`] sends them away again. One that a wanted wildcard
    /// stands for as well goes on beside it, with its sessions and whoever waits there.
    pub(crate) fn compare(&self, wanted: &[SocketAddr], transports: &[Transport]) -> Move {
        let mut kept = Vec::new();
        let mut made = Move::default();
        for &asked in wanted {
            let is_dual = is_dual(asked, wanted);
            let mut place = Place::new(asked, is_dual);
            for &transport in transports {
                let is_it = |spot: &Spot| spot.at.is_for(asked, is_dual, transport);
                let open = self.open.iter().enumerate();
                let known = open.filter(|(at, _)| !kept.contains(at)).find(|(_, it)| is_it(it));
                let closing = self.closing.iter().enumerate();
                let again = closing
                    .filter(|(at, _)| !made.wanted_again.contains(at))
                    .find(|(_, it)| transport == Transport::Udp && is_it(it));
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
        made.wanted_again.sort_unstable();
        self.let_go(&mut made, &kept, |at| {
            transports.contains(&at.transport) && is_covered(at.reach(), wanted)
        });
        made
    }

    /// Finds what is not wanted any more, and what that stands in the way of.
    fn let_go(&self, made: &mut Move, kept: &[usize], is_covered: impl Fn(&At) -> bool) {
        let open = self.open.iter().enumerate().filter(|(at, _)| !kept.contains(at));
        let closing = self.closing.iter().enumerate();
        let closing = closing.filter(|(at, _)| !made.wanted_again.contains(at));
        for (_, Spot { at, .. }) in open.clone().chain(closing) {
            made.missing.iter_mut().for_each(|place| place.meet(at.transport, at.reach()));
        }
        let unwanted = open.filter(|(_, spot)| !is_covered(&spot.at));
        for (place, Spot { at, .. }) in unwanted {
            let meets =
                |it: &Place| it.shared.contains(&Transport::Tcp) && it.reach().meets(at.reach());
            if at.transport == Transport::Tcp && made.missing.iter().any(meets) {
                made.lingering.push(place);
            }
            made.unwanted.push(place);
        }
    }

    /// Closes those that linger when they are cancelled; to be asked for before the move is made.
    pub(crate) fn lingering(&self, made: &Move) -> Vec<CancellationToken> {
        let spots = made.lingering.iter().filter_map(|at| self.open.get(*at));
        spots.flat_map(|spot| spot.stops.iter().cloned()).collect()
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
        for (place, spot) in made.unwanted.iter().zip(unwanted) {
            if !made.lingering.contains(place) {
                spot.stops.iter().for_each(CancellationToken::cancel);
            }
            spot.course.close();
            self.closing.push(spot);
        }
        self.closing.retain(Spot::is_there);
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
mod tests;
