//! From clients to backends.

use std::io;
use std::iter;
use std::mem;

use mio::Token;
use refractium_protocol::Opening;
use rustix::io::Errno;

use super::Port;
use super::batch::{Batch, Piece};
use super::outlet::{Course, Sent};
use super::session::Key;
use super::train::each_train;
use super::upstream::{Choice, Chosen, Failing};
use crate::event::{Event, Loss, Peer};
use crate::os;
use crate::proxy_protocol::introduction;

impl Port {
    /// Sends on what one receive brought: those of one client that came one behind the other together.
    pub(super) fn pass_in(&mut self, batch: &Batch, gathered: &mut Vec<u8>) {
        let mut pieces = batch.pieces();
        while let Some(first) = pieces.clone().next() {
            let is_same = |it: &Piece<'_>| (it.from, it.to) == (first.from, first.to);
            let same = pieces.clone().take_while(is_same);
            let count = same.clone().count();
            let key = self.key(&first);
            match self.sessions.find(&key) {
                Some(token) => self.forward(token, same, gathered),
                None => self.begin(key, same, gathered),
            }
            pieces.by_ref().take(count).for_each(drop);
        }
    }

    fn key(&self, piece: &Piece<'_>) -> Key {
        let local = piece.to.filter(|_| self.local.ip().is_unspecified());
        Key { peer: piece.from, local }
    }

