//! Bytes whose order can be told, and who sends and takes them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use socket2::SockRef;

use crate::harness::{Backend, DEADLINE, Proxy};

pub(super) const OPENING: &[u8] = b"SSH-2.0-test\r\n";

/// Bytes whose order can be told: a block of a length that divides no buffer's.
pub(super) fn block() -> Vec<u8> {
    (0..1_000_003_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

/// Writes `length` bytes, block after block.
pub(super) fn write_blocks(stream: &mut impl Write, length: usize) -> std::io::Result<()> {
    let block = block();
    let mut left = length;
    while left > 0 {
        let size = left.min(block.len());
        stream.write_all(&block[..size])?;
        left -= size;
    }
    Ok(())
}

/// Reads to the end: how many bytes were as [`write_blocks`] wrote them, and how it ended.
pub(super) fn read_blocks(stream: &mut impl Read) -> (usize, std::io::Result<()>) {
    let block = block();
    let mut buffer = vec![0; 256 * 1024];
    let mut right = 0;
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return (right, Ok(())),
            Ok(count) => {
                let mut got = &buffer[..count];
                while !got.is_empty() {
                    let at = right % block.len();
                    let size = got.len().min(block.len() - at);
                    assert!(got[..size] == block[at..at + size], "wrong byte after {right}");
                    right += size;
                    got = &got[size..];
                }
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return (right, Err(error)),
        }
    }
}

/// A backend that gets the opening out of the way and hands over what `serve` makes of the rest.
pub(super) fn backend<T: Send + 'static>(
    serve: impl Fn(TcpStream) -> T + Send + Sync + 'static,
) -> (Backend, Receiver<T>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let backend = Backend::serving(move |mut stream| {
        let mut opening = [0; OPENING.len()];
        stream.read_exact(&mut opening).expect("the opening");
        assert_eq!(&opening, OPENING);
        let made = serve(stream);
        let _ = sender.lock().expect("sound").send(made);
    });
    (backend, receiver)
}

pub(super) fn open(proxy: &Proxy) -> TcpStream {
    let mut client = proxy.connect();
    client.write_all(OPENING).expect("room");
    client
}

/// A client whose kernel takes little that it has not read.
pub(super) fn open_slow(proxy: &Proxy) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None);
    let socket = socket.expect("a socket");
    socket.set_recv_buffer_size(64 * 1024).expect("an open socket");
    socket.connect(&proxy.address().into()).expect("a connection");
    let mut client = TcpStream::from(socket);
    client.set_read_timeout(Some(DEADLINE)).expect("an open socket");
    client.set_write_timeout(Some(DEADLINE)).expect("an open socket");
    client.write_all(OPENING).expect("room");
    client
}

/// Writes up to a size, or until nothing more is taken; gives how much was. With a smaller send buffer each piece would wait
/// for an acknowledgement that is delayed, and with so many the time-outs under test would come first.
pub(super) fn write_until_stuck(stream: &mut TcpStream, most: usize) -> usize {
    SockRef::from(&*stream).set_send_buffer_size(32 * 1024).expect("an open socket");
    stream.set_write_timeout(Some(Duration::from_millis(200))).expect("an open socket");
    let block = block();
    let mut sent = 0;
    while sent < most {
        let at = sent % block.len();
        match stream.write(&block[at..(at + 8 * 1024).min(block.len())]) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    sent
}

pub(super) fn result<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(DEADLINE).expect("a connection at the backend")
}

/// Bytes that the kernel has not yet been able to hand over (proc(5): tx_queue of /proc/net/tcp).
pub(super) fn unsent(stream: &TcpStream) -> u64 {
    let port = |address: std::io::Result<std::net::SocketAddr>| {
        format!(":{:04X}", address.expect("an open socket").port())
    };
    let (local, remote) = (port(stream.local_addr()), port(stream.peer_addr()));
    let table = std::fs::read_to_string("/proc/net/tcp").expect("a table");
    let queue = table.lines().find_map(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let is_ours = fields.get(1)?.ends_with(&local) && fields.get(2)?.ends_with(&remote);
        is_ours.then(|| fields[4].split(':').next().unwrap_or_default().to_owned())
    });
    u64::from_str_radix(&queue.expect("a line"), 16).expect("a number")
}
