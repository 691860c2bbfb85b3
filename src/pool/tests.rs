mod growth;
mod source;
mod waiting;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use refractium_protocol::Transport;
use tokio::time::timeout;

use super::*;
use crate::backend::Served;
use crate::check::{Check, CheckKind};

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn check() -> Check {
    Check::new(CheckKind::None)
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], port))
}

fn target(port: u16) -> Target {
    Target::from(address(port))
}

fn pool_of(targets: Vec<Target>, balance: Balance) -> Pool {
    let group = |target: Target| {
        let group = Arc::new(Group::new(target.endpoint.clone(), Transport::Tcp, check()));
        (target, group)
    };
    Pool::new(targets.into_iter().map(group).collect(), balance)
}

/// Ports from 1 to `count`.
fn pool(count: u16) -> Pool {
    pool_of((1..=count).map(target).collect(), Balance::RoundRobin)
}

fn lease(pick: Pick) -> Option<Lease> {
    match pick {
        Pick::Alive(lease) | Pick::LastResort(lease) => Some(lease),
        Pick::Full | Pick::None => None,
    }
}

fn port(pick: Pick) -> Option<u16> {
    lease(pick).map(|lease| lease.backend().address().port())
}

/// Whom so many clients get, none of whom stays.
fn ports(pool: &Pool, count: usize) -> Vec<u16> {
    (0..count).filter_map(|_| port(pool.pick(CLIENT, &Tried::default()))).collect()
}

/// Whom so many clients get who all stay.
fn kept(pool: &Pool, count: usize) -> (Vec<Lease>, HashMap<u16, usize>) {
    let leases: Vec<_> =
        (0..count).filter_map(|_| lease(pool.pick(CLIENT, &Tried::default()))).collect();
    let mut counts = HashMap::new();
    for lease in &leases {
        *counts.entry(lease.backend().address().port()).or_insert(0) += 1;
    }
    (leases, counts)
}

fn backend(pool: &Pool, port: u16) -> Arc<Backend> {
    let found = pool.backends().into_iter().find(|it| it.address().port() == port);
    found.expect("a backend of this port")
}

#[test]
fn clients_are_spread_evenly() {
    assert_eq!(ports(&pool(3), 6), [1, 2, 3, 1, 2, 3]);
}

#[test]
fn one_client_is_sent_to_each_backend_once() {
    let pool = pool(3);
    let mut tried = Tried::default();
    let mut ports = Vec::new();
    while let Some(lease) = lease(pool.pick(CLIENT, &tried)) {
        ports.push(lease.backend().address().port());
        tried.push(lease);
    }
    ports.sort_unstable();
    assert_eq!(ports, [1, 2, 3]);
}

#[test]
fn who_is_set_aside_comes_last() {
    let pool = pool(2);
    assert!(backend(&pool, 1).set_aside());
    assert!(!backend(&pool, 1).set_aside(), "it fell before");
    for _ in 0..4 {
        let mut tried = Tried::default();
        let Pick::Alive(first) = pool.pick(CLIENT, &tried) else { panic!("one lives") };
        assert_eq!(first.backend().address().port(), 2);
        tried.push(first);
        let Pick::LastResort(second) = pool.pick(CLIENT, &tried) else { panic!("one is left") };
        tried.push(second);
        assert!(matches!(pool.pick(CLIENT, &tried), Pick::None));
    }
}

#[test]
fn when_none_lives_all_are_tried() {
    let pool = pool(2);
    assert!(pool.backends().iter().all(|backend| backend.set_aside()));
    assert!(matches!(pool.pick(CLIENT, &Tried::default()), Pick::LastResort(_)));
    backend(&pool, 2).found_alive();
    assert_eq!(ports(&pool, 3), [2, 2, 2]);
}

/// Row H8's part.
#[test]
fn who_resets_all_connections_is_set_aside_and_never_more_than_half() {
    let pool = pool(4);
    for port in 1..=4 {
        let backend = backend(&pool, port);
        assert!(!backend.ended(Served::Nothing) && !backend.ended(Served::Nothing));
        assert!(!backend.ended(Served::Something));
        assert!(!backend.ended(Served::Nothing) && !backend.ended(Served::Nothing));
        assert!(backend.ended(Served::Nothing), "three in a row");
        let mut left = ports(&pool, 12);
        left.sort_unstable();
        left.dedup();
        let expected = [&[2, 3, 4][..], &[3, 4], &[3, 4], &[3, 4]];
        assert_eq!(left, expected[usize::from(port) - 1]);
    }
    backend(&pool, 3).set_down();
    assert!(!ports(&pool, 12).contains(&3), "a check is believed");
    backend(&pool, 1).found_alive();
    assert!(ports(&pool, 12).contains(&1));
}

