//! SRV records: dnsmasq publishes real nginx, and a server of this test fails and lies.

use std::collections::HashMap;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use tempfile::TempDir;

use super::dns::{Answer, Dns, own_address, proxy_asking};
use super::{OFTEN, OPENING, at, name, names, nobody_but_clients_connected};
use crate::balance::web::Web;
use crate::clients::servers::{folder, program};
use crate::harness::{Backend, Process, Proxy, ask, connect, need, need_root, refusing, until};

const SERVICE: &str = "_http._tcp.web.test";

/// dnsmasq at an address of its own, which asks nobody.
struct Dnsmasq {
    process: Option<Process>,
    ip: Ipv4Addr,
    folder: TempDir,
}

impl Dnsmasq {
    fn start(records: &[(u16, u16, SocketAddr)]) -> Self {
        let mut dnsmasq = Self { process: None, ip: own_address(), folder: folder() };
        dnsmasq.says(records);
        dnsmasq
    }

    /// Another in its place, which knows these: priority, weight and where.
    fn says(&mut self, records: &[(u16, u16, SocketAddr)]) {
        self.stop();
        let mut text = format!(
            "user=root\nport=53\nlisten-address={}\nbind-interfaces\nno-resolv\nno-hosts\nno-poll\npid-file=\n",
            self.ip
        );
        for (nth, (priority, weight, to)) in records.iter().enumerate() {
            let port = to.port();
            text += &format!("srv-host={SERVICE},t{nth}.test,{port},{priority},{weight}\n");
            text += &format!("host-record=t{nth}.test,{}\n", to.ip());
        }
        let path = self.folder.path().join("dnsmasq.conf");
        fs::write(&path, text).expect("room");
        let mut command = program("dnsmasq");
        command.arg("--keep-in-foreground").arg(format!("--conf-file={}", path.display()));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.process = Some(Process(command.spawn().expect("dnsmasq")));
        // It listens on TCP as well.
        until("dnsmasq", || std::net::TcpStream::connect((self.ip, 53)).ok());
    }

    fn stop(&mut self) {
        self.process = None;
    }

    fn proxy(&self, more: &str) -> Proxy {
        let routes = format!(
            "[[protocols]]\nname = \"http\"\nforward_to = \"srv+{SERVICE}\"\n\
             [protocols.health]\ninterval_ms = 100\n{more}"
        );
        proxy_asking(self.ip, OFTEN, &routes, &[])
    }
}

fn needed() -> bool {
    need_root() && need(&["dnsmasq", "nginx", "unshare", "mount"])
}

/// Whether a request is answered in full.
fn is_served(proxy: SocketAddr, path: &str) -> bool {
    let mut stream = connect(proxy);
    let mut answer = Vec::new();
    let sent = stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes());
    let read = sent.and_then(|()| stream.read_to_end(&mut answer));
    read.is_ok() && answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"x")
}

/// How many requests of this kind each has in its log.
fn logged(webs: &[Web], kind: &str) -> Vec<usize> {
    let of = |web: &Web| web.answered(200).iter().filter(|path| path.starts_with(kind)).count();
    webs.iter().map(of).collect()
}

/// So many requests; how many each server has in its log.
fn spread(proxy: &Proxy, webs: &[Web], kind: &str, count: usize) -> Vec<usize> {
    for nth in 0..count {
        let path = format!("/{kind}/{nth}");
        assert!(is_served(proxy.address(), &path), "{path}");
    }
    let kind = format!("/{kind}/");
    until("all in the logs", || {
        let logged = logged(webs, &kind);
        (logged.iter().sum::<usize>() == count).then_some(logged)
    })
}

