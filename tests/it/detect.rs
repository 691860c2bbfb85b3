//! Openings as they come: slow, cut, cut off, silent, hostile.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::{
    Backend, DEADLINE, Proxy, ask, connect, opening, pause, read_once, reset, route, until,
};
use crate::hello::{Hello, in_records};

/// Backends for every TCP protocol, each answering with its name, on one port.
struct Services {
    proxy: Proxy,
    _backends: Vec<Backend>,
}

impl Services {
    fn start(server: &str) -> Self {
        let routes = [
            ("http", "host = \"h.example\"", "named http"),
            ("http", "", "http"),
            ("https", "sni = \"a.example\"", "a"),
            ("https", "sni = \"*.b.example\"", "b"),
            ("https", "", "any tls"),
            ("ssh", "", "ssh"),
            ("bin", "patterns = [\"\\xfe\\x01\\xff\"]", "bin"),
            ("ftp", "", "ftp"),
        ];
        let fallback = Backend::echo("fallback");
        let mut config = format!("fallback_tcp = \"{}\"\n{server}\n", fallback.address());
        let mut backends = vec![fallback];
        for (name, more, answer) in routes {
            let backend = Backend::echo(answer);
            config += &route(name, more, backend.address());
            backends.push(backend);
        }
        Self { proxy: Proxy::start(&config), _backends: backends }
    }

    /// Sends the whole opening and gives back who answered; the rest of the answer must be the opening itself.
    fn who_takes(&self, bytes: &[u8]) -> String {
        who(&ask(self.proxy.address(), bytes), bytes)
    }
}

/// Who answered, where the backend echoed exactly what was sent.
fn who(answer: &[u8], sent: &[u8]) -> String {
    let colon = answer.windows(2).position(|pair| pair == b": ").expect("a name in the answer");
    assert_eq!(&answer[colon + 2..], sent, "what the backend got");
    String::from_utf8(answer[..colon].to_vec()).expect("a name")
}

/// Sends pieces with pauses between, then ends, and gives back the answer.
fn in_pieces(mut stream: TcpStream, pieces: &[&[u8]], between: Duration) -> Vec<u8> {
    for (at, piece) in pieces.iter().enumerate() {
        if at > 0 {
            pause(between);
        }
        stream.write_all(piece).expect("room");
    }
    stream.shutdown(Shutdown::Write).expect("an open socket");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    answer
}

fn openings() -> Vec<(&'static str, Vec<u8>)> {
    vec![
        ("http", b"GET / HTTP/1.1\r\n\r\n".to_vec()),
        ("named http", b"GET / HTTP/1.1\r\nX: y\r\nHost: H.example:80\r\n\r\n".to_vec()),
        ("http", opening("http/curl-h2-prior-knowledge.bin")),
        ("ssh", b"SSH-2.0-OpenSSH_9.2p1\r\n".to_vec()),
        ("bin", b"\xfe\x01\xff\x00rest".to_vec()),
        ("ftp", b"USER anonymous\r\n".to_vec()),
        ("a", Hello::named("a.example").bytes()),
        ("b", Hello::named("x.b.example").bytes()),
        ("any tls", Hello::unnamed().bytes()),
    ]
}

/// Row D1.
#[test]
fn a_client_that_dribbles_is_routed_and_wakes_us_once_a_byte() {
    let services = Services::start("peek_timeout_ms = 60000\nserver_first_delay_ms = 60000");
    let proxy = &services.proxy;
    let bytes_in_all: usize = openings().iter().map(|(_, bytes)| bytes.len()).sum();
    let before = proxy.wakeups();
    thread::scope(|scope| {
        for (name, bytes) in openings() {
            scope.spawn(move || {
                let pieces: Vec<&[u8]> = bytes.chunks(1).collect();
                let stream = connect(proxy.address());
                let answer = in_pieces(stream, &pieces, Duration::from_millis(4));
                assert_eq!(who(&answer, &bytes), name);
            });
        }
    });
    let woken = proxy.wakeups() - before;
    // After the decision a byte is carried there and echoed back, which wakes us as well.
    assert!(woken <= 4 * bytes_in_all, "{woken} wake-ups for {bytes_in_all} bytes");
}

