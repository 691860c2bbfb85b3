//! What an idle connection costs.

use anyhow::Result;

use super::{Bench, cell};
use crate::order::Load;
use crate::peer::Purpose;
use crate::report::{Better, Cell, Row, Section, Target};
use crate::sample::WITHIN;
use crate::usage::{self, Footprint};
use crate::work::Work;

/// Descriptors of a proxy that are not its connections': pipes, listeners, files.
const OWN_DESCRIPTORS: u64 = 1_000;

/// More rounds would not tell more: memory hardly varies.
const ROUNDS: usize = 3;

/// Memory and descriptors for each of many connections that have sent their opening and then nothing more.
pub(super) fn measure(bench: &mut Bench, limit: Option<u64>) -> Result<Section> {
    let count = fitting(bench, bench.sizes.idle, limit);
    let mut found: Vec<Vec<Result<(f64, f64), String>>> = vec![Vec::new(); bench.peers.len()];
    for round in 0..bench.rounds.min(ROUNDS) {
        eprintln!("round {}: idle connections", round + 1);
        for place in bench.turns(round) {
            let cost = one(bench, place, count)?;
            if let Err(reason) = &cost {
                bench.note_failure(place, Work::Idle, reason);
            }
            if let Some(found) = found.get_mut(place) {
                found.push(cost);
            }
        }
    }
    let row = |name: &str, unit, most, value: fn((f64, f64)) -> f64| Row {
        name: format!("{count} connections, {name}"),
        unit,
        better: Better::Less,
        cells: found.iter().map(|found| of(found, value)).collect(),
        target: Target::AtMost(most),
        beside: None,
    };
    let rows = vec![
        row("memory of each", "KiB", 2.0, |cost| cost.0),
        row("descriptors of each", "", 2.0, |cost| cost.1),
    ];
    Ok(Section { title: "Idle connections".to_owned(), rows })
}

/// As many as are wanted, or as the descriptor limit allows a proxy, which needs two for each.
pub(super) fn fitting(bench: &mut Bench, wanted: u64, limit: Option<u64>) -> u64 {
    let fits = limit.map_or(u64::MAX, |limit| limit.saturating_sub(OWN_DESCRIPTORS) / 2);
    if fits < wanted {
        let note = format!("the descriptor limit allows {fits} open connections, not {wanted}");
        bench.notes.push(note);
    }
    wanted.min(fits)
}

fn of(found: &[Result<(f64, f64), String>], value: fn((f64, f64)) -> f64) -> Cell {
    let values: Vec<_> =
        found.iter().map(|cost| cost.clone().map(|cost| Some(value(cost)))).collect();
    cell(&values)
}

/// KiB and descriptors for each connection, or why not all of them can be had.
fn one(bench: &mut Bench, place: usize, count: u64) -> Result<Result<(f64, f64), String>> {
    let proxy = bench.start(place, Purpose::Idle)?;
    let before = usage::footprint(proxy.running.process);
    let held = bench.generator.put(proxy.address, Load::Hold { count }, WITHIN)?;
    let settled = bench.generator.settle(count)?;
    let after = usage::footprint(proxy.running.process);
    let _ = bench.generator.put(proxy.address, Load::Release, WITHIN)?;
    drop(proxy);
    let _ = bench.generator.settle(0)?;
    Ok(held.and(settled).map(|()| each(before, after, count)))
}

fn each(before: Footprint, after: Footprint, count: u64) -> (f64, f64) {
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / count as f64;
    (each(before.bytes, after.bytes) / 1024.0, each(before.descriptors, after.descriptors))
}
