//! `refractium explain`: why an opening goes where it goes.

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use crate::harness::{opening, program, run};
use crate::hello::Hello;

const ROUTES: &[&str] = &[
    "-f=http=127.0.0.1:1",
    "-f=https:a.example=127.0.0.1:2",
    "-f=https=127.0.0.1:3",
    "-f=ssh=127.0.0.1:4",
    "-f=ftp=127.0.0.1:5",
];

fn explain(folder: &Path, words: &[&str]) -> String {
    let (code, stdout, stderr) = run(folder, &[&["explain"], ROUTES, words].concat());
    assert_eq!(code, 0, "{stdout}{stderr}");
    stdout
}

fn shows(text: &str, line: &str) {
    let folded = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.lines().any(|it| folded(it) == folded(line)), "no line `{line}` in:\n{text}");
}

#[test]
fn a_real_hello_is_explained_with_facts_and_reasons() {
    let folder = tempfile::tempdir().expect("a folder");
    let hello = opening("https/chromium-post-quantum.bin");
    std::fs::write(folder.path().join("hello.bin"), &hello).expect("a file");
    let text = explain(folder.path(), &["--file", "hello.bin"]);
    shows(&text, "http no 1 byte");
    shows(&text, "ssh no 1 byte");
    assert!(text.contains("https     match    6 bytes  host a.example after "), "{text}");
    assert!(text.contains("alpn h2 http/1.1, version 1.3, ech"), "{text}");
    assert!(text.contains("goes to `https a.example` (-f), after "), "{text}");
    shows(&text, "not `https` (-f): a more specific or earlier route of the protocol takes it");
}

#[test]
fn hex_text_and_standard_input_are_the_same_opening() {
    let folder = tempfile::tempdir().expect("a folder");
    let by_text = explain(folder.path(), &["--text", r"SSH-2.0-x\r\n"]);
    shows(&by_text, "goes to `ssh` (-f), after 4 bytes: 127.0.0.1:4");
    let hex = "53:53 48 2d 32 2e 30 2d 78 0D0a";
    assert_eq!(explain(folder.path(), &["--hex", hex]), by_text);
    let mut command = program(folder.path(), &[&["explain"], ROUTES].concat());
    let mut child = command.stdin(Stdio::piped()).spawn().expect("the program");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"SSH-2.0-x\r\n").expect("room");
    drop(stdin);
    let output = child.wait_with_output().expect("an end");
    assert_eq!(String::from_utf8_lossy(&output.stdout), by_text);
}

#[test]
fn what_is_undecided_says_what_silence_does() {
    let folder = tempfile::tempdir().expect("a folder");
    shows(
        &explain(folder.path(), &["--hex", ""]),
        "goes to `ftp` (-f), unless the client says more within 300 ms: 127.0.0.1:5",
    );
    let text = explain(folder.path(), &["--text", "GE"]);
    shows(&text, "http may still match -");
    shows(&text, "closed, unless the client says more within 3000 ms: there is no fallback");
    // As much as may be looked at, and still open: it is settled at once.
    let endless = format!("GET / HTTP/1.1\\r\\nX: {}", "x".repeat(16_384));
    let text = explain(folder.path(), &["-f=http:h.example=127.0.0.1:6", "--text", &endless]);
    assert!(text.contains("goes to `http` (-f), because no more bytes are looked at"), "{text}");
}

#[test]
fn a_name_that_no_route_has_is_told_from_one_that_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, hello: Hello| {
        std::fs::write(folder.path().join(name), hello.bytes()).expect("a file");
    };
    write("other", Hello::named("b.example"));
    write("none", Hello::unnamed());
    let text = explain(folder.path(), &["--file", "other"]);
    shows(&text, "not `https a.example` (-f): it is for other hosts or application protocols");
    assert!(text.contains("host b.example after"), "{text}");
    assert!(explain(folder.path(), &["--file", "none"]).contains("no host"));
}

