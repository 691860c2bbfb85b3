//! What a message costs where more and more sessions take turns.

use anyhow::Result;

use super::super::scale::{Points, lines, points};
use super::super::{Bench, idle};
use crate::order::{Load, Udp};
use crate::peer::{Purpose, Sessions};
use crate::report::{Better, Cell, Curve, Row, Section, Target};
use crate::sample::{self, WITHIN};

const PURPOSE: Purpose = Purpose::Udp(Sessions::Long);

const SESSIONS: [u64; 3] = [100, 1_000, 12_000];

/// Questions under way.
const AT_ONCE: u64 = 64;

/// The most that a message among 12,000 sessions may cost, in parts of one among 100.
const GROWTH: f64 = 1.3;

/// The curve, and how much it grows.
pub(in crate::compare) fn measure(
    bench: &mut Bench,
    limit: Option<u64>,
) -> Result<(Curve, Section)> {
    let most = idle::fitting(bench, bench.sizes.idle_sessions, 1, limit);
    let mut sessions = SESSIONS.map(|sessions| sessions.min(most)).to_vec();
    sessions.dedup();
    let mut over = points(bench, sessions.iter().map(|sessions| *sessions as f64));
    let able = bench.able(PURPOSE);
    for round in 0..bench.rounds {
        eprintln!("round {} of {}: sessions that take turns", round + 1, bench.rounds);
        for place in bench.turns(round).filter(|place| able.contains(place)) {
            let Some(over) = over.get_mut(place) else { continue };
            if let Err(reason) = one(bench, place, &sessions, over)? {
                bench.notes.push(format!("{} fails with sessions: {reason}", bench.name(place)));
            }
        }
    }
    let cells = over.iter().enumerate().map(|(place, points)| match able.contains(&place) {
        true => growth(points),
        false => Cell::Absent,
    });
    let row = Row {
        name: format!("a message among {most} sessions, in parts of one among 100"),
        unit: "",
        better: Better::Less,
        cells: cells.collect(),
        target: Target::AtMost(GROWTH),
        beside: None,
    };
    let curve = Curve {
        title: "Datagrams of many sessions".to_owned(),
        over: "sessions that take turns".to_owned(),
        unit: "µs of processor per message",
        lines: lines(bench, over, |place| able.contains(&place)),
    };
    Ok((curve, Section { title: "Growth with sessions".to_owned(), rows: vec![row] }))
}

/// Adds a value for each number of sessions.
fn one(
    bench: &mut Bench,
    place: usize,
    sessions: &[u64],
    over: &mut Points,
) -> Result<Result<(), String>> {
    let proxy = match bench.begin(place, PURPOSE)? {
        Ok(proxy) => proxy,
        Err(reason) => return Ok(Err(reason)),
    };
    let count = bench.sizes.messages / 2;
    let turns = Load::Udp(Udp::Turns { count, at_once: AT_ONCE });
    let mut held = 0;
    let mut outcome = Ok(());
    for (wanted, (_, values)) in sessions.iter().zip(over) {
        let hold = Load::Udp(Udp::Hold { count: wanted - held });
        held = *wanted;
        outcome = bench.generator.put(proxy.address, hold, WITHIN)?.map(|_| ());
        if outcome.is_err() {
            break;
        }
        match sample::take(&mut bench.generator, &proxy, turns, 0)? {
            Ok(sample) => {
                values.extend(sample.processor.map(|seconds| seconds * 1e6 / sample.units as f64))
            }
            Err(reason) => {
                outcome = Err(reason);
                break;
            }
        }
    }
    let _ = bench.generator.put(proxy.address, Load::Release, WITHIN)?;
    Ok(outcome)
}

/// The last value in parts of the first, round by round.
fn growth(points: &Points) -> Cell {
    let (Some((_, first)), Some((_, last))) = (points.first(), points.last()) else {
        return Cell::Fails;
    };
    if first.is_empty() || first.len() != last.len() {
        return Cell::Fails;
    }
    Cell::Values(last.iter().zip(first).map(|(last, first)| last / first).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_taken_round_by_round() {
        let points =
            vec![(100.0, vec![4.0, 5.0]), (1_000.0, vec![9.0, 9.0]), (12_000.0, vec![6.0, 5.0])];
        assert_eq!(growth(&points), Cell::Values(vec![1.5, 1.0]));
    }

    #[test]
    fn who_did_not_come_to_the_end_has_failed() {
        assert_eq!(growth(&vec![(100.0, vec![4.0, 5.0]), (12_000.0, vec![6.0])]), Cell::Fails);
        assert_eq!(growth(&vec![(100.0, vec![]), (12_000.0, vec![])]), Cell::Fails);
    }
}
