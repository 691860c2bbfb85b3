//! Several addresses, both families, and what else the header of a datagram says.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::process::Command;
use std::sync::mpsc::channel;
use std::thread;

use quinn_udp::EcnCodepoint;

use super::{fallback, proxy_on};
use crate::harness::udp::{Backend, Batch, Client, Datagram, Sent, here};
use crate::harness::{DEADLINE, Elsewhere, Proxy, ip, skipped};

fn has_ipv6() -> bool {
    UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)).is_ok() || skipped("no IPv6 on loopback")
}

fn at(ip: impl Into<IpAddr>) -> UdpSocket {
    UdpSocket::bind((ip.into(), 0)).expect("a port")
}

fn mirror_at(ip: impl Into<IpAddr>) -> Backend {
    Backend::on(at(ip), |got, answer| answer(&got.bytes))
}

/// One socket asks at each of these addresses at once: each answers for itself, and is a session of its own.
fn each_answers_for_itself(client: &UdpSocket, port: u16, ips: &[IpAddr], backend: &Backend) {
    client.set_read_timeout(Some(DEADLINE)).expect("an open socket");
    let mut ports = BTreeSet::new();
    for round in 0..3 {
        for ip in ips {
            client.send_to(format!("{ip} {round}").as_bytes(), (*ip, port)).expect("room");
        }
        let mut answers = BTreeSet::new();
        for _ in ips {
            let mut buffer = [0; 100];
            let (length, from) = client.recv_from(&mut buffer).expect("an answer");
            assert_eq!(&buffer[..length], format!("{} {round}", from.ip()).as_bytes());
            assert_eq!(from.port(), port);
            answers.insert(from.ip());
        }
        assert_eq!(answers, ips.iter().copied().collect());
        ports.extend(backend.take(ips.len()).into_iter().map(|it| it.peer.port()));
    }
    assert_eq!(ports.len(), ips.len(), "a session for each");
}

/// Row U12.
#[test]
fn answers_leave_from_the_address_that_was_asked() {
    let ips = [1, 2, 3].map(|last| IpAddr::from([127, 0, 0, last]));
    let backend = Backend::mirror();
    let proxy = proxy_on("0.0.0.0", &backend, "");
    each_answers_for_itself(&here(), proxy.port(), &ips, &backend);
    if !has_ipv6() {
        return;
    }
    // Dual stack: IPv4 arrives as IPv6, and must look like IPv4 again.
    let proxy = proxy_on("::", &backend, "");
    each_answers_for_itself(&here(), proxy.port(), &ips, &backend);
    let six = at(Ipv6Addr::LOCALHOST);
    each_answers_for_itself(&six, proxy.port(), &[Ipv6Addr::LOCALHOST.into()], &backend);
}

/// Row U12, on addresses that are not loopback's.
#[test]
fn answers_leave_from_the_address_that_was_asked_in_a_network_of_its_own() {
    let Some(elsewhere) = Elsewhere::new() else { return };
    let name = elsewhere.name();
    let v4 = [1, 2, 3].map(|last| IpAddr::from([203, 0, 113, last]));
    let v6 = [1, 2, 3].map(|last| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, last]));
    for ip_of_lo in v4.iter().chain(&v6) {
        let length = if ip_of_lo.is_ipv4() { 32 } else { 128 };
        ip(&format!("-n {name} address add {ip_of_lo}/{length} dev lo")).expect("an address");
    }
    let backend = elsewhere.inside(Backend::mirror);
    for bind in ["0.0.0.0", "::"] {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name, env!("CARGO_BIN_EXE_refractium")]);
        command.args(["-c", "refractium.toml", "-b", bind]);
        let folder = tempfile::tempdir().expect("a folder");
        let proxy = Proxy::spawn_command(command, folder, &fallback(&backend), "");
        // From one address: left alone, the system would answer from that one.
        let client = elsewhere.inside(|| at(v4[0]));
        each_answers_for_itself(&client, proxy.port(), &v4, &backend);
        if bind == "::" {
            let client = elsewhere.inside(|| at(v6[0]));
            each_answers_for_itself(&client, proxy.port(), &v6, &backend);
        }
    }
}

/// Row U21.
#[test]
fn either_family_reaches_a_backend_of_the_other() {
    if !has_ipv6() {
        return;
    }
    let (v4, v6) = (Ipv4Addr::LOCALHOST, Ipv6Addr::LOCALHOST);
    let backends = [mirror_at(v4), mirror_at(v6)];
    for (bind, client) in [("127.0.0.1", v4.into()), ("::1", IpAddr::from(v6)), ("::", v4.into())] {
        for backend in &backends {
            let proxy = proxy_on(bind, backend, "");
            let to = SocketAddr::new(client, proxy.port());
            let client = Client::from(client, to);
            for bytes in [&b"there and back"[..], b"", b"again"] {
                assert_eq!(client.ask(bytes), bytes, "{bind} to {}", backend.address());
            }
            let recorded = backend.take(3);
            let peers: BTreeSet<_> = recorded.iter().map(|it| it.peer).collect();
            assert_eq!(peers.len(), 1, "one session");
            assert_eq!(recorded[0].peer.ip(), backend.address().ip(), "of its own family");
        }
    }
}

