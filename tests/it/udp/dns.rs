//! DNS: what is a question, and sessions that end with its answer.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::Command;

use super::{fallback, said, told};
use crate::harness::udp::{Answer, Backend, Client, Datagram, here};
use crate::harness::{Backend as Stream, Proxy, need, opening, route, run_command, until};

/// A question for a name, with this number.
fn question(id: u16, name: &str, kind: u8) -> Vec<u8> {
    let header = [&id.to_be_bytes()[..], &[1, 0, 0, 1, 0, 0, 0, 0, 0, 0]].concat();
    let mut labels = Vec::new();
    for label in name.split('.') {
        labels.push(u8::try_from(label.len()).expect("a label"));
        labels.extend(label.as_bytes());
    }
    [&header[..], &labels, &[0, 0, kind, 0, 1]].concat()
}

/// The same message as an answer.
fn answered(question: &[u8]) -> Vec<u8> {
    let mut answer = question.to_vec();
    answer[2] |= 0x80;
    answer
}

fn answering() -> Backend {
    Backend::on(here(), |got, answer| answer(&answered(&got.bytes)))
}

fn dns(to: SocketAddr, more: &str) -> String {
    route("dns", more, to)
}

/// An hour: nothing here ends by being idle.
const NEVER: &str = "udp_idle_timeout_ms = 3600000\nworkers = 1\n";

/// Row U15: the session goes with the answer.
#[test]
fn a_session_ends_when_its_question_is_answered() {
    const ROUNDS: usize = 100;
    let names = answering();
    let proxy = Proxy::start_with(NEVER, &dns(names.address(), ""), &["--debug"]);
    let before = proxy.descriptors();
    for id in 0..100 {
        let (client, question) = (Client::of(proxy.address()), question(id, "a.example", 1));
        assert_eq!(client.ask(&question), answered(&question));
    }
    assert_eq!(told(&proxy, " end=answered", ROUNDS).len(), ROUNDS);
    until("the sockets to be freed", || (proxy.descriptors() <= before).then_some(()));
    // One client after another, from one port: each question is a session of its own.
    let client = Client::of(proxy.address());
    for id in 0..10 {
        let question = question(id, "b.example", 1);
        assert_eq!(client.ask(&question), answered(&question));
        told(&proxy, " end=answered", ROUNDS + usize::from(id) + 1);
    }
    assert_eq!(names.take(ROUNDS + 10).len(), ROUNDS + 10);
}

/// As glibc asks: for both families at once, from one socket.
#[test]
fn two_questions_from_one_socket_are_one_session_until_both_are_answered() {
    const WAITING: usize = 2;
    let mut waiting: Vec<Datagram> = Vec::new();
    // Answers the later question first, and both only when both are there.
    let names = Backend::on(here(), move |got: &Datagram, answer: &Answer<'_>| {
        waiting.push(got.clone());
        if waiting.len() == WAITING {
            waiting.drain(..).rev().for_each(|it| answer(&answered(&it.bytes)));
        }
    });
    let proxy = Proxy::start_with(NEVER, &dns(names.address(), ""), &["--debug"]);
    let client = Client::of(proxy.address());
    for round in 1..=3 {
        let questions = [question(1, "both.example", 1), question(2, "both.example", 28)];
        questions.iter().for_each(|it| client.send(it));
        let answers = [(); WAITING].map(|()| client.receive());
        assert_eq!(answers, [answered(&questions[1]), answered(&questions[0])]);
        let ports: BTreeSet<_> = names.take(WAITING).iter().map(|it| it.peer.port()).collect();
        assert_eq!(ports.len(), 1, "one session for both");
        told(&proxy, " end=answered", round);
    }
    assert_eq!(said(&proxy, " end=answered").len(), 3, "one end for two questions");
}

/// What a client asks after its session has begun is a question of that session, wherever it would go alone.
#[test]
fn a_session_counts_every_question_and_ends_with_the_last_answer() {
    let names = Backend::silent();
    let rest = Backend::echo("rest");
    let server = format!("{NEVER}{}", fallback(&rest));
    let proxy = Proxy::start_with(&server, &dns(names.address(), ""), &["--debug"]);
    let client = Client::of(proxy.address());
    let questions: [Vec<u8>; 3] =
        [question(1, "a.example", 1), b"not a question".to_vec(), question(3, "c.example", 1)];
    questions.iter().for_each(|it| client.send(it));
    let recorded = names.take(3);
    let peer = recorded[0].peer;
    assert!(recorded.iter().all(|it| it.peer == peer), "one session");
    for (at, got) in recorded.iter().enumerate() {
        assert_eq!(got.bytes, questions[at]);
        assert!(said(&proxy, " end=").is_empty(), "{at} of 3 are answered");
        names.send(peer, &answered(&got.bytes));
        assert_eq!(client.receive(), answered(&got.bytes));
    }
    told(&proxy, " end=answered", 1);
    assert_eq!(rest.rest(), []);
}

