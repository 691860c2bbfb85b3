//! The life of one connection.

mod accept;

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use refractium_protocol::Opening;
use tokio::net::TcpStream;
use tokio::time::Instant;

pub(crate) use self::accept::{Door, accept};

use crate::admission::Permit;
use crate::backend::{Lease, Served};
use crate::crew::{Place, Shared};
use crate::cut::Cut;
use crate::dial::{Call, Dialed, dial};
use crate::event::{Conn, Ending, Event, Moved, Observer, Peer, Refusal};
use crate::limits::Limits;
use crate::peek::{Behind, LONG_LOOK, Opened, Patience, hear, peek};
use crate::proxy_protocol::introduction;
use crate::table::{Route, Taken};
use crate::terms::Terms;
use crate::weld::{Habits, Joint, dismiss, weld};

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
                        let_go(&visit.client, &refusal);
                        return Err(refusal);
                    }
                };
            let conn = &visit.guest.conn;
            let Dialed { stream, sent, lease, fall } = dialed;
            let (way, backend) = (&*route, &**lease.backend());
            visit.place.shared.observer.on(&Event::Welded { conn, route: way, backend, connect });
            if let Some(fall) = fall {
                cut.at(fall);
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

impl Drop for Visit {
    /// Tells of an end by a panic as of any other. Nobody is to take what was sent until then for all of it.
    fn drop(&mut self) {
        if thread::panicking() {
            let (conn, refusal) = (&self.guest.conn, &Refusal::Panicked);
            self.place.shared.observer.on(&Event::Refused { conn, refusal });
            let _ = self.client.set_zero_linger();
        }
    }
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
    let Opened { route, mut opening, by } = {
        let waiting = shared.line.enter(accepted, limits.undecided());
        let mut patience = Patience::new(accepted, waiting);
        let behind = if terms.plan.trusts(guest.conn.peer.ip()) {
            // In a box, so that connections do not keep room for what few need.
            Some(Box::pin(introduced(client, guest, &mut patience, limits)).await?)
        } else {
            None
        };
        let opened = peek(client, &mut patience, behind, &terms.plan).await;
        let took = patience.longest_look;
        if took >= LONG_LOOK {
            observer.on(&Event::LookedLong { conn: &guest.conn, took });
        }
        opened?
    };
    let conn = &guest.conn;
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

/// Ends the connection of a client that is not carried.
fn let_go(client: &TcpStream, refusal: &Refusal) {
    match refusal {
        // Where there is no room, the kernel is to keep nothing of it either.
        Refusal::CrowdedOut | Refusal::TooFast | Refusal::FullForAddress => {
            // It fails only if the client is gone.
            let _ = client.set_zero_linger();
        }
        _ => dismiss(client),
    }
}

/// Hears from a trusted sender who the client is, and gives it the place. One that speaks for itself is the client of its
/// connection, and none of those that are counted by address.
async fn introduced(
    client: &mut TcpStream,
    guest: &mut Guest,
    patience: &mut Patience<'_>,
    limits: &Limits,
) -> Result<Box<Behind>, Refusal> {
    let (named, behind) = hear(client, patience, limits).await?;
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

#[cfg(test)]
mod tests {
    use super::*;

    /// At most 784 bytes in a release, where the runtime adds 112 and rounds up to a multiple of 128: one of 896.
    #[test]
    fn a_connection_takes_little_room() {
        fn room<F>(_: impl Fn(Visit) -> F) -> usize {
            size_of::<F>()
        }
        assert!(room(live) <= if cfg!(debug_assertions) { 840 } else { 784 }, "{}", room(live));
    }
}
