//! Who stands before us says who the client is, if it is trusted. What it says is told to the backend in version 1.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use super::{binary, line};
use crate::harness::{
    Backend, DEADLINE, Elsewhere, Proxy, connect_from, pause, read_once, route, run_command, until,
};

const TRUSTED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 8);
const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);
const TRUST: &str = "proxy_protocol_from = [\"127.0.0.8\"]\n";
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// The program, which trusts 127.0.0.8, before a backend that records.
fn trusting(server: &str) -> (Proxy, Receiver<Vec<u8>>, Backend) {
    let (backend, recorded) = Backend::recording();
    let routes = route("http", "proxy_protocol = \"v1\"", backend.address());
    let proxy = Proxy::start_with(&format!("{TRUST}{server}"), &routes, &["--debug"]);
    (proxy, recorded, backend)
}

fn next(recorded: &Receiver<Vec<u8>>) -> Vec<u8> {
    recorded.recv_timeout(DEADLINE).expect("a connection at the backend")
}

fn address(text: &str) -> SocketAddr {
    text.parse().expect(text)
}

fn ends(mut stream: TcpStream) -> Vec<u8> {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    rest
}

/// Rows X2 and X7: whatever the cut, the backend gets the client that was named, and then every byte once.
#[test]
fn a_header_cut_anywhere_is_read_and_nothing_is_lost() {
    let (proxy, recorded, _backend) = trusting("");
    let (to, client) = (proxy.address(), address("192.0.2.7:4660"));
    let v2 = binary(1, client, address("192.0.2.8:443"), b"\x02\0\x01x\xee\0\0");
    for header in [line(client, address("192.0.2.8:443")), v2] {
        let bytes = [&header, REQUEST].concat();
        let expected = [&line(client, to), REQUEST].concat();
        thread::scope(|scope| {
            for cut in 0..bytes.len() {
                let (head, tail) = bytes.split_at(cut);
                scope.spawn(move || {
                    let mut stream = connect_from(TRUSTED, to);
                    stream.write_all(head).expect("room");
                    pause(Duration::from_millis(20));
                    stream.write_all(tail).expect("room");
                    stream.shutdown(Shutdown::Write).expect("an open socket");
                    ends(stream);
                });
            }
        });
        for _ in 0..bytes.len() {
            let got = next(&recorded);
            assert!(got == expected, "{}", got.escape_ascii());
        }
    }
}

/// What follows is carried on as it comes, however much comes together with the header.
#[test]
fn much_may_come_together_with_the_header() {
    for server in ["", "peek_buffer_size = 64\n"] {
        let (proxy, recorded, _backend) = trusting(server);
        let client = address("192.0.2.7:4660");
        let body: Vec<u8> = (0..300_000_u32).flat_map(u32::to_be_bytes).collect();
        let said = [REQUEST, &body].concat();
        let mut stream = connect_from(TRUSTED, proxy.address());
        stream.write_all(&[line(client, proxy.address()), said.clone()].concat()).expect("room");
        stream.shutdown(Shutdown::Write).expect("an open socket");
        assert!(next(&recorded) == [line(client, proxy.address()), said].concat());
    }
}

/// Row X8: either version and family in, version 1 out.
#[test]
fn what_comes_in_goes_out_in_either_family() {
    let (proxy, recorded, _backend) = trusting("");
    let port = proxy.port();
    let v6 = [
        &b"\r\n\r\n\0\r\nQUIT\n\x21\x21\0\x24"[..],
        &"2001:db8::7".parse::<std::net::Ipv6Addr>().expect("an address").octets(),
        &[0; 16],
        b"\x12\x34\0\0",
    ]
    .concat();
    for (header, told) in [
        (
            b"PROXY TCP6 2001:db8::7 2001:db8::8 4660 443\r\n".to_vec(),
            format!("TCP6 2001:db8::7 ::ffff:127.0.0.1 4660 {port}"),
        ),
        (v6, format!("TCP6 2001:db8::7 ::ffff:127.0.0.1 4660 {port}")),
        (
            b"PROXY TCP6 ::ffff:192.0.2.7 ::1 4660 443\r\n".to_vec(),
            format!("TCP4 192.0.2.7 127.0.0.1 4660 {port}"),
        ),
        (
            binary(1, address("192.0.2.7:1"), address("192.0.2.8:2"), b""),
            format!("TCP4 192.0.2.7 127.0.0.1 1 {port}"),
        ),
    ] {
        let mut stream = connect_from(TRUSTED, proxy.address());
        stream.write_all(&[&header, REQUEST].concat()).expect("room");
        stream.shutdown(Shutdown::Write).expect("an open socket");
        let expected = [format!("PROXY {told}\r\n").as_bytes(), REQUEST].concat();
        assert_eq!(next(&recorded), expected, "{}", header.escape_ascii());
    }
}

