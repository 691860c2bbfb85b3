//! A conversation of two processes: texts, and descriptors with them.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::cmsg_space;
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout, socket_type};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags,
    SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg,
    sendmsg, socketpair,
};

/// One end of it. Messages keep their bounds, and who is gone is noticed.
#[derive(Debug)]
pub(crate) struct Link(OwnedFd);

/// What is said at once.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) text: String,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Most descriptors of one message: Linux takes no more (unix(7), SCM_MAX_FD is 253).
pub(crate) const MOST_DESCRIPTORS: usize = 200;

/// Most bytes of its text.
const LONGEST: usize = 128 * 1024;

/// How long a message may wait for the other side to read earlier ones.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

impl Link {
    /// Two ends that belong together. Programs that are started have neither, but for what they are given.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let kind = SocketType::SEQPACKET;
        let (ours, theirs) = socketpair(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None)?;
        Ok((Self(ours), theirs))
    }

    /// An end that was given to this process.
    ///
    /// # Errors
    ///
    /// If it is nothing of the kind.
    pub(crate) fn new(end: OwnedFd) -> io::Result<Self> {
        if socket_type(&end)? != SocketType::SEQPACKET {
            return Err(Errno::PROTOTYPE.into());
        }
        Ok(Self(end))
    }

    /// Says something.
    pub(crate) fn send(&self, text: &str, descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        set_socket_timeout(&self.0, Timeout::Send, Some(PATIENCE))?;
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut beside = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !beside.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(Errno::NOBUFS.into());
        }
        let text = [IoSlice::new(text.as_bytes())];
        while let Err(error) = sendmsg(&self.0, &text, &mut beside, SendFlags::NOSIGNAL) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
        Ok(())
    }

    /// Hears what the other side says next.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] if it is gone, [`io::ErrorKind::WouldBlock`] if it says nothing for so long.
    pub(crate) fn receive(&self, within: Duration) -> io::Result<Message> {
        let end = Instant::now() + within;
        let mut bytes = vec![0; LONGEST];
        let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut beside = RecvAncillaryBuffer::new(&mut space);
        let got = loop {
            let left = end.saturating_duration_since(Instant::now()).max(SHORTEST);
            set_socket_timeout(&self.0, Timeout::Recv, Some(left))?;
            let mut text = [IoSliceMut::new(&mut bytes)];
            match recvmsg(&self.0, &mut text, &mut beside, RecvFlags::CMSG_CLOEXEC) {
                Err(Errno::INTR) => {}
                got => break got?,
            }
        };
        let mut descriptors = Vec::new();
        for message in beside.drain() {
            if let RecvAncillaryMessage::ScmRights(given) = message {
                descriptors.extend(given);
            }
        }
        if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "a message was cut"));
        }
        bytes.truncate(got.bytes);
        let text = String::from_utf8(bytes).map_err(io::Error::other)?;
        if text.is_empty() {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the other process is gone"));
        }
        Ok(Message { text, descriptors })
    }
}

/// Whether the other process has ended, rather than that it cannot be understood.
pub(super) fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
    matches!(error.kind(), BrokenPipe | ConnectionReset | UnexpectedEof)
}

/// Zero would mean for ever.
const SHORTEST: Duration = Duration::from_millis(1);

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;

    #[test]
    fn what_is_said_arrives_as_it_was_with_its_descriptors() {
        let (ours, theirs) = Link::pair().expect("a pair");
        let theirs = Link::new(theirs).expect("an end");
        let sockets: Vec<_> =
            (0..3).map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port")).collect();
        let descriptors: Vec<_> = sockets.iter().map(|it| it.as_fd()).collect();
        ours.send("three", &descriptors).expect("room");
        ours.send("none", &[]).expect("room");
        let got = theirs.receive(PATIENCE).expect("a message");
        assert_eq!((got.text.as_str(), got.descriptors.len()), ("three", 3));
        for (sent, got) in sockets.iter().zip(got.descriptors) {
            let got = UdpSocket::from(got).local_addr().expect("an address");
            assert_eq!(got, sent.local_addr().expect("an address"));
        }
        assert_eq!(theirs.receive(PATIENCE).expect("a message").text, "none");
        let silent = theirs.receive(Duration::from_millis(10)).expect_err("nothing was said");
        assert_eq!(silent.kind(), io::ErrorKind::WouldBlock);
        drop(ours);
        let gone = theirs.receive(PATIENCE).expect_err("nobody is there");
        assert_eq!(gone.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn something_else_is_no_link() {
        let file = std::fs::File::open("/dev/null").expect("a file");
        assert!(Link::new(file.into()).is_err());
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        assert!(Link::new(socket.into()).is_err());
    }
}
