//! Not to be woken for what cannot go on.

use socket2::SockRef;
use tokio::net::TcpStream;

use crate::os;

/// How much must arrive at a source before it wakes us.
///
/// The runtime watches both sockets of a connection all the time. While a sink is full, whatever arrives at the source
/// would wake us for nothing: two of three wakes of a bulk transfer.
#[derive(Debug, Default)]
pub(super) struct LowWater {
    /// 0: every byte wakes us.
    mark: u32,
    /// The source's buffer grew by it, so it is not raised again.
    is_too_much: bool,
}

impl LowWater {
    /// To be called when the sink is full, and `again` when it was not in between. The end of the source, or its failure,
    /// still wakes us.
    ///
    /// It is half of what the source's buffer has room for now, for the kernel makes the buffer grow until the mark fits
    /// in, and would hold all that for a sink that is slow. It lets it grow by itself while the sink is fast. Where
    /// segments are so small that they fill less than half of what they take (tcp(7), tcp_adv_win_scale), even that makes
    /// it grow: once, and no more.
    pub(super) fn raise(&mut self, source: &TcpStream, again: bool) {
        if self.is_too_much || again && self.mark > 0 {
            return;
        }
        let room = || SockRef::from(source).recv_buffer_size().unwrap_or(0);
        let before = room();
        let half = u32::try_from(before / 2).unwrap_or(0);
        if half > self.mark && os::set_low_water(source, half) {
            self.mark = half;
            self.is_too_much = room() > before;
        }
    }

    /// To be called before the source may be found empty.
    pub(super) fn lower(&mut self, source: &TcpStream) {
        if std::mem::take(&mut self.mark) > 0 {
            os::set_low_water(source, 1);
        }
    }
}

#[cfg(target_os = "linux")]
#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::{Ipv4Addr, TcpListener, TcpStream as StdStream};
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    /// A connection whose receiver has got pieces of this size, one by one.
    fn receiving(piece: usize) -> (StdStream, TcpStream) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let mut sender = StdStream::connect(listener.local_addr().expect("bound")).expect("room");
        sender.set_nodelay(true).expect("an open socket");
        let (receiver, _) = listener.accept().expect("a client");
        for _ in 0..40 {
            sender.write_all(&vec![0; piece]).expect("room");
            sleep(Duration::from_micros(500));
        }
        receiver.set_nonblocking(true).expect("an open socket");
        (sender, TcpStream::from_std(receiver).expect("a runtime"))
    }

    /// Where the kernel takes much memory for few bytes, half of a buffer is more than it has room for.
    #[tokio::test]
    async fn a_slow_sink_does_not_make_the_buffer_of_its_source_grow_step_by_step() {
        for piece in [600, 1_400] {
            let (_sender, source) = receiving(piece);
            let room = || SockRef::from(&source).recv_buffer_size().expect("an open socket");
            let (before, mut mark) = (room(), LowWater::default());
            for _ in 0..12 {
                mark.raise(&source, false);
                mark.lower(&source);
            }
            assert!(room() <= before * 4, "{piece}: from {before} to {}", room());
        }
    }

    #[tokio::test]
    async fn it_follows_a_buffer_that_grows_and_is_not_asked_for_twice() {
        let (_sender, source) = receiving(1);
        let socket = SockRef::from(&source);
        let mut mark = LowWater::default();
        socket.set_recv_buffer_size(64 * 1024).expect("an open socket");
        mark.raise(&source, true);
        assert_eq!(mark.mark, 64 * 1024, "half of what the kernel makes of it");
        socket.set_recv_buffer_size(128 * 1024).expect("an open socket");
        mark.raise(&source, true);
        assert_eq!(mark.mark, 64 * 1024);
        mark.raise(&source, false);
        assert_eq!(mark.mark, 128 * 1024);
        mark.lower(&source);
        assert_eq!(mark.mark, 0);
    }
}