/// Who speaks for itself is the client.
#[test]
fn local_and_unknown_keep_the_address_of_the_socket() {
    let (proxy, recorded, _backend) = trusting("");
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n\x21\x31\0\xd8"[..], &[b'x'; 216]].concat();
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ::1 ::1 1 1\r\n".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x20\x11\0\x0c\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0a".to_vec(),
        b"\r\n\r\n\0\r\nQUIT\n\x21\0\0\x01x".to_vec(),
        unix,
    ] {
        let mut stream = connect_from(TRUSTED, proxy.address());
        let from = stream.local_addr().expect("an address");
        stream.write_all(&[&header, REQUEST].concat()).expect("room");
        stream.shutdown(Shutdown::Write).expect("an open socket");
        assert_eq!(next(&recorded), [&line(from, proxy.address()), REQUEST].concat());
    }
}

/// Row X1: a stranger's header is data, and it stays who it is.
#[test]
fn a_strangers_header_is_data() {
    let (backend, recorded) = Backend::recording();
    let server =
        format!("{TRUST}fallback_tcp = \"{}\"\nmax_connections_per_ip = 1\n", backend.address());
    let routes = route("http", "", backend.address());
    let proxy = Proxy::start_with(&server, &routes, &["--debug"]);
    let header = line(address("192.0.2.7:1"), address("192.0.2.8:2"));
    let said = [&header, REQUEST].concat();
    let mut stream = connect_from(STRANGER, proxy.address());
    stream.write_all(&said).expect("room");
    until("its place", || proxy.stderr().contains("welded").then_some(()));
    // Its one place is taken under its own address, whoever it says it is.
    let other = line(address("192.0.2.8:1"), address("192.0.2.8:2"));
    let mut second = connect_from(STRANGER, proxy.address());
    let _ = second.write_all(&other);
    assert!(!matches!(read_once(&mut second, &mut [0]), Ok(1..)), "a second one is refused");
    stream.shutdown(Shutdown::Write).expect("an open socket");
    assert_eq!(next(&recorded), said);
    ends(stream);
    let (_, _, log) = proxy.terminate();
    assert!(log.contains("too many connections from this address"), "{log}");
    assert!(!log.contains("192.0.2."), "{log}");
}

/// Rows X3 and X4: what is no header is refused, and nobody behind us hears of it.
#[test]
fn a_trusted_sender_without_a_right_header_is_refused() {
    let (proxy, recorded, _backend) = trusting("");
    let v2 = b"\r\n\r\n\0\r\nQUIT\n";
    let checksum = b"\x21\x11\0\x13\x01\x02\x03\x04\x05\x06\x07\x08\0\x09\0\x0a\x03\0\x04abcd";
    let long = [b"PROXY UNKNOWN ".to_vec(), vec![b'x'; 100], b"\r\n".to_vec()].concat();
    let faults: Vec<(Vec<u8>, &str)> = vec![
        (REQUEST.to_vec(), "it does not begin like one"),
        (long, "it is longer than it may be"),
        (b"PROXY TCP4 192.0.2.7  192.0.2.8 1 2\r\n".to_vec(), "its line does not say"),
        (b"PROXY TCP4 192.0.2.7 192.0.2.8 1 2\rGET".to_vec(), "its line does not say"),
        ([&v2[..], b"\x11\x11\0\0"].concat(), "is not known"),
        ([&v2[..], b"\x21\x11\xff\xff"].concat(), "it is longer than it may be"),
        ([&v2[..], b"\x21\x11\0\x01x"].concat(), "its length is not that of what it holds"),
        ([&v2[..], checksum].concat(), "its checksum is wrong"),
        (b"PROXY TCP4 192.0.2.7".to_vec(), "the stream ends in it"),
    ];
    for (bytes, fault) in faults {
        let mut stream = connect_from(TRUSTED, proxy.address());
        stream.write_all(&bytes).expect("room");
        stream.shutdown(Shutdown::Write).expect("an open socket");
        assert_eq!(ends(stream), b"", "{}", bytes.escape_ascii());
        until(fault, || {
            let is_told = |line: &&str| line.contains("no PROXY header") && line.contains(fault);
            proxy.stderr().lines().any(|line| is_told(&line)).then_some(())
        });
    }
    assert!(recorded.try_recv().is_err(), "the backend heard of one");
}

