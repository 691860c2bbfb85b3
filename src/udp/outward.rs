//! From backends to clients.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::{Context, Poll};

use mio::Token;
use quinn_udp::{EcnCodepoint, UdpSockRef};
use tokio::io::Interest;

use super::Port;
use super::batch::{Batch, Left, Piece};
use super::outlet::Course;
use super::train::each_train;
use crate::event::{Event, Loss, Peer, SessionEnd};

/// So many datagrams with one receive are bulk: all that a receive of few can bring.
const BULK: usize = 4;

/// How many refusals in a row are heard: the system tells of each before it gives out what has come.
const REFUSALS: usize = 8;

impl Port {
    /// Sends on what one receive brings from the backend of a session.
    pub(super) fn pass_out(&mut self, token: Token, batch: &mut Batch, gathered: &mut Vec<u8>) {
        for _ in 0..REFUSALS {
            let Some(session) = self.sessions.get(token) else { return };
            let socket = UdpSockRef::from(&session.upstream.socket);
            let state = self.outlet.state();
            let received = if session.upstream.gathers {
                batch.receive(socket, state)
            } else {
                batch.receive_few(socket, state)
            };
            match received {
                Ok(left) => {
                    if left == Left::Maybe {
                        self.unfinished.push(token);
                    }
                    return self.answer(token, batch, gathered);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) => self.refused(token, &error),
            }
        }
        self.unfinished.push(token);
    }

    /// Sends a backend's datagrams to its client, as far as that may have them.
    fn answer(&mut self, token: Token, batch: &Batch, gathered: &mut Vec<u8>) {
        let tick = self.wheel.tick(self.now);
        let Some(session) = self.sessions.get(token) else { return };
        session.upstream.backend().found_alive();
        session.is_refused = false;
        session.last = tick;
        if batch.pieces().map(|it| it.count()).sum::<usize>() >= BULK {
            session.upstream.gather();
        }
        let (backend, key) = (session.upstream.address(), session.key);
        // A socket has a port for a moment before it has a peer, and takes from anybody then.
        let of_backend = batch.pieces().filter(|it| is_same(it.from, backend));
        let mut allowance = session.allowance();
        let allowed = of_backend.map(|piece| allow(piece, &mut allowance));
        let mut dropped = 0;
        let allowed = allowed.inspect(|(_, beyond)| dropped += beyond);
        let allowed = allowed.filter_map(|(piece, _)| piece);
        let most = self.outlet.most(self.now).min(session.path.most(self.now));
        let course = Course { to: key.peer, from: key.local };
        each_train(allowed, most, gathered, |piece| {
            let sent =
                if self.blocked.is_empty() { self.send_out(token, course, piece) } else { 0 };
            // What the socket does not take now is kept.
            if sent < piece.count() {
                self.blocked.push(token, course, piece.skip(sent));
            }
        });
        if dropped > 0 {
            self.drop_for(token, Peer::Client, dropped, &Loss::Amplification);
        }
        self.end_if_answered(token);
    }

    /// Sends datagrams to a client. How many of them need no more to be done: they are sent, or cannot be.
    fn send_out(&mut self, token: Token, course: Course, piece: Piece<'_>) -> usize {
        let path = self.sessions.get(token).map(|it| it.path).unwrap_or_default();
        let most = self.outlet.most(self.now).min(path.most(self.now));
        let sent = self.outlet.send(&self.socket, course, piece, most);
        if let Some(session) = self.sessions.get(token)
            && sent.datagrams > 0
        {
            session.exchanged.down.add(sent.datagrams, sent.bytes);
            session.trust.answer();
        }
        if let Some(error) = &sent.refused {
            let mut gone = path;
            let path = self.sessions.get(token).map_or(&mut gone, |it| &mut it.path);
            self.outlet.note(error, path, self.now);
            self.shared.observer.on(&Event::SegmentationRefused { to: course.to, error });
        }
        match sent.failed {
            None => piece.count(),
            Some(error) if error.kind() == io::ErrorKind::WouldBlock => sent.datagrams,
            Some(error) => {
                let lost = piece.count() - sent.datagrams;
                self.drop_for(token, Peer::Client, lost, &Loss::Unsent(error));
                piece.count()
            }
        }
    }

