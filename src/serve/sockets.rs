//! The sockets that are served: bound here, by systemd, or by the process before this one.

use std::error::Error;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use listenfd::ListenFd;
use refractium::protocol::Transport;
use refractium::{Given, Listeners, Predecessor};

/// What is to be listened on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted<'a> {
    pub(super) addresses: &'a [SocketAddr],
    pub(super) transports: &'a [Transport],
    pub(super) workers: usize,
}

/// What systemd has bound for this process. To be called before any thread is started: it changes the environment.
pub(super) fn of_manager() -> Result<Vec<Given>, Box<dyn Error>> {
    let mut passed = ListenFd::from_env();
    (0..passed.len()).map(|at| given(&mut passed, at)).collect()
}

/// Where all of these listen, and what for.
pub(super) fn addresses(
    groups: &[Listeners],
    transports: &[Transport],
) -> Vec<(SocketAddr, Transport)> {
    let mut addresses = Vec::new();
    for &transport in transports {
        for address in groups.iter().flat_map(|it| it.addresses_of(transport)) {
            if !addresses.contains(&(address, transport)) {
                addresses.push((address, transport));
            }
        }
    }
    addresses
}

fn given(passed: &mut ListenFd, at: usize) -> Result<Given, Box<dyn Error>> {
    let socket: Option<OwnedFd> = match passed.take_tcp_listener(at) {
        Ok(listener) => listener.map(Into::into),
        Err(_) => passed
            .take_udp_socket(at)
            .map_err(|_| {
                format!("socket {at} of the service manager: it is no socket of TCP or UDP")
            })?
            .map(Into::into),
    };
    let socket = socket.ok_or("the service manager passes fewer sockets than it says")?;
    Given::new(socket)
        .map_err(|error| format!("socket {at} of the service manager: {error}").into())
}

impl Wanted<'_> {
    /// Serves the sockets of the service manager, and binds what is missing.
    pub(super) fn beside(self, given: Vec<Given>) -> Result<Vec<Listeners>, Box<dyn Error>> {
        if let Some(stranger) =
            given.iter().find(|it| !it.is_among(self.addresses, self.transports))
        {
            return Err(self.mismatch(stranger).into());
        }
        Ok(Listeners::bind_beside(given, self.addresses, self.transports, self.workers)?.0)
    }

    /// Serves the sockets of the process before this one; closes what is not wanted any more, and binds what is missing.
    pub(super) fn after(
        self,
        predecessor: &mut Predecessor,
    ) -> Result<Vec<Listeners>, Box<dyn Error>> {
        let given = predecessor.take_sockets();
        Ok(Listeners::bind_beside(given, self.addresses, self.transports, self.workers)?.0)
    }

    fn mismatch(self, stranger: &Given) -> String {
        let (local, transport) = (stranger.local(), stranger.transport());
        let what = format!("the service manager passes a socket for {local} ({transport})");
        let is_there = self.addresses.contains(&local) && self.transports.contains(&transport);
        if is_there && stranger.is_dual() {
            return format!(
                "{what} that takes IPv4 as well, while an IPv4 address stands beside it in `bind`: `BindIPv6Only=ipv6-only` in the socket unit, or `bind = \"::\"` alone"
            );
        }
        if is_there {
            return format!(
                "{what} that takes IPv6 alone, while `bind = \"::\"` is to take IPv4 as well: `BindIPv6Only=both` in the socket unit, or `bind = [\"::\", \"0.0.0.0\"]`"
            );
        }
        let addresses: Vec<_> = self.addresses.iter().map(ToString::to_string).collect();
        let transports: Vec<_> = self.transports.iter().map(ToString::to_string).collect();
        let (addresses, transports) = (addresses.join(", "), transports.join(" and "));
        format!("{what}, and the configuration listens on {addresses} ({transports}) alone")
    }
}