#[test]
fn each_is_taken_as_often_as_it_weighs_and_seldom_twice_in_a_row() {
    let mut targets = vec![target(1), target(2), target(3)];
    (targets[0].weight, targets[1].weight, targets[2].weight) = (5, 1, 2);
    let pool = pool_of(targets, Balance::RoundRobin);
    let round = ports(&pool, 8);
    let count = |port| round.iter().filter(|it| **it == port).count();
    assert_eq!([count(1), count(2), count(3)], [5, 1, 2], "{round:?}");
    let again = ports(&pool, 8);
    assert_eq!(round, again);
    let twice = [round, again].concat();
    assert!(twice.windows(3).all(|three| three != [1, 1, 1] || twice.len() > 16), "{twice:?}");
    // The dead one's part falls to the others as they weigh.
    backend(&pool, 1).set_aside();
    let rest = ports(&pool, 300);
    assert_eq!(rest.iter().filter(|it| **it == 3).count(), 200);
}

#[test]
fn a_backup_is_used_only_while_no_other_lives() {
    let mut targets = vec![target(1), target(2), target(3)];
    targets[2].backup = true;
    let pool = pool_of(targets, Balance::RoundRobin);
    assert!(!ports(&pool, 20).contains(&3));
    backend(&pool, 1).set_aside();
    assert!(!ports(&pool, 20).contains(&3));
    backend(&pool, 2).set_aside();
    assert!(matches!(pool.pick(CLIENT, &Tried::default()), Pick::Alive(_)));
    assert_eq!(ports(&pool, 5), [3; 5]);
    backend(&pool, 1).found_alive();
    assert_eq!(ports(&pool, 5), [1; 5]);
    // With all down the backup is the very last.
    for port in 1..=3 {
        backend(&pool, port).set_aside();
    }
    assert!(!ports(&pool, 20).contains(&3));
}

#[test]
fn the_fewest_connections_for_its_weight_wins() {
    let mut targets = vec![target(1), target(2)];
    targets[1].weight = 3;
    let pool = pool_of(targets, Balance::LeastConnections);
    let (leases, counts) = kept(&pool, 40);
    assert_eq!(counts, HashMap::from([(1, 10), (2, 30)]));
    drop(leases);
    assert!(pool.backends().iter().all(|it| it.open() == 0), "every place is given back");
}

#[test]
fn between_equals_the_turn_decides() {
    let pool = pool_of((1..=3).map(target).collect(), Balance::LeastConnections);
    assert_eq!(ports(&pool, 6), [1, 2, 3, 1, 2, 3]);
}

#[test]
fn two_drawn_are_far_more_even_than_one() {
    let pool = pool_of((1..=10).map(target).collect(), Balance::RandomTwo);
    let (_leases, counts) = kept(&pool, 10_000);
    assert!(counts.values().all(|count| (980..1020).contains(count)), "{counts:?}");
    // Drawn, and not in turn.
    let drawn = ports(&pool, 10);
    assert_ne!(drawn, ports(&pool, 10));
}

#[test]
fn at_its_limit_a_backend_is_passed_over() {
    for balance in Balance::ALL {
        let mut targets = vec![target(1), target(2)];
        targets[0].max_connections = 3;
        let pool = pool_of(targets, balance);
        let (mut leases, counts) = kept(&pool, 50);
        assert_eq!(leases.len(), 50, "{balance}");
        assert!(counts.get(&1).is_none_or(|count| *count <= 3), "{balance}: {counts:?}");
        leases.clear();
        let mut targets = vec![target(1), target(2)];
        (targets[0].max_connections, targets[1].max_connections) = (3, 4);
        let pool = pool_of(targets, balance);
        let (mut leases, counts) = kept(&pool, 50);
        assert_eq!(counts, HashMap::from([(1, 3), (2, 4)]), "{balance}");
        assert!(matches!(pool.pick(CLIENT, &Tried::default()), Pick::Full), "{balance}");
        leases.pop();
        assert!(matches!(pool.pick(CLIENT, &Tried::default()), Pick::Alive(_)), "{balance}");
    }
}

#[tokio::test]
async fn who_waits_for_a_place_gets_it_before_who_comes_later() {
    let mut targets = vec![target(1)];
    targets[0].max_connections = 1;
    let pool = pool_of(targets, Balance::RoundRobin);
    let none = Tried::default();
    let held = lease(pool.pick(CLIENT, &none)).expect("a place");
    let mut waiting = Box::pin(pool.pick_in_turn(CLIENT, &none));
    assert!(timeout(Duration::ZERO, &mut waiting).await.is_err(), "there is no place");
    drop(held);
    // It is free, and not for a newcomer.
    assert!(matches!(pool.pick(CLIENT, &none), Pick::Full));
    let mut later = Box::pin(pool.pick_in_turn(CLIENT, &none));
    assert!(timeout(Duration::ZERO, &mut later).await.is_err(), "it is not its turn");
    let first = waiting.await;
    assert!(timeout(Duration::ZERO, &mut later).await.is_err(), "it is taken");
    drop(first);
    assert!(matches!(timeout(Duration::from_secs(5), later).await, Ok(Pick::Alive(_))));
    assert!(matches!(pool.pick(CLIENT, &none), Pick::Alive(_)));
}

