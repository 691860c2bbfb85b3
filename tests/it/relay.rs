//! What is carried after the decision: every byte, ends as ends, failures as failures.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Barrier, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::harness::{
    Backend, DEADLINE, Proxy, ask, connect, pause, read_once, reset, route, until,
};

const OPENING: &[u8] = b"SSH-2.0-test\r\n";

/// Bytes whose order can be told: a block of a length that divides no buffer's.
fn block() -> Vec<u8> {
    (0..1_000_003_u32).map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect()
}

/// Writes `length` bytes, block after block.
fn write_blocks(stream: &mut impl Write, length: usize) -> std::io::Result<()> {
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
fn read_blocks(stream: &mut impl Read) -> (usize, std::io::Result<()>) {
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
fn backend<T: Send + 'static>(
    serve: impl Fn(TcpStream) -> T + Send + Sync + 'static,
) -> (Backend, Receiver<T>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    let backend = Backend::serving(move |mut stream| {
        let mut opening = [0; OPENING.len()];
        stream.read_exact(&mut opening).expect("the opening");
        assert_eq!(&opening, OPENING);
        let _ = sender.lock().expect("sound").send(serve(stream));
    });
    (backend, receiver)
}

fn proxy(backend: &Backend, server: &str) -> Proxy {
    Proxy::start_with(server, &route("ssh", "", backend.address()), &["--debug"])
}

fn open(proxy: &Proxy) -> TcpStream {
    let mut client = proxy.connect();
    client.write_all(OPENING).expect("room");
    client
}

/// A client whose kernel takes little that it has not read.
fn open_slow(proxy: &Proxy) -> TcpStream {
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

fn result<T>(receiver: &Receiver<T>) -> T {
    receiver.recv_timeout(DEADLINE).expect("a connection at the backend")
}

/// Row T1.
#[test]
fn a_gibibyte_uploaded_and_half_closed_gets_its_answer() {
    const GIB: usize = 1 << 30;
    let (backend, at_backend) = backend(|mut stream| {
        let (count, end) = read_blocks(&mut stream);
        let _ = stream.write_all(format!("{count:016}").as_bytes());
        (count, end.is_ok())
    });
    let proxy = proxy(&backend, "");
    let mut client = open(&proxy);
    write_blocks(&mut client, GIB).expect("an upload");
    client.shutdown(Shutdown::Write).expect("an open socket");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, format!("{GIB:016}"));
    assert_eq!(result(&at_backend), (GIB, true));
}

/// Row T2.
#[test]
fn a_server_that_ends_first_still_gets_the_upload() {
    const SIZE: usize = 8 << 20;
    let (backend, at_backend) = backend(|mut stream| {
        stream.write_all(b"done").expect("room");
        stream.shutdown(Shutdown::Write).expect("an open socket");
        let (count, end) = read_blocks(&mut stream);
        (count, end.is_ok())
    });
    let proxy = proxy(&backend, "");
    let mut client = open(&proxy);
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("the end of the server's side");
    assert_eq!(answer, "done");
    write_blocks(&mut client, SIZE).expect("an upload");
    client.shutdown(Shutdown::Write).expect("an open socket");
    assert_eq!(result(&at_backend), (SIZE, true));
}

/// Both directions at once, so that neither waits for the other.
#[test]
fn both_directions_are_carried_at_once() {
    const SIZE: usize = 64 << 20;
    let (backend, at_backend) = backend(|stream| {
        let mut writer = stream.try_clone().expect("an open socket");
        let writing = thread::spawn(move || {
            write_blocks(&mut writer, SIZE).expect("a download");
            writer.shutdown(Shutdown::Write).expect("an open socket");
        });
        let (count, end) = read_blocks(&mut &stream);
        writing.join().expect("a writer");
        (count, end.is_ok())
    });
    let proxy = proxy(&backend, "");
    let client = open(&proxy);
    let mut writer = client.try_clone().expect("an open socket");
    let writing = thread::spawn(move || {
        write_blocks(&mut writer, SIZE).expect("an upload");
        writer.shutdown(Shutdown::Write).expect("an open socket");
    });
    let (count, end) = read_blocks(&mut &client);
    writing.join().expect("a writer");
    assert_eq!((count, end.is_ok()), (SIZE, true));
    assert_eq!(result(&at_backend), (SIZE, true));
}

/// Row T4: the server has closed, the client goes on sending while it slowly reads. A close with its bytes unread
/// would reset it, and most of the tail would be lost.
#[test]
fn a_slow_reader_that_goes_on_sending_loses_no_tail() {
    const SIZE: usize = 2 << 20;
    let (backend, at_backend) = backend(|mut stream| write_blocks(&mut stream, SIZE).is_ok());
    let proxy = proxy(&backend, "");
    let mut client = open_slow(&proxy);
    assert!(result(&at_backend), "the server wrote all and closed");
    let (block, mut right, mut buffer) = (block(), 0, vec![0; 32 * 1024]);
    loop {
        // Nobody will read these; that must not cost us the answer.
        client.write_all(b"more and more").expect("an open connection");
        pause(Duration::from_millis(20));
        let count = read_once(&mut client, &mut buffer).expect("no reset");
        if count == 0 {
            break;
        }
        for (at, byte) in buffer[..count].iter().enumerate() {
            assert!(*byte == block[(right + at) % block.len()], "wrong byte after {right}");
        }
        right += count;
    }
    assert_eq!(right, SIZE);
}

/// Row T4 while the answer still waits in the proxy: the client is slow, the server has closed, and a write to it fails
/// before its bytes and its end have been read.
#[test]
fn an_answer_that_waits_for_a_slow_client_survives_a_failed_upload() {
    let full = &*Box::leak(Box::new(Barrier::new(2)));
    let (backend, at_backend) = backend(move |mut stream| {
        let sent = write_until_stuck(&mut stream, usize::MAX);
        full.wait();
        // A close with bytes of our own unsent would lose them here, not in the proxy.
        until("what was sent to be taken", || (unsent(&stream) == 0).then_some(()));
        sent
    });
    let proxy = proxy(&backend, "");
    let mut client = open_slow(&proxy);
    full.wait();
    let mut first = 0;
    let sent = until("the server to close", || {
        // As little as it takes: the rest is to wait in the proxy.
        first += read_once(&mut client, &mut [0; 16 * 1024]).expect("a download");
        at_backend.recv_timeout(Duration::from_millis(5)).ok()
    });
    client.write_all(b"nobody reads this").expect("an open connection");
    pause(Duration::from_millis(200));
    client.write_all(b"and the proxy knows it now").expect("an open connection");
    pause(Duration::from_millis(200));
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).expect("an end, not a reset");
    assert_eq!(first + rest.len(), sent);
}

