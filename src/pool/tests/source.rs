//! `source_hash`: the same backend everywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::*;

fn client(number: u32) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from(0x0a00_0000 + number))
}

fn map(pool: &Pool, clients: u32) -> Vec<u16> {
    let of = |number| port(pool.pick(client(number), &Tried::default())).expect("a backend");
    (0..clients).map(of).collect()
}

#[test]
fn the_source_decides_alike_everywhere_and_few_move() {
    const CLIENTS: u32 = 100_000;
    let ten = || pool_of((1..=10).map(target).collect(), Balance::SourceHash);
    let (one, other) = (ten(), ten());
    let before = map(&one, CLIENTS);
    assert_eq!(before, map(&other, CLIENTS), "two instances");
    let reversed = pool_of((1..=10).rev().map(target).collect(), Balance::SourceHash);
    assert_eq!(before, map(&reversed, CLIENTS), "in whatever order they are written");
    for port in 1..=10 {
        let count = before.iter().filter(|it| **it == port).count();
        assert!((9_500..10_500).contains(&count), "{port} has {count}");
    }
    let nine = pool_of((1..=9).map(target).collect(), Balance::SourceHash);
    let after = map(&nine, CLIENTS);
    let moved = before.iter().zip(&after).filter(|(one, other)| one != other).count();
    assert!(moved <= 11_000, "{moved} of {CLIENTS} moved");
    // One that is down is as good as removed.
    backend(&one, 10).set_aside();
    assert_eq!(after, map(&one, CLIENTS));
}

#[test]
fn the_source_is_shared_out_by_weight_and_a_weight_moves_few() {
    const CLIENTS: u32 = 50_000;
    let with = |weight| {
        let mut targets: Vec<_> = (1..=4).map(target).collect();
        targets[0].weight = weight;
        map(&pool_of(targets, Balance::SourceHash), CLIENTS)
    };
    let (one, three) = (with(1), with(3));
    let count = |map: &[u16]| map.iter().filter(|it| **it == 1).count();
    assert!((12_000..13_000).contains(&count(&one)), "{}", count(&one));
    assert!((24_500..25_500).contains(&count(&three)), "{}", count(&three));
    let moves = |(before, after): &(&u16, &u16)| before != after;
    assert!(one.iter().zip(&three).filter(moves).all(|(_, after)| *after == 1), "only to it");
}

/// So that another version, or another program, can agree: these are computed by the rule in `score`.
#[test]
fn the_hash_is_the_one_that_is_written_down() {
    let pool = pool_of((1..=10).map(target).collect(), Balance::SourceHash);
    assert_eq!(map(&pool, 12), KNOWN);
    let mapped = IpAddr::V6(Ipv4Addr::new(10, 0, 0, 3).to_ipv6_mapped());
    assert_eq!(port(pool.pick(mapped, &Tried::default())), Some(KNOWN[3]));
    let six = IpAddr::V6(Ipv6Addr::LOCALHOST);
    assert_eq!(port(pool.pick(six, &Tried::default())), Some(SIX));
}

const KNOWN: [u16; 12] = [10, 7, 4, 9, 7, 7, 4, 10, 1, 10, 3, 9];
const SIX: u16 = 7;
