//! The accept loop, and the life of one connection.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::Guard;
use refractium_protocol::{Opening, Transport};
use rustix::io::Errno;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::admission::Permit;
use crate::backend::{Lease, Served};
use crate::crew::{Crew, Given, Place, Shared};
use crate::cut::Cut;
use crate::dial::{Call, Dialed, dial};
use crate::event::{Conn, Ending, Event, Moved, Observer, Peer, Refusal};
use crate::limits::Limits;
use crate::own::canonical;
use crate::peek::{Behind, Opened, hear, peek};
use crate::proxy_protocol::introduction;
use crate::table::{Route, Taken};
use crate::terms::Terms;
use crate::weld::{Habits, Joint, dismiss, weld};

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
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((client, peer)) => {
                pause = FIRST_PAUSE;
                admit(client, peer, local, &crew);
            }
            Err(error) => {
                let wait = if is_the_clients(&error) { Duration::ZERO } else { pause };
                shared.observer.on(&Event::AcceptFailed { local, error: &error, pause: wait });
                if !wait.is_zero() {
                    tokio::select! {
                        () = stop.cancelled() => break,
                        () = sleep(wait) => pause = (pause * 2).min(LAST_PAUSE),
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
    let terms = carrier.terms();
    // Who is trusted says who the client is, whose place it is then.
    let known = (!terms.plan.trusts(peer.ip())).then_some(peer.ip());
    match carrier.admit_connection(known, &terms) {
        Ok(permit) => {
            let limits = Arc::clone(&terms.limits);
            let terms = Some(Guard::into_inner(terms));
            let guest = Guest { conn, permit, terms, limits };
            let visit = Visit { client, guest, place: Place::new(carrier) };
            if Arc::ptr_eq(carrier, &crew.me) {
                carrier.tasks.spawn(live(visit));
            } else {
                hand_over(visit);
            }
        }
        Err(refusal) => {
            carrier.observer.on(&Event::Refused { conn: &conn, refusal: &refusal });
            // A refused client is told so at once; nothing was sent that a reset could overtake.
            let _ = client.set_zero_linger();
        }
    }
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
fn hand_over(Visit { client, guest, place }: Visit) {
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

/// Carries one connection to its end. Its place is given back however it ends, by a panic too.
///
/// No `async fn`: it would keep room for what it is given twice.
#[allow(clippy::manual_async_fn)]
fn live(mut visit: Visit) -> impl Future<Output = ()> + Send {
    async move {
        visit.place.shared.observer.on(&Event::Accepted { conn: &visit.guest.conn });
        if let Err(refusal) = carry(&mut visit).await {
            let Visit { guest, place, .. } = &visit;
            if matches!(refusal, Refusal::Cut) {
                place.shared.count_cut();
            }
            place.shared.observer.on(&Event::Refused { conn: &guest.conn, refusal: &refusal });
        }
    }
}

#[allow(clippy::manual_async_fn)]
fn carry(visit: &mut Visit) -> impl Future<Output = Result<(), Refusal>> + Send {
    async move {
        let told = pin!(visit.place.shared.cutter.told());
        let mut cut = Cut::new(&visit.place.shared.cutter, told);
        // In a block of its own, so that its room is free again while the connection is carried.
        let (mut backend, opening, sent, route, lease, habits) = {
            let joined =
                cut.or(pin!(join(&mut visit.client, &mut visit.guest, &visit.place.shared))).await;
            let Joined { route, opening, introduced, dialed, connect } =
                match joined.unwrap_or(Err(Refusal::Cut)) {
                    Ok(joined) => joined,
                    Err(refusal) => {
                        dismiss(&visit.client);
                        return Err(refusal);
                    }
                };
            let conn = &visit.guest.conn;
            let Dialed { stream, sent, lease } = dialed;
            let (way, backend) = (&*route, &**lease.backend());
            visit.place.shared.observer.on(&Event::Welded { conn, route: way, backend, connect });
            if way.close_on_down() {
                cut.at(backend.next_fall());
            }
            let habits = Habits::of(way, &visit.guest.limits, introduced);
            (stream, opening, sent, route, lease, habits)
        };
        let backend = &mut backend;
        let carried = pin!({
            let limits = &visit.guest.limits;
            let joint = Joint { client: &mut visit.client, backend, opening, sent, habits, limits };
            weld(joint, &mut cut)
        });
        let (moved, ending) = carried.await;
        let ending = match ending {
            Ending::Cut if visit.place.shared.cutter.is_cut() => {
                visit.place.shared.count_cut();
                Ending::Cut
            }
            Ending::Cut => Ending::BackendDown,
            own => own,
        };
        let carried =
            Carried { conn: &visit.guest.conn, route: &route, lease: &lease, moved, ending };
        carried.tell(visit.place.shared.observer.as_ref());
        Ok(())
    }
}

/// A connection that is over.
struct Carried<'a> {
    conn: &'a Conn,
    route: &'a Route,
    lease: &'a Lease,
    moved: Moved,
    ending: Ending,
}

impl Carried<'_> {
    /// Tells of it. The backend is told too whether it served this one: one that resets all of them is as bad as one that
    /// refuses them.
    fn tell(self, observer: &dyn Observer) {
        let Self { conn, route, lease, moved, ending } = self;
        let backend = lease.backend();
        let served = match ending {
            _ if moved.down > 0 => Some(Served::Something),
            Ending::Reset(Peer::Backend) => Some(Served::Nothing),
            _ => None,
        };
        if served.is_some_and(|served| backend.ended(served)) {
            let error =
                io::Error::new(io::ErrorKind::ConnectionReset, "it resets every connection");
            let error = &error;
            observer.on(&Event::ConnectFailed { conn, route, backend, error, fell: true });
        }
        observer.on(&Event::Closed { conn, route, backend, moved, ending });
    }
}

/// A client, its right to be here, and its place.
struct Visit {
    client: TcpStream,
    guest: Guest,
    place: Place,
}

/// A client's right to be here.
struct Guest {
    conn: Conn,
    permit: Permit,
    /// What holds for it, until it knows its way.
    terms: Option<Arc<Terms>>,
    /// What of that holds to the end.
    limits: Arc<Limits>,
}

/// A client that knows its way and has a backend.
struct Joined {
    route: Taken,
    /// What the backend gets first.
    opening: Vec<u8>,
    /// How much of that the client did not say.
    introduced: usize,
    dialed: Dialed,
    connect: Duration,
}

/// Peeks and dials.
async fn join(
    client: &mut TcpStream,
    guest: &mut Guest,
    shared: &Shared,
) -> Result<Joined, Refusal> {
    let accepted = Instant::now();
    // A client is joined once: they are there.
    let Some(terms) = guest.terms.take() else { return Err(Refusal::Cut) };
    let (observer, limits) = (shared.observer.as_ref(), &*terms.limits);
    let behind = if terms.plan.trusts(guest.conn.peer.ip()) {
        // In a box, so that connections do not keep room for what few need.
        Some(Box::pin(introduced(client, guest, accepted, limits)).await?)
    } else {
        None
    };
    let conn = &guest.conn;
    let Opened { route, mut opening, by } = peek(client, accepted, behind, &terms.plan).await?;
    let route = Taken::new(route);
    observer.on(&Event::Decided {
        conn,
        route: &route,
        opening: Opening { bytes: &opening, ends: &[], ended: by.is_the_end() },
        by,
        after: accepted.elapsed(),
    });
    let decided = Instant::now();
    let introduced = introduce(&route, conn, &mut opening);
    let call = Call { route: &route, opening: &opening, conn, limits, observer };
    let dialed = dial(call).await?;
    Ok(Joined { route, opening, introduced, dialed, connect: decided.elapsed() })
}

/// Hears from a trusted sender who the client is, and gives it the place. One that speaks for itself is the client of its
/// connection, and none of those that are counted by address.
async fn introduced(
    client: &mut TcpStream,
    guest: &mut Guest,
    accepted: Instant,
    limits: &Limits,
) -> Result<Box<Behind>, Refusal> {
    let (named, behind) = hear(client, accepted, limits).await?;
    if let Some(named) = named {
        guest.conn.client = named;
        guest.permit.claim(named.ip(), limits.each_client())?;
    }
    Ok(behind)
}

/// Puts in front of the opening what a backend is told of the client; how much that is.
fn introduce(route: &Route, conn: &Conn, opening: &mut Vec<u8>) -> usize {
    let header = introduction(route, conn, &Opening::stream(opening).ended());
    opening.splice(..0, header.iter().copied());
    header.len()
}

/// Pauses when descriptors or memory run out: long enough to cost nothing, short enough to recover unnoticed.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// Clients that wait to be accepted when the end comes: as many as a listener of Linux holds by default
/// (net.core.somaxconn). New ones may come all the time.
const LONGEST_QUEUE: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// 904 bytes in a release. The runtime adds 112 there, and rounds up to a multiple of 128.
    #[test]
    fn a_connection_takes_little_room() {
        fn room<F>(_: impl Fn(Visit) -> F) -> usize {
            size_of::<F>()
        }
        assert!(room(live) <= 952, "{}", room(live));
    }
}