/// Writes in small pieces up to a size, or until nothing more is taken; gives how much was.
fn write_until_stuck(stream: &mut TcpStream, most: usize) -> usize {
    SockRef::from(&*stream).set_send_buffer_size(4096).expect("an open socket");
    stream.set_write_timeout(Some(Duration::from_millis(200))).expect("an open socket");
    let block = block();
    let mut sent = 0;
    while sent < most {
        let at = sent % block.len();
        match stream.write(&block[at..(at + 1000).min(block.len())]) {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    sent
}

/// Bytes that the kernel has not yet been able to hand over (proc(5): tx_queue of /proc/net/tcp).
fn unsent(stream: &TcpStream) -> u64 {
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

/// Row T5, with a client that reads along.
#[test]
fn a_reset_by_the_backend_reaches_the_client_as_a_reset() {
    const SIZE: usize = 1 << 20;
    let read = &*Box::leak(Box::new(Barrier::new(2)));
    let (backend, _at_backend) = backend(move |mut stream| {
        write_blocks(&mut stream, SIZE).expect("a download");
        read.wait();
        reset(stream);
    });
    let proxy = proxy(&backend, "");
    let mut client = open(&proxy);
    let (count, _) = read_blocks(&mut (&mut client).take(SIZE as u64));
    assert_eq!(count, SIZE);
    read.wait();
    let error = read_once(&mut client, &mut [0; 1]).expect_err("a reset, not an end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

/// Row T5, with a client that has read nothing yet: what was sent before the reset still comes first.
#[test]
fn bytes_sent_before_a_reset_arrive_before_it() {
    let (backend, at_backend) = backend(|mut stream| {
        let sent = write_until_stuck(&mut stream, 1 << 20);
        pause(Duration::from_millis(100)); // what is in the send buffer would die with the reset
        reset(stream);
        sent
    });
    let proxy = proxy(&backend, "");
    let mut client = open(&proxy);
    let sent = result(&at_backend);
    let (count, end) = read_blocks(&mut client);
    let error = end.expect_err("a reset, not an end");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(count <= sent && count + 8192 >= sent, "{count} of {sent} bytes");
    assert!(count > 100_000, "{count} bytes are no test");
}

/// Row T6.
#[test]
fn a_reset_by_the_client_reaches_the_backend_as_a_reset() {
    let (backend, at_backend) = backend(|mut stream| {
        let mut rest = Vec::new();
        let end = stream.read_to_end(&mut rest).map_err(|error| error.kind());
        (rest, end, Instant::now())
    });
    let proxy = proxy(&backend, "");
    let mut client = open(&proxy);
    client.write_all(b"the last words").expect("room");
    until("the weld", || proxy.stderr().contains("welded").then_some(()));
    pause(Duration::from_millis(50)); // a reset may overtake what the proxy has not read yet
    let at = Instant::now();
    reset(client);
    let (rest, end, noticed) = result(&at_backend);
    assert_eq!(rest, b"the last words");
    assert_eq!(end, Err(ErrorKind::ConnectionReset));
    assert!(noticed - at < Duration::from_secs(2), "{:?}", noticed - at);
    until("the end to be told", || proxy.stderr().contains("reset by client").then_some(()));
}

/// Row T6 while the backend is sending.
#[test]
fn a_client_that_resets_mid_download_resets_the_backend() {
    let (backend, at_backend) =
        backend(|mut stream| write_blocks(&mut stream, 1 << 30).map_err(|error| error.kind()));
    let proxy = proxy(&backend, "");
    let mut client = open(&proxy);
    client.read_exact(&mut vec![0; 1 << 20]).expect("a download");
    reset(client);
    let error = result(&at_backend).expect_err("a failed write");
    assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error:?}");
}

/// Row T9, where the client ends and the backend says nothing more.
#[test]
fn a_half_closed_connection_that_is_silent_is_ended() {
    let over = &*Box::leak(Box::new(Barrier::new(2)));
    let (backend, at_backend) = backend(|mut stream| {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the client's end");
        over.wait();
        // Nobody is there any more.
        until("writes to fail", || stream.write(b"too late").err()).kind()
    });
    let proxy = proxy(&backend, "half_close_timeout_ms = 400");
    let before = proxy.descriptors();
    let start = Instant::now();
    let mut client = open(&proxy);
    client.shutdown(Shutdown::Write).expect("an open socket");
    let error = read_once(&mut client, &mut [0; 1]).expect_err("a reset: the answer never came");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(start.elapsed() >= Duration::from_millis(390), "{:?}", start.elapsed());
    until("the sockets to be freed", || (proxy.descriptors() <= before).then_some(()));
    until("the end to be told", || proxy.stderr().contains("half-closed too long").then_some(()));
    over.wait();
    let error = result(&at_backend);
    assert!(matches!(error, ErrorKind::ConnectionReset | ErrorKind::BrokenPipe), "{error:?}");
}

/// Rows T4 and T9: the time-out is for a client that says nothing, not for one that still reads what it was sent.
#[test]
fn a_slow_reader_keeps_its_tail_when_the_half_close_time_out_fires() {
    const SIZE: usize = 2 << 20;
    let (backend, at_backend) = backend(|mut stream| write_blocks(&mut stream, SIZE).is_ok());
    let proxy = proxy(&backend, "half_close_timeout_ms = 200");
    let mut client = open_slow(&proxy);
    assert!(result(&at_backend), "the server wrote all and closed");
    until("the time-out", || proxy.stderr().contains("half-closed too long").then_some(()));
    let (count, end) = read_blocks(&mut client);
    assert_eq!((count, end.is_ok()), (SIZE, true));
}

/// Row T9, where the backend ends and the client says nothing more.
#[test]
fn a_half_closed_connection_whose_client_is_silent_is_ended() {
    let (backend, at_backend) = backend(|mut stream| {
        stream.shutdown(Shutdown::Write).expect("an open socket");
        read_once(&mut stream, &mut [0; 1]).map_err(|error| error.kind())
    });
    let proxy = proxy(&backend, "half_close_timeout_ms = 400");
    let before = proxy.descriptors();
    let mut client = open(&proxy);
    assert_eq!(read_once(&mut client, &mut [0; 1]).expect("the end of the server's side"), 0);
    assert_eq!(result(&at_backend), Err(ErrorKind::ConnectionReset));
    until("the sockets to be freed", || (proxy.descriptors() <= before).then_some(()));
    until("the end to be told", || proxy.stderr().contains("half-closed too long").then_some(()));
}

/// Row T9, the other half: bytes that flow keep a half-closed connection.
#[test]
fn a_half_closed_connection_lives_while_bytes_flow() {
    let (backend, _at_backend) = backend(|mut stream| {
        for _ in 0..15 {
            pause(Duration::from_millis(100));
            stream.write_all(b"x").expect("an open connection");
        }
    });
    let proxy = proxy(&backend, "half_close_timeout_ms = 400");
    let mut client = open(&proxy);
    client.shutdown(Shutdown::Write).expect("an open socket");
    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("an answer");
    assert_eq!(answer, "x".repeat(15));
}

/// A connection that nobody half-closed may be as quiet as it likes.
#[test]
fn an_open_connection_may_be_quiet() {
    let (backend, _at_backend) = backend(|mut stream| {
        let mut one = [0; 1];
        while stream.read_exact(&mut one).is_ok() {
            stream.write_all(&one).expect("an open connection");
        }
    });
    let proxy = proxy(&backend, "half_close_timeout_ms = 100\npeek_timeout_ms = 100");
    let mut client = open(&proxy);
    for _ in 0..3 {
        pause(Duration::from_millis(400));
        client.write_all(b"?").expect("an open connection");
        client.read_exact(&mut [0; 1]).expect("an answer");
    }
}

/// A thousand connections, one after the other, leave nothing behind.
#[test]
fn connections_leave_nothing_behind() {
    let backend = Backend::echo("ssh");
    let proxy = proxy(&backend, "");
    assert_eq!(ask(proxy.address(), OPENING), [b"ssh: ", OPENING].concat());
    let before = proxy.descriptors();
    for _ in 0..1000 {
        assert_eq!(ask(proxy.address(), OPENING), [b"ssh: ", OPENING].concat());
    }
    until("the sockets to be freed", || (proxy.descriptors() <= before).then_some(()));
    drop(connect(proxy.address()));
}
