//! `/metrics` as Prometheus sees it: row S2 among them.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{ADMIN, admin_of, get, send};
use crate::clients::servers::{folder, listening, program};
use crate::harness::udp;
use crate::harness::{Backend, Proxy, ask, need, opening, read_once, route, until};

const HTTP: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n";

/// A server that sends back what it gets, and counts that.
struct Counting {
    backend: Backend,
    counted: Arc<Counted>,
}

#[derive(Default)]
struct Counted {
    connections: AtomicU64,
    got: AtomicU64,
    sent: AtomicU64,
}

impl Counting {
    fn start() -> Self {
        let counted: Arc<Counted> = Arc::default();
        let counts = Arc::clone(&counted);
        let backend = Backend::serving(move |mut stream| {
            counts.connections.fetch_add(1, Relaxed);
            let mut buffer = [0; 4096];
            while let Ok(got @ 1..) = read_once(&mut stream, &mut buffer) {
                counts.got.fetch_add(u64::try_from(got).expect("few"), Relaxed);
                // Who reads the answer has it counted already.
                counts.sent.fetch_add(u64::try_from(got).expect("few"), Relaxed);
                stream.write_all(&buffer[..got]).expect("a client that stays");
            }
        });
        Self { backend, counted }
    }

    fn address(&self) -> SocketAddr {
        self.backend.address()
    }

    /// Connections, bytes that came and bytes that went.
    fn counts(&self) -> [u64; 3] {
        let Counted { connections, got, sent } = &*self.counted;
        [connections, got, sent].map(|it| it.load(Relaxed))
    }
}

/// Servers that answer whatever they are asked, and the routes to them.
fn everything() -> ([Counting; 3], udp::Backend, String) {
    let all = [(); 3].map(|()| Counting::start());
    let names = udp::Backend::mirror();
    let [web, secure, shell] = &all;
    let routes = ADMIN.to_owned()
        + &route("http", "", web.address())
        + &route("https", "sni = [\"a.example\", \"b.example\"]", secure.address())
        + &route("https", "", secure.address())
        + &route("ssh", "", shell.address())
        + &route("dns", "", names.address());
    (all, names, routes)
}

/// One client of each kind, and one of none.
fn one_of_each(to: SocketAddr) {
    ask(to, HTTP);
    ask(to, &hello(b"a.example"));
    ask(to, &hello(b"other.example"));
    ask(to, &opening("ssh/git-over-ssh.bin"));
    ask(to, b"nobody's\r\n");
    udp::Client::of(to).ask(&opening(DNS));
}

const DNS: &str = "dns/delv-a.bin";

/// A ClientHello that asks for this name (RFC 8446, section 4.1.2; RFC 6066, section 3).
fn hello(name: &[u8]) -> Vec<u8> {
    let with_length = |bytes: &[u8]| {
        [&u16::try_from(bytes.len()).expect("short").to_be_bytes()[..], bytes].concat()
    };
    let names = with_length(&[&[0][..], &with_length(name)].concat());
    let extensions = with_length(&[&[0, 0][..], &with_length(&names)].concat());
    let body = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0x13, 1, 1, 0], &extensions].concat();
    let length = u32::try_from(body.len()).expect("short").to_be_bytes();
    let message = [&[1][..], &length[1..], &body].concat();
    [&[0x16, 3, 1][..], &with_length(&message)].concat()
}

/// The value of the one series with this name and these labels, as far as they are given.
fn value(metrics: &str, name: &str, labels: &[&str]) -> f64 {
    let is_it = |line: &&str| {
        let name = line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        name && labels.iter().all(|label| line.contains(label))
    };
    let found: Vec<_> = metrics.lines().filter(is_it).collect();
    let [one] = found.as_slice() else { panic!("{name} {labels:?}: {found:?}\n{metrics}") };
    one.rsplit(' ').next().and_then(|it| it.parse().ok()).expect("a number")
}