/// Row D2, and the first promise on bad input: three bytes and a wait cost no processor time.
#[test]
fn five_hundred_clients_that_begin_and_wait_cost_nothing() {
    let backend = Backend::echo("tls");
    let proxy = Proxy::start(
        &("peek_timeout_ms = 3000\n".to_owned() + &route("https", "", backend.address())),
    );
    let start = Instant::now();
    let mut clients: Vec<_> = (0..500).map(|_| proxy.connect()).collect();
    clients.iter_mut().for_each(|client| client.write_all(b"\x16\x03\x01").expect("room"));
    until("all to be accepted", || (proxy.descriptors() > 500).then_some(()));
    pause(Duration::from_millis(300));
    let before = proxy.processor_time();
    let watched = Instant::now();
    pause(Duration::from_millis(2500).saturating_sub(start.elapsed()));
    let (used, watched) = (proxy.processor_time() - before, watched.elapsed());
    assert!(used <= watched / 100 + Duration::from_millis(10), "{used:?} in {watched:?}");
    for mut client in clients {
        assert_eq!(read_once(&mut client, &mut [0; 1]).expect("a clean close"), 0);
    }
    assert!(start.elapsed() >= Duration::from_millis(2900), "{:?}", start.elapsed());
    until("the descriptors to be freed", || (proxy.descriptors() < 100).then_some(()));
}

/// Row D3. The deadline is so far that only the end of the stream can have decided.
#[test]
fn half_a_hello_and_an_end_go_to_the_fallback_at_once() {
    let services = Services::start("peek_timeout_ms = 80000000");
    assert_eq!(services.who_takes(b"SSH"), "fallback");
    assert_eq!(services.who_takes(b"GET / HT"), "fallback");
    // TLS it is, though its name never came: the route without names takes it.
    let hello = Hello::named("a.example").bytes();
    assert_eq!(services.who_takes(&hello[..hello.len() / 2]), "any tls");
}

/// Row D3, without a fallback.
#[test]
fn without_a_fallback_an_undecided_end_is_closed_cleanly() {
    let backend = Backend::echo("ssh");
    let proxy = Proxy::start_with(
        "peek_timeout_ms = 80000000",
        &route("ssh", "", backend.address()),
        &["--debug"],
    );
    assert_eq!(ask(proxy.address(), b"SS"), b"");
    assert_eq!(ask(proxy.address(), b"garbage that matches nothing"), b"");
    until("the refusal to be told", || {
        proxy.stderr().contains("no route after 2 bytes, decided by end of stream").then_some(())
    });
}

/// Row D4.
#[test]
fn a_client_that_begins_and_resets_leaves_nothing() {
    let services = Services::start("");
    let before = services.proxy.descriptors();
    for _ in 0..50 {
        let mut client = services.proxy.connect();
        client.write_all(b"\x16\x03\x01").expect("room");
        reset(client);
    }
    until("the descriptors to be freed", || (services.proxy.descriptors() <= before).then_some(()));
    assert_eq!(services.who_takes(b"SSH-2.0-x\r\n"), "ssh");
    let said = services.proxy.stderr();
    assert!(!said.contains("ERROR") && !said.contains("WARN"), "{said}");
}

/// Row D5: the FTP server greets, and its client has said nothing.
#[test]
fn a_silent_client_is_greeted_by_the_server_first_backend() {
    let backend = Backend::serving(|mut stream| {
        let mut line = [0; 6];
        let _ = stream.write_all(b"220 mail.example\r\n");
        let _ = stream.read_exact(&mut line);
        let _ = stream.write_all(&line);
    });
    for name in ["smtp", "imap", "pop3", "mysql", "ftp"] {
        let other = Backend::echo("http");
        let proxy = Proxy::start(
            &(route("http", "", other.address()) + &route(name, "", backend.address())),
        );
        let mut client = proxy.connect();
        let mut greeting = [0; 18];
        client.read_exact(&mut greeting).expect("a greeting");
        assert_eq!(&greeting, b"220 mail.example\r\n");
        client.write_all(b"QUIT\r\n").expect("room");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).expect("an answer");
        assert_eq!(rest, b"QUIT\r\n");
        // One that speaks is no silent client, and still goes where its bytes say.
        assert_eq!(
            who(&ask(proxy.address(), b"GET / HTTP/1.1\r\n\r\n"), b"GET / HTTP/1.1\r\n\r\n"),
            "http"
        );
    }
}

