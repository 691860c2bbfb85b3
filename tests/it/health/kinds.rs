//! Each kind of check, beside servers that pass it and servers that do not.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use super::{DOWN, route, told, until_told};
use crate::harness::{Backend, Process, Proxy, need, read_until, refusing, reset, until};

const OFTEN: &str = "interval_ms = 100\ntimeout_ms = 100\n";

/// The good one stays up while the bad one goes down for this reason.
fn parts(health: &str, good: SocketAddr, bad: SocketAddr, reason: &str) {
    let proxy = Proxy::start(&route(&[good, bad], "", &(OFTEN.to_owned() + health)));
    until_told(&proxy, DOWN, bad, 1);
    let said = proxy.stderr();
    assert!(said.contains(reason), "{health}: {said}");
    assert_eq!(told(&proxy, DOWN, good), 0, "{health}: {said}");
}

/// Reads what a client says first, then answers.
fn answers(answer: &'static [u8]) -> Backend {
    Backend::serving(move |mut stream| {
        let _ = stream.read(&mut [0; 2048]);
        let _ = stream.write_all(answer);
        let _ = stream.read(&mut [0; 1]);
    })
}

/// Says something first.
fn greets(greeting: &'static [u8]) -> Backend {
    Backend::serving(move |mut stream| {
        let _ = stream.write_all(greeting);
        let _ = stream.read(&mut [0; 1]);
    })
}

/// It is what TCP backends are checked by if nothing is said. The check leaves no trace: the server is never told of a
/// connection, so its log stays clean.
#[test]
fn a_connect_finds_the_dead_and_the_living_hear_nothing_of_it() {
    let heard = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&heard);
    let good = Backend::serving(move |_| {
        counted.fetch_add(1, Ordering::Relaxed);
    });
    let bad = refusing();
    parts("", good.address(), bad, "Connection refused");
    assert_eq!(heard.load(Ordering::Relaxed), 0);
    parts("kind = \"tcp\"", good.address(), bad, "Connection refused");
}

#[test]
fn http_wants_a_good_status_of_the_path() {
    let asked = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&asked);
    let good = Backend::serving(move |mut stream| {
        let mut request = vec![0; 2048];
        let got = stream.read(&mut request).unwrap_or(0);
        let mut asked = recorded.lock().expect("sound");
        asked.push(String::from_utf8_lossy(&request[..got]).into_owned());
        let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n");
    });
    let ill = answers(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
    let health = "kind = \"http\"\npath = \"/up?now\"\nhost = \"a.example\"";
    parts(health, good.address(), ill.address(), "its status is 503");
    let request = asked.lock().expect("sound").first().cloned().expect("a request");
    assert!(request.starts_with("GET /up?now HTTP/1.1\r\nHost: a.example\r\n"), "{request}");
    let found = answers(b"HTTP/1.0 302 Found\r\n\r\n");
    let want = "kind = \"http\"\nexpect_status = [204, 302]";
    parts(want, found.address(), ill.address(), "its status is 503");
    parts("kind = \"http\"\nexpect_status = 503", ill.address(), found.address(), "status is 302");
    let other = greets(b"SSH-2.0-server\r\n");
    parts("kind = \"http\"", found.address(), other.address(), "it answers \"SSH-2.0-serv\"");
}

#[test]
fn tls_wants_a_server_hello_of_real_servers() {
    if !need(&["openssl"]) {
        return;
    }
    let other = answers(b"\x15\x03\x01\x00\x02\x02\x28");
    let health = "kind = \"tls\"\nhost = \"a.example\"";
    for version in ["-tls1_2", "-tls1_3"] {
        let server = Openssl::start(&[version]);
        parts("kind = \"tls\"", server.address, other.address(), "the TLS alert 40");
        parts(health, server.address, other.address(), "the TLS alert 40");
    }
    // One that takes no client without the name that it has.
    let strict =
        ["-servername", "a.example", "-servername_fatal", "-cert2", "c.pem", "-key2", "k.pem"];
    let strict = Openssl::start(&strict);
    parts(health, strict.address, other.address(), "the TLS alert 40");
    let silent = Backend::serving(|mut stream| drop(io::copy(&mut stream, &mut io::sink())));
    parts(health, strict.address, silent.address(), "timed out");
}