#[test]
fn metrics_count_what_clients_and_servers_count() {
    let (_all, _names, routes) = everything();
    let proxy = Proxy::start(&routes);
    let admin = admin_of(&proxy);
    let mut answered = 0.0;
    for _ in 0..3 {
        one_of_each(proxy.address());
        let length = u32::try_from(ask(proxy.address(), HTTP).len()).expect("short");
        answered += f64::from(length);
    }
    let metrics = until("the last connection in the metrics", || {
        let text = get(admin, "/metrics").body;
        (value(&text, "refractium_route_ended_total", &["route=\"http\"", "reason=\"closed\""])
            == 6.0
            && value(&text, "refractium_refusals_total", &["\"tcp\"", "\"no_route\""]) == 3.0)
            .then_some(text)
    });
    let is = |name: &str, labels: &[&str], count: f64| {
        assert_eq!(value(&metrics, name, labels), count, "{name} {labels:?}")
    };
    is("refractium_connections_accepted_total", &[], 18.0);
    is("refractium_unrouted_total", &["\"tcp\"", "by=\"verdict\""], 3.0);
    is("refractium_route_decisions_total", &["route=\"https:a.example+1\"", "by=\"verdict\""], 3.0);
    is("refractium_route_decisions_total", &["route=\"https\"", "by=\"verdict\""], 3.0);
    is("refractium_route_decisions_total", &["route=\"dns\"", "by=\"verdict\""], 3.0);
    is("refractium_identification_seconds_count", &["protocol=\"https\""], 6.0);
    is("refractium_identification_bytes_count", &["protocol=\"http\""], 6.0);
    let all_http = f64::from(u32::try_from(HTTP.len()).expect("short")) * 6.0;
    is("refractium_identification_bytes_sum", &["protocol=\"http\""], all_http);
    is("refractium_route_bytes_total", &["route=\"http\"", "\"up\""], all_http);
    is("refractium_route_bytes_total", &["route=\"http\"", "\"down\""], answered * 2.0);
    is("refractium_backend_joined_total", &["route=\"ssh\""], 3.0);
    is("refractium_backend_connect_seconds_count", &["route=\"ssh\""], 3.0);
    is("refractium_backend_addresses", &["route=\"ssh\"", "\"alive\""], 1.0);
    is("refractium_ready", &[], 1.0);
    let open = value(&metrics, "process_open_fds", &[]);
    let seen = u32::try_from(proxy.descriptors()).expect("few");
    assert!((open - f64::from(seen)).abs() < 8.0, "{open} descriptors, {seen} seen from outside");
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    if !need(&["promtool"]) {
        return;
    }
    let (_all, _names, routes) = everything();
    let proxy = Proxy::start(&routes);
    one_of_each(proxy.address());
    let answer = get(admin_of(&proxy), "/metrics");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let mut command = Command::new("promtool");
    command.args(["check", "metrics"]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool");
    child.stdin.take().expect("a pipe").write_all(answer.body.as_bytes()).expect("room");
    let output = child.wait_with_output().expect("an end");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}");
}

/// Row S2. As many series after many names that nobody configured as before.
fn names_make_no_series(count: u32) {
    let (_all, _names, routes) = everything();
    let proxy = Proxy::start(&routes);
    let admin = admin_of(&proxy);
    one_of_each(proxy.address());
    let series = || {
        let text = get(admin, "/metrics").body;
        let names =
            text.lines().filter(|line| !line.starts_with('#')).filter_map(|it| it.rsplit_once(' '));
        names.map(|(name, _)| name.to_owned()).collect::<Vec<_>>()
    };
    let before = series();
    assert!(before.len() > 100, "{before:?}");
    for number in 0..count {
        let name = format!("{:08x}.example", number.wrapping_mul(0x9e37_79b9));
        ask(proxy.address(), &hello(name.as_bytes()));
    }
    until("all of them to be counted", || {
        let text = get(admin, "/metrics").body;
        let decided =
            value(&text, "refractium_route_decisions_total", &["route=\"https\"", "\"verdict\""]);
        (decided >= f64::from(count + 1)).then_some(())
    });
    assert_eq!(series(), before);
}

#[test]
fn names_of_clients_make_no_series() {
    names_make_no_series(1000);
}

#[test]
#[ignore = "deep: a minute"]
fn a_hundred_thousand_names_of_clients_make_no_series() {
    names_make_no_series(100_000);
}