/// Row D5, where no route is server-first: the fallback after the deadline.
#[test]
fn a_silent_client_is_the_fallbacks_at_the_deadline() {
    let greeting = Backend::serving(|mut stream| {
        let _ = stream.write_all(b"who are you?");
    });
    let ssh = Backend::echo("ssh");
    let server = format!("peek_timeout_ms = 300\nfallback_tcp = \"{}\"", greeting.address());
    let proxy = Proxy::start_with(&server, &route("ssh", "", ssh.address()), &[]);
    let start = Instant::now();
    let mut answer = Vec::new();
    proxy.connect().read_to_end(&mut answer).expect("an answer");
    assert_eq!(answer, b"who are you?");
    assert!(start.elapsed() >= Duration::from_millis(290), "{:?}", start.elapsed());
}

/// Row D6, over every offset of an ordinary and of a post-quantum hello.
#[test]
fn a_hello_cut_anywhere_goes_to_the_right_backend() {
    let services = Services::start("");
    let address = services.proxy.address();
    let real = opening("https/chromium-post-quantum.bin");
    assert!(real.len() > 1500, "a post-quantum hello");
    for (hello, name) in [(real, "a"), (Hello::named("x.b.example").bytes(), "b")] {
        let cuts: Vec<usize> = (1..hello.len()).collect();
        for some in cuts.chunks(100) {
            thread::scope(|scope| {
                for &cut in some {
                    let (head, tail) = hello.split_at(cut);
                    let hello = &hello;
                    scope.spawn(move || {
                        let between = if cut % 700 == 1 { 300 } else { 20 };
                        let answer = in_pieces(
                            connect(address),
                            &[head, tail],
                            Duration::from_millis(between),
                        );
                        assert_eq!(who(&answer, hello), name, "cut at {cut}");
                    });
                }
            });
        }
    }
}

/// Row D7.
#[test]
fn a_hello_in_records_of_any_size_goes_to_the_right_backend() {
    let services = Services::start("");
    let hello = opening("https/chromium-post-quantum.bin");
    for size in (1..64).chain([100, 517, 1000, 1400, hello.len()]) {
        assert_eq!(services.who_takes(&in_records(&hello, size)), "a", "records of {size}");
    }
}

/// Row D10 through the program: every captured hello is TLS, and goes by its name.
#[test]
fn every_captured_hello_is_taken_by_a_tls_route() {
    let services = Services::start("");
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("crates/protocol/tests/openings/https");
    let files: Vec<_> = std::fs::read_dir(folder).expect("openings").collect();
    assert!(files.len() >= 30, "{} hellos", files.len());
    for file in files {
        let path = file.expect("a file").path();
        let bytes = std::fs::read(&path).expect("bytes");
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        let taken = services.who_takes(&bytes);
        let expected: &[&str] =
            if name.contains("nosni") { &["any tls"] } else { &["a", "b", "any tls"] };
        assert!(expected.contains(&taken.as_str()), "{name}: {taken}");
        if !name.contains("nosni")
            && bytes.windows(9).any(|it| it.eq_ignore_ascii_case(b"a.example"))
        {
            assert_eq!(taken, "a", "{name}");
        }
    }
}

