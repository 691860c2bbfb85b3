//! All sessions of one socket: by client, by token, and the order in which they may be thrown out.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use mio::Token;

use super::session::{Key, Session, Trust};
use super::wheel::Wheel;
use crate::admission::counted_as;

/// The sessions, with one owner and so without a lock.
#[derive(Default)]
pub(crate) struct Sessions {
    /// Keyed by a secret: strangers choose their addresses.
    by_key: HashMap<Key, u32>,
    places: Vec<Place>,
    free: Vec<u32>,
    /// Those that were not confirmed when they were put here, the oldest first. What has ended or was confirmed since is
    /// passed over.
    unconfirmed: VecDeque<Token>,
}

/// Among how many of the oldest one of an address is looked for: a flood must not have all looked through for each of
/// its datagrams.
const LOOKED_AT: usize = 256;

/// Room for one session after another.
#[derive(Default)]
struct Place {
    /// Which of them it is: a token of an earlier one finds nothing.
    generation: u32,
    /// When the wheel will give it out, if it has it.
    noted: Option<u64>,
    session: Option<Box<Session>>,
}

/// The bits of a token that say where; those above say which.
const WHERE: u32 = usize::BITS / 2;

/// How many places a token can tell apart.
pub(crate) const MOST_PLACES: usize = usize::MAX >> WHERE;

fn token(place: u32, generation: u32) -> Token {
    let wide = |it: u32| usize::try_from(it).unwrap_or(usize::MAX);
    Token(wide(place) | wide(generation).wrapping_shl(WHERE))
}

fn place_of(token: Token) -> usize {
    token.0 & (usize::MAX >> WHERE)
}

impl Sessions {
    pub(crate) fn is_empty(&self) -> bool {
        self.by_key.is_empty()
    }

    pub(crate) fn find(&self, key: &Key) -> Option<Token> {
        let place = *self.by_key.get(key)?;
        let generation = self.places.get(usize::try_from(place).ok()?)?.generation;
        Some(token(place, generation))
    }

    pub(crate) fn get(&mut self, token: Token) -> Option<&mut Session> {
        self.place(token)?.session.as_deref_mut()
    }

    /// The token that the next session will have.
    pub(crate) fn next_token(&mut self) -> Token {
        let place = match self.free.last() {
            Some(&place) => place,
            None => {
                let place = u32::try_from(self.places.len()).unwrap_or(u32::MAX);
                self.places.push(Place::default());
                self.free.push(place);
                place
            }
        };
        let at = usize::try_from(place).unwrap_or(usize::MAX);
        token(place, self.places.get(at).map_or(0, |it| it.generation))
    }

    /// Takes a session in; it is found by the [next token](Self::next_token).
    pub(crate) fn insert(&mut self, session: Session, wheel: &mut Wheel) -> Token {
        let token = self.next_token();
        if let Some(place) = self.free.pop() {
            self.by_key.insert(session.key, place);
            if let Some(it) = self.places.get_mut(place_of(token)) {
                it.session = Some(Box::new(session));
            }
        }
        self.note(token, wheel);
        self.unconfirmed.push_back(token);
        self.tidy();
        token
    }

    /// Takes a session out. Its descriptor is closed, and its place given back, when it is dropped.
    pub(crate) fn remove(&mut self, token: Token) -> Option<Box<Session>> {
        let place = self.place(token)?;
        let session = place.session.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.by_key.remove(&session.key);
        self.free.extend(u32::try_from(place_of(token)).ok());
        Some(session)
    }

    /// Whether there is any that was never confirmed.
    pub(crate) fn has_unconfirmed(&mut self) -> bool {
        while let Some(&oldest) = self.unconfirmed.front() {
            if self.is_unconfirmed(oldest) {
                return true;
            }
            self.unconfirmed.pop_front();
        }
        false
    }

    /// The oldest session of an address that was never confirmed.
    pub(crate) fn oldest_unconfirmed_of(&mut self, address: IpAddr) -> Option<Token> {
        let address = counted_as(address);
        let at = (0..self.unconfirmed.len().min(LOOKED_AT)).find(|&at| {
            let token = self.unconfirmed.get(at).copied();
            let session = token.and_then(|it| self.get(it));
            session.is_some_and(|it| {
                it.trust != Trust::Confirmed && counted_as(it.conn.client.ip()) == address
            })
        })?;
        self.unconfirmed.remove(at)
    }

    /// The oldest session that was never confirmed.
    pub(crate) fn oldest_unconfirmed(&mut self) -> Option<Token> {
        loop {
            let oldest = self.unconfirmed.pop_front()?;
            if self.is_unconfirmed(oldest) {
                return Some(oldest);
            }
        }
    }

    /// Which session the wheel means, if it is not to be looked at later: an entry outlives the session that it was made
    /// for, so that those that come and go in no time leave no heap of them.
    pub(crate) fn given_out(&mut self, entry: u32, tick: u64, wheel: &mut Wheel) -> Option<Token> {
        let place = self.places.get_mut(usize::try_from(entry).ok()?)?;
        if place.noted.is_some_and(|noted| noted <= tick) {
            place.noted = None;
        }
        let token = token(entry, place.generation);
        if place.session.as_ref()?.is_idle(tick) {
            return Some(token);
        }
        self.note(token, wheel);
        None
    }

    /// Every session there is.
    pub(crate) fn tokens(&self) -> Vec<Token> {
        let places = (0..).zip(&self.places).filter(|(_, place)| place.session.is_some());
        places.map(|(at, place)| token(at, place.generation)).collect()
    }

