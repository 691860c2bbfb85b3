//! The accept loop, and the life of one connection.

use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use refractium_protocol::Opening;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep};

use crate::admission::Permit;
use crate::dial::{Dialed, dial};
use crate::engine::Shared;
use crate::event::{Conn, Ending, Event, Refusal};
use crate::peek::{Opened, peek};
use crate::table::Route;
use crate::weld::{dismiss, weld};

/// Accepts until told to stop. No error ends it.
pub(crate) async fn accept(listener: TcpListener, local: SocketAddr, shared: Arc<Shared>) {
    let mut pause = FIRST_PAUSE;
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((client, peer)) => {
                pause = FIRST_PAUSE;
                admit(client, peer, local, &shared);
            }
            Err(error) => {
                let wait = if is_the_clients(&error) { Duration::ZERO } else { pause };
                shared.observer.on(&Event::AcceptFailed { local, error: &error, pause: wait });
                if !wait.is_zero() {
                    tokio::select! {
                        () = shared.stop.cancelled() => break,
                        () = sleep(wait) => pause = (pause * 2).min(LAST_PAUSE),
                    }
                }
            }
        }
    }
    // The kernel has shaken hands with these already: closing the listener would reset them.
    while let Some(Ok((client, peer))) = waiting(&listener).await {
        admit(client, peer, local, &shared);
    }
}

/// Pauses when descriptors or memory run out: long enough to cost nothing, short enough to recover unnoticed.
const FIRST_PAUSE: Duration = Duration::from_millis(5);
const LAST_PAUSE: Duration = Duration::from_millis(500);

/// A failure of the connection that was to be accepted, not of the listener (accept(2)).
fn is_the_clients(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted)
}

async fn waiting(listener: &TcpListener) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    poll_fn(|cx| match listener.poll_accept(cx) {
        Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
        Poll::Pending => Poll::Ready(None),
    })
    .await
}

/// Gives the client a place and a task of its own, or turns it away.
fn admit(client: TcpStream, peer: SocketAddr, listener: SocketAddr, shared: &Arc<Shared>) {
    let accepted = Instant::now();
    // It fails only if the client is gone already.
    let local = client.local_addr().unwrap_or(listener);
    let conn = Conn { id: shared.next_id(), client: peer, peer, local };
    match shared.admission.enter(peer.ip(), &shared.plan.limits) {
        Ok(permit) => {
            let shared = Arc::clone(shared);
            let life = live(client, conn, accepted, permit, Arc::clone(&shared));
            shared.tasks.spawn(life);
        }
        Err(refusal) => {
            shared.observer.on(&Event::Refused { conn: &conn, refusal: &refusal });
            // A refused client is told so at once; nothing was sent that a reset could overtake.
            let _ = client.set_zero_linger();
        }
    }
}

/// Carries one connection to its end. Its place is given back however it ends, by a panic too.
async fn live(
    client: TcpStream,
    conn: Conn,
    accepted: Instant,
    _permit: Permit,
    shared: Arc<Shared>,
) {
    shared.observer.on(&Event::Accepted { conn: &conn });
    if let Err(refusal) = carry(client, &conn, accepted, &shared).await {
        if matches!(refusal, Refusal::Cut) {
            shared.count_cut();
        }
        shared.observer.on(&Event::Refused { conn: &conn, refusal: &refusal });
    }
}

async fn carry(
    mut client: TcpStream,
    conn: &Conn,
    accepted: Instant,
    shared: &Shared,
) -> Result<(), Refusal> {
    let (observer, limits) = (shared.observer.as_ref(), &shared.plan.limits);
    let joined = shared.cut.run_until_cancelled(join(&mut client, conn, accepted, shared)).await;
    let Joined { route, opening, dialed, connect } = match joined.unwrap_or(Err(Refusal::Cut)) {
        Ok(joined) => joined,
        Err(refusal) => {
            dismiss(&client);
            return Err(refusal);
        }
    };
    let Dialed { stream, backend, address } = dialed;
    observer.on(&Event::Welded { conn, route: &route, backend: &backend, address, connect });
    let (moved, ending) = weld(client, stream, opening, limits, &shared.cut).await;
    if ending == Ending::Cut {
        shared.count_cut();
    }
    observer.on(&Event::Closed { conn, moved, ending });
    Ok(())
}

/// A client that knows its way and has a backend.
struct Joined {
    route: Arc<Route>,
    opening: Vec<u8>,
    dialed: Dialed,
    connect: Duration,
}

/// Peeks and dials.
async fn join(
    client: &mut TcpStream,
    conn: &Conn,
    accepted: Instant,
    shared: &Shared,
) -> Result<Joined, Refusal> {
    let (observer, limits) = (shared.observer.as_ref(), &shared.plan.limits);
    let Opened { route, opening, by } = peek(client, accepted, &shared.plan.table, limits).await?;
    observer.on(&Event::Decided {
        conn,
        route: &route,
        opening: Opening { bytes: &opening, ends: &[], ended: by.is_the_end() },
        by,
        after: accepted.elapsed(),
    });
    let decided = Instant::now();
    let dialed = dial(route.pool(), conn, limits, observer).await?;
    Ok(Joined { route, opening, dialed, connect: decided.elapsed() })
}
