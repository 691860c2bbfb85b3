//! Many datagrams in one system call (GSO, GRO), with what else their headers say.

use std::io::{self, IoSliceMut};
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::time::Instant;

use nix::sys::socket::setsockopt;
use nix::sys::socket::sockopt::ReceiveTimestampns;
use quinn_udp::{BATCH_SIZE, EcnCodepoint, RecvMeta, Transmit, UdpSockRef, UdpSocketState};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{DEADLINE, LARGEST, left, widen};

/// A socket that sends and takes datagrams in batches.
pub(crate) struct Batch {
    socket: UdpSocket,
    state: UdpSocketState,
    buffers: Vec<u8>,
}

/// What is to be sent at once: datagrams of one size, of which the last may be shorter.
#[derive(Clone, Copy)]
pub(crate) struct Sent<'a> {
    pub(crate) to: SocketAddr,
    pub(crate) bytes: &'a [u8],
    /// The size of each datagram; `None`: it is one.
    pub(crate) size: Option<usize>,
    /// The address it is sent from, if not the socket's.
    pub(crate) from: Option<IpAddr>,
    pub(crate) ecn: Option<EcnCodepoint>,
}

impl<'a> Sent<'a> {
    /// One datagram.
    pub(crate) const fn one(to: SocketAddr, bytes: &'a [u8]) -> Self {
        Self { to, bytes, size: None, from: None, ecn: None }
    }

    /// As many of this size as there are bytes for.
    pub(crate) const fn many(to: SocketAddr, bytes: &'a [u8], size: usize) -> Self {
        Self { size: Some(size), ..Self::one(to, bytes) }
    }
}

/// A datagram that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) peer: SocketAddr,
    pub(crate) bytes: Vec<u8>,
    pub(crate) ecn: Option<EcnCodepoint>,
}

impl Batch {
    /// On this socket.
    pub(crate) fn on(socket: UdpSocket) -> Self {
        widen(&socket);
        let state = UdpSocketState::new(UdpSockRef::from(&socket)).expect("an open socket");
        // Times that nobody looks at would leave no room for marks.
        setsockopt(&socket, ReceiveTimestampns, &false).expect("an open socket");
        Self { socket, state, buffers: vec![0; BATCH_SIZE * LARGEST] }
    }

    /// Another of the same socket: one may send while the other takes.
    pub(crate) fn twin(&self) -> Self {
        Self::on(self.socket.try_clone().expect("a descriptor"))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.socket.local_addr().expect("an address")
    }

    /// Sends, once there is room.
    pub(crate) fn send(&self, sent: Sent<'_>) {
        let transmit = Transmit {
            destination: sent.to,
            ecn: sent.ecn,
            contents: sent.bytes,
            segment_size: sent.size,
            src_ip: sent.from,
        };
        let end = Instant::now() + DEADLINE;
        loop {
            match self.state.try_send(UdpSockRef::from(&self.socket), &transmit) {
                Ok(()) => return,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, end);
                }
                Err(error) => panic!("{} bytes to {}: {error}", sent.bytes.len(), sent.to),
            }
        }
    }

    /// Takes what there is: at least one datagram, within the deadline.
    pub(crate) fn take(&mut self) -> Vec<Taken> {
        let end = Instant::now() + DEADLINE;
        loop {
            let taken = self.take_now();
            if !taken.is_empty() {
                return taken;
            }
            self.wait(PollFlags::IN, end);
        }
    }

    /// Takes as many as that, within the deadline.
    pub(crate) fn take_all(&mut self, count: usize) -> Vec<Taken> {
        let mut all = Vec::new();
        while all.len() < count {
            all.extend(self.take());
        }
        all
    }

    /// Takes what there is, if anything.
    pub(crate) fn take_now(&mut self) -> Vec<Taken> {
        let mut metas = [RecvMeta::default(); BATCH_SIZE];
        let mut slices: Vec<_> = self.buffers.chunks_mut(LARGEST).map(IoSliceMut::new).collect();
        let socket = UdpSockRef::from(&self.socket);
        let count = match self.state.recv(socket, &mut slices, &mut metas) {
            Ok(count) => count,
            Err(error) if super::is_nothing(&error) => 0,
            Err(error) => panic!("{error}"),
        };
        let taken = metas[..count].iter().zip(self.buffers.chunks(LARGEST));
        taken.flat_map(|(meta, buffer)| datagrams(meta, buffer)).collect()
    }

    fn wait(&self, flags: PollFlags, end: Instant) {
        let left = left(end).expect("waited too long for a socket");
        let left = Timespec::try_from(left).expect("a time");
        let _ = poll(&mut [PollFd::new(&self.socket, flags)], Some(&left));
    }
}

fn datagrams(meta: &RecvMeta, buffer: &[u8]) -> Vec<Taken> {
    let taken = |bytes: &[u8]| Taken { peer: meta.addr, bytes: bytes.to_vec(), ecn: meta.ecn };
    match meta.stride {
        0 => vec![taken(&[])],
        stride => buffer[..meta.len].chunks(stride).map(taken).collect(),
    }
}