/// `openssl s_server` with a certificate of its own.
struct Openssl {
    _server: Process,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Openssl {
    fn start(more: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = Command::new("openssl");
        command.current_dir(folder.path()).args(["req", "-x509", "-newkey", "rsa:2048", "-nodes"]);
        command.args(["-keyout", "k.pem", "-out", "c.pem", "-subj", "/CN=a.example"]);
        let made = command.stdout(Stdio::null()).stderr(Stdio::null()).status().expect("openssl");
        assert!(made.success());
        let mut command = Command::new("openssl");
        command.current_dir(folder.path()).args(["s_server", "-accept", "127.0.0.1:0", "-www"]);
        command.args(["-cert", "c.pem", "-key", "k.pem"]).args(more);
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut server = command.spawn().expect("openssl");
        let said = read_until("ACCEPT", server.stdout.take().expect("a pipe"));
        let address = said.split_whitespace().find_map(|word| word.parse().ok());
        Self { _server: Process(server), address: address.expect("an address"), _folder: folder }
    }
}

#[test]
fn a_banner_is_heard_from_its_beginning() {
    let (good, other) = (greets(b"SSH-2.0-OpenSSH_9\r\n"), greets(b"220 ftp\r\n"));
    let health = "kind = \"banner\"\nexpect = \"SSH-2.0\"";
    parts(health, good.address(), other.address(), "it answers \"220 ftp");
    let mute = Backend::serving(|mut stream| drop(stream.read(&mut [0; 1])));
    parts(health, good.address(), mute.address(), "timed out");
    let gone = Backend::serving(reset);
    parts("kind = \"banner\"", other.address(), gone.address(), "onnection reset");
    let slow = Backend::serving(|mut stream| {
        for byte in b"SSH-2.0-slow\r\n" {
            let _ = stream.write_all(&[*byte]);
        }
        let _ = stream.read(&mut [0; 1]);
    });
    parts(health, slow.address(), other.address(), "it answers \"220 ftp");
}

#[test]
fn a_payload_is_answered_over_tcp() {
    let good = answers(b"+PONG\r\n");
    let other = answers(b"-ERR\xff\r\n");
    let health = r#"kind = "payload"
send = "PING\r\n"
expect = "+PONG""#;
    parts(health, good.address(), other.address(), "it answers \"-ERR\\xff");
}

/// A UDP server: what it answers to what.
pub(super) struct Answering {
    pub(super) address: SocketAddr,
    asked: Arc<AtomicUsize>,
}

impl Answering {
    pub(super) fn with(answer: impl Fn(&[u8]) -> Vec<u8> + Send + 'static) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&asked);
        // It ends with the process.
        thread::spawn(move || {
            let mut query = [0; 2048];
            while let Ok((got, from)) = socket.recv_from(&mut query) {
                counted.fetch_add(1, Ordering::Relaxed);
                let _ = socket.send_to(&answer(&query[..got]), from);
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

/// A route over UDP.
fn over_udp(to: &[SocketAddr], health: &str) -> String {
    route(to, "", health).replace("name = \"ssh\"", "name = \"dns\"")
}

/// The same as `parts`, for a route over UDP.
fn parts_over_udp(health: &str, good: SocketAddr, bad: SocketAddr, reason: &str) {
    let proxy = Proxy::start(&over_udp(&[good, bad], &(OFTEN.to_owned() + health)));
    until_told(&proxy, DOWN, bad, 1);
    let said = proxy.stderr();
    assert!(said.contains(reason), "{health}: {said}");
    assert_eq!(told(&proxy, DOWN, good), 0, "{health}: {said}");
}

fn dns_answer(query: &[u8], code: u8) -> Vec<u8> {
    let mut answer = query.to_vec();
    answer[2] |= 0x80;
    answer[3] = code;
    answer
}

/// Row H10's part: the right state of a DNS server, which takes no TCP connection.
#[test]
fn dns_is_asked_over_udp() {
    let query = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&query);
    let good = Answering::with(move |query| {
        *recorded.lock().expect("sound") = query.to_vec();
        dns_answer(query, 5) // REFUSED is an answer too
    });
    let ill = Answering::with(|query| dns_answer(query, 2));
    let dead = UdpSocket::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    parts_over_udp("kind = \"dns\"", good.address, ill.address, "it answers SERVFAIL");
    assert_eq!(query.lock().expect("sound")[2..], *b"\x01\0\0\x01\0\0\0\0\0\0\0\0\x02\0\x01");
    let named = "kind = \"dns\"\nhost = \"a.example\"";
    parts_over_udp(named, good.address, dead, "Connection refused");
    let said = query.lock().expect("sound").clone();
    assert_eq!(said[12..], *b"\x01a\x07example\0\0\x01\0\x01");
    // Another's answer is not its own.
    let foreign = Answering::with(|query| {
        let mut answer = dns_answer(query, 0);
        answer[0] ^= 1;
        answer
    });
    parts_over_udp(named, good.address, foreign.address, "it answers");
}

#[test]
fn a_payload_is_answered_over_udp() {
    let good = Answering::with(|sent| [b"\xff\xff\xff\xffI", sent].concat());
    let other = Answering::with(|_| b"\xff\xff\xff\xffJ".to_vec());
    let health = r#"kind = "payload"
send = "\xff\xff\xff\xffTSource"
expect = "\xff\xff\xff\xffI""#;
    parts_over_udp(health, good.address, other.address, "xffJ");
}

/// Row H10: a UDP backend is judged by nothing that nobody asked for.
#[test]
fn udp_is_not_checked_unless_asked() {
    let (quiet, over_tcp) = until("the same port over both", || {
        let quiet = Answering::with(<[u8]>::to_vec);
        let over_tcp = TcpListener::bind(quiet.address).ok()?;
        Some((quiet, over_tcp))
    });
    let watch = refusing();
    let routes = over_udp(&[quiet.address], "interval_ms = 100").replace("kind", "#")
        + &route(&[watch], "", "interval_ms = 100");
    let proxy = Proxy::start(&routes);
    // By then ten checks of the other kind have been made.
    until_told(&proxy, DOWN, watch, 1);
    over_tcp.set_nonblocking(true).expect("an open socket");
    assert!(over_tcp.accept().is_err(), "nobody connected");
    assert_eq!(quiet.asked(), 0);
    assert_eq!(told(&proxy, DOWN, quiet.address), 0);
}

/// And by a connect if that is what was asked for.
#[test]
fn udp_may_be_judged_by_a_connect() {
    let good = Backend::echo("tcp beside it");
    let proxy = Proxy::start(&over_udp(
        &[good.address(), refusing()],
        &(OFTEN.to_owned() + "kind = \"tcp\""),
    ));
    until("one to be down", || proxy.stderr().contains(DOWN).then_some(()));
    assert_eq!(told(&proxy, DOWN, good.address()), 0);
    drop(TcpStream::connect(good.address()));
}
