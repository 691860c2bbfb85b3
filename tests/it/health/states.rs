//! When a check is believed, and what becomes of clients.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{DOWN, OPENING, REFUSES, UP, route, told, until_told};
use crate::harness::{Backend, Proxy, ask, read_once, refusing, reset, until};

/// Who answers a client.
fn name(proxy: &Proxy) -> String {
    let answer = String::from_utf8_lossy(&ask(proxy.address(), OPENING)).into_owned();
    answer.split(": ").next().expect("a word").to_owned()
}

/// An echo that also answers HTTP checks, as well as it is told to be.
fn checked(name: &'static str, is_well: &Arc<AtomicBool>, checks: &Arc<AtomicUsize>) -> Backend {
    checked_at((Ipv4Addr::LOCALHOST, 0).into(), name, is_well, checks)
}

fn checked_at(
    address: SocketAddr,
    name: &'static str,
    is_well: &Arc<AtomicBool>,
    checks: &Arc<AtomicUsize>,
) -> Backend {
    let (is_well, checks) = (Arc::clone(is_well), Arc::clone(checks));
    Backend::serving_at(address, move |mut stream| {
        let mut opening = [0; 2048];
        let got = stream.read(&mut opening).unwrap_or(0);
        if opening[..got].starts_with(b"GET ") {
            checks.fetch_add(1, Ordering::Relaxed);
            let status = if is_well.load(Ordering::Relaxed) { "200" } else { "503" };
            let _ = write!(stream, "HTTP/1.1 {status} \r\n\r\n");
            return;
        }
        let _ = write!(stream, "{name}: ");
        let _ = stream.write_all(&opening[..got]);
        let mut reader = stream.try_clone().expect("an open socket");
        let _ = std::io::copy(&mut reader, &mut stream);
    })
}

fn well(is: bool) -> Arc<AtomicBool> {
    Arc::new(AtomicBool::new(is))
}

const HTTP: &str = "kind = \"http\"\ninterval_ms = 100\ntimeout_ms = 100";

/// Rows H1 and H5's part: no client notices, and a backend that is back has its share again.
#[test]
fn a_backend_that_is_gone_and_back_costs_no_client_anything() {
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let address = a.address();
    let proxy = Proxy::start(&route(&[address, b.address()], "", "interval_ms = 100"));
    drop(a);
    assert!((0..10).all(|_| name(&proxy) == "b"));
    until_told(&proxy, DOWN, address, 1);
    assert!((0..10).all(|_| name(&proxy) == "b"));
    let _a = Backend::echo_at(address, "a");
    until_told(&proxy, UP, address, 1);
    let names: Vec<_> = (0..10).map(|_| name(&proxy)).collect();
    assert_eq!(names.iter().filter(|it| *it == "a").count(), 5);
}

/// A server that restarts has its clients again long before its next check, and this counts for no `rise`.
#[test]
fn who_refused_is_checked_again_soon() {
    let (is_well, checks) = (well(true), Arc::default());
    let (a, b) = (checked("a", &is_well, &checks), Backend::echo("b"));
    let address = a.address();
    let health = "kind = \"http\"\ninterval_ms = 600000";
    let proxy = Proxy::start(&route(&[address, b.address()], "", health));
    until("the first check", || (checks.load(Ordering::Relaxed) == 1).then_some(()));
    drop(a);
    until("it to be found dead", || {
        assert_eq!(name(&proxy), "b");
        (told(&proxy, REFUSES, address) > 0).then_some(())
    });
    let _a = checked_at(address, "a", &is_well, &checks);
    until("it to be found alive", || (name(&proxy) == "a").then_some(()));
    assert_eq!(checks.load(Ordering::Relaxed), 2);
    assert_eq!(told(&proxy, UP, address) + told(&proxy, DOWN, address), 0);
}