/// Weights count in the logs of the servers, the lowest priority goes first, and the next is its backup.
#[test]
fn weights_and_priorities_of_records_are_kept() {
    if !needed() {
        return;
    }
    let mut webs: Vec<_> = (0..4).map(|_| Web::start(10, "")).collect();
    let at: Vec<_> = webs.iter().map(|web| web.address).collect();
    let dnsmasq =
        Dnsmasq::start(&[(10, 60, at[0]), (10, 20, at[1]), (20, 0, at[2]), (30, 5, at[3])]);
    let proxy = dnsmasq.proxy("");
    assert_eq!(spread(&proxy, &webs, "all", 40), [30, 10, 0, 0]);
    webs[0].kill();
    assert_eq!(spread(&proxy, &webs, "one-less", 10), [0, 10, 0, 0]);
    webs[1].kill();
    assert_eq!(spread(&proxy, &webs, "the-next", 10), [0, 0, 10, 0]);
    webs[2].kill();
    assert_eq!(spread(&proxy, &webs, "the-last", 10), [0, 0, 0, 10]);
    webs[1].restart();
    until("it to be found", || {
        assert!(is_served(proxy.address(), "/back"));
        (logged(&webs, "/back")[1] > 0).then_some(())
    });
    assert_eq!(spread(&proxy, &webs, "back-again", 10), [0, 10, 0, 0]);
}

