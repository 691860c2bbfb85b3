//! The program: what it listens on, what it prints, and how it ends.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use super::{fallback, magic, proxy, told};
use crate::harness::udp::{Backend, Client, here, own_ip};
use crate::harness::{Backend as Stream, Proxy, ask, route, run, until};

const SSH: &[u8] = b"SSH-2.0-x\r\n";

/// A route for each transport, and one for both.
fn routes(ssh: &Stream, app: &Backend) -> String {
    let both = "patterns = [\"BOTH\"]\ntransport = \"both\"";
    route("ssh", "", ssh.address())
        + &magic("app", "APP", "", app.address())
        + &route("both", both, app.address())
}

fn start(words: &[&str]) -> (Proxy, Stream, Backend) {
    let (ssh, app) = (Stream::echo("ssh"), Backend::echo("app"));
    let routes = routes(&ssh, &app);
    (Proxy::start_with("", &routes, words), ssh, app)
}

/// A datagram to this address is refused by ICMP: nobody has the port.
fn refuses_datagrams(address: SocketAddr) -> bool {
    let socket = here();
    socket.connect(address).expect("an address");
    socket.set_read_timeout(Some(Duration::from_millis(200))).expect("an open socket");
    let refused = socket.send(b"APP").and_then(|_| socket.recv(&mut [0; 16]));
    refused.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn refuses_connections(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

fn listening(proxy: &Proxy) -> Vec<String> {
    until("the last line", || proxy.stdout().contains("over").then_some(()));
    let stdout = proxy.stdout();
    let lines = stdout.lines().filter_map(|line| line.strip_prefix("listening on "));
    lines.map(str::to_owned).collect()
}

#[test]
fn both_transports_are_served_on_one_port() {
    let (proxy, _ssh, app) = start(&[]);
    let address = proxy.address();
    assert_eq!(listening(&proxy), [format!("{address} (tcp)"), format!("{address} (udp)")]);
    let client = Client::of(address);
    for round in 0..3 {
        assert_eq!(ask(address, SSH), [b"ssh: ", SSH].concat());
        client.reaches("app", format!("APP {round}").as_bytes());
    }
    Client::of(address).reaches("app", b"BOTH");
    assert_eq!(app.take(4)[3].bytes, b"BOTH");
    assert!(proxy.terminate().0.success());
}

#[test]
fn tcp_alone_leaves_the_port_of_udp_free() {
    let (proxy, _ssh, app) = start(&["tcp"]);
    let address = proxy.address();
    assert_eq!(listening(&proxy), [format!("{address} (tcp)")]);
    assert_eq!(ask(address, SSH), [b"ssh: ", SSH].concat());
    assert!(refuses_datagrams(address));
    assert_eq!(app.rest(), []);
}

#[test]
fn udp_alone_leaves_the_port_of_tcp_free() {
    let (proxy, _ssh, app) = start(&["udp"]);
    let address = proxy.address();
    assert_eq!(listening(&proxy), [format!("{address} (udp)")]);
    Client::of(address).reaches("app", b"APP");
    Client::of(address).reaches("app", b"BOTH");
    assert_eq!(app.take(2).len(), 2);
    assert!(refuses_connections(address));
}

#[test]
fn routes_may_be_typed_for_both() {
    let ssh = Stream::echo("ssh");
    let names = Backend::echo("dns");
    let forwards = [format!("ssh={}", ssh.address()), format!("dns={}", names.address())];
    let proxy = Proxy::with_options(&["-f", &forwards[0], "-f", &forwards[1]]);
    let query = crate::harness::opening("dns/dig-a.bin");
    Client::of(proxy.address()).reaches("dns", &query);
    assert_eq!(names.next().bytes, query);
    assert_eq!(ask(proxy.address(), SSH), [b"ssh: ", SSH].concat());
}

/// Sockets of several workers share a port; those of another program must not join them, of either transport.
#[test]
fn a_second_program_on_the_port_ends_with_1_and_takes_no_datagram() {
    let app = Backend::echo("app");
    let stranger = Backend::echo("stranger");
    let first = Proxy::start_with("workers = 2", &magic("app", "APP", "", app.address()), &[]);
    let port = first.port().to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let text = format!("[server]\nport = {port}\n{}", magic("app", "APP", "", stranger.address()));
    std::fs::write(folder.path().join("refractium.toml"), text).expect("room");
    for (bind, words) in
        [("127.0.0.1", &["udp"][..]), ("0.0.0.0", &["udp"]), ("127.0.0.1", &[]), ("0.0.0.0", &[])]
    {
        let words = [&["-b", bind], words].concat();
        let (code, stdout, stderr) = run(folder.path(), &words);
        assert_eq!(code, 1, "{words:?}: {stderr}");
        assert!(stderr.contains(&format!("{bind}:{port}")), "{stderr}");
        assert!(stderr.contains("in use"), "{stderr}");
        assert!(!stdout.contains("listening"), "{stdout}");
    }
    for _ in 0..50 {
        Client::of(first.address()).reaches("app", b"APP");
    }
    assert_eq!((app.take(50).len(), stranger.rest().len()), (50, 0));
}

#[test]
fn a_port_of_udp_that_another_program_has_ends_it_with_1() {
    let taken = UdpSocket::bind((own_ip(), 0)).expect("a port");
    let address = taken.local_addr().expect("an address");
    let (ssh, app) = (Stream::echo("ssh"), Backend::echo("app"));
    let folder = tempfile::tempdir().expect("a folder");
    let (ip, port) = (address.ip(), address.port());
    let text = format!("[server]\nbind = \"{ip}\"\nport = {port}\n{}", routes(&ssh, &app));
    std::fs::write(folder.path().join("refractium.toml"), text).expect("room");
    for words in [&[][..], &["udp"]] {
        let (code, stdout, stderr) = run(folder.path(), words);
        assert_eq!(code, 1, "{stderr}");
        for word in [&address.to_string(), "in use", "udp"] {
            assert!(stderr.to_lowercase().contains(word), "`{word}` is not in: {stderr}");
        }
        assert!(!stdout.contains("listening"), "{stdout}");
    }
    // TCP alone has its port.
    let proxy = Proxy::spawn(folder, &["tcp"]);
    assert_eq!(ask(proxy.address(), SSH), [b"ssh: ", SSH].concat());
}

/// Who is in the middle of something may finish it; who comes now is not taken.
#[test]
fn a_drain_lets_sessions_go_on_until_they_are_quiet() {
    let backend = Backend::mirror();
    let proxy = proxy(&backend, "workers = 2\ndrain_timeout_ms = 60000");
    let clients: Vec<_> = (0..8).map(|_| Client::of(proxy.address())).collect();
    clients.iter().for_each(|it| assert_eq!(it.ask(b"before"), b"before"));
    proxy.signal("TERM");
    told(&proxy, "draining open=8", 1);
    let late = Client::of(proxy.address());
    for round in 0..50_u32 {
        late.send(b"too late");
        for client in &clients {
            assert_eq!(client.ask(&round.to_be_bytes()), round.to_be_bytes());
        }
    }
    let quiet = Instant::now();
    let (status, _, stderr) = proxy.wait();
    assert_eq!(status.code(), Some(0));
    assert!(stderr.contains("ended cut=0"), "{stderr}");
    assert!(quiet.elapsed() >= Duration::from_secs(4), "they were given time: {quiet:?}");
    let recorded = backend.rest();
    assert_eq!(recorded.len(), 8 * 51);
    assert!(recorded.iter().all(|it| it.bytes != b"too late"));
}

#[test]
fn a_drain_ends_at_once_when_the_last_question_is_answered() {
    let backend = Backend::silent();
    let routes = magic("app", "APP", "responses = 1", backend.address());
    let proxy = Proxy::start_with("drain_timeout_ms = 60000", &routes, &["--debug"]);
    let client = Client::of(proxy.address());
    client.send(b"APP?");
    let asked = backend.next();
    proxy.signal("TERM");
    told(&proxy, "draining open=1", 1);
    let start = Instant::now();
    backend.send(asked.peer, b"answer");
    assert_eq!(client.receive(), b"answer");
    let (status, _, stderr) = proxy.wait();
    assert_eq!(status.code(), Some(0));
    assert!(stderr.contains("ended cut=0"), "{stderr}");
    assert!(start.elapsed() < Duration::from_secs(4), "nothing is left to wait for");
}

#[test]
fn a_drain_is_bounded_and_counts_what_it_cuts() {
    let backend = Backend::mirror();
    let proxy = proxy(&backend, "workers = 2\ndrain_timeout_ms = 200");
    let clients: Vec<_> = (0..8).map(|_| Client::of(proxy.address())).collect();
    clients.iter().for_each(|it| assert_eq!(it.ask(b"before"), b"before"));
    let start = Instant::now();
    let (status, _, stderr) = proxy.terminate();
    assert_eq!(status.code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(200), "{:?}", start.elapsed());
    assert!(stderr.contains("ended cut=8"), "{stderr}");
    assert_eq!(stderr.matches(" end=cut").count(), 8, "{stderr}");
    assert_eq!(backend.rest().len(), 8);
}

/// The port is free again for the next, and its clients' next datagrams are for that one.
#[test]
fn after_the_end_the_port_is_free_and_clients_go_on_with_the_next() {
    let backend = Backend::mirror();
    let server = format!("drain_timeout_ms = 100\n{}", fallback(&backend));
    let ip = own_ip().to_string();
    let first = Proxy::start_with(&server, "", &["-b", &ip]);
    let address = first.address();
    let client = Client::of(address);
    assert_eq!(client.ask(b"one"), b"one");
    assert!(first.terminate().0.success());
    assert!(refuses_datagrams(address), "its socket is closed");
    let port = address.port().to_string();
    let _second = Proxy::start_with(&server, "", &["-b", &ip, "-p", &port]);
    assert_eq!(client.ask(b"two"), b"two");
    let ports: Vec<_> = backend.take(2).iter().map(|it| it.peer.port()).collect();
    assert_ne!(ports[0], ports[1], "another session");
}