/// Row H5: one that is back gets its share little by little, and never twice of it.
#[test]
fn a_backend_that_is_back_gets_its_share_little_by_little() {
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let address = a.address();
    let health = "interval_ms = 100\nslow_start_ms = 3000";
    let proxy = Proxy::start(&route(&[address, b.address()], "", health));
    drop(a);
    until_told(&proxy, DOWN, address, 1);
    let _a = Backend::echo_at(address, "a");
    until_told(&proxy, UP, address, 1);
    let start = std::time::Instant::now();
    let mut parts = [(0_u32, 0_u32); 5];
    while start.elapsed().as_millis() < 3750 {
        let part = usize::try_from(start.elapsed().as_millis() / 750).expect("a part");
        let (of_a, all) = &mut parts[part.min(4)];
        *of_a += u32::from(name(&proxy) == "a");
        *all += 1;
    }
    let shares: Vec<_> = parts.iter().map(|(a, all)| f64::from(*a) / f64::from(*all)).collect();
    // By the time: an eighth, a quarter, a third, two fifths, and half.
    assert!(shares[0] < 0.3 && shares[0] < shares[2], "{shares:?}");
    assert!((0.45..=0.55).contains(&shares[4]), "{shares:?}");
    assert!(shares.iter().all(|share| *share <= 0.55), "{shares:?}");
}

/// Row H7: nobody waits for a first check, and a backend that was not checked is as good as any.
#[test]
fn the_first_client_is_served_before_any_check() {
    let checks = Arc::default();
    let ill = checked("a", &well(false), &checks);
    let health = "kind = \"http\"\ninterval_ms = 600000";
    let proxy = Proxy::start(&route(&[ill.address()], "", health));
    assert_eq!(name(&proxy), "a");
}

/// Row H3: fail open, and recovery without a reload.
#[test]
fn when_all_checks_fail_clients_are_served_by_whoever_can() {
    let (is_well, checks) = (well(false), Arc::default());
    let ill = checked("a", &is_well, &checks);
    let dead = refusing();
    let proxy = Proxy::start(&route(&[ill.address(), dead], "", HTTP));
    until_told(&proxy, DOWN, ill.address(), 1);
    until_told(&proxy, DOWN, dead, 1);
    assert!((0..6).all(|_| name(&proxy) == "a"));
    is_well.store(true, Ordering::Relaxed);
    until_told(&proxy, UP, ill.address(), 1);
    assert!((0..6).all(|_| name(&proxy) == "a"));
}

/// Row H3's part: without anybody who could, a client is told so at once, and processor time is not burnt.
#[test]
fn when_nobody_is_there_a_client_is_closed_at_once_and_later_ones_are_served() {
    let (one, other) = (refusing(), refusing());
    let proxy = Proxy::start(&route(&[one, other], "", "interval_ms = 100"));
    until_told(&proxy, DOWN, one, 1);
    until_told(&proxy, DOWN, other, 1);
    let quickest = (0..10).map(|_| {
        let start = std::time::Instant::now();
        assert_eq!(ask(proxy.address(), OPENING), b"");
        start.elapsed()
    });
    // Of ten, because a busy machine keeps some of them waiting.
    assert!(quickest.min() < Some(std::time::Duration::from_millis(50)));
    let _back = Backend::echo_at(other, "b");
    until_told(&proxy, UP, other, 1);
    assert!((0..6).all(|_| name(&proxy) == "b"));
}

/// Row H4: it takes `fall` failures to be down and `rise` passes to be up, whatever happens between.
#[test]
fn who_flaps_changes_seldom() {
    let checks = Arc::new(AtomicUsize::new(0));
    let nth = Arc::clone(&checks);
    // Well at every second check only.
    let flaps = Backend::serving(move |mut stream| {
        let _ = stream.read(&mut [0; 2048]);
        let nth = nth.fetch_add(1, Ordering::Relaxed);
        let status = if nth.is_multiple_of(2) { "200" } else { "503" };
        let _ = write!(stream, "HTTP/1.1 {status} \r\n\r\n");
    });
    // With room for what a busy machine takes to answer.
    let health = "kind = \"http\"\ninterval_ms = 250\ntimeout_ms = 250\nrise = 2\nfall = 2";
    let proxy = Proxy::start(&route(&[flaps.address()], "", health));
    until("twelve checks", || (checks.load(Ordering::Relaxed) >= 12).then_some(()));
    assert_eq!(told(&proxy, DOWN, flaps.address()), 0, "{}", proxy.stderr());
}

