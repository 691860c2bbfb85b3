//! What a run does while another process takes over.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Weak;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::Run;
use crate::handover::{MOST_AT_ONCE, Owned, Request, Socket, Sockets};
use crate::spots::Spot;
use crate::udp::{Leave, Steered};

/// How long a port may take to answer. Its worker may be busy with others.
const PATIENCE: Duration = Duration::from_secs(2);

impl Run<'_> {
    /// Does what is asked for. Who asked may be gone, and says so itself.
    pub(super) async fn leave(&mut self, request: Request) {
        match request {
            Request::Sockets(reply) => drop(reply.send(self.sockets())),
            Request::Pause(stay, reply) => drop(reply.send(self.pause(&stay).await)),
            Request::Sessions(reply) => drop(reply.send(self.sessions().await)),
            Request::Go(going) => {
                self.ports().for_each(|(_, _, port)| port.tell(Leave::Go));
                if let Some(gone) = self.gone.take() {
                    let _ = gone.send(going);
                }
            }
        }
    }

    /// Copies of all listeners that take clients.
    fn sockets(&self) -> io::Result<Sockets> {
        let mut list = Vec::new();
        for Spot { at, listeners, ports, .. } in self.spots.open() {
            let mut add = |worker, copy: OwnedFd| {
                let (local, asked, transport) = (at.local, at.asked, at.transport);
                list.push(Socket { worker, transport, local, asked, copy });
            };
            for (worker, listener) in listeners {
                if let Some(listener) = Weak::upgrade(listener) {
                    add(*worker, listener.as_fd().try_clone_to_owned()?);
                }
            }
            for (worker, port) in ports {
                if let Some(copy) = port.copy()? {
                    add(*worker, copy);
                }
            }
        }
        Ok(Sockets { workers: self.all.len(), list })
    }

    async fn pause(&self, stay: &CancellationToken) -> io::Result<()> {
        for (_, _, port) in self.ports() {
            ask(port, |reply| Leave::Pause(stay.clone(), reply)).await?;
        }
        Ok(())
    }

    async fn sessions(&self) -> io::Result<Vec<Owned>> {
        for (worker, local, port) in self.ports() {
            let some = ask(port, |reply| Leave::Give(MOST_AT_ONCE, reply)).await??;
            if !some.is_empty() {
                let owned = |handed| Owned { worker, local, handed };
                return Ok(some.into_iter().map(owned).collect());
            }
        }
        Ok(Vec::new())
    }

    fn ports(&self) -> impl Iterator<Item = (usize, std::net::SocketAddr, &Steered)> {
        let of_spot = |spot: &'_ Spot| spot.at.local;
        self.spots.open().iter().flat_map(move |spot| {
            let local = of_spot(spot);
            spot.ports.iter().map(move |(worker, port)| (*worker, local, port))
        })
    }
}

async fn ask<T>(port: &Steered, order: impl FnOnce(oneshot::Sender<T>) -> Leave) -> io::Result<T> {
    let (reply, told) = oneshot::channel();
    port.tell(order(reply));
    let told = timeout(PATIENCE, told).await.map_err(io::Error::from)?;
    told.map_err(io::Error::other)
}
