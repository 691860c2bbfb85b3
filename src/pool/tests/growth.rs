//! Shares that grow again.

use super::*;
use crate::backend::now;

const WHOLE: u64 = 16_000;

fn growing(weights: &[u16]) -> (Vec<(Target, Arc<Group>)>, Arc<Backend>) {
    let mut check = Check::new(CheckKind::Tcp);
    check.slow_start = Duration::from_millis(WHOLE);
    let target = |(port, weight): (u16, &u16)| Target { weight: *weight, ..target(port) };
    let group = |target: Target| {
        let group = Group::new(target.endpoint.clone(), Transport::Tcp, check.clone());
        (target, Arc::new(group))
    };
    let targets: Vec<_> = (1..).zip(weights).map(target).map(group).collect();
    let first = Arc::clone(&targets[0].1.backends()[0]);
    (targets, first)
}

/// What part of the turns the first has at that time.
fn part(targets: &[(Target, Arc<Group>)], at: u64) -> f64 {
    let own =
        |(target, group): &(Target, Arc<Group>)| (target.clone(), ArcSwap::new(Arc::clone(group)));
    let lineup = Lineup::new(&targets.iter().map(own).collect::<Vec<_>>(), at);
    let turns = &lineup.front.turns;
    turns.iter().filter(|seat| **seat == 0).count() as f64 / turns.len() as f64
}

/// Row H5: from next to nothing to its whole share in even steps, and never more than that.
#[test]
fn who_comes_back_gets_its_share_little_by_little() {
    for weights in [&[1, 1, 1][..], &[3, 1], &[256, 256, 256, 200], &[1; 40]] {
        let (targets, first) = growing(weights);
        let all: u16 = weights.iter().sum();
        let whole = f64::from(weights[0]) / f64::from(all);
        let others = f64::from(all - weights[0]) / f64::from(weights[0]);
        assert!((part(&targets, now()) - whole).abs() < 1e-9, "it was never away");
        for comes_back in [false, true] {
            // By its checks, or only for a moment.
            if comes_back {
                assert!(first.set_down() && first.set_up());
            } else {
                assert!(first.set_aside());
                first.found_alive();
            }
            let since = now();
            for step in 0_u32..20 {
                let got = part(&targets, since + u64::from(step) * WHOLE / 16 + 500);
                let grown = f64::from((step + 1).min(16)) / 16.0;
                let expected = grown / (grown + others);
                assert!((got - expected).abs() < 0.01, "{weights:?}, {step}: {got} {expected}");
            }
        }
    }
}

/// Nothing but the passing of time changes it.
#[test]
fn a_share_grows_by_itself() {
    let (mut targets, first) = growing(&[1, 1]);
    for (_, group) in &mut targets {
        let mut check = Check::new(CheckKind::Tcp);
        check.slow_start = Duration::from_millis(160);
        *group = Arc::new(Group::new(group.endpoint().clone(), Transport::Tcp, check));
    }
    drop(first);
    let pool = Pool::new(targets, Balance::RoundRobin);
    let of_first = |count| ports(&pool, count).iter().filter(|port| **port == 1).count();
    let back = backend(&pool, 1);
    assert!(back.set_down() && back.set_up());
    let start = std::time::Instant::now();
    let early = of_first(17);
    assert!(early < 8 || start.elapsed() > Duration::from_millis(50), "{early} of 17");
    while back.growing(now()).is_some() {
        ports(&pool, 1);
    }
    assert_eq!(of_first(20), 10);
}
