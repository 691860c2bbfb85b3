//! Row U4: senders who choose their addresses so that they are hard to tell apart.

use std::fs;
use std::net::{Ipv4Addr, UdpSocket};

use crate::harness::udp::{Backend, Batch, Sent};
use crate::harness::{Proxy, need};

const SENDERS: u32 = 1000;
const ROUNDS: u32 = 10;

/// Instructions of looking up a session, by callgrind: of senders that share a port and the low bits of their addresses, and
/// of as many that have nothing in common.
#[test]
#[ignore = "deep: under valgrind"]
fn looking_up_alike_senders_costs_no_more_than_twice_as_much() {
    if !need(&["valgrind"]) {
        return;
    }
    let alike = instructions(|number| Ipv4Addr::from(0x7f00_0001 | number << 14), 1);
    let unlike = instructions(
        |number| Ipv4Addr::from(0x7f00_0001 | number.wrapping_mul(0x009e_3779) & 0x00ff_fffe),
        50,
    );
    assert!(alike <= 2 * unlike, "{alike} instructions for alike ones, {unlike} for others");
    println!("{alike} instructions for alike ones, {unlike} for others");
}

/// What looking up costs for senders of these addresses, from so many ports.
fn instructions(address: impl Fn(u32) -> Ipv4Addr, ports: usize) -> u64 {
    let folder = tempfile::tempdir().expect("a folder");
    let counts = folder.path().join("counts");
    let valgrind = [
        "valgrind",
        "--tool=callgrind",
        "--toggle-collect=refractium::udp::sessions::Sessions::find*",
        &format!("--callgrind-out-file={}", counts.display()),
    ];
    let backend = Backend::silent();
    let server = format!("{}workers = 1", super::fallback(&backend));
    let proxy = Proxy::start_under(&valgrind, &server, "");
    let to = proxy.address();
    let sockets: Vec<_> = (0..ports)
        .map(|_| Batch::on(UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a port")))
        .collect();
    for round in 0..ROUNDS {
        for (number, socket) in (0..SENDERS).zip(sockets.iter().cycle()) {
            let from = Some(address(number).into());
            socket.send(Sent { from, ..Sent::one(to, &round.to_be_bytes()) });
            // One after the other, so that none is lost and each is looked up by itself.
            backend.next();
        }
    }
    let (status, ..) = proxy.terminate();
    assert!(status.success());
    let text = fs::read_to_string(counts).expect("counts");
    let totals = text.lines().find_map(|line| line.strip_prefix("totals: ")).expect("totals");
    totals.trim().parse().expect("a number")
}
