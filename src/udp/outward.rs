//! From backends to clients.

use std::collections::VecDeque;
use std::io;
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
        let mut allowance = session.allowance();
        let key = session.key;
        let course = Course { to: key.peer, from: key.local };
        let most = self.outlet.most(self.now);
        let allowed = batch.pieces().map(|piece| allow(piece, &mut allowance));
        let mut dropped = 0;
        let allowed = allowed.inspect(|(_, beyond)| dropped += beyond);
        let mut is_answered = false;
        let allowed = allowed.filter_map(|(piece, _)| piece).inspect(|_| is_answered = true);
        each_train(allowed, most, gathered, |piece| self.send_out(token, course, piece));
        if is_answered && let Some(session) = self.sessions.get(token) {
            session.trust.answer();
        }
        if dropped > 0 {
            self.drop_for(token, Peer::Client, dropped, &Loss::Amplification);
        }
        if self.sessions.get(token).is_some_and(|it| it.is_answered()) {
            self.end(token, SessionEnd::Answered);
        }
    }

    /// Sends datagrams to a client, or keeps them until the socket takes them.
    fn send_out(&mut self, token: Token, course: Course, piece: Piece<'_>) {
        if self.blocked.is_empty() {
            let sent = self.outlet.send(&self.socket, course, piece, self.now);
            self.count_out(token, sent.datagrams, sent.bytes);
            if let Some(error) = &sent.refused {
                self.shared.observer.on(&Event::SegmentationRefused { to: course.to, error });
            }
            match sent.failed {
                None => {}
                Some(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked.push(token, course, piece.skip(sent.datagrams));
                }
                Some(error) => {
                    let lost = piece.count() - sent.datagrams;
                    self.drop_for(token, Peer::Client, lost, &Loss::Unsent(error));
                }
            }
        } else {
            self.blocked.push(token, course, piece);
        }
    }

    fn count_out(&mut self, token: Token, datagrams: usize, bytes: usize) {
        if let Some(session) = self.sessions.get(token) {
            session.exchanged.down.add(datagrams, bytes);
        }
    }

    /// Sends what the socket did not take before. Whether it takes more.
    pub(super) fn unblock(&mut self, cx: &mut Context<'_>) -> bool {
        while let Some(first) = self.blocked.0.front() {
            let Poll::Ready(Ok(())) = self.socket.poll_send_ready(cx) else { return false };
            let (token, course, piece) = (first.token, first.course, first.piece());
            let mut sent = None;
            // Tried within, so that a full socket is waited for from this moment on.
            let _ = self.socket.try_io(Interest::WRITABLE, || {
                let it = sent.insert(self.outlet.send(&self.socket, course, piece, self.now));
                let is_full = |error: &io::Error| error.kind() == io::ErrorKind::WouldBlock;
                match it.failed.take_if(|error| is_full(error)) {
                    Some(full) => Err(full),
                    None => Ok(()),
                }
            });
            let Some(sent) = sent else { continue };
            let left = piece.count() - sent.datagrams;
            self.count_out(token, sent.datagrams, sent.bytes);
            if let Some(error) = sent.failed {
                self.drop_for(token, Peer::Client, left, &Loss::Unsent(error));
                self.blocked.0.pop_front();
            } else if left == 0 {
                self.blocked.0.pop_front();
            } else if let Some(first) = self.blocked.0.front_mut() {
                first.bytes.drain(..sent.bytes);
            }
        }
        true
    }
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
    fn is_empty(&self) -> bool {
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
    use std::net::SocketAddr;

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