/// Two, say, or as many as come.
#[test]
fn a_route_may_say_how_many_answers_a_question_has() {
    let twice = Backend::silent();
    let names = answering();
    let routes = super::magic("twice", "TWICE", "responses = 2", twice.address())
        + &dns(names.address(), "responses = 0");
    let proxy = Proxy::start_with(NEVER, &routes, &["--debug"]);
    let before = proxy.descriptors();
    let client = Client::of(proxy.address());
    for round in 1..=5 {
        client.send(b"TWICE");
        let asked = twice.next();
        for answer in [b"one", b"two"] {
            // The second would not arrive, had the first ended the session.
            twice.send(asked.peer, answer);
            assert_eq!(client.receive(), answer);
        }
        assert_eq!(told(&proxy, " end=answered", round).len(), round);
    }
    let client = Client::of(proxy.address());
    for id in 0..5 {
        let question = question(id, "a.example", 1);
        assert_eq!(client.ask(&question), answered(&question));
    }
    let ports: BTreeSet<_> = names.take(5).iter().map(|it| it.peer.port()).collect();
    assert_eq!(ports.len(), 1, "one session for all");
    assert_eq!(said(&proxy, " end=answered").len(), 5);
    until("the sockets of the others to be freed", || {
        (proxy.descriptors() == before + 1).then_some(())
    });
    assert_eq!(twice.rest(), []);
}

/// Row U23: questions, notices and updates go to the server; the rest is no DNS.
#[test]
fn only_whole_questions_are_dns() {
    let names = answering();
    let rest = Backend::mirror();
    let proxy = Proxy::start_with(&fallback(&rest), &dns(names.address(), ""), &[]);
    let plain = question(7, "a.example", 1);
    let with_flags = |high: u8, low: u8| {
        let mut message = plain.clone();
        (message[2], message[3]) = (high, low);
        message
    };
    let [inverse, status, stateful] = [0x08, 0x10, 0x30].map(|opcode| with_flags(opcode, 0));
    let table: [(&str, Vec<u8>, bool); 15] = [
        ("plain", plain.clone(), true),
        ("with EDNS", opening("dns/dig-edns-cookie.bin"), true),
        ("with EDNS, padded", opening("dns/kdig-edns-padded.bin"), true),
        ("signed", opening("dns/dig-signed.bin"), true),
        ("a notice, opcode 4", opening("dns/dig-notify.bin"), true),
        ("an update, opcode 5", opening("dns/nsupdate-add.bin"), true),
        ("an answer, QR = 1", answered(&plain), false),
        ("an answer that says it fails", with_flags(0x80, 0x05), false),
        ("an inverse query, opcode 1", inverse, false),
        ("a status request, opcode 2", status, false),
        ("stateful operations, opcode 6", stateful, false),
        ("cut by a byte", plain[..plain.len() - 1].to_vec(), false),
        ("a byte too long", [&plain[..], b"\0"].concat(), false),
        ("as over TCP, its length before it", [&[0, 27][..], &plain].concat(), false),
        ("nothing", Vec::new(), false),
    ];
    for (what, message, is_dns) in table {
        let client = Client::of(proxy.address());
        let expected = if is_dns { answered(&message) } else { message.clone() };
        assert_eq!(client.ask(&message), expected, "{what}");
        let backend = if is_dns { &names } else { &rest };
        assert_eq!(backend.next().bytes, message, "{what}");
    }
    assert_eq!((names.rest(), rest.rest()), (vec![], vec![]));
}

/// Row U23 as dig asks, which takes only answers to its own questions.
#[test]
fn what_dig_asks_is_dns_if_it_is_a_request() {
    if !need(&["dig"]) {
        return;
    }
    let (names, rest) = (answering(), answering());
    // Over TCP it is nobody's but the fallback's.
    let (stream, at_stream) = Stream::recording();
    let server = format!("{}fallback_tcp = \"{}\"\n", fallback(&rest), stream.address());
    let proxy = Proxy::start_with(&server, &dns(names.address(), ""), &[]);
    for (words, is_dns) in [
        ("a.example A", true),
        ("a.example AAAA +noedns", true),
        ("a.example TXT +dnssec +bufsize=4096 +nocookie", true),
        ("a.example A +subnet=192.0.2.0/24 +nsid", true),
        ("version.bind TXT CH", true),
        ("a.example SOA +opcode=notify", true),
        ("a.example A +opcode=status", false),
        ("a.example A +opcode=iquery", false),
    ] {
        dig(&proxy, words);
        let (backend, other) = if is_dns { (&names, &rest) } else { (&rest, &names) };
        let asked = backend.next().bytes;
        let name = words.split(['.', ' ']).next().expect("a label").as_bytes();
        assert!(asked.windows(name.len()).any(|it| it == name), "{words}");
        assert_eq!(other.rest(), [], "{words}");
    }
    dig(&proxy, "over-tcp.example A +tcp");
    let asked = at_stream.recv_timeout(crate::harness::DEADLINE).expect("a connection");
    assert!(asked.windows(8).any(|it| it == b"over-tcp"), "{asked:x?}");
    assert_eq!((names.rest(), rest.rest()), (vec![], vec![]));
}

/// Runs dig once. Whether the answer satisfies it does not matter.
fn dig(proxy: &Proxy, words: &str) {
    let mut command = Command::new("dig");
    let (ip, port) = (proxy.address().ip(), proxy.port());
    command.args([&format!("@{ip}"), "-p", &port.to_string(), "+tries=1", "+time=5"]);
    run_command({
        command.args(words.split(' '));
        command
    });
}