/// Row D11.
#[test]
fn names_are_compared_as_names_and_nonsense_is_no_name() {
    let services = Services::start("");
    let long = format!("{}.b.example", "x".repeat(244));
    let table: &[(&[u8], &str)] = &[
        (b"a.example", "a"),
        (b"A.EXAMPLE", "a"),
        (b"a.example.", "a"),
        (b"a.example..", "any tls"),
        (b"x.y.b.example", "b"),
        (b"X.B.Example.", "b"),
        (b"b.example", "any tls"),
        (b"c.example", "any tls"),
        (b"*.b.example", "any tls"),
        (b"a.example\0", "any tls"),
        (b"a.example%00", "any tls"),
        (b"a.\xffexample", "any tls"),
        (b"127.0.0.1", "any tls"),
        (b"::1", "any tls"),
        (b"", "any tls"),
        (long.as_bytes(), "any tls"),
    ];
    for (name, expected) in table {
        let hello = Hello::with_names(&[name]).bytes();
        assert_eq!(services.who_takes(&hello), *expected, "{}", name.escape_ascii());
    }
    let two = Hello::with_names(&[b"a.example", b"x.b.example"]).bytes();
    assert_eq!(services.who_takes(&two), "any tls", "two names are none");
}

/// Row D14.
#[test]
fn what_follows_the_opening_is_neither_lost_nor_reordered() {
    let (backend, received) = Backend::recording();
    let proxy = Proxy::start(&route("http", "", backend.address()));
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        usize::try_from(random >> 33).expect("31 bits")
    };
    for round in 0..1000 {
        let mut bytes = format!("POST /{round} HTTP/1.1\r\nHost: x\r\n\r\n").into_bytes();
        bytes.extend((0..64 * 1024).map(|at| u8::try_from((at * 7 + round) % 251).expect("small")));
        let mut client = proxy.connect();
        let mut rest = &bytes[..];
        let first_whole = round % 4 == 0;
        while !rest.is_empty() {
            let size = if first_whole { rest.len() } else { 1 + next() % (rest.len().min(30_000)) };
            client.write_all(&rest[..size]).expect("room");
            rest = &rest[size..];
        }
        client.shutdown(Shutdown::Write).expect("an open socket");
        assert_eq!(next_from(&received), bytes, "round {round}");
    }
}

/// Row D15, the hang after a cleared readiness: three bytes, silence, and the fallback has them.
#[test]
fn at_the_deadline_the_fallback_gets_the_bytes_at_once() {
    let fallback = Backend::serving(|mut stream| {
        let mut three = [0; 3];
        let _ = stream.read_exact(&mut three);
        let _ = stream.write_all(&three);
    });
    let ssh = Backend::echo("ssh");
    let server = format!("peek_timeout_ms = 300\nfallback_tcp = \"{}\"", fallback.address());
    let proxy = Proxy::start_with(&server, &route("ssh", "", ssh.address()), &[]);
    let mut client = proxy.connect();
    client.write_all(b"SSH").expect("room");
    let mut answer = [0; 3];
    client.read_exact(&mut answer).expect("an answer while we wait");
    assert_eq!(&answer, b"SSH");
}

/// Bad input: whatever comes is given to the fallback or closed cleanly, and the next client is served.
#[test]
fn garbage_and_oversize_never_hurt_the_next_client() {
    let services = Services::start("");
    let huge_target = [b"GET /".as_slice(), &vec![b'a'; 60_000]].concat();
    assert_eq!(services.who_takes(&huge_target), "http");
    let huge_header = [b"GET / HTTP/1.1\r\nX: ".as_slice(), &vec![b'a'; 60_000]].concat();
    assert_eq!(
        services.who_takes(&huge_header),
        "http",
        "no host in the buffer: the route without"
    );
    let huge_hello = Hello::named("a.example").padded(20_000).bytes();
    assert_eq!(services.who_takes(&huge_hello), "any tls", "larger than may be looked at");
    for size in [4_000, 8_000, 15_000] {
        let hello = Hello::named("a.example").padded(size).bytes();
        assert_eq!(services.who_takes(&hello), "a", "a hello of {size} bytes");
    }
    for garbage in [&b"\0\0\0\0"[..], b"\x80\x80\x80\x80", b"\xff", b"INVITE sip:a SIP/2.0\r\n"] {
        assert_eq!(services.who_takes(garbage), "fallback", "{}", garbage.escape_ascii());
    }
    assert_eq!(services.who_takes(b"SSH-2.0-x\r\n"), "ssh");
}

fn next_from(received: &Receiver<Vec<u8>>) -> Vec<u8> {
    received.recv_timeout(DEADLINE).expect("a connection at the backend")
}