#[test]
fn rise_and_fall_count_checks_in_a_row() {
    let (is_well, checks) = (well(true), Arc::new(AtomicUsize::new(0)));
    let backend = checked("a", &is_well, &checks);
    let health = HTTP.to_owned() + "\nrise = 3\nfall = 4";
    let proxy = Proxy::start(&route(&[backend.address()], "", &health));
    // At most one of those counted was on its way when it changed.
    let counted = |is: bool, word: &str| {
        let before = checks.load(Ordering::Relaxed);
        is_well.store(is, Ordering::Relaxed);
        until_told(&proxy, word, backend.address(), 1);
        checks.load(Ordering::Relaxed) - before
    };
    until("a check", || (checks.load(Ordering::Relaxed) > 0).then_some(()));
    let failed = counted(false, DOWN);
    assert!((4..=5).contains(&failed), "{failed}");
    let passed = counted(true, UP);
    assert!((3..=4).contains(&passed), "{passed}");
}

/// Row H8: it takes connections and resets them.
#[test]
fn who_resets_every_connection_is_left_after_a_few() {
    let bad = Backend::serving(reset);
    let (a, b) = (Backend::echo("a"), Backend::echo("b"));
    let to = [bad.address(), a.address(), b.address()];
    let proxy = Proxy::start(&route(&to, "", "interval_ms = 600000"));
    let fails = |_: &i32| {
        let mut client = proxy.connect();
        let sent = client.write_all(OPENING);
        sent.and_then(|()| read_once(&mut client, &mut [0; 1])).is_err()
    };
    let failed = (0..40).filter(fails).count();
    assert_eq!(failed, 3, "{}", proxy.stderr());
    until_told(&proxy, REFUSES, bad.address(), 1);
    assert_eq!(told(&proxy, REFUSES, bad.address()), 1);
}

/// Without checks a refusal is all there is: one client tries again after the interval.
#[test]
fn without_checks_a_refusal_keeps_clients_away_for_the_interval() {
    let dead = refusing();
    let b = Backend::echo("b");
    let health = "kind = \"none\"\ninterval_ms = 300";
    let routes = route(&[dead, b.address()], "", health);
    let proxy = Proxy::start_with("", &routes, &["--debug"]);
    let refusals = || told(&proxy, REFUSES, dead);
    let (mut clients, mut before) = (0, 0);
    until("a second trial", || {
        assert_eq!(name(&proxy), "b");
        clients += 1;
        if refusals() == 1 {
            before = clients;
        }
        (refusals() >= 2).then_some(())
    });
    assert!(before > 3, "more than a few are kept away: {before}");
    let _back = Backend::echo_at(dead, "a");
    until("it to be found alive", || (name(&proxy) == "a").then_some(()));
    let names: Vec<_> = (0..10).map(|_| name(&proxy)).collect();
    assert_eq!(names.iter().filter(|it| *it == "a").count(), 5);
}

/// With checks no client tries again before a check has.
#[test]
fn a_refused_connect_sets_aside_until_a_check_passes() {
    let dead = refusing();
    let b = Backend::echo("b");
    let routes = route(&[dead, b.address()], "", "interval_ms = 100\nfall = 1000");
    let proxy = Proxy::start_with("", &routes, &["--debug"]);
    assert!((0..40).all(|_| name(&proxy) == "b"));
    until_told(&proxy, REFUSES, dead, 1);
    assert_eq!(told(&proxy, REFUSES, dead), 1);
    let _back = Backend::echo_at(dead, "a");
    until("it to be found alive", || (name(&proxy) == "a").then_some(()));
    assert_eq!(told(&proxy, UP, dead), 0, "it was never down");
}

