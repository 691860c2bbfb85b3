//! What is decided, over which table, and how fast it should be.

use std::path::PathBuf;

use refractium::protocol::{Opening, Scratch, Transport};
use refractium::{Decision, Forward, Magic, Protocols, Routes, Table};

use crate::hello::{Hello, SERVER_NAME, server_name};
use crate::words::Words;

/// Openings drawn at random: evenly over the groups, and evenly within one.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    /// Nanoseconds per decision that are aimed at; `None`: shown beside the others.
    pub(crate) target: Option<f64>,
    groups: Vec<Vec<Sample>>,
}

/// An opening that owns its bytes.
#[derive(Clone)]
pub(crate) struct Sample {
    /// Its folder and file, such as `https/curl-default`.
    name: String,
    bytes: Vec<u8>,
    /// Where the datagram ends; empty on a stream.
    ends: Vec<usize>,
}

impl Sample {
    fn stream(name: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self { name: name.to_owned(), bytes: bytes.into(), ends: Vec::new() }
    }

    fn datagram(self) -> Self {
        Self { ends: vec![self.bytes.len()], ..self }
    }

    pub(crate) fn opening(&self) -> Opening<'_> {
        Opening { bytes: &self.bytes, ends: &self.ends, ended: false }
    }
}

impl Row {
    fn new(name: &'static str, target: impl Into<Option<f64>>, samples: Vec<Sample>) -> Self {
        Self { name, target: target.into(), groups: vec![samples] }
    }

    pub(crate) fn samples(&self) -> impl Iterator<Item = &Sample> {
        self.groups.iter().flatten()
    }

    /// Draws as many openings; the next draw is another one, so that no branch predictor learns it.
    pub(crate) fn draw<'a>(&'a self, words: &mut Words, order: &mut [Opening<'a>]) {
        for place in order {
            let group = &self.groups[words.below(self.groups.len())];
            *place = group[words.below(group.len())].opening();
        }
    }
}

/// The table of every row: http without hosts, https with two names and a rest, ssh, ftp, one byte pattern; dns.
pub(crate) fn table() -> Table {
    let lefts =
        ["http", "https:a.example", "https:*.b.example", "https", "ssh", "ftp", "game", "dns"];
    table_of(lefts.map(str::to_owned))
}

/// A table of so many names under https.
pub(crate) fn table_of_names(count: usize) -> Table {
    table_of((0..count).map(|nth| format!("https:{}", numbered(nth))))
}

/// The dearest name against the dearest table: 127 labels, and a wildcard that nearly fits as long as each of its ends.
pub(crate) fn longest_name() -> (Table, Row) {
    let wildcards = (0..126).map(|depth| format!("https:*.{}b", "a.".repeat(depth)));
    let captured = of("https").into_iter().find(|sample| sample.name == "https/curl-tls12-max");
    let mut hello = Hello::parse(&captured.expect("a hello").bytes);
    let name = "a.".repeat(126) + "c";
    hello.extensions().retain(|(kind, _)| *kind != SERVER_NAME);
    hello.extensions().push(server_name(name.as_bytes()));
    let row = Row::new("longest", None, vec![Sample::stream("longest", hello.stream())]);
    (table_of(wildcards), row)
}

fn table_of(lefts: impl IntoIterator<Item = String>) -> Table {
    let mut protocols = Protocols::default();
    protocols.add(Magic::new("game", &[Transport::Tcp], [PATTERN.to_vec()]).expect("a pattern"));
    let forward = |left| format!("{left}=127.0.0.1:1").parse::<Forward>().expect("a forward");
    let forwards = lefts.into_iter().map(forward).collect();
    Table::new(&Routes { forwards, ..Routes::default() }, &protocols).expect("a table")
}

const PATTERN: &[u8] = b"\xfe\x01GAME\x02";

fn numbered(nth: usize) -> String {
    format!("host-{nth:05}.tenants.example")
}

/// Every row that has one number.
pub(crate) fn rows() -> Vec<Row> {
    let (http, https, ssh, ftp) = (of("http"), of("https"), of("ssh"), of("ftp"));
    let dns: Vec<_> = of("dns").into_iter().map(Sample::datagram).collect();
    let game = vec![
        Sample::stream("game/login", [PATTERN, b"\x00\x10player"].concat()),
        Sample::stream("game/ping", PATTERN),
    ];
    let get = pick(&http, |sample| sample.name == "http/curl-get");
    // One opening alone has no branch that is hard to foresee.
    let question = pick(&dns, |sample| sample.name == "dns/dig-a");
    let login = pick(&ftp, |sample| sample.name == "ftp/curl-user");
    let hello = pick(&https, |sample| sample.name == "https/curl-default");
    let usual = pick(&https, |sample| sample.bytes.len() == 517 && has_name(sample));
    let post_quantum = pick(&https, |sample| sample.name == "https/chromium-post-quantum");
    let post_quantum = reordered(&post_quantum[0]);
    let misses = vec![noise(), near_misses()];
    let mixed =
        [&http, &usual, &post_quantum, &ssh, &ftp, &dns, &game, &misses.concat()].map(Vec::clone);
    vec![
        Row::new("HTTP, curl's GET", 10.0, get),
        Row::new("HTTP, every request", 10.0, http),
        Row::new("SSH", 5.0, ssh),
        Row::new("DNS", 12.0, dns),
        Row::new("FTP commands", 6.0, ftp),
        Row::new("TLS, 517 bytes with SNI", 30.0, usual),
        Row::new("TLS, post-quantum", 40.0, post_quantum),
        Row::new("TLS, every hello", None, https),
        Row::new("one DNS question", None, question),
        Row::new("one FTP login", None, login),
        Row::new("one TLS hello", None, hello),
        Row::new("byte pattern", None, game),
        Row { name: "mixed", target: Some(18.0), groups: mixed.into() },
        Row { name: "nothing matches", target: Some(10.0), groups: misses },
    ]
}