/// Row X2: a header has no time of its own.
#[test]
fn a_header_must_come_in_the_time_of_the_opening() {
    let (proxy, recorded, _backend) = trusting("peek_timeout_ms = 300\n");
    let mut stream = connect_from(TRUSTED, proxy.address());
    stream.write_all(b"PROXY TCP4 192").expect("room");
    assert_eq!(ends(stream), b"");
    until("a word of it", || proxy.stderr().contains("it is not whole in time").then_some(()));
    assert!(recorded.try_recv().is_err());
}

/// Silence counts from the header on.
#[test]
fn a_client_that_is_silent_behind_its_header_goes_the_server_first_way() {
    let backend = Backend::echo("ftp");
    let proxy = Proxy::start_with(TRUST, &route("ftp", "", backend.address()), &[]);
    let mut stream = connect_from(TRUSTED, proxy.address());
    stream.write_all(&line(address("192.0.2.7:1"), proxy.address())).expect("room");
    let mut greeting = [0; 5];
    stream.read_exact(&mut greeting).expect("a greeting");
    assert_eq!(&greeting, b"ftp: ");
}

/// The place of a client is counted under the address that it is said to have.
#[test]
fn a_client_takes_a_place_under_its_own_address() {
    let backend = Backend::echo("http");
    let server = format!("{TRUST}max_connections_per_ip = 1\n");
    let proxy = Proxy::start_with(&server, &route("http", "", backend.address()), &["--debug"]);
    let to = proxy.address();
    let open = |header: &[u8]| {
        let mut stream = connect_from(TRUSTED, to);
        stream.write_all(&[header, REQUEST].concat()).expect("room");
        let mut name = [0; 6];
        stream.read_exact(&mut name).is_ok().then_some(stream)
    };
    let client = |ip: &str| line(address(ip), to);
    let first = open(&client("192.0.2.7:1")).expect("a place");
    let _other = open(&client("192.0.2.8:1")).expect("a place");
    assert!(open(&client("192.0.2.7:2")).is_none(), "its place is taken");
    // Row X9: those who speak for themselves are not counted.
    let _local: Vec<_> =
        (0..5).map(|_| open(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").expect("a place")).collect();
    drop(first);
    let again = || open(&client("192.0.2.7:3"));
    until("its place again", again);
}

/// Row X9: somebody only looks whether we are there.
#[test]
fn who_only_looks_makes_no_noise() {
    let backend = Backend::echo("http");
    let proxy = Proxy::start_with(TRUST, &route("http", "", backend.address()), &[]);
    for round in 0..100 {
        let mut stream = connect_from(TRUSTED, proxy.address());
        if round % 2 == 0 {
            stream.write_all(b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0").expect("room");
        }
        stream.shutdown(Shutdown::Write).expect("an open socket");
        ends(stream);
    }
    let (status, _, log) = proxy.terminate();
    assert!(status.success());
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
}

/// Row X5: an IPv6 client is only told of.
#[test]
fn a_machine_without_ipv6_may_be_told_of_ipv6_clients() {
    let Some(elsewhere) = Elsewhere::new() else { return };
    let mut command = Command::new("ip");
    let set = "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6";
    command.args(["netns", "exec", elsewhere.name(), "sh", "-c", set]);
    assert_eq!(run_command(command).0, 0, "IPv6 is there still");
    let (backend, recorded) = elsewhere.inside(Backend::recording);
    let routes = route("http", "proxy_protocol = \"v2\"", backend.address());
    let under = ["ip", "netns", "exec", elsewhere.name()];
    let proxy = Proxy::start_under(&under, TRUST, &routes);
    let mut stream = elsewhere.inside(|| connect_from(TRUSTED, proxy.address()));
    let header = b"PROXY TCP6 2001:db8::7 2001:db8::8 4660 443\r\n";
    stream.write_all(&[&header[..], REQUEST].concat()).expect("room");
    stream.shutdown(Shutdown::Write).expect("an open socket");
    let told = next(&recorded);
    let client = "2001:db8::7".parse::<std::net::Ipv6Addr>().expect("an address").octets();
    assert_eq!(told[12..14], [0x21, 0x21]);
    assert_eq!(told[16..32], client);
    assert!(told.ends_with(REQUEST));
    // The backend must not be woken from here.
    elsewhere.inside(move || drop(backend));
}