    /// Looks for the datagram that opens a session: those before it are dropped, it and those behind it sent on.
    fn begin<'b>(
        &mut self,
        key: Key,
        pieces: impl Iterator<Item = Piece<'b>>,
        gathered: &mut Vec<u8>,
    ) {
        let mut datagrams = pieces.flat_map(Piece::datagrams);
        while let Some(datagram) = datagrams.next() {
            if let Some(token) = self.open(key, datagram) {
                return self.forward(token, iter::once(datagram).chain(datagrams), gathered);
            }
        }
    }

    /// Sends a client's datagrams to its backend.
    fn forward<'b>(
        &mut self,
        token: Token,
        pieces: impl Iterator<Item = Piece<'b>>,
        gathered: &mut Vec<u8>,
    ) {
        let tick = self.wheel.tick(self.now);
        let Some(session) = self.sessions.get(token) else { return };
        session.heard(tick);
        let (address, path) = (session.upstream.address(), session.upstream.path);
        let most = self.outlets.to(address).map_or(1, |outlet| outlet.most(self.now));
        let most = most.min(path.most(self.now));
        each_train(pieces, most, gathered, |piece| self.send_on(token, piece));
    }

    /// Sends datagrams of one client to its backend, or to another if that one refuses.
    pub(super) fn send_on(&mut self, token: Token, piece: Piece<'_>) {
        let mut rest = piece;
        for attempt in 0..ATTEMPTS {
            let has_backend = self.sessions.get(token).is_some_and(|it| it.has_backend())
                || self.choose_again(token);
            if !has_backend {
                return self.drop_for(token, Peer::Backend, rest.count(), &Loss::NoBackend);
            }
            let Some(error) = self.try_send_on(token, &mut rest) else { return };
            if !is_of_the_backend(&error) || attempt + 1 == ATTEMPTS {
                return self.drop_for(token, Peer::Backend, rest.count(), &Loss::of(error));
            }
            self.refused(token, &error);
        }
    }

    /// Sends once; `rest` is what was not sent, for the reason given.
    fn try_send_on(&mut self, token: Token, rest: &mut Piece<'_>) -> Option<io::Error> {
        if self.sessions.get(token)?.is_unknown {
            let is_all = rest.count() == 1;
            let failed = self.introduce(token, rest.first(1));
            if is_all || failed.is_some() {
                return failed;
            }
            *rest = rest.skip(1);
        }
        let sent = self.send_once(token, *rest)?;
        let session = self.sessions.get(token)?;
        session.exchanged.up.add(sent.datagrams, sent.bytes);
        *rest = rest.skip(sent.datagrams);
        sent.failed
    }

    /// Sends a datagram that has in front of it who the client is.
    fn introduce(&mut self, token: Token, datagram: Piece<'_>) -> Option<io::Error> {
        let session = self.sessions.get(token)?;
        let ends = &[datagram.bytes.len()];
        let opening = Opening { bytes: datagram.bytes, ends, ended: true };
        let mut bytes = introduction(&session.route, &session.conn, &opening);
        bytes.extend(datagram.bytes);
        let sent = self.send_once(token, Piece { segment: bytes.len(), bytes: &bytes, ..datagram });
        let session = self.sessions.get(token)?;
        if let Some(error) = sent?.failed {
            return Some(error);
        }
        session.is_unknown = false;
        session.exchanged.up.add(1, datagram.bytes.len());
        None
    }

    /// Hands datagrams to the system, as many as it takes at once.
    fn send_once(&mut self, token: Token, piece: Piece<'_>) -> Option<Sent> {
        let session = self.sessions.get(token)?;
        let to = session.upstream.address();
        let socket = &session.upstream.socket;
        // A socket that is connected knows the way.
        let says_all = piece.ecn.is_none() || !os::MARKS_ON_CONNECTED;
        if piece.count() == 1 && says_all {
            return Some(Sent::of(os::send_datagram(socket, piece.bytes), &piece));
        }
        Some(match self.outlets.to(to) {
            Ok(outlet) => {
                let most = outlet.most(self.now).min(session.upstream.path.most(self.now));
                let sent = outlet.send(socket, Course { to, from: None }, piece, most);
                if let Some(error) = &sent.refused {
                    outlet.note(error, &mut session.upstream.path, self.now);
                    self.shared.observer.on(&Event::SegmentationRefused { to, error });
                }
                sent
            }
            Err(error) => Sent { failed: Some(error), ..Sent::default() },
        })
    }

    /// Looks for a backend of the route in place of the one that refused. Whether there is any.
    fn choose_again(&mut self, token: Token) -> bool {
        let Some(session) = self.sessions.get(token) else { return false };
        let mut choice = Choice {
            route: &session.route,
            conn: &session.conn,
            registry: self.upstreams.get_ref().registry(),
            token,
            spares: &mut self.spares,
            now: self.now,
            observer: self.shared.observer.as_ref(),
        };
        match choice.make(Some(&session.upstream)) {
            Chosen::Same => session.is_refused = false,
            Chosen::New(upstream) => {
                let old = mem::replace(&mut session.upstream, upstream);
                session.is_refused = false;
                session.forget();
                let (conn, route) = (&session.conn, &*session.route);
                let (from, backend) = (old.backend(), session.upstream.backend());
                self.shared.observer.on(&Event::SessionMoved { conn, route, from, backend });
            }
            Chosen::None(_) => return false,
        }
        true
    }

    /// Notes that the backend of a session refused what it was sent.
    pub(super) fn refused(&mut self, token: Token, error: &io::Error) {
        let Some(session) = self.sessions.get(token) else { return };
        session.is_refused = true;
        session.forget();
        let (conn, route) = (&session.conn, &*session.route);
        let failing = Failing { conn, route, backend: session.upstream.backend() };
        failing.note(error, self.shared.observer.as_ref());
    }

    pub(super) fn drop_for(&mut self, token: Token, to: Peer, datagrams: usize, loss: &Loss) {
        if let Some(session) = self.sessions.get(token) {
            let (conn, route) = (&session.conn, &*session.route);
            self.shared.observer.on(&Event::Dropped { conn, route, to, datagrams, loss });
        }
    }
}

/// How often a datagram is sent: a refusal that is told now is of an earlier one.
const ATTEMPTS: usize = 3;

/// Whether a failure says that nothing gets to the backend.
fn is_of_the_backend(error: &io::Error) -> bool {
    let its = [
        Errno::CONNREFUSED,
        Errno::HOSTUNREACH,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::NETDOWN,
        Errno::ACCESS,
        Errno::PERM,
        Errno::PROTO,
        Errno::NOPROTOOPT,
    ];
    Errno::from_io_error(error).is_some_and(|it| its.contains(&it))
}

impl Loss {
    pub(super) fn of(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::WouldBlock {
            Self::SendBufferFull
        } else {
            Self::Unsent(error)
        }
    }
}
