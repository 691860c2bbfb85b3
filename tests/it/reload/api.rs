//! The engine inside another program.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use refractium::{Check, CheckKind, Forward, Limits};

use super::*;
use crate::harness::{ask, pause, refusing};

/// Row H13: no new clients, and the old ones finish.
#[test]
fn a_route_that_is_removed_takes_nobody_and_carries_on_who_it_has() {
    let (old, new) = (Backend::echo("old"), Backend::echo("new"));
    let running = Running::start(builder(&[("ssh", old.address())]));
    let mut client = joined(running.address, "old");
    let changes = running.reload(plan(&[("http", new.address())]));
    assert_eq!(changes.routes_added, ["http/tcp"]);
    assert_eq!(changes.routes_removed, ["ssh/tcp"]);
    assert_eq!((changes.backends_added, changes.backends_removed), (1, 1));
    assert_eq!(ask(running.address, SSH), b"", "nobody takes it any more");
    assert!(ask(running.address, b"GET / HTTP/1.1\r\n\r\n").starts_with(b"new: "));
    echoes(&mut client);
    running.reload(plan(&[("ssh", new.address())]));
    joined(running.address, "new");
    echoes(&mut client);
    drop(client);
    running.stop();
}

#[test]
fn backends_that_stay_are_the_same_ones() {
    let (well, gone) = (Backend::echo("well"), refusing());
    let forward = |interval: u64| {
        let mut forward: Forward = format!("ssh={gone}").parse().expect("a forward");
        forward.to.push(refractium::Target::from(refractium::Endpoint::from(well.address())));
        let mut check = Check::new(CheckKind::Tcp);
        check.interval = Duration::from_secs(interval);
        forward.health = Some(check);
        forward
    };
    let make = |interval| Refractium::builder().forward(forward(interval));
    // The first check comes within a second: until then a refusal alone tells.
    let running = Running::start(make(3600));
    let client = joined(running.address, "well");
    let before = running.engine.plan().table.backends();
    for interval in [3600, 1800, 1800] {
        let changes = running.reload(make(interval).plan().expect("a plan"));
        assert_eq!((changes.backends_added, changes.backends_removed), (0, 0));
        let after = running.engine.plan().table.backends();
        assert_eq!(after.len(), 2);
        for backend in &after {
            assert!(before.iter().any(|it| Arc::ptr_eq(it, backend)), "{}", backend.address());
            assert_eq!(backend.is_alive(), backend.address() == well.address());
            assert_eq!(backend.open(), usize::from(backend.address() == well.address()));
        }
    }
    drop(client);
    until("the place to be given back", || before.iter().all(|it| it.open() == 0).then_some(()));
    running.stop();
}

#[test]
fn whose_turn_it_is_does_not_change() {
    let echoes = [Backend::echo("one"), Backend::echo("two")];
    let routes = echoes.each_ref().map(|it| ("ssh", it.address()));
    let running = Running::start(builder(&routes));
    for name in ["one", "two", "one", "two"] {
        joined(running.address, name);
        running.reload(plan(&routes));
    }
    running.stop();
}

/// By a reset, which may come before the client knows that it is connected.
fn is_turned_away(address: SocketAddr) {
    let read = TcpStream::connect(address).and_then(|mut it| it.read(&mut [0]));
    assert_eq!(read.expect_err("a reset").kind(), std::io::ErrorKind::ConnectionReset);
}

#[test]
fn who_comes_has_the_limits_of_the_plan() {
    let ssh = Backend::echo("ssh");
    let limited = |max_connections| {
        builder(&[("ssh", ssh.address())]).limits(Limits { max_connections, ..Limits::default() })
    };
    let running = Running::start(limited(1));
    let first = joined(running.address, "ssh");
    is_turned_away(running.address);
    running.reload(limited(2).plan().expect("a plan"));
    let second = joined(running.address, "ssh");
    running.reload(limited(1).plan().expect("a plan"));
    is_turned_away(running.address);
    drop((first, second));
    running.stop();
}

/// A backend that counts who connects, and greets.
fn greeting() -> (Backend, Arc<AtomicUsize>) {
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    let backend = Backend::serving(move |mut stream| {
        counted.fetch_add(1, Ordering::Relaxed);
        let _ = stream.write_all(b"hello");
    });
    (backend, count)
}