    fn end_if_answered(&mut self, token: Token) {
        if self.sessions.get(token).is_some_and(|it| it.is_answered()) {
            self.end(token, SessionEnd::Answered);
        }
    }

    /// Sends what the socket did not take before. Whether it takes more.
    pub(super) fn unblock(&mut self, cx: &mut Context<'_>) -> bool {
        while let Some(mut first) = self.blocked.0.pop_front() {
            let Poll::Ready(Ok(())) = self.socket.poll_send_ready(cx) else {
                self.blocked.0.push_front(first);
                return false;
            };
            let socket = Arc::clone(&self.socket);
            // Tried within, so that a full socket is waited for from this moment on.
            let done = socket.try_io(Interest::WRITABLE, || self.send_blocked(&mut first));
            if done.is_err() {
                self.blocked.0.push_front(first);
            }
        }
        true
    }

    /// An error if the socket is full once more.
    fn send_blocked(&mut self, waiting: &mut Waiting) -> io::Result<()> {
        let (token, course) = (waiting.token, waiting.course);
        let done = self.send_out(token, course, waiting.piece());
        let is_full = done < waiting.piece().count();
        waiting.bytes.drain(..waiting.piece().first(done).bytes.len());
        self.end_if_answered(token);
        if is_full { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
    }
}

/// Whether the addresses are one; an IPv6 address may name an interface beside.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    (one.ip(), one.port()) == (other.ip(), other.port())
}

/// What of these datagrams a client may have, and how many it may not.
fn allow<'b>(piece: Piece<'b>, allowance: &mut Option<u64>) -> (Option<Piece<'b>>, usize) {
    let Some(left) = allowance else { return (Some(piece), 0) };
    let wide = |it: usize| u64::try_from(it).unwrap_or(u64::MAX);
    let mut most = 0;
    for datagram in piece.datagrams() {
        let bytes = wide(datagram.bytes.len());
        if bytes > *left {
            break;
        }
        *left -= bytes;
        most += 1;
    }
    ((most > 0).then(|| piece.first(most)), piece.count() - most)
}

/// Datagrams that wait for the socket to take more.
#[derive(Default)]
pub(super) struct Blocked(VecDeque<Waiting>);

struct Waiting {
    token: Token,
    course: Course,
    ecn: Option<EcnCodepoint>,
    segment: usize,
    bytes: Vec<u8>,
}

impl Blocked {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn push(&mut self, token: Token, course: Course, piece: Piece<'_>) {
        let Piece { ecn, segment, bytes, .. } = piece;
        self.0.push_back(Waiting { token, course, ecn, segment, bytes: bytes.to_vec() });
    }
}

impl Waiting {
    fn piece(&self) -> Piece<'_> {
        let &Self { course, ecn, segment, ref bytes, .. } = self;
        Piece { from: course.to, to: None, ecn, bytes, segment }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unconfirmed_client_gets_whole_datagrams_within_its_allowance() {
        let from = SocketAddr::from(([127, 0, 0, 1], 1));
        let piece = Piece { from, to: None, ecn: None, bytes: &[0; 250], segment: 100 };
        let allowed = |mut allowance| {
            let (piece, beyond) = allow(piece, &mut allowance);
            (piece.map(|it| it.bytes.len()), beyond, allowance)
        };
        assert_eq!(allowed(None), (Some(250), 0, None));
        assert_eq!(allowed(Some(260)), (Some(250), 0, Some(10)));
        assert_eq!(allowed(Some(220)), (Some(200), 1, Some(20)));
        assert_eq!(allowed(Some(99)), (None, 3, Some(99)));
    }
}