/// Row H9 for SRV: the records move while clients come, and go on when DNS is down.
#[test]
fn traffic_follows_records_and_nobody_notices() {
    if !needed() {
        return;
    }
    let webs: Vec<_> = (0..3).map(|_| Web::start(10, "")).collect();
    let at: Vec<_> = webs.iter().map(|web| web.address).collect();
    let mut dnsmasq = Dnsmasq::start(&[(1, 1, at[0])]);
    let proxy = dnsmasq.proxy("");
    let (is_over, served) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..2)
        .map(|_| {
            let (is_over, served, to) =
                (Arc::clone(&is_over), Arc::clone(&served), proxy.address());
            thread::spawn(move || {
                while !is_over.load(Ordering::Relaxed) {
                    assert!(is_served(to, "/always"));
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let more = |count: usize| {
        let before = served.load(Ordering::Relaxed);
        until("clients", || (served.load(Ordering::Relaxed) >= before + count).then_some(()));
    };
    // Of forty; the ends of such a time are not sharp.
    let share = |expected: &[usize]| {
        until(&format!("{expected:?}"), || {
            let before = logged(&webs, "/always");
            more(40);
            let now = logged(&webs, "/always");
            let got: Vec<_> = now.iter().zip(before).map(|(now, before)| now - before).collect();
            let all = got.iter().sum::<usize>();
            let is_near = |(got, of_forty): (&usize, &usize)| {
                got.abs_diff(of_forty * all / 40) <= 4 && (*of_forty > 0 || *got == 0)
            };
            (all >= 30 && got.iter().zip(expected).all(is_near)).then_some(())
        });
    };
    share(&[40, 0, 0]);
    dnsmasq.says(&[(1, 1, at[1]), (1, 3, at[2])]);
    share(&[0, 10, 30]);
    dnsmasq.stop();
    until("it to be told", || proxy.stderr().contains("cannot resolve now").then_some(()));
    share(&[0, 10, 30]);
    dnsmasq.says(&[(1, 7, at[0]), (2, 7, at[1])]);
    share(&[40, 0, 0]);
    is_over.store(true, Ordering::Relaxed);
    clients.into_iter().for_each(|client| client.join().expect("each request is served"));
}

/// A route of `ssh` to the records of a name.
pub(super) fn to(name: &str, more: &str) -> String {
    format!("[[protocols]]\nname = \"ssh\"\nforward_to = {{ address = \"srv+{name}\"{more} }}\n")
}

/// Row H9 for SRV: whatever DNS says, the last good answer is kept, also that of one target.
#[test]
fn the_last_good_records_are_kept() {
    let Some(dns) = Dns::start() else { return };
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let records = vec![(1, 1, a.address().port(), "a.test"), (1, 1, b.address().port(), "b.test")];
    let here = Answer::Addresses(vec![Ipv4Addr::LOCALHOST.into()]);
    dns.says("svc.test", Answer::Services(records));
    dns.says("a.test", here.clone());
    dns.says("b.test", here.clone());
    let proxy = dns.proxy(OFTEN, &to("svc.test", ""), &[]);
    let both = HashMap::from([("a".to_owned(), 5), ("b".to_owned(), 5)]);
    assert_eq!(names(&proxy, 10), both);
    let no_service = Answer::Services(vec![(0, 0, 0, ".")]);
    let failures = [Answer::Code(3), Answer::Code(2), Answer::Services(Vec::new()), no_service];
    for failure in failures.into_iter().chain([Answer::None]) {
        dns.says("svc.test", failure.clone());
        let asked = dns.asked();
        until("it to be asked again", || (dns.asked() >= asked + 4).then_some(()));
        assert_eq!(names(&proxy, 10), both, "{failure:?}");
    }
    let c = Backend::echo("c");
    let records = vec![(1, 1, a.address().port(), "a.test"), (1, 1, c.address().port(), "c.test")];
    dns.says("a.test", Answer::Code(2));
    dns.says("c.test", here);
    dns.says("svc.test", Answer::Services(records));
    until("traffic to follow", || (name(&proxy) == "c").then_some(()));
    let both = HashMap::from([("a".to_owned(), 5), ("c".to_owned(), 5)]);
    assert_eq!(names(&proxy, 10), both);
    let of_target = format!("name=a.test:{}", a.address().port());
    until("it to be told", || proxy.stderr().contains(&of_target).then_some(()));
    // Of forged answers, which any stranger may send, nothing is said.
    let warned = proxy.stderr();
    let mut warned = warned.lines().filter(|line| line.contains(" WARN "));
    assert!(warned.all(|line| line.contains("cannot resolve now")), "{}", proxy.stderr());
}

/// A record of weight 0 beside others gets next to nothing; alone they are alike (RFC 2782).
#[test]
fn weight_zero_is_next_to_nothing() {
    let Some(dns) = Dns::start() else { return };
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let (one, other) = (a.address().port(), b.address().port());
    dns.says("here.test", Answer::Addresses(vec![Ipv4Addr::LOCALHOST.into()]));
    dns.says(
        "svc.test",
        Answer::Services(vec![(1, 0, one, "here.test"), (1, 0, other, "here.test")]),
    );
    let proxy = dns.proxy(OFTEN, &to("svc.test", ""), &[]);
    assert_eq!(names(&proxy, 10), HashMap::from([("a".to_owned(), 5), ("b".to_owned(), 5)]));
    dns.says(
        "svc.test",
        Answer::Services(vec![(1, 0, one, "here.test"), (1, 9, other, "here.test")]),
    );
    until("that to be known", || (names(&proxy, 20).get("b") >= Some(&19)).then_some(()));
    let counts = names(&proxy, 257);
    assert_eq!((counts.get("a"), counts.get("b")), (Some(&1), Some(&256)));
}

/// What the route says of them holds for each; and a backend stays the same when other things are said of it.
#[test]
fn a_backend_of_records_keeps_its_connections_in_mind() {
    let Some(dns) = Dns::start() else { return };
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let (one, other) = (a.address().port(), b.address().port());
    dns.says("here.test", Answer::Addresses(vec![Ipv4Addr::LOCALHOST.into()]));
    dns.says("svc.test", Answer::Services(vec![(1, 1, one, "here.test")]));
    let proxy = dns.proxy(
        &format!("{OFTEN}\nconnect_timeout_ms = 400"),
        &to("svc.test", ", max_connections = 1"),
        &[],
    );
    let hold = |name: &[u8]| {
        let mut held = proxy.connect();
        held.write_all(OPENING).expect("room");
        let mut answer = [0; 3];
        held.read_exact(&mut answer).expect("an answer");
        assert_eq!(&answer, name);
        held
    };
    let held = hold(b"a: ");
    assert_eq!(ask(proxy.address(), OPENING), b"", "it is full");
    let more = vec![(5, 9, one, "here.test"), (5, 3, other, "here.test"), (9, 9, 9, "here.test")];
    dns.says("svc.test", Answer::Services(more));
    until("it to be told", || (proxy.stderr().matches(" resolved ").count() == 2).then_some(()));
    let _also_held = hold(b"b: ");
    // It weighs more now, and has its connection still. And full is not dead: nobody goes to their backup.
    assert_eq!(ask(proxy.address(), OPENING), b"", "both are full");
    drop(held);
    until("a place", || (name(&proxy) == "a").then_some(()));
    drop((a, b));
}

#[test]
fn records_can_be_backups() {
    let Some(dns) = Dns::start() else { return };
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    dns.says("here.test", Answer::Addresses(vec![Ipv4Addr::LOCALHOST.into()]));
    dns.says("svc.test", Answer::Services(vec![(1, 50, b.address().port(), "here.test")]));
    let routes = format!(
        "[[protocols]]\nname = \"ssh\"\n\
         forward_to = [\"{}\", {{ address = \"srv+svc.test\", backup = true }}]\n",
        a.address()
    );
    let proxy = dns.proxy(OFTEN, &routes, &[]);
    assert_eq!(names(&proxy, 5), HashMap::from([("a".to_owned(), 5)]));
    drop(a);
    assert_eq!(names(&proxy, 5), HashMap::from([("b".to_owned(), 5)]));
}

/// Row H11 for SRV.
#[test]
fn records_that_lead_back_are_not_followed() {
    let Some(dns) = Dns::start() else { return };
    let port = refusing().port();
    let backend = Backend::echo_at((at(9), port).into(), "a");
    dns.says("own.test", Answer::Addresses(vec![Ipv4Addr::LOCALHOST.into()]));
    dns.says("other.test", Answer::Addresses(vec![at(9)]));
    dns.says(
        "svc.test",
        Answer::Services(vec![(1, 1, port, "own.test"), (2, 1, port, "other.test")]),
    );
    let proxy = dns.proxy(OFTEN, &to("svc.test", ""), &["--debug", "-p", &port.to_string()]);
    let told = || proxy.stderr().matches("a backend is this program itself").count();
    until("it to be told", || (told() == 1).then_some(()));
    assert_eq!(names(&proxy, 6), HashMap::from([("a".to_owned(), 6)]));
    nobody_but_clients_connected(&proxy);
    drop(backend);
}

/// Datagrams go where records say, and what they say is a backend is no client.
#[test]
fn datagrams_follow_records_too() {
    let Some(dns) = Dns::start() else { return };
    let backend = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    backend.set_read_timeout(Some(crate::harness::DEADLINE)).expect("an open socket");
    let port = backend.local_addr().expect("an address").port();
    dns.says("here.test", Answer::Addresses(vec![Ipv4Addr::LOCALHOST.into()]));
    dns.says("svc.test", Answer::Services(vec![(1, 1, port, "here.test")]));
    let routes = to("svc.test", "")
        .replace("name = \"ssh\"", "name = \"app\"\npatterns = \"A\"\ntransport = \"udp\"");
    let proxy = dns.proxy(OFTEN, &routes, &["--debug"]);
    backend.send_to(b"A loop", proxy.address()).expect("sent");
    let client = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    client.send_to(b"A", proxy.address()).expect("sent");
    let mut got = [0; 8];
    let (length, _) = backend.recv_from(&mut got).expect("a datagram");
    assert_eq!(&got[..length], b"A");
    until("it to be told", || {
        proxy.stderr().contains("the sender is this port or a backend").then_some(())
    });
    backend.set_nonblocking(true).expect("an open socket");
    assert_eq!(backend.recv(&mut got).expect_err("nothing").kind(), ErrorKind::WouldBlock);
}
