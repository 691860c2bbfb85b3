//! What Linux does better than others, each with what it is for.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::ops::RangeInclusive;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::{Ipv6DontFrag, ReceiveTimestampns, UdpGroSegment};
use nix::{libc, setsockopt_impl, sockopt_impl};
use quinn_udp::{UdpSockRef, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::sockopt::{
    Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery, set_ip_mtu_discover, set_ip_recvtos,
    set_ipv6_mtu_discover, set_ipv6_recvtclass, set_socket_recv_buffer_size,
    set_socket_recv_buffer_size_force, set_socket_send_buffer_size,
    set_socket_send_buffer_size_force,
};
use rustix::net::{RecvFlags, SendFlags};
use rustix::time::{ClockId, clock_gettime};
use socket2::{Domain, SockRef, Socket, Type};
use tokio::net::TcpStream;

/// A moment, to a few milliseconds and for as many nanoseconds (clock_getres(2), CLOCK_MONOTONIC_COARSE).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tick(Timespec);

impl Tick {
    pub(crate) fn now() -> Self {
        Self(clock_gettime(ClockId::MonotonicCoarse))
    }

    pub(crate) fn elapsed(self) -> Duration {
        Duration::try_from(Self::now().0 - self.0).unwrap_or_default()
    }
}

/// A socket that does not block, made by one system call.
pub(crate) fn stream_socket(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), None)
}

/// The ports that the system chooses from for who asks for none in particular (ip(7), ip_local_port_range). Any, if that
/// cannot be read.
pub(crate) fn chosen_ports() -> RangeInclusive<u16> {
    let told = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok();
    told.and_then(|it| ports(&it)).unwrap_or(0..=u16::MAX)
}

fn ports(told: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = told.trim().split_once(char::is_whitespace)?;
    Some(first.parse().ok()?..=last.trim_start().parse().ok()?)
}

/// Lets a socket have an address that is not ours (ip(7), IP_TRANSPARENT).
pub(crate) fn be_transparent(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    match address {
        SocketAddr::V4(_) => socket.set_ip_transparent_v4(true),
        SocketAddr::V6(_) => socket.set_ip_transparent_v6(true),
    }
}

/// To be called before connecting, where bytes follow at once: the last packet of the handshake says nothing that the
/// first one with bytes does not say as well.
///
/// The kernel holds the former back when it takes the connection for one that answers what it gets (tcp(7),
/// TCP_QUICKACK); once connected it acknowledges promptly again.
pub(crate) fn spare_an_acknowledgement(socket: &Socket) {
    // A packet more is no harm.
    let _ = socket.set_tcp_quickack(false);
}

/// Gives the peer up once what it was sent is not acknowledged for so long (tcp(7), TCP_USER_TIMEOUT). Zero: as the system
/// does by itself.
pub(crate) fn give_up_after(socket: &SockRef<'_>, unacknowledged: Duration) {
    // It fails only on a socket that is gone.
    let _ = socket.set_tcp_user_timeout(Some(unacknowledged));
}