#[test]
fn checks_follow_the_plan_and_are_never_doubled() {
    let ((kept, of_kept), (gone, of_gone)) = (greeting(), greeting());
    let route = |name: &str, to: &Backend| {
        let mut forward: Forward = format!("{name}={}", to.address()).parse().expect("a forward");
        let mut check = Check::new(CheckKind::Banner { expect: b"hello".to_vec() });
        check.interval = Duration::from_millis(100);
        forward.health = Some(check);
        forward
    };
    let both = Refractium::builder().forward(route("ssh", &kept)).forward(route("http", &gone));
    let running = Running::start(both);
    until("checks of both", || {
        let counts = [&of_kept, &of_gone].map(|it| it.load(Ordering::Relaxed));
        counts.iter().all(|it| *it > 1).then_some(())
    });
    let one = || Refractium::builder().forward(route("ssh", &kept)).plan().expect("a plan");
    for _ in 0..30 {
        running.reload(one());
    }
    let before = [&of_kept, &of_gone].map(|it| it.load(Ordering::Relaxed));
    pause(Duration::from_secs(2));
    let checks = of_kept.load(Ordering::Relaxed) - before[0];
    assert!((3..=30).contains(&checks), "{checks} checks in two seconds, of a tenth each");
    // One may have been on its way.
    assert!(of_gone.load(Ordering::Relaxed) <= before[1] + 1, "nobody asks it any more");
    running.stop();
}

/// A backend whose connections are to end with it is checked as long as it has any.
#[test]
fn a_connection_of_a_removed_route_ends_when_its_backend_is_down() {
    let (ssh, other) = (Backend::echo("ssh"), Backend::echo("other"));
    let mut forward: Forward = format!("ssh={}", ssh.address()).parse().expect("a forward");
    let mut check = Check::new(CheckKind::Tcp);
    (check.interval, check.fall) = (Duration::from_millis(50), 2);
    (forward.health, forward.close_on_down) = (Some(check), true);
    let running = Running::start(Refractium::builder().forward(forward));
    let mut client = joined(running.address, "ssh");
    running.reload(plan(&[("http", other.address())]));
    echoes(&mut client);
    drop(ssh);
    assert!(crate::harness::read_once(&mut client, &mut [0]).is_err(), "it is reset");
    running.stop();
}

#[test]
fn a_name_that_is_added_is_resolved() {
    let (ssh, web) = (Backend::echo("ssh"), Backend::echo("web"));
    let running = Running::start(builder(&[("ssh", ssh.address())]));
    let route = format!("http=localhost:{}", web.address().port());
    let named = Refractium::builder().forward(route.parse().expect("a forward"));
    running.reload(named.plan().expect("a plan"));
    // On a busy machine it may take longer than a reload waits for it.
    until("web", || {
        let answer = ask(running.address, b"GET / HTTP/1.1\r\n\r\n");
        answer.starts_with(b"web: ").then_some(())
    });
    running.stop();
}

#[test]
fn an_engine_that_does_not_run_has_the_plan_when_it_does() {
    let (old, new) = (Backend::echo("old"), Backend::echo("new"));
    let engine = builder(&[("ssh", old.address())]).build().expect("sound routes");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let changes = runtime.block_on(engine.reload(plan(&[("ssh", new.address())])));
    assert_eq!(changes.expect("a reload").backends_added, 1);
    let listens = runtime.block_on(engine.reload_at(Plan::default(), &[]));
    assert!(matches!(listens, Err(Error::Listens)), "{listens:?}");
    let listeners = Listeners::bind(&[loopback()], &[Transport::Tcp]).expect("a port");
    let address = listeners.addresses()[0];
    let asked = tokio::task::spawn_blocking;
    let answer = runtime.block_on(async {
        engine.run(listeners, asked(move || ask(address, SSH))).await.expect("a run")
    });
    assert!(answer.expect("an answer").starts_with(b"new: "));
}

#[test]
fn an_observer_hears_of_each_reload() {
    let ssh = Backend::echo("ssh");
    let heard = Arc::new(Mutex::new(Vec::new()));
    let hears = Arc::clone(&heard);
    let running =
        Running::start(builder(&[("ssh", ssh.address())]).observer(move |event: &Event<'_>| {
            match event {
                Event::Reloaded { changes } => {
                    hears.lock().expect("sound").push(format!("{:?}", changes.routes_added));
                }
                Event::ReloadFailed { error } => {
                    hears.lock().expect("sound").push(error.to_string())
                }
                _ => {}
            }
        }));
    joined(running.address, "ssh");
    running.reload(plan(&[("ssh", ssh.address()), ("http:a.example", ssh.address())]));
    let taken = std::net::TcpListener::bind(loopback()).expect("a port");
    let taken = taken.local_addr().expect("an address");
    running.reload_at(plan(&[("ssh", ssh.address())]), &[taken]).expect_err("it is taken");
    let failed = format!("cannot listen on {taken} (tcp)");
    assert_eq!(*heard.lock().expect("sound"), ["[\"http:a.example/tcp\"]".to_owned(), failed]);
    running.stop();
}