/// A real Prometheus scrapes for so long, in the form that it asks for, while traffic goes on.
fn prometheus_scrapes(time: Duration) {
    if !need(&["prometheus"]) {
        return;
    }
    let ([web, secure, shell], names, routes) = everything();
    let proxy = Proxy::start(&routes);
    let admin = admin_of(&proxy);
    let folder = folder();
    let text = format!(
        "global:\n  scrape_interval: 500ms\nscrape_configs:\n  - job_name: refractium\n    static_configs:\n      - targets: [\"{admin}\"]\n"
    );
    fs::write(folder.path().join("prometheus.yml"), text).expect("room");
    let (_prometheus, addresses) = listening(folder.path(), 1, |addresses| {
        let mut command = program("prometheus");
        command.current_dir(folder.path()).arg("--config.file=prometheus.yml");
        command
            .args(["--storage.tsdb.path=data", &format!("--web.listen-address={}", addresses[0])]);
        command
    });
    let query = |query: &str| -> Value {
        let path = format!("/api/v1/{query}");
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", addresses[0]);
        // Until it is ready it answers, but not with JSON.
        serde_json::from_str(&send(addresses[0], &request).whole()).unwrap_or_default()
    };
    let number = |text: &str| {
        let answer = query(&format!("query?query={}", escaped(text)));
        answer["data"]["result"][0]["value"][1].as_str().and_then(|it| it.parse::<f64>().ok())
    };
    until("a first scrape", || number("up").filter(|up| *up == 1.0));
    let end = Instant::now() + time;
    let mut rounds = 0.0;
    while Instant::now() < end {
        one_of_each(proxy.address());
        rounds += 1.0;
    }
    // Those who asked have counted.
    let is = |series: &str, count: f64| {
        until(&format!("{series} to be {count}"), || number(series).filter(|it| *it == count));
    };
    is("refractium_route_decisions_total{route=\"http\",by=\"verdict\"}", rounds);
    is("refractium_connections_accepted_total", rounds * 5.0);
    is("refractium_identification_seconds_count{protocol=\"https\"}", rounds * 2.0);
    is("refractium_refusals_total{reason=\"no_route\",transport=\"tcp\"}", rounds);
    // So have the servers.
    let float = |count: u64| f64::from(u32::try_from(count).expect("few"));
    for (route, server) in [("http", web), ("https.*", secure), ("ssh", shell)] {
        let [connections, got, sent] = server.counts().map(float);
        let sum = |metric: &str, more: &str| format!("sum({metric}{{route=~\"{route}\"{more}}})");
        is(&sum("refractium_backend_joined_total", ""), connections);
        is(&sum("refractium_route_ended_total", ",reason=\"closed\""), connections);
        is(&sum("refractium_route_bytes_total", ",direction=\"up\""), got);
        is(&sum("refractium_route_bytes_total", ",direction=\"down\""), sent);
    }
    let asked = names.rest();
    let bytes: usize = asked.iter().map(|it| it.bytes.len()).sum();
    for (metric, count) in [("datagrams", asked.len()), ("bytes", bytes)] {
        for direction in ["up", "down"] {
            let labels = format!("{{route=\"dns\",direction=\"{direction}\"}}");
            let count = float(u64::try_from(count).expect("few"));
            is(&format!("refractium_route_{metric}_total{labels}"), count);
        }
    }
    let scrapes = number("count_over_time(up[10m])").expect("scrapes");
    assert_eq!(number("min_over_time(up[10m])"), Some(1.0), "a scrape failed");
    assert!(scrapes > 1.0, "{scrapes} scrapes");
    let target = &query("targets")["data"]["activeTargets"][0];
    assert_eq!((&target["health"], &target["lastError"]), (&"up".into(), &"".into()), "{target}");
    println!("{scrapes} scrapes, {rounds} rounds of six clients");
}

/// As it stands in a query (RFC 3986, section 2.1).
fn escaped(text: &str) -> String {
    let escaped = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' => char::from(byte).to_string(),
        other => format!("%{other:02X}"),
    };
    text.bytes().map(escaped).collect()
}

#[test]
fn a_real_prometheus_scrapes() {
    prometheus_scrapes(Duration::from_secs(3));
}

#[test]
#[ignore = "a minute"]
fn a_real_prometheus_scrapes_for_a_minute() {
    prometheus_scrapes(Duration::from_secs(60));
}