/// What routers say of congestion (RFC 3168) is for the other end, and not for us.
#[test]
fn congestion_marks_are_kept_both_ways() {
    let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
    let mut ways = vec![("127.0.0.1", v4, v4)];
    if has_ipv6() {
        let v6 = Ipv6Addr::LOCALHOST.into();
        ways.extend([("::1", v6, v6), ("127.0.0.1", v4, v6), ("::1", v6, v4), ("::", v4, v4)]);
    }
    for (bind, client, backend) in ways {
        keeps_marks(bind, client, backend);
    }
}

fn keeps_marks(bind: &str, client: IpAddr, backend: IpAddr) {
    use EcnCodepoint::{Ce, Ect0, Ect1};
    const MARKS: [Option<EcnCodepoint>; 6] =
        [Some(Ect0), Some(Ce), None, Some(Ect1), Some(Ce), None];
    let mut backend = Batch::on(at(backend));
    let (record, recorded) = channel();
    let to = backend.address();
    let proxy = Proxy::start_with(&format!("fallback_udp = \"{to}\""), "", &["-b", bind]);
    thread::scope(|scope| {
        scope.spawn(move || {
            // Answers with the mark that comes next, so that each way has its own.
            for mark in MARKS.into_iter().cycle().skip(1).take(MARKS.len()) {
                for got in backend.take_all(3) {
                    backend.send(Sent { ecn: mark, ..Sent::one(got.peer, &got.bytes) });
                    record.send(got.ecn).expect("a test");
                }
            }
        });
        let mut batch = Batch::on(at(client));
        let to = SocketAddr::new(client, proxy.port());
        for (at, mark) in MARKS.into_iter().enumerate() {
            // Three that are taken at once, perhaps.
            batch.send(Sent { ecn: mark, ..Sent::many(to, b"onetwothr", 3) });
            for answer in batch.take_all(3) {
                let expected = MARKS[(at + 1) % MARKS.len()];
                assert_eq!((answer.peer, answer.ecn), (to, expected), "an answer on {bind}");
                let seen = recorded.recv_timeout(DEADLINE).expect("it was taken");
                assert_eq!(seen, mark, "at {} by {bind}", to.ip());
            }
        }
    });
}

/// Marks differ from one datagram to the next of a session, also where many are taken at once.
#[test]
fn each_datagram_keeps_its_own_mark() {
    use EcnCodepoint::{Ce, Ect0, Ect1};
    let mut backend = Batch::on(here());
    let to = backend.address();
    let proxy = Proxy::start_with(&format!("workers = 1\nfallback_udp = \"{to}\""), "", &[]);
    let client = Batch::on(here());
    let marks = [Some(Ect0), Some(Ect0), Some(Ce), None, Some(Ect1), Some(Ce), None, None];
    client.send(Sent::one(proxy.address(), b"first"));
    backend.take();
    // All of it is there when it wakes.
    proxy.signal("STOP");
    let sent: Vec<_> = (0_u8..200).map(|at| (at, marks[usize::from(at) % marks.len()])).collect();
    for (at, mark) in &sent {
        client.send(Sent { ecn: *mark, ..Sent::one(proxy.address(), &[*at]) });
    }
    proxy.signal("CONT");
    let taken = backend.take_all(sent.len());
    let taken: Vec<_> = taken.iter().map(|it| (it.bytes[0], it.ecn)).collect();
    assert_eq!(taken, sent);
}

/// A datagram that an address of a list gets is answered from there.
#[test]
fn every_address_of_a_list_serves() {
    let backend = Backend::mirror();
    let folder = tempfile::tempdir().expect("a folder");
    let mut command = crate::harness::program(folder.path(), &["-c", "refractium.toml"]);
    command.args(["-b", "127.0.0.1", "-b", "127.0.0.2"]);
    let proxy = Proxy::spawn_command(command, folder, &fallback(&backend), "");
    // With port 0, each address has a port of its own.
    let addresses: BTreeSet<_> = proxy.addresses(2).into_iter().collect();
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    for address in addresses {
        let client = Client::of(address);
        assert_eq!(client.ask(address.to_string().as_bytes()), address.to_string().as_bytes());
        let Datagram { bytes, .. } = backend.next();
        assert_eq!(bytes, address.to_string().as_bytes());
    }
}
