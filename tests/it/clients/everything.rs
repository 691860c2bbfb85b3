//! All clients at once.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown};
use std::thread;

use super::world::World;
use super::{dns, ftp, http, snmp, ssh, tls};
use crate::harness::{ask, need, need_root, udp, until};

/// Bytes above 0x7f and text, both in the patterns; and bytes that are nobody's.
fn custom_bytes(world: &World, more: &str) {
    for (opening, backend) in
        [(&b"\xfe\x01\xff"[..], "custom"), (b"MY_PROTO_V1", "custom"), (b"\xfe\x01\xfe", "rest")]
    {
        let said = [opening, b" ", more.as_bytes(), b"\x00\xff\r\n"].concat();
        let expected = [backend.as_bytes(), b": ", &said].concat();
        assert_eq!(ask(world.proxy.address(), &said), expected);
    }
}

/// The same bytes as datagrams are other protocols. Each has clients of its own address: a port that the system gives anew
/// would be one of a session that another has left.
fn custom_datagrams(world: &World, more: &str) {
    for (last, opening, backend) in
        [(1, &b"\xfe\x01\xff"[..], "game"), (1, b"GAME1", "game"), (2, b"\x53\x4e", "sensor")]
    {
        let from = Ipv4Addr::new(127, 0, 4, last).into();
        let client = udp::Client::from(from, world.proxy.address());
        for round in 0..3 {
            let said = [opening, format!(" {more}, {round}").as_bytes()].concat();
            client.reaches(backend, &said);
        }
    }
}

#[test]
fn bytes_above_ascii_are_a_protocol() {
    let world = World::shared();
    custom_bytes(&world, "once");
    custom_datagrams(&world, "once");
    // The two bytes of U+00FE in UTF-8 are not the byte 0xfe.
    let said = "\u{fe}\x01\u{ff}".as_bytes();
    assert_eq!(ask(world.proxy.address(), said), [b"rest: ", said].concat());
}

#[test]
fn a_pattern_cut_in_the_middle_is_still_one() {
    let world = World::shared();
    let mut client = world.proxy.connect();
    for byte in b"\xfe\x01\xff" {
        client.write_all(&[*byte]).expect("room");
    }
    client.shutdown(Shutdown::Write).expect("an open socket");
    let mut answer = Vec::new();
    client.read_to_end(&mut answer).expect("an answer");
    assert_eq!(answer, b"custom: \xfe\x01\xff");
}

#[test]
fn every_client_reaches_its_server_while_all_the_others_do() {
    if !are_all_here() {
        return;
    }
    let world = World::shared();
    let rounds = |client: &Client| {
        for round in 0..ROUNDS {
            client(&world, round);
        }
    };
    let before = world.files().downloads();
    let requests = world.agent().requests();
    thread::scope(|scope| {
        for client in CLIENTS {
            scope.spawn(move || rounds(client));
        }
    });
    until("the downloads in the server's log", || {
        (world.files().downloads() >= before + 2 * ROUNDS).then_some(())
    });
    until("the requests in the agent's log", || {
        (world.agent().requests() >= requests + ROUNDS).then_some(())
    });
    // What went through was not kept.
    let memory = world.proxy.memory();
    assert!(memory < 24 << 20, "{memory} bytes");
}

/// Whether there is all that [`CLIENTS`] need. If not, says that the test is skipped.
pub(crate) fn are_all_here() -> bool {
    let over_tcp =
        ["nginx", "openssl", "curl", "sshd", "ssh-keygen", "ssh", "scp", "vsftpd", "lftp"];
    let programs = [&over_tcp[..], &["dnsmasq", "dig", "snmpd", "snmpget"]].concat();
    need(&programs) && need_root()
}

/// One client, and in which round it is.
pub(crate) type Client = dyn Fn(&World, usize) + Sync;

/// All of them. Each makes sure that its own server answered.
pub(crate) static CLIENTS: [&Client; 11] = [
    &|world, round| http::reaches(world, "one.example", &format!("/all/one/{round}"), "one"),
    &|world, round| http::reaches(world, "two.example", &format!("/all/two/{round}"), "two"),
    &|world, round| tls::curl_reaches(world, "a.example", &format!("/all/a/{round}"), "tls-a"),
    &|world, round| {
        let sni = ["-servername", "Y.B.example."];
        tls::openssl_reaches(world, &sni, &format!("/all/b/{round}"), "tls-b");
        tls::openssl_reaches(world, &["-noservername"], &format!("/all/-/{round}"), "tls-any");
    },
    &|world, round| {
        ssh::runs_a_command(world);
        // Ten megabytes are no matter for every round.
        if round.is_multiple_of(100) {
            ssh::copies_files(world);
        }
    },
    &|world, _| ftp::curl_fetches(world),
    &|world, _| ftp::lftp_fetches(world),
    &|world, round| custom_bytes(world, &format!("round {round}")),
    &|world, round| custom_datagrams(world, &format!("round {round}")),
    &|world, round| {
        dns::dig_resolves(world, &format!("all-{round}"));
        dns::dig_gets_a_large_answer(world);
    },
    &|world, _| snmp::snmpget_is_answered(world, "2c"),
];

const ROUNDS: usize = 3;
