//! The accept loop, and where its clients go.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;
use refractium_protocol::Transport;
use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::yield_now;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use super::{Guest, Visit, live};
use crate::crew::{Crew, Given, Place, Shared};
use crate::event::{Conn, Event, Refusal};
use crate::own::canonical;
use crate::weld::drop_spares;

/// A listener of one worker.
pub(crate) struct Door {
    pub(crate) listener: Arc<TcpListener>,
    pub(crate) local: SocketAddr,
    /// Nobody is let in any more.
    pub(crate) stop: CancellationToken,
}

/// Accepts until told to stop. No error ends it.
pub(crate) async fn accept(Door { listener, local, stop }: Door, crew: Crew) {
    let shared = &crew.me;
    let unaccepted = &shared.gates.unaccepted;
    let _listed = unaccepted.list(&*listener, local);
    let mut pauses = Pauses::default();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        unaccepted.note_client();
        match accepted {
            Ok((client, peer)) => {
                pauses = Pauses::default();
                admit(client, peer, local, &crew);
            }
            // Each time there are fewer of them.
            Err(error) if lacks_descriptors(&error) && drop_spares() => {}
            Err(error) => {
                let pause = pauses.after(&error);
                shared.observer.on(&Event::AcceptFailed { local, error: &error, pause });
                if !pause.is_zero() {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = sleep(pause) => {}
                    }
                }
            }
        }
    }
    finish_queue(&listener, local, &crew);
}

/// The kernel has shaken hands with these already: closing the listener would reset them. It is asked directly, because
/// tokio answers "pending" as well when a task has done much at a time.
fn finish_queue(listener: &TcpListener, local: SocketAddr, crew: &Crew) {
    let listener = SockRef::from(listener);
    for _ in 0..LONGEST_QUEUE {
        let accepted = listener.accept().and_then(|(client, peer)| {
            client.set_nonblocking(true)?;
            let peer = peer.as_socket().ok_or(io::ErrorKind::InvalidData)?;
            Ok((TcpStream::from_std(client.into())?, peer))
        });
        match accepted {
            Ok((client, peer)) => admit(client, peer, local, crew),
            Err(error) if is_the_clients(&error) => {}
            // Nobody is left, or nothing more can be done for them.
            Err(_) => return,
        }
    }
}

/// How long to wait after failures that follow each other.
#[derive(Debug)]
struct Pauses {
    next: Duration,
    denials: u32,
}

impl Pauses {
    /// After a failure of one connection there is no pause: the next may be sound.
    fn after(&mut self, error: &io::Error) -> Duration {
        if Errno::from_io_error(error) == Some(Errno::PERM) {
            self.denials += 1;
        }
        if is_the_clients(error) && self.denials <= DENIALS {
            return Duration::ZERO;
        }
        let pause = self.next;
        self.next = (pause * 2).min(LAST_PAUSE);
        pause
    }
}

impl Default for Pauses {
    fn default() -> Self {
        Self { next: FIRST_PAUSE, denials: 0 }
    }
}

/// Descriptors of this process or of the whole system ran out. Spare pipes have some.
fn lacks_descriptors(error: &io::Error) -> bool {
    let lacks = [Errno::MFILE, Errno::NFILE];
    Errno::from_io_error(error).is_some_and(|it| lacks.contains(&it))
}

/// A failure of the connection that was to be accepted, not of the listener (accept(2)).
fn is_the_clients(error: &io::Error) -> bool {
    let pending = [
        Errno::CONNABORTED,
        Errno::INTR,
        Errno::PERM,
        Errno::PROTO,
        Errno::NOPROTOOPT,
        Errno::OPNOTSUPP,
        Errno::NETDOWN,
        Errno::NETUNREACH,
        Errno::HOSTDOWN,
        Errno::HOSTUNREACH,
    ];
    Errno::from_io_error(error).is_some_and(|it| pending.contains(&it))
}

/// Gives the client a place and a task of its own, or turns it away.
fn admit(client: TcpStream, peer: SocketAddr, listener: SocketAddr, crew: &Crew) {
    let local = local_end(&client, listener);
    let client_address = canonical(peer);
    let carrier = crew.carrier();
    let transport = Transport::Tcp;
    let conn = Conn { id: carrier.next_id(), client: client_address, peer, local, transport };
    match enter(conn, carrier) {
        Ok(guest) => {
            let place = Place::new(carrier);
            if Arc::ptr_eq(carrier, &crew.me) {
                carrier.tasks.spawn(live(Visit { client, guest, place }));
            } else {
                hand_over(client, guest, place);
            }
        }
        Err(Refusal::Full) if crew.me.line.make_room(Instant::now()) => {
            crew.me.tasks.spawn(squeeze_in(client, conn, Arc::clone(&crew.me)));
        }
        Err(refusal) => turn_away(&client, &conn, &refusal, carrier),
    }
}