#[test]
fn bad_input_is_a_clear_error() {
    let folder = tempfile::tempdir().expect("a folder");
    for (words, complaint, exit) in [
        (["--hex", "5"], "a byte has two digits", 2),
        (["--hex", "5g"], "`5g` is no byte", 2),
        (["--text", r"\q"], "an escape that is none", 2),
        (["--file", "missing"], "missing: ", 1),
        (["--pcap", "missing"], "missing: ", 1),
    ] {
        let (code, stdout, stderr) = run(folder.path(), &[&["explain"], ROUTES, &words].concat());
        assert_eq!(code, exit, "{stdout}");
        assert!(stderr.contains(complaint), "{stderr}");
    }
    let (code, _, stderr) = run(folder.path(), &["check", "--hex", "00"]);
    assert_eq!(code, 2);
    assert!(stderr.contains("go with `explain`"), "{stderr}");
}

/// A pcap file of raw IPv4 packets (link type 101), of one client and one server.
fn capture(packets: &[Vec<u8>]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4_u32, 0x0004_0002, 0, 0, 65_535, 101] {
        file.extend(word.to_le_bytes());
    }
    for packet in packets {
        let length = u32::try_from(packet.len()).expect("a length");
        for word in [0, 0, length, length] {
            file.extend(word.to_le_bytes());
        }
        file.extend(packet);
    }
    file
}

enum Way {
    Up,
    Down,
}

fn ipv4(way: Way, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + payload.len()).expect("a length").to_be_bytes();
    let (from, to) = match way {
        Way::Up => ([10, 0, 0, 1], [10, 0, 0, 2]),
        Way::Down => ([10, 0, 0, 2], [10, 0, 0, 1]),
    };
    let head = [0x45, 0, length[0], length[1], 0, 0, 0, 0, 64, protocol, 0, 0];
    [&head[..], &from, &to, payload].concat()
}

fn tcp(way: Way, sequence: u32, flags: u8, data: &[u8]) -> Vec<u8> {
    let ports = match way {
        Way::Up => [0x9c, 0x40, 0x01, 0xbb],
        Way::Down => [0x01, 0xbb, 0x9c, 0x40],
    };
    let rest = [0, 0, 0, 0, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0];
    ipv4(way, 6, &[&ports[..], &sequence.to_be_bytes(), &rest, data].concat())
}

fn udp(way: Way, data: &[u8]) -> Vec<u8> {
    let ports = match way {
        Way::Up => [0x9c, 0x41, 0, 53],
        Way::Down => [0, 53, 0x9c, 0x41],
    };
    let length = u16::try_from(8 + data.len()).expect("a length").to_be_bytes();
    ipv4(way, 17, &[&ports[..], &length, &[0, 0], data].concat())
}

/// For the address of `a.example`.
const QUESTION: &[u8] = b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x01a\x07example\0\0\x01\0\x01";

#[test]
fn what_ends_a_session_is_told_of_a_datagram() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = r#"
[server]
udp_idle_timeout_ms = 7000
fallback_udp = "127.0.0.1:5"

[[protocols]]
name = "dns"
idle_timeout_ms = 0
responses = 2
forward_to = "127.0.0.1:1"

[[protocols]]
name = "a"
patterns = "a"
transport = "udp"
idle_timeout_ms = 9000
amplification_limit = 3
forward_to = "127.0.0.1:2"

[[protocols]]
name = "b"
patterns = "b"
transport = "both"
idle_timeout_ms = 0
forward_to = "127.0.0.1:3"
"#;
    std::fs::write(folder.path().join("refractium.toml"), text).expect("a file");
    std::fs::write(folder.path().join("question"), QUESTION).expect("a file");
    let told = |words: &[&str]| {
        let (code, stdout, stderr) = run(folder.path(), &[&["explain"], words].concat());
        assert_eq!(code, 0, "{stdout}{stderr}");
        stdout
    };
    for (opening, lines) in [
        (
            ["--file", "question"],
            &[
                "goes to `dns` (line 7), after 27 bytes: 127.0.0.1:1",
                "its session ends when each of its datagrams has had 2 answers",
            ][..],
        ),
        (
            ["--text", "a"],
            &[
                "goes to `a` (line 13), after 1 byte: 127.0.0.1:2",
                "its session ends after 9000 ms without a datagram either way",
                "its client gets at most 3 times its bytes until it sends more after an answer",
            ],
        ),
        (
            ["--text", "b"],
            &[
                "goes to `b` (line 21), after 1 byte: 127.0.0.1:3",
                "its session ends only when the program does",
            ],
        ),
        (
            ["--text", ""],
            &[
                "an opening: 0 bytes over udp",
                "goes to `fallback`, nothing matches: 127.0.0.1:5",
                "its session ends after 7000 ms without a datagram either way",
            ],
        ),
    ] {
        let text = told(&[&["--transport", "udp"], &opening[..]].concat());
        lines.iter().for_each(|line| shows(&text, line));
    }
    assert!(!told(&["--text", "b"]).contains("session"), "a connection is none");
    // A datagram is looked at as a whole.
    let long = "a".repeat(20_000);
    std::fs::write(folder.path().join("long"), &long).expect("a file");
    let over_udp = told(&["--transport", "udp", "--file", "long"]);
    assert!(!over_udp.contains("are looked at"), "{over_udp}");
    assert!(told(&["--file", "long"]).contains("only the first 16384 are looked at"));
}

