//! What a TCP backend is told, byte by byte.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, channel};

use super::{binary, line};
use crate::harness::{Backend, DEADLINE, Proxy, connect, opening, refusing, route, until};

/// Sends all of it and ends; the address it came from.
fn send(mut stream: TcpStream, bytes: &[u8]) -> SocketAddr {
    let from = stream.local_addr().expect("an address");
    stream.write_all(bytes).expect("room");
    stream.shutdown(Shutdown::Write).expect("an open socket");
    let _ = stream.read_to_end(&mut Vec::new());
    from
}

fn next(recorded: &Receiver<Vec<u8>>) -> Vec<u8> {
    recorded.recv_timeout(DEADLINE).expect("a connection at the backend")
}

#[test]
fn the_client_is_told_before_anything_else() {
    let (backend, recorded) = Backend::recording();
    for (version, header) in [
        ("v1", line as fn(_, _) -> _),
        ("v2", |from, to| binary(1, from, to, b"\x02\0\x09a.example")),
    ] {
        let keys = format!("proxy_protocol = \"{version}\"");
        let proxy = Proxy::start(&route("http", &keys, backend.address()));
        // What is small, and what does not fit into a segment.
        for length in [0, 100_000] {
            let head =
                format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {length}\r\n\r\n");
            let request = [head.as_bytes(), &vec![b'x'; length]].concat();
            let from = send(proxy.connect(), &request);
            let got = next(&recorded);
            let expected = [header(from, proxy.address()), request].concat();
            assert!(got == expected, "{version}: {}", got.escape_ascii());
        }
    }
}

#[test]
fn version_2_tells_the_names_of_a_client_hello() {
    let (backend, recorded) = Backend::recording();
    let proxy = Proxy::start(&route("https", "proxy_protocol = \"v2\"", backend.address()));
    let hello = opening("https/curl-http2.bin");
    let from = send(proxy.connect(), &hello);
    let tlvs = b"\x02\0\x09a.example\x01\0\x0e\0\x0c\x02h2\x08http/1.1";
    assert_eq!(next(&recorded), [binary(1, from, proxy.address(), tlvs), hello].concat());
}

/// A client that says nothing is told of as well, and before its server speaks.
#[test]
fn a_silent_client_is_told_of() {
    let (sender, told) = channel();
    let sender = Mutex::new(sender);
    let backend = Backend::serving(move |mut stream| {
        let mut reader = BufReader::new(stream.try_clone().expect("an open socket"));
        let mut line = Vec::new();
        let _ = reader.read_until(b'\n', &mut line);
        let _ = sender.lock().expect("sound").send(line);
        let _ = stream.write_all(b"220 ready\r\n");
    });
    let proxy = Proxy::start(&route("ftp", "proxy_protocol = \"v1\"", backend.address()));
    let mut client = proxy.connect();
    let mut greeting = [0; 11];
    client.read_exact(&mut greeting).expect("a greeting");
    assert_eq!(&greeting, b"220 ready\r\n");
    let from = client.local_addr().expect("an address");
    assert_eq!(next(&told), line(from, proxy.address()));
}

/// Who does not take the connection has been told nothing; who takes it is told once.
#[test]
fn the_next_backend_is_told_too() {
    let (backend, recorded) = Backend::recording();
    let (dead, alive) = (refusing(), backend.address());
    let text = format!(
        "[[protocols]]\nname = \"http\"\nproxy_protocol = \"v1\"\nforward_to = [\"{dead}\", \"{alive}\"]\n"
    );
    let proxy = Proxy::start(&text);
    for _ in 0..4 {
        let request = b"GET / HTTP/1.0\r\n\r\n";
        let from = send(proxy.connect(), request);
        assert_eq!(next(&recorded), [&line(from, proxy.address()), &request[..]].concat());
    }
}

/// What went through is what the client said.
#[test]
fn the_header_is_not_counted_as_the_clients() {
    let (backend, recorded) = Backend::recording();
    let keys = "proxy_protocol = \"v2\"";
    let routes = route("http", keys, backend.address());
    let proxy = Proxy::start_with("", &routes, &["--debug"]);
    let request = b"GET / HTTP/1.0\r\n\r\n";
    send(connect(proxy.address()), request);
    next(&recorded);
    let up = format!("up={}", request.len());
    until("the end of it in the log", || {
        let log = proxy.stderr();
        let line = log.lines().find(|it| it.contains("closed"))?.to_owned();
        assert!(line.contains(&up), "{line}");
        Some(())
    });
}

/// A check speaks for itself, and says so where headers are expected.
#[test]
fn a_check_has_a_header_without_a_client() {
    for (version, header) in
        [("v1", &b"PROXY UNKNOWN\r\n"[..]), ("v2", b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0")]
    {
        let (sender, asked) = channel();
        let sender = Mutex::new(sender);
        let backend = Backend::serving(move |mut stream| {
            let mut bytes = Vec::new();
            let mut some = [0; 1024];
            while !bytes.ends_with(b"\r\n\r\n") {
                match stream.read(&mut some) {
                    Ok(got @ 1..) => bytes.extend_from_slice(&some[..got]),
                    _ => return,
                }
            }
            let _ = sender.lock().expect("sound").send(bytes);
        });
        let keys = format!("proxy_protocol = \"{version}\"\nhealth = {{ kind = \"http\" }}");
        let _proxy = Proxy::start(&route("http", &keys, backend.address()));
        let asked = asked.recv_timeout(DEADLINE).expect("a check");
        assert!(asked.starts_with(&[header, b"GET / HTTP/1.1\r\n"].concat()), "{asked:?}");
    }
}