/// The hellos of a table with so many names: as many hellos for any number of names, so that only the table grows.
pub(crate) fn hellos(count: usize) -> Row {
    let mut words = Words::new(7);
    let captured = of("https").into_iter().find(|sample| sample.name == "https/curl-tls12-max");
    let mut hello = Hello::parse(&captured.expect("a hello").bytes);
    let samples = (0..10_000).map(|_| {
        let name = numbered(words.below(count));
        for extension in hello.extensions().iter_mut().filter(|it| it.0 == SERVER_NAME) {
            *extension = server_name(name.as_bytes());
        }
        Sample::stream(&name, hello.stream())
    });
    Row::new("names", None, samples.collect())
}

/// The openings captured from clients of one protocol, by name.
fn of(protocol: &str) -> Vec<Sample> {
    let root = [env!("CARGO_MANIFEST_DIR"), "crates/protocol/tests/openings", protocol];
    let files = root.iter().collect::<PathBuf>().read_dir().expect("openings");
    let paths = files.map(|file| file.expect("a file").path());
    let mut samples: Vec<_> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "bin"))
        .map(|path| {
            let name = format!("{protocol}/{}", path.file_stem().expect("a name").display());
            Sample::stream(&name, std::fs::read(&path).expect("an opening"))
        })
        .collect();
    samples.sort_by(|a, b| a.name.cmp(&b.name));
    samples
}

fn pick(samples: &[Sample], wanted: impl Fn(&Sample) -> bool) -> Vec<Sample> {
    let picked: Vec<_> = samples.iter().filter(|sample| wanted(sample)).cloned().collect();
    assert!(!picked.is_empty(), "an opening that a row is about is not there");
    picked
}

fn has_name(sample: &Sample) -> bool {
    let mut hello = Hello::parse(&sample.bytes);
    hello.extensions().iter().any(|(kind, _)| *kind == SERVER_NAME)
}

/// The same hello with its extensions in eight orders: browsers shuffle them for every connection.
fn reordered(sample: &Sample) -> Vec<Sample> {
    let mut words = Words::new(8);
    let mut hello = Hello::parse(&sample.bytes);
    let orders = (0..8).map(|_| {
        let extensions = hello.extensions();
        for last in (1..extensions.len()).rev() {
            extensions.swap(last, words.below(last + 1));
        }
        Sample::stream(&sample.name, hello.stream())
    });
    orders.collect()
}

/// Random bytes of 16 to 143 bytes.
fn noise() -> Vec<Sample> {
    let (mut words, table) = (Words::new(9), table());
    let mut samples = Vec::new();
    while samples.len() < 64 {
        let length = 16 + words.below(128);
        let bytes: Vec<_> = (0..length).map(|_| words.next().to_le_bytes()[7]).collect();
        let sample = Sample::stream("noise", bytes);
        // One in some thousands begins like something.
        if is_nothing(&table, &sample) {
            samples.push(sample);
        }
    }
    samples
}

/// What other protocols say, and what looks like one of the table's at first.
fn near_misses() -> Vec<Sample> {
    let streams: [&[u8]; 16] = [
        b"OPTIONS rtsp://a.example/stream RTSP/1.0\r\nCSeq: 1\r\n\r\n",
        b"INVITE sip:user@a.example SIP/2.0\r\nVia: SIP/2.0/TCP b.example\r\n\r\n",
        b"OPTIONS icap://a.example/x ICAP/1.0\r\n\r\n",
        b"GET key\r\n",
        b"get key\r\n",
        b"GET / HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
        b"EHLO client.example\r\n",
        b"AUTH PLAIN AHVzZXIAcGFzcw==\r\n",
        b"USER guest 0 * :Real Name\r\n",
        b"NICK guest\r\nUSER guest 0 * :Real Name\r\n",
        b"SSH_2.0-client\r\n",
        b"*1\r\n$4\r\nPING\r\n",
        b"\xfe\x01GAMX\x02\x00",
        b"\x16\x03\x05\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x03\x00\x00\x13\x0e\xe0\x00\x00\x00\x00\x00\x01\x00\x08\x00\x03\x00\x00\x00",
    ];
    let datagrams: [&[u8]; 3] = [
        b"\xab\xcd\x81\x80\0\x01\0\x01\0\0\0\0\x01a\x07example\0\0\x01\0\x01\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0\x01",
        b"\xe3\0\x06\xec\0\0\0\0\0\0\0\0\x31\x4e\x31\x34\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xc5\x02\x04\xec\xec\x42\xee\x92",
        b"\0\x01\0\0\x21\x12\xa4\x42\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c",
    ];
    let streams = streams.map(|bytes| Sample::stream("near miss", bytes));
    let datagrams = datagrams.map(|bytes| Sample::stream("near miss", bytes).datagram());
    let samples: Vec<_> = streams.into_iter().chain(datagrams).collect();
    let table = table();
    for sample in &samples {
        assert!(is_nothing(&table, sample), "{}", sample.bytes.escape_ascii());
    }
    samples
}

fn is_nothing(table: &Table, sample: &Sample) -> bool {
    matches!(table.decide(&sample.opening(), &mut Scratch::new()), Decision::NoMatch)
}