#[test]
fn datagrams_before_the_first_that_has_a_route_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let told = |packets: &[Vec<u8>]| {
        std::fs::write(folder.path().join("x.pcap"), capture(packets)).expect("a file");
        explain(folder.path(), &["--pcap", "x.pcap", "-f=dns=127.0.0.1:53"])
    };
    let noise = || udp(Way::Up, b"noise");
    let answer = udp(Way::Down, b"no opening");
    let text = told(&[noise(), answer, udp(Way::Up, b""), udp(Way::Up, QUESTION), noise()]);
    shows(&text, "10.0.0.1:40001 to 10.0.0.2:53, 2 dropped before: 27 bytes over udp");
    shows(&text, "goes to `dns` (-f), after 27 bytes: 127.0.0.1:53");
    let text = told(&[noise(), udp(Way::Up, b"more noise")]);
    shows(&text, "10.0.0.1:40001 to 10.0.0.2:53: 5 bytes over udp");
    shows(&text, "dropped, nothing matches: there is no fallback");
}

#[test]
fn a_capture_is_explained_client_by_client_over_lost_and_repeated_segments() {
    const SYN: u8 = 0x02;
    const ACK: u8 = 0x10;
    let folder = tempfile::tempdir().expect("a folder");
    let hello = Hello::named("a.example").bytes();
    let (first, second) = hello.split_at(30);
    let start = u32::MAX - 10; // the sequence numbers wrap
    let question = QUESTION;
    let packets = [
        tcp(Way::Up, start, SYN, b""),
        tcp(Way::Down, 7, SYN | ACK, b""),
        tcp(Way::Up, start.wrapping_add(1 + 30), ACK, second),
        tcp(Way::Up, start.wrapping_add(1), ACK, first),
        tcp(Way::Up, start.wrapping_add(1), ACK, first),
        tcp(Way::Down, 8, ACK, b"what the server says is no opening"),
        udp(Way::Up, question),
    ];
    std::fs::write(folder.path().join("x.pcap"), capture(&packets)).expect("a file");
    let text = explain(folder.path(), &["--pcap", "x.pcap", "-f=dns=127.0.0.1:53"]);
    let length = hello.len();
    shows(&text, &format!("10.0.0.1:40000 to 10.0.0.2:443: {length} bytes over tcp"));
    assert!(text.contains("goes to `https a.example` (-f)"), "{text}");
    shows(&text, "10.0.0.1:40001 to 10.0.0.2:53: 27 bytes over udp");
    shows(&text, "goes to `dns` (-f), after 27 bytes: 127.0.0.1:53");
    shows(
        &text,
        "its session ends when each of its datagrams has had 1 answer, or after 60000 ms without a datagram either way",
    );
    std::fs::write(folder.path().join("bad.pcap"), b"no capture at all").expect("a file");
    let (code, _, stderr) =
        run(folder.path(), &[&["explain"], ROUTES, &["--pcap", "bad.pcap"]].concat());
    assert_eq!(code, 1);
    assert!(stderr.contains("bad.pcap: not a sound capture file"), "{stderr}");
}

#[test]
fn a_byte_has_two_digits_and_no_sign() {
    let folder = tempfile::tempdir().expect("a folder");
    for digits in ["+1+2", "-1", "1", "0x", "gg"] {
        let hex = format!("--hex={digits}");
        let (code, stdout, stderr) = run(folder.path(), &[&["explain"], ROUTES, &[&hex]].concat());
        assert_eq!((code, stdout.as_str()), (2, ""), "{digits}: {stderr}");
    }
}
