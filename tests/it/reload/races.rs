//! Rows C8 and C10: what happens at the same time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use refractium::{Endpoint, Magic, Network, Protocols, Routes, Table};
use tokio::sync::oneshot;
use tokio::task::yield_now;
use tokio::time::timeout;

use super::*;

/// Numbers that look drawn (SplitMix64).
struct Draw(u64);

impl Draw {
    fn below(&mut self, most: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) % most
    }
}

/// Row C8: reloads come at once while the run begins, goes on, drains, or has ended, as the seed has it; all of them have
/// an end, and drain wins.
async fn reloads_and_an_end(seed: u64) {
    let mut draw = Draw(seed);
    let engine = builder(&[("ssh", loopback_at(9))]).build().expect("sound routes");
    let listeners = Listeners::bind(&[loopback()], &[Transport::Tcp]).expect("a port");
    let (stop, stopped) = oneshot::channel::<()>();
    let running = tokio::spawn({
        let engine = engine.clone();
        async move { engine.run(listeners, async { stopped.await.expect("a word") }).await }
    });
    let mut reloads = Vec::new();
    let end = draw.below(12);
    let mut stop = Some(stop);
    for at in 0..12 {
        if at == end {
            stop.take().expect("once").send(()).expect("a run");
        }
        let (engine, port) = (engine.clone(), 10 + u16::try_from(draw.below(4)).expect("few"));
        let moves = draw.below(3) == 0;
        reloads.push(tokio::spawn(async move {
            let plan = plan(&[("ssh", loopback_at(port))]);
            if moves {
                engine.reload_at(plan, &[loopback()]).await
            } else {
                engine.reload(plan).await
            }
        }));
        for _ in 0..draw.below(6) {
            yield_now().await;
        }
    }
    for reload in reloads {
        match reload.await.expect("no panic") {
            Ok(_) | Err(Error::Ending | Error::Listens) => {}
            Err(error) => panic!("{error}"),
        }
    }
    running.await.expect("no panic").expect("a clean end");
    assert_eq!(engine.open(), 0);
}

fn loopback_at(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn in_every_order(seeds: std::ops::Range<u64>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    for seed in seeds {
        let all = async { timeout(DEADLINE, reloads_and_an_end(seed)).await };
        runtime.block_on(all).unwrap_or_else(|_| panic!("seed {seed} has no end"));
    }
}

#[test]
fn reloads_at_once_and_an_end_hold_each_other_up_in_no_order() {
    in_every_order(0..150);
}

#[test]
#[ignore = "a quarter of a minute; .ci/deep"]
fn reloads_at_once_and_an_end_hold_each_other_up_in_none_of_a_thousand_orders() {
    in_every_order(0..1000);
}

#[test]
fn who_ends_follows_nothing_any_more() {
    let (old, new) = (Backend::echo("old"), Backend::echo("new"));
    let mut running = Running::start(builder(&[("ssh", old.address())]));
    let mut client = joined(running.address, "old");
    running.tell();
    until("the drain", || TcpStream::connect(running.address).is_err().then_some(()));
    let reloaded = running.engine.reload(plan(&[("ssh", new.address())]));
    let reloaded = running.runtime.block_on(reloaded);
    assert!(matches!(reloaded, Err(Error::Ending)), "{reloaded:?}");
    echoes(&mut client);
    drop(client);
    running.ended();
}

/// Row C10: one plan believes headers and leads to `inner`; the other takes them for data and leads to `outer`. A client that
/// met parts of both would find no route, or bring its header where none is expected.
#[test]
fn nobody_meets_parts_of_two_plans() {
    const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n";
    let (inner, of_inner) = Backend::recording();
    let (outer, of_outer) = Backend::recording();
    let make = |trusts: bool| {
        let (word, to) = if trusts { ("INNER", &inner) } else { ("PROXY", &outer) };
        let mut protocols = Protocols::default();
        let magic = Magic::new("mine", &[Transport::Tcp], vec![word.as_bytes().to_vec()]);
        protocols.add(magic.expect("a pattern"));
        let forward = format!("mine={}", Endpoint::from(to.address())).parse().expect("a forward");
        let routes = Routes { forwards: vec![forward], ..Routes::default() };
        let table = Table::new(&routes, &protocols).expect("a table");
        let from: Vec<Network> =
            trusts.then(|| "127.0.0.0/8".parse().expect("one")).into_iter().collect();
        Plan { table, proxy_protocol_from: from, ..Plan::default() }
    };
    let running = Running::start(builder(&[]));
    running.reload(make(true));
    let is_over = Arc::new(AtomicBool::new(false));
    let (engine, over) = (running.engine.clone(), Arc::clone(&is_over));
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_usize.. {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                let reload = engine.reload(make(round % 2 == 0));
                running.runtime.block_on(reload).expect("a reload");
            }
        });
        for _ in 0..1000 {
            let mut client = connect(running.address);
            // In two pieces, so that reloads come between them.
            client.write_all(&HEADER[..9]).expect("room");
            client.write_all(&[&HEADER[9..], b"INNER"].concat()).expect("room");
            client.shutdown(std::net::Shutdown::Write).expect("an open socket");
            let _ = client.read_to_end(&mut Vec::new());
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let counts = [(of_inner, b"INNER".to_vec()), (of_outer, [HEADER, b"INNER"].concat())].map(
        |(got, expected)| {
            let mut count = 0;
            while let Ok(bytes) = got.recv_timeout(Duration::from_millis(200)) {
                assert_eq!(String::from_utf8_lossy(&bytes), String::from_utf8_lossy(&expected));
                count += 1;
            }
            count
        },
    );
    assert_eq!(counts[0] + counts[1], 1000, "{counts:?}");
    assert!(counts.iter().all(|it| *it > 0), "{counts:?}");
    running.stop();
}