fn held(proxy: &Proxy, expected: &str) -> TcpStream {
    let mut client = proxy.connect();
    client.write_all(OPENING).expect("room");
    let mut name = vec![0; expected.len()];
    client.read_exact(&mut name).expect("an answer");
    assert_eq!(String::from_utf8(name).expect("text"), expected);
    let mut rest = vec![0; 2 + OPENING.len()];
    client.read_exact(&mut rest).expect("the opening");
    client
}

#[test]
fn connections_of_a_backend_that_falls_are_closed_only_where_that_is_said() {
    let (is_well, checks) = (well(true), Arc::default());
    let a = checked("a", &is_well, &checks);
    let kept = route(&[a.address()], "", HTTP)
        .replace("name = \"ssh\"", "name = \"app\"\npatterns = \"APP\"");
    let closed = route(&[a.address()], "close_on_down = true", HTTP);
    let proxy = Proxy::start_with("", &(closed + &kept), &["--debug"]);
    let mut one = held(&proxy, "a");
    let mut other = proxy.connect();
    other.write_all(b"APP").expect("room");
    other.read_exact(&mut [0; 6]).expect("an answer");
    is_well.store(false, Ordering::Relaxed);
    let ended = read_once(&mut one, &mut [0; 1]).expect_err("a reset");
    assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    until("it to be told", || proxy.stderr().contains("its backend is down").then_some(()));
    other.write_all(b"still").expect("room");
    let mut echoed = [0; 5];
    other.read_exact(&mut echoed).expect("an echo");
    assert_eq!(&echoed, b"still");
    // Fail open: it is served by the one that is down, and not closed again.
    let mut late = held(&proxy, "a");
    is_well.store(true, Ordering::Relaxed);
    until_told(&proxy, UP, a.address(), 1);
    late.write_all(b"x").expect("room");
    late.read_exact(&mut [0; 1]).expect("an echo");
    // The next fall is another.
    is_well.store(false, Ordering::Relaxed);
    assert!(read_once(&mut late, &mut [0; 1]).is_err());
}

/// However many routes lead there.
#[test]
fn a_backend_of_two_routes_is_checked_once() {
    let (once, twice) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let a = checked("a", &well(true), &twice);
    let b = checked("b", &well(true), &once);
    let app = |routes: String| routes.replace("name = \"ssh\"", "name = \"app\"\npatterns = \"A\"");
    let to: [SocketAddr; 2] = [a.address(), b.address()];
    let proxy = Proxy::start(&(route(&to, "", HTTP) + &app(route(&to[..1], "", HTTP))));
    until("twenty checks", || (once.load(Ordering::Relaxed) >= 20).then_some(()));
    let twice = twice.load(Ordering::Relaxed);
    assert!((15..=26).contains(&twice), "{twice} checks beside 20");
    drop(proxy);
}

/// Row H6: a hundred that swallow packets hold up no check of one that lives.
#[test]
fn a_hundred_dead_backends_hold_up_no_check() {
    let (checks, alone) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let (a, b) = (checked("a", &well(true), &checks), checked("b", &well(true), &alone));
    let deaf: Vec<_> = (0..100).map(|_| deaf()).collect();
    let mut to: Vec<_> = deaf.iter().map(|it| it.1).collect();
    to.push(a.address());
    let health = "kind = \"http\"\ninterval_ms = 500\ntimeout_ms = 400";
    let proxy = Proxy::start(&route(&to, "", health));
    let beside = Proxy::start(&route(&[b.address()], "", health));
    until("all of them to be down", || (proxy.stderr().matches(DOWN).count() == 100).then_some(()));
    until("ten checks", || (alone.load(Ordering::Relaxed) >= 10).then_some(()));
    let checks = checks.load(Ordering::Relaxed);
    assert!(checks + 2 >= 10, "{checks} checks beside 10");
    assert_eq!(told(&proxy, DOWN, a.address()), 0);
    drop(beside);
}

/// Takes connections and never says anything.
fn deaf() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    (listener, address)
}
