//! From a client's first datagrams to a session.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use mio::Token;
use refractium_protocol::{Opening, Transport};
use tokio::time::Instant;

use super::Port;
use super::batch::Piece;
use super::held::Undecided;
use super::outlet::Alone;
use super::session::{Key, Session, Trust, Upstream};
use super::upstream::{Choice, Chosen, Lack};
use super::wheel::ticks;
use crate::admission::Permit;
use crate::event::{By, Conn, Event, Exchanged, Refusal, SessionEnd};
use crate::os::Tick;
use crate::own::canonical;
use crate::peek::LONG_LOOK;
use crate::scratch;
use crate::table::{Decision, Route, Taken};

/// What is to become of a client without a session.
enum Fate {
    Route(Arc<Route>, By),
    Wait,
    Refuse(Refusal),
}

/// A client that is about to have a session.
struct Newcomer<'a> {
    key: Key,
    conn: Conn,
    opening: Opening<'a>,
    since: Instant,
}

impl Port {
    /// Opens a session if this datagram, or it and those before it, tell where it goes. It is not sent yet; those before it
    /// are.
    pub(super) fn open(&mut self, key: Key, datagram: Piece<'_>) -> Option<Token> {
        self.renew();
        if let Some(refusal) = self.closed() {
            let (conn, refusal) = (&self.conn(key), &refusal);
            self.shared.observer.on(&Event::Refused { conn, refusal });
            return None;
        }
        if let Some(undecided) = self.held.take(&key) {
            return self.open_held(key, undecided, datagram);
        }
        let (bytes, ends) = (datagram.bytes, &[datagram.bytes.len()]);
        let opening = Opening { bytes, ends, ended: false };
        let newcomer = Newcomer { key, conn: self.conn(key), opening, since: self.now };
        let mut fate = self.fate(&newcomer);
        if matches!(fate, Fate::Wait) {
            let mut undecided = Undecided::new(newcomer.conn, self.now);
            if undecided.add(&datagram) {
                self.held.put(key, undecided);
                return None;
            }
            let opening = opening.ended();
            fate = self.fate(&Newcomer { opening, ..newcomer });
        }
        self.meet(&newcomer, fate)
    }

    /// Why nobody is let in now, whoever it is; to be known before anything is asked of a datagram.
    fn closed(&self) -> Option<Refusal> {
        // The end may be told of before this port has heard of it.
        if self.is_draining || self.shared.stop.is_cancelled() {
            return Some(Refusal::Cut);
        }
        if !self.part.is_open() {
            return Some(Refusal::Closed);
        }
        let is_full =
            self.evictions == 0 && self.shared.has_no_session_left(self.terms.session_caps);
        is_full.then_some(Refusal::Full)
    }

    /// The same for a client of whom something is held already.
    fn open_held(
        &mut self,
        key: Key,
        mut undecided: Undecided,
        datagram: Piece<'_>,
    ) -> Option<Token> {
        let is_added = undecided.add(&datagram);
        let opening = undecided.opening(!is_added);
        let newcomer = Newcomer { key, conn: undecided.conn, opening, since: undecided.since };
        let fate = self.fate(&newcomer);
        if matches!(fate, Fate::Wait) {
            self.held.put(key, undecided);
            return None;
        }
        let token = self.meet(&newcomer, fate)?;
        let earlier = opening.ends.len() - usize::from(is_added);
        undecided.datagrams().take(earlier).for_each(|it| self.send_on(token, it));
        Some(token)
    }

    /// Decides on an undecided client whose time is over.
    pub(super) fn settle(&mut self, key: &Key) {
        self.renew();
        let Some(undecided) = self.held.take(key) else { return };
        let opening = undecided.opening(true);
        let newcomer =
            Newcomer { key: *key, conn: undecided.conn, opening, since: undecided.since };
        let fate = self.fate(&newcomer);
        if let Some(token) = self.meet(&newcomer, fate) {
            undecided.datagrams().for_each(|it| self.send_on(token, it));
        }
    }

