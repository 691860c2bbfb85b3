//! What part of the clients each address of a target gets.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use crate::endpoint::Endpoint;
use crate::group::{Found, Rank};
use crate::pool::greatest_common_divisor;
use crate::target::Target as Limit;

/// A record, with the addresses of its target.
pub(super) struct Target {
    pub(super) priority: u16,
    pub(super) weight: u16,
    pub(super) endpoint: Endpoint,
    pub(super) addresses: Vec<SocketAddr>,
}

/// All addresses, each once, with their ranks. A target that has several divides its weight among them.
pub(super) fn found(mut targets: Vec<Target>) -> Vec<Found> {
    let mut seen = BTreeSet::new();
    targets.sort_by(|one, other| {
        let key = |it: &Target| (it.priority, it.endpoint.to_string());
        key(one).cmp(&key(other))
    });
    for target in &mut targets {
        target.addresses.retain(|address| seen.insert(*address));
    }
    targets.retain(|target| !target.addresses.is_empty());
    let mut found = Vec::new();
    for (tier, alike) in (0..).zip(targets.chunk_by(|one, other| one.priority == other.priority)) {
        for (target, weight) in alike.iter().zip(weights(alike)) {
            let rank = Rank { weight: Some(weight), tier };
            let one = |&address| Found { endpoint: target.endpoint.clone(), address, rank };
            found.extend(target.addresses.iter().map(one));
        }
    }
    found
}

/// What each address of a target weighs beside those of the others: as small as can be, and no more than a backend may
/// weigh. Where all records weigh 0 they are alike; beside others, 0 is as good as nothing (RFC 2782).
fn weights(targets: &[Target]) -> impl Iterator<Item = u16> {
    let part = |target: &Target| {
        let addresses = u64::try_from(target.addresses.len()).unwrap_or(1).max(1);
        u64::from(target.weight) * DIVISIBLE / addresses
    };
    let parts: Vec<_> = targets.iter().map(part).collect();
    let common = parts.iter().copied().fold(0, greatest_common_divisor).max(1);
    let largest = parts.iter().copied().max().unwrap_or(0) / common;
    let most = u64::from(Limit::MOST_WEIGHT);
    let is_scaled = largest > most || (largest > 0 && parts.contains(&0));
    parts.into_iter().map(move |part| {
        let part = part / common;
        let part = if is_scaled { (part * most + largest / 2) / largest } else { part };
        u16::try_from(part.max(1)).unwrap_or(Limit::MOST_WEIGHT)
    })
}

/// By every number up to 10.
const DIVISIBLE: u64 = 2520;

#[cfg(test)]
mod tests {
    use super::*;

    fn target(priority: u16, weight: u16, name: &str, addresses: &[&str]) -> Target {
        let addresses = addresses.iter().map(|it| it.parse().expect("an address")).collect();
        let endpoint = format!("{name}:80").parse().expect("an endpoint");
        Target { priority, weight, endpoint, addresses }
    }

    /// Of one priority, each with so many addresses.
    fn of(list: &[(u16, usize)]) -> Vec<u16> {
        let targets = list.iter().map(|&(weight, count)| {
            let addresses = (0..count).map(|at| ([10, 0, 0, 1], 1 + at as u16).into()).collect();
            Target { addresses, ..target(1, weight, "a", &[]) }
        });
        weights(&targets.collect::<Vec<_>>()).collect()
    }

    #[test]
    fn weights_are_as_small_as_can_be_and_keep_their_proportions() {
        for (list, expected) in [
            (&[(60, 1), (20, 1)][..], &[3, 1][..]),
            (&[(0, 1), (0, 1)], &[1, 1]),
            (&[(1, 1), (0, 1)], &[256, 1]),
            (&[(65_535, 1), (1, 1)], &[256, 1]),
            (&[(60_000, 1), (30_000, 1)], &[2, 1]),
            (&[(601, 1), (300, 1)], &[256, 128]),
            (&[(10, 2), (10, 1)], &[1, 2]),
            (&[(5, 1)], &[1]),
            (&[], &[]),
        ] {
            assert_eq!(of(list), expected, "{list:?}");
        }
    }

    #[test]
    fn priorities_become_tiers_and_an_address_is_used_once() {
        let found = found(vec![
            target(20, 5, "later", &["10.0.0.3:80", "10.0.0.1:80"]),
            target(10, 1, "b", &["10.0.0.2:80"]),
            target(10, 1, "a", &["10.0.0.1:80"]),
            target(15, 1, "gone", &[]),
        ]);
        let seen = found.iter().map(|it| (it.endpoint.name(), it.address.to_string(), it.rank));
        let rank = |tier| Rank { weight: Some(1), tier };
        let expected = [
            (Some("a"), "10.0.0.1:80".to_owned(), rank(0)),
            (Some("b"), "10.0.0.2:80".to_owned(), rank(0)),
            (Some("later"), "10.0.0.3:80".to_owned(), rank(1)),
        ];
        assert_eq!(seen.collect::<Vec<_>>(), expected);
    }
}