    /// Has the wheel give the session out when it may be idle.
    fn note(&mut self, token: Token, wheel: &mut Wheel) {
        let Some(place) = self.place(token) else { return };
        let Some(due) = place.session.as_ref().and_then(|it| it.due()) else { return };
        if place.noted.is_none_or(|noted| due < noted)
            && let Ok(entry) = u32::try_from(place_of(token))
            && let Some(place) = self.places.get_mut(place_of(token))
        {
            place.noted = Some(wheel.add(entry, due));
        }
    }

    fn place(&mut self, wanted: Token) -> Option<&mut Place> {
        let at = place_of(wanted);
        let place = self.places.get_mut(at)?;
        let is_it = token(u32::try_from(at).ok()?, place.generation) == wanted;
        is_it.then_some(place)
    }

    fn is_unconfirmed(&mut self, token: Token) -> bool {
        self.get(token).is_some_and(|it| it.trust != Trust::Confirmed)
    }

    /// Forgets what is passed over anyway, once that is most of the list.
    fn tidy(&mut self) {
        if self.unconfirmed.len() > 2 * self.by_key.len() + 64 {
            let mut kept = std::mem::take(&mut self.unconfirmed);
            kept.retain(|token| self.is_unconfirmed(*token));
            self.unconfirmed = kept;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, UdpSocket};
    use std::sync::Arc;
    use std::time::Duration;

    use refractium_protocol::Transport;
    use tokio::time::Instant;

    use super::super::outlet::Alone;
    use super::super::session::Upstream;
    use super::super::wheel::ticks;
    use super::*;
    use crate::admission::{Admission, Caps};
    use crate::event::{Conn, Exchanged};
    use crate::limits::Each;
    use crate::table::Taken;
    use crate::{Protocols, Routes, Table};

    fn session(port: u16, last: u64) -> Session {
        let routes = Routes { fallback_udp: "127.0.0.1:9".parse().ok(), ..Routes::default() };
        let table = Table::new(&routes, &Protocols::default()).expect("a table");
        let route = Arc::clone(table.fallback(Transport::Udp).expect("a route"));
        let peer = SocketAddr::from(([127, 0, 0, 1], port));
        let upstream = Upstream {
            socket: UdpSocket::bind("127.0.0.1:0").expect("a socket"),
            lease: route.pool().backends()[0].lease(0).expect("a place"),
            gathers: false,
            path: Alone::default(),
            stands_in: false,
        };
        let conn = Conn { id: 0, client: peer, peer, local: peer, transport: Transport::Udp };
        let caps = Caps { all: usize::MAX, each: Each::default() };
        let permit = Arc::new(Admission::default()).enter(Some(peer.ip()), caps).expect("room");
        Session {
            key: Key { peer, local: None },
            conn,
            route: Taken::new(route),
            upstream,
            is_refused: false,
            is_unknown: false,
            exchanged: Exchanged::default(),
            path: Alone::default(),
            trust: Trust::Unanswered,
            last,
            idle: Some(ticks(Duration::from_secs(1))),
            _permit: permit,
        }
    }

    #[test]
    fn a_late_token_never_finds_the_successor() {
        let (mut sessions, mut wheel) = (Sessions::default(), Wheel::new(Instant::now()));
        let first = sessions.insert(session(1, 0), &mut wheel);
        assert!(sessions.remove(first).is_some());
        let second = sessions.insert(session(2, 0), &mut wheel);
        assert_eq!(place_of(first), place_of(second), "the place is used again");
        assert!(sessions.get(first).is_none() && sessions.remove(first).is_none());
        assert!(sessions.get(second).is_some());
        assert_eq!(sessions.by_key.len(), 1);
    }

    #[test]
    fn the_oldest_unconfirmed_goes_first_and_a_confirmed_one_never() {
        let (mut sessions, mut wheel) = (Sessions::default(), Wheel::new(Instant::now()));
        let tokens: Vec<_> =
            (1..=4).map(|port| sessions.insert(session(port, 0), &mut wheel)).collect();
        for confirmed in [tokens[0], tokens[2]] {
            let session = sessions.get(confirmed).expect("a session");
            session.trust.answer();
            session.heard(0);
        }
        assert_eq!(sessions.oldest_unconfirmed(), Some(tokens[1]));
        sessions.remove(tokens[1]);
        assert_eq!(sessions.oldest_unconfirmed(), Some(tokens[3]));
        sessions.remove(tokens[3]);
        assert_eq!(sessions.oldest_unconfirmed(), None);
    }

    #[test]
    fn one_that_goes_on_is_looked_at_again_and_a_place_has_one_entry() {
        let (mut sessions, mut wheel) = (Sessions::default(), Wheel::new(Instant::now()));
        for port in 1..100 {
            let token = sessions.insert(session(port, 0), &mut wheel);
            sessions.remove(token);
        }
        let token = sessions.insert(session(100, 4), &mut wheel);
        let mut entries = 0;
        let mut idle = Vec::new();
        for tick in 1..30 {
            while let Some(due) = wheel.due(tick) {
                entries += due.len();
                idle.extend(
                    due.into_iter().filter_map(|it| sessions.given_out(it, tick, &mut wheel)),
                );
            }
            if !idle.is_empty() {
                assert_eq!((tick, idle.as_slice()), (14, &[token][..]));
                break;
            }
        }
        assert_eq!(entries, 2, "one for all that used the place, one because it went on");
    }

    #[test]
    fn what_ended_leaves_no_list_behind() {
        let (mut sessions, mut wheel) = (Sessions::default(), Wheel::new(Instant::now()));
        for _ in 0..1000 {
            let token = sessions.insert(session(1, 0), &mut wheel);
            sessions.remove(token);
        }
        assert!(sessions.unconfirmed.len() <= 66 && sessions.places.len() == 1);
    }
}