/// A place for a connection, and what holds for it.
fn enter(conn: Conn, carrier: &Shared) -> Result<Guest, Refusal> {
    let terms = carrier.terms();
    // Who is trusted says who the client is, whose place it is then.
    let known = (!terms.plan.trusts(conn.peer.ip())).then_some(conn.peer.ip());
    let permit = carrier.admit_connection(known, &terms)?;
    let limits = Arc::clone(&terms.limits);
    Ok(Guest { conn, permit, terms: Some(Guard::into_inner(terms)), limits })
}

/// Gives the client the place of an undecided one, which leaves at this moment.
async fn squeeze_in(client: TcpStream, conn: Conn, carrier: Arc<Shared>) {
    let mut turns = TURNS;
    loop {
        yield_now().await;
        turns -= 1;
        match enter(conn, &carrier) {
            Ok(guest) => {
                let visit = Visit { client, guest, place: Place::new(&carrier) };
                // A task of its own: this one would keep room for it twice.
                carrier.tasks.clone().spawn(live(visit));
                return;
            }
            Err(Refusal::Full) if turns > 0 => {}
            Err(refusal) => return turn_away(&client, &conn, &refusal, &carrier),
        }
    }
}

fn turn_away(client: &TcpStream, conn: &Conn, refusal: &Refusal, carrier: &Shared) {
    carrier.observer.on(&Event::Refused { conn, refusal });
    // A refused client is told so at once; nothing was sent that a reset could overtake.
    let _ = client.set_zero_linger();
}

/// Our end of the client's connection. The system is asked only if the listener does not tell.
fn local_end(client: &TcpStream, listener: SocketAddr) -> SocketAddr {
    if listener.ip().is_unspecified() {
        // It fails only if the client is gone already.
        client.local_addr().unwrap_or(listener)
    } else {
        listener
    }
}

/// Gives the client to another worker, which registers it with its own runtime.
fn hand_over(client: TcpStream, guest: Guest, place: Place) {
    let carrier = Arc::clone(&place.shared);
    let given = Given::new(&carrier);
    let moved = async move {
        drop(given); // it has begun
        match client.into_std().map(TcpStream::from_std) {
            // A task of its own: this one would keep room for what it is given twice.
            Ok(Ok(client)) => {
                let tasks = place.shared.tasks.clone();
                drop(tasks.spawn(live(Visit { client, guest, place })));
            }
            Ok(Err(error)) | Err(error) => {
                let refusal = Refusal::ClientGone(error);
                let (conn, refusal) = (&guest.conn, &refusal);
                place.shared.observer.on(&Event::Refused { conn, refusal });
            }
        }
    };
    carrier.tasks.spawn_on(moved, &carrier.runtime);
}

/// Pauses when descriptors or memory run out: long enough to cost nothing, short enough to recover unnoticed.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// How many connections in a row may be forbidden (EPERM) without a pause. A firewall forbids one, and the next is another.
/// But what asks before the kernel takes one from the queue, as seccomp and security modules do, leaves it there: it would
/// be asked for ever.
const DENIALS: u32 = 8;

/// How often a newcomer looks whether the place that it was promised is free. On a worker's own runtime once is enough: who
/// gives it back was woken before.
const TURNS: u32 = 64;

/// Clients that wait to be accepted when the end comes: as many as a listener of Linux holds by default
/// (net.core.somaxconn). New ones may come all the time.
const LONGEST_QUEUE: usize = 4096;

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustix::io::Errno;

    use super::{DENIALS, FIRST_PAUSE, LAST_PAUSE, Pauses};

    #[test]
    fn pauses_grow_up_to_the_last_one() {
        let mut pauses = Pauses::default();
        let all: Vec<_> = (0..9).map(|_| pauses.after(&Errno::MFILE.into())).collect();
        assert_eq!(all[..3], [FIRST_PAUSE, FIRST_PAUSE * 2, FIRST_PAUSE * 4]);
        assert_eq!(all[7..], [LAST_PAUSE; 2]);
    }

    #[test]
    fn a_client_that_is_gone_costs_the_next_no_time() {
        let mut pauses = Pauses::default();
        assert!((0..1000).all(|_| pauses.after(&Errno::CONNABORTED.into()).is_zero()));
    }

    #[test]
    fn what_is_forbidden_again_and_again_is_waited_for() {
        let mut pauses = Pauses::default();
        let mut denied = || pauses.after(&Errno::PERM.into());
        assert!((0..DENIALS).all(|_| denied().is_zero()));
        assert_eq!([denied(), denied()], [FIRST_PAUSE, FIRST_PAUSE * 2]);
        assert_eq!((0..9).map(|_| denied()).last(), Some(LAST_PAUSE));
        // A success begins anew.
        assert_eq!(Pauses::default().after(&Errno::PERM.into()), Duration::ZERO);
    }
}