/// Sends what the socket takes now, whether the runtime counts it as writable or not, and without a signal if the peer is
/// gone.
pub(crate) fn send(stream: &TcpStream, bytes: &[u8]) -> io::Result<usize> {
    Ok(rustix::net::send(stream, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?)
}

sockopt_impl!(
    /// How much must have arrived before a socket counts as readable.
    ReceiveLowWater, SetOnly, libc::SOL_SOCKET, libc::SO_RCVLOWAT, u32
);

/// Has the kernel wake for a socket's data only once so many bytes are there (socket(7), SO_RCVLOWAT). If they are there
/// already, it wakes at once. Whether it does as it is told.
pub(crate) fn set_low_water(stream: &TcpStream, bytes: u32) -> bool {
    setsockopt(stream, ReceiveLowWater, &bytes).is_ok()
}

/// Whether everything has left for the peer. With this low-water mark a socket counts as writable only when it holds
/// nothing unsent (tcp(7), TCP_NOTSENT_LOWAT).
pub(crate) fn is_sent(stream: &TcpStream) -> bool {
    if SockRef::from(stream).set_tcp_notsent_lowat(1).is_err() {
        return true;
    }
    let mut asked = [PollFd::new(stream, PollFlags::OUT)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    !matches!(poll(&mut asked, Some(&now)), Ok(0))
}

/// A datagram socket that does not block, made by one system call.
pub(crate) fn datagram_socket(address: SocketAddr) -> io::Result<Socket> {
    Socket::new(Domain::for_address(address), Type::DGRAM.nonblocking(), None)
}

/// Prepares a bound socket for datagrams of many clients, in batches.
pub(crate) fn serve_datagrams(socket: &UdpSocket, local: SocketAddr) -> io::Result<UdpSocketState> {
    let state = UdpSocketState::new(UdpSockRef::from(socket))?;
    // That forbids fragments, which are needed for datagrams longer than a packet of the path.
    let_fragment(socket, local);
    // And has the kernel take the time of each packet, which leaves too little room to tell how it was marked (ECN).
    let _ = setsockopt(socket, ReceiveTimestampns, &false);
    room(socket);
    Ok(state)
}

/// Whether one call can receive several datagrams (recvmmsg(2)).
pub(crate) const RECEIVES_MANY: bool = true;

/// Whether a datagram can be marked (ECN) on a socket that is connected.
pub(crate) const MARKS_ON_CONNECTED: bool = true;

/// Sends one datagram of which nothing needs to be said but its bytes, without what the C library would do beside.
pub(crate) fn send_datagram(socket: &impl AsFd, bytes: &[u8]) -> io::Result<()> {
    Ok(rustix::net::send(socket, bytes, SendFlags::DONTWAIT).map(drop)?)
}

/// The same on a socket that is not connected.
pub(crate) fn send_datagram_to(socket: &impl AsFd, bytes: &[u8], to: SocketAddr) -> io::Result<()> {
    Ok(rustix::net::sendto(socket, bytes, SendFlags::DONTWAIT, &to).map(drop)?)
}

/// Takes a datagram socket's peer and port away: nothing comes to it any more (connect(2), AF_UNSPEC).
pub(crate) fn disconnect(socket: &impl AsFd) -> io::Result<()> {
    Ok(rustix::net::connect_unspec(socket)?)
}

/// Takes out what a datagram socket still has, at most so much. Whether it is empty now.
pub(crate) fn empties(socket: &impl AsFd, most: usize) -> bool {
    (0..=most).any(|_| {
        let taken = rustix::net::recv(socket, &mut [0; 1], RecvFlags::DONTWAIT | RecvFlags::TRUNC);
        matches!(taken, Err(Errno::WOULDBLOCK))
    })
}

/// Has the kernel tell how a datagram was marked on its way (ECN: RFC 3168).
pub(crate) fn hear_ecn(socket: &impl AsFd, address: SocketAddr) {
    // A kernel that does not can only be taken as it is.
    let _ = match address {
        SocketAddr::V4(_) => set_ip_recvtos(socket, true),
        SocketAddr::V6(_) => set_ipv6_recvtclass(socket, true),
    };
}

/// Lets long datagrams be sent in fragments, by us and by routers (ip(7), IP_MTU_DISCOVER; ipv6(7)).
pub(crate) fn let_fragment(socket: &impl AsFd, address: SocketAddr) {
    // An IPv6 socket may carry IPv4 as well; where it does not, there is nothing to set.
    let _ = set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DONT);
    if address.is_ipv6() {
        let _ = set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DONT);
        let _ = setsockopt(socket, Ipv6DontFrag, &false);
    }
}

/// Has the kernel hand over datagrams in bulk several at a time (UDP_GRO, Linux 5.0), and keep more of them.
pub(crate) fn gather(socket: &impl AsFd) {
    // Without it they come one by one.
    let _ = setsockopt(socket, UdpGroSegment, &true);
    room(socket);
}

/// Has the kernel keep what a backend says all at once while nobody reads: a burst of 2,000 datagrams.
pub(crate) fn keep_answers(socket: &impl AsFd) {
    set_receive_room(socket, ANSWERS);
}

/// Room for what comes while nobody reads: a burst of 5,000 datagrams fits.
fn room(socket: &impl AsFd) {
    set_receive_room(socket, BURST);
    if set_socket_send_buffer_size_force(socket, BURST).is_err() {
        let _ = set_socket_send_buffer_size(socket, BURST);
    }
}

/// Who may not ask for more gets what `net.core.rmem_max` allows.
fn set_receive_room(socket: &impl AsFd, bytes: usize) {
    static MAY_FORCE: AtomicBool = AtomicBool::new(true);
    let may_force = MAY_FORCE.load(Ordering::Relaxed);
    if !may_force || set_socket_recv_buffer_size_force(socket, bytes).is_err() {
        MAY_FORCE.store(false, Ordering::Relaxed);
        let _ = set_socket_recv_buffer_size(socket, bytes);
    }
}

const BURST: usize = 8 * 1024 * 1024;

const ANSWERS: usize = 1024 * 1024;

#[cfg(test)]
mod tests {
    #[test]
    fn the_systems_range_of_ports_is_understood() {
        assert_eq!(super::ports("32768\t60999\n"), Some(32768..=60999));
        assert_eq!(super::ports("40000 40003"), Some(40000..=40003));
        assert_eq!(super::ports("40000\n"), None);
        assert_eq!(super::ports("1 65536\n"), None);
    }
}