#[tokio::test]
async fn who_finds_two_places_leaves_one_to_the_next() {
    let mut targets = vec![target(1)];
    targets[0].max_connections = 2;
    let pool = pool_of(targets, Balance::RoundRobin);
    let none = Tried::default();
    // Both places were freed before anybody waited: only the first of those who wait looks for one by itself.
    let first = pool.bell.wait(|| pool.lineup().has_room(&none));
    let mut second = Box::pin(pool.pick_in_turn(CLIENT, &none));
    assert!(timeout(Duration::ZERO, &mut second).await.is_err(), "it is not its turn");
    first.turn().await;
    let _lease = lease(pool.pick_now(CLIENT, &none)).expect("a place");
    drop(first);
    assert!(matches!(timeout(Duration::from_secs(5), second).await, Ok(Pick::Alive(_))));
}

#[tokio::test]
async fn who_gives_up_waiting_passes_the_place_on() {
    let mut targets = vec![target(1)];
    targets[0].max_connections = 1;
    let pool = pool_of(targets, Balance::RoundRobin);
    let none = Tried::default();
    let held = lease(pool.pick(CLIENT, &none)).expect("a place");
    let mut first = Box::pin(pool.pick_in_turn(CLIENT, &none));
    let mut second = Box::pin(pool.pick_in_turn(CLIENT, &none));
    assert!(timeout(Duration::ZERO, &mut first).await.is_err());
    assert!(timeout(Duration::ZERO, &mut second).await.is_err());
    drop(held);
    drop(first);
    assert!(matches!(timeout(Duration::from_secs(5), second).await, Ok(Pick::Alive(_))));
}

#[tokio::test]
async fn who_waits_hears_of_a_backend_that_comes_back() {
    let mut targets = vec![target(1), target(2)];
    targets.iter_mut().for_each(|it| it.max_connections = 1);
    let pool = pool_of(targets, Balance::RoundRobin);
    backend(&pool, 2).set_aside();
    let none = Tried::default();
    let _held = lease(pool.pick(CLIENT, &none)).expect("a place");
    let mut waiting = Box::pin(pool.pick_in_turn(CLIENT, &none));
    assert!(timeout(Duration::ZERO, &mut waiting).await.is_err());
    backend(&pool, 2).found_alive();
    let found = timeout(Duration::from_secs(5), waiting).await.expect("a place");
    assert_eq!(port(found), Some(2));
}

/// While one computes who is there, others had what was before: nobody.
#[test]
fn who_comes_while_a_name_gets_its_first_address_is_not_turned_away() {
    for _ in 0..500 {
        let mut named = target(1);
        named.endpoint = "a.example:1".parse().expect("an endpoint");
        let pool = pool_of(vec![named], Balance::RoundRobin);
        assert!(matches!(pool.pick(CLIENT, &Tried::default()), Pick::None));
        let group = pool.groups().next().expect("a group");
        group.set(&[address(1)]);
        let together = std::sync::Barrier::new(4);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    together.wait();
                    assert_eq!(port(pool.pick(CLIENT, &Tried::default())), Some(1));
                });
            }
        });
    }
}

#[test]
fn a_name_is_as_many_backends_as_it_has_addresses() {
    let name: crate::Endpoint = "web.internal:80".parse().expect("an endpoint");
    let group = Arc::new(Group::new(name.clone(), Transport::Tcp, check()));
    let mut targets = vec![(Target::from(name), Arc::clone(&group))];
    targets.push((target(9), Arc::new(Group::new(target(9).endpoint, Transport::Tcp, check()))));
    let pool = Pool::new(targets, Balance::RoundRobin);
    assert_eq!(ports(&pool, 2), [9, 9], "its name has no address yet");
    assert!(group.set(&[address(1), address(2)]));
    assert_eq!(ports(&pool, 6).iter().filter(|it| **it == 9).count(), 2);
    let kept = backend(&pool, 2);
    assert!(!group.set(&[address(2), address(1)]), "a turned answer says nothing new");
    assert!(group.set(&[address(2), address(3)]));
    assert!(Arc::ptr_eq(&kept, &backend(&pool, 2)), "with its liveness and its counts");
    assert!(pool.backends().iter().all(|it| it.address().port() != 1));
}