    pub(super) fn conn(&self, Key { peer, local }: Key) -> Conn {
        let client = canonical(peer);
        let mut own = self.local;
        local.into_iter().for_each(|ip| own.set_ip(ip));
        let transport = Transport::Udp;
        Conn { id: self.shared.next_id(), client, peer, local: own, transport }
    }

    /// Asks the table. A protocol that panics costs its client this datagram, and nobody else anything.
    fn fate(&self, newcomer: &Newcomer<'_>) -> Fate {
        let opening = &newcomer.opening;
        if self.terms.circle.has(newcomer.conn.client) {
            return Fate::Refuse(Refusal::Loop);
        }
        let table = &self.terms.plan.table;
        let by = if opening.ended { By::Deadline } else { By::Verdict };
        let ask = || match scratch::with_facts(|room| table.decide(opening, room)) {
            Decision::Route(route) => Fate::Route(Arc::clone(route), by),
            Decision::NeedMore { .. } if !opening.ended => Fate::Wait,
            Decision::NeedMore { .. } | Decision::NoMatch => {
                let refusal = Refusal::NoRoute { bytes: opening.bytes.len(), by };
                let fallback = table.fallback(Transport::Udp);
                fallback.map_or(Fate::Refuse(refusal), |it| Fate::Route(Arc::clone(it), by))
            }
        };
        let start = Tick::now();
        let fate = catch_unwind(AssertUnwindSafe(ask));
        let took = start.elapsed();
        if took >= LONG_LOOK {
            self.shared.observer.on(&Event::LookedLong { conn: &newcomer.conn, took });
        }
        fate.unwrap_or(Fate::Refuse(Refusal::Panicked))
    }

    /// Gives the newcomer what is decided for it.
    fn meet(&mut self, newcomer: &Newcomer<'_>, fate: Fate) -> Option<Token> {
        let entered = match fate {
            Fate::Route(route, by) => {
                self.tell_decided(newcomer, &route, by);
                self.enter(newcomer, route)
            }
            Fate::Refuse(refusal) => Err(refusal),
            Fate::Wait => return None,
        };
        let tell = |refusal: &Refusal| {
            self.shared.observer.on(&Event::Refused { conn: &newcomer.conn, refusal });
        };
        entered.inspect_err(tell).ok()
    }

    fn tell_decided(&self, newcomer: &Newcomer<'_>, route: &Route, by: By) {
        let &Newcomer { ref conn, opening, .. } = newcomer;
        let after = newcomer.since.elapsed();
        self.shared.observer.on(&Event::Decided { conn, route, opening, by, after });
    }

    /// Opens the session: a place, a backend, a socket.
    fn enter(&mut self, newcomer: &Newcomer<'_>, route: Arc<Route>) -> Result<Token, Refusal> {
        let conn = newcomer.conn;
        let permit = self.admit(&conn)?;
        let upstream = match self.choose(&conn, &route) {
            Err(Lack::Own) if self.make_room() => self.choose(&conn, &route),
            chosen => chosen,
        };
        let upstream = upstream.map_err(|lack| match lack {
            Lack::Places => Refusal::BackendsFull,
            Lack::Backends => Refusal::NoBackend,
            Lack::Own => Refusal::Full,
        })?;
        let backend = upstream.backend();
        let opened = Event::SessionOpened { conn: &conn, route: &route, backend };
        self.shared.observer.on(&opened);
        let idle = route.idle_timeout().unwrap_or(self.terms.limits.udp_idle_timeout);
        let is_unknown = route.proxy_protocol().is_some();
        let session = Session {
            key: newcomer.key,
            conn,
            route: Taken::new(route),
            upstream,
            is_refused: false,
            is_unknown,
            exchanged: Exchanged::default(),
            path: Alone::default(),
            trust: Trust::Unanswered,
            last: self.wheel.tick(self.now),
            // One more, because the first may be nearly over.
            idle: (!idle.is_zero()).then(|| ticks(idle).saturating_add(1)),
            _permit: permit,
        };
        Ok(self.sessions.insert(session, &mut self.wheel))
    }

    /// A backend of the route and a socket to it, watched for the session that is opened next.
    fn choose(&mut self, conn: &Conn, route: &Route) -> Result<Upstream, Lack> {
        let mut choice = Choice {
            route,
            conn,
            registry: self.upstreams.get_ref().registry(),
            token: self.sessions.next_token(),
            spares: &mut self.spares,
            now: self.now,
            observer: self.shared.observer.as_ref(),
        };
        match choice.make(None) {
            Chosen::New(upstream) => Ok(upstream),
            // Nobody has an old way here.
            Chosen::Same => Err(Lack::Backends),
            Chosen::None(lack) => Err(lack),
        }
    }

    /// A place, if need be that of the oldest session whose client never confirmed that it hears us: then it is likely
    /// that it does not exist.
    fn admit(&mut self, conn: &Conn) -> Result<Permit, Refusal> {
        let client = conn.client.ip();
        let caps = self.terms.session_caps;
        let first = self.shared.admit_session(client, caps);
        let oldest = match first {
            Ok(_) => return first,
            _ if self.evictions == 0 => return first,
            Err(Refusal::FullForAddress) => self.sessions.oldest_unconfirmed_of(client),
            Err(_) => self.sessions.oldest_unconfirmed(),
        };
        if self.evict(oldest) {
            return self.shared.admit_session(client, caps);
        }
        if matches!(first, Err(Refusal::Full)) {
            self.shared.ask_for_room();
        }
        first
    }

    /// Gives back a spare socket, or the place of the oldest session that was never confirmed.
    fn make_room(&mut self) -> bool {
        self.spares.close_one() || self.evict_oldest()
    }

    /// Makes the places that other ports ask for, as far as sessions here were never confirmed.
    pub(super) fn make_room_for_others(&mut self) {
        while self.evictions > 0
            && self.sessions.has_unconfirmed()
            && self.shared.is_asked_for_room(self.terms.session_caps)
        {
            self.evict_oldest();
        }
    }

    fn evict_oldest(&mut self) -> bool {
        let oldest = if self.evictions > 0 { self.sessions.oldest_unconfirmed() } else { None };
        self.evict(oldest)
    }

    /// Ends a session for a newcomer. Whether there was one.
    fn evict(&mut self, session: Option<Token>) -> bool {
        let Some(token) = session else { return false };
        self.evictions = self.evictions.saturating_sub(1);
        self.end(token, SessionEnd::Evicted);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::UdpSocket;
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use tokio::time::timeout;

    use crate::crew::Shared;
    use crate::engine::Refractium;
    use crate::udp::Course;

    use super::*;

    fn bound() -> UdpSocket {
        UdpSocket::bind("127.0.0.1:0").expect("a port")
    }

    /// The end may have been told of before this port hears of it, which is when it looks what has come as well.
    #[tokio::test]
    async fn who_comes_once_the_end_was_told_of_is_not_taken() {
        let backend = bound();
        let to = backend.local_addr().expect("an address");
        let plan = Refractium::builder().fallback_udp(to.into()).plan().expect("sound routes");
        let (sender, refused) = channel();
        let observer = move |event: &Event<'_>| {
            if let Event::Refused { refusal, .. } = event {
                let _ = sender.send(refusal.to_string());
            }
        };
        let shared = Shared::alone(plan, observer);
        let port = Port::new(bound(), Arc::clone(&shared)).expect("a socket");
        shared.stop.cancel();
        bound().send_to(b"too late", port.local()).expect("room");
        port.socket.readable().await.expect("a datagram");
        let (_steered, orders) = port.steered();
        let served = port.serve(Arc::<Course>::default().join(), orders);
        timeout(Duration::from_secs(20), served).await.expect("its end");
        assert_eq!(refused.try_iter().collect::<Vec<_>>(), [Refusal::Cut.to_string()]);
        backend.set_nonblocking(true).expect("an open socket");
        let got = backend.recv(&mut [0; 16]).map_err(|error| error.kind());
        assert_eq!(got, Err(ErrorKind::WouldBlock));
    }
}
