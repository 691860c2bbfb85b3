//! What an idle connection costs, and an idle session.

use anyhow::Result;

use super::{Bench, cell};
use crate::order::{Load, Udp};
use crate::report::{Better, Cell, Row, Section, Target};
use crate::sample::WITHIN;
use crate::usage::{self, Footprint};
use crate::work::Work;

/// Descriptors of a proxy that are not its connections': pipes, listeners, files.
const OWN_DESCRIPTORS: u64 = 1_000;

/// More rounds would not tell more: memory hardly varies.
const ROUNDS: usize = 3;

/// What is kept, and what of it is aimed at.
#[derive(Clone, Copy)]
struct Kept {
    work: Work,
    title: &'static str,
    what: &'static str,
    count: u64,
    /// KiB.
    memory: f64,
    descriptors: u64,
}

/// Memory and descriptors for each of many connections that have sent their opening and then nothing more, or of as
/// many sessions with one answered question.
pub(super) fn measure(bench: &mut Bench, work: Work, limit: Option<u64>) -> Result<Section> {
    let mut kept = match work {
        Work::UdpIdle => Kept {
            work,
            title: "Idle sessions",
            what: "sessions",
            count: bench.sizes.idle_sessions,
            memory: 1.5,
            descriptors: 1,
        },
        _ => Kept {
            work,
            title: "Idle connections",
            what: "connections",
            count: bench.sizes.idle,
            memory: 2.0,
            descriptors: 2,
        },
    };
    kept.count = fitting(bench, kept.count, kept.descriptors, limit);
    let mut found: Vec<Vec<Result<(f64, f64), String>>> = vec![Vec::new(); bench.peers.len()];
    let able = bench.able(work.purpose());
    for round in 0..bench.rounds.min(ROUNDS) {
        eprintln!("round {}: idle {}", round + 1, kept.what);
        for place in bench.turns(round).filter(|place| able.contains(place)) {
            let cost = one(bench, place, kept)?;
            if let Err(reason) = &cost {
                bench.note_failure(place, work, reason);
            }
            if let Some(found) = found.get_mut(place) {
                found.push(cost);
            }
        }
    }
    let cells = |value: fn((f64, f64)) -> f64| -> Vec<Cell> {
        let found = found.iter().enumerate();
        found
            .map(|(place, found)| match able.contains(&place) {
                true => of(found, value),
                false => Cell::Absent,
            })
            .collect()
    };
    let row = |name: &str, unit, most, cells| Row {
        name: format!("{} {}, {name}", kept.count, kept.what),
        unit,
        better: Better::Less,
        cells,
        target: Target::AtMost(most),
        beside: None,
    };
    let rows = vec![
        row("memory of each", "KiB", kept.memory, cells(|cost| cost.0)),
        row("descriptors of each", "", kept.descriptors as f64, cells(|cost| cost.1)),
    ];
    Ok(Section { title: kept.title.to_owned(), rows })
}

/// As many as are wanted, or as the descriptor limit allows a proxy, which needs so many for `each`.
pub(super) fn fitting(bench: &mut Bench, wanted: u64, each: u64, limit: Option<u64>) -> u64 {
    let fits = limit.map_or(u64::MAX, |limit| limit.saturating_sub(OWN_DESCRIPTORS) / each);
    if fits < wanted {
        let note = format!(
            "the descriptor limit allows {fits} open connections or sessions, not {wanted}"
        );
        bench.notes.push(note);
    }
    wanted.min(fits)
}

fn of(found: &[Result<(f64, f64), String>], value: fn((f64, f64)) -> f64) -> Cell {
    let values: Vec<_> =
        found.iter().map(|cost| cost.clone().map(|cost| Some(value(cost)))).collect();
    cell(&values)
}

/// KiB and descriptors for each, or why not all of them can be had.
fn one(bench: &mut Bench, place: usize, kept: Kept) -> Result<Result<(f64, f64), String>> {
    let count = kept.count;
    let (hold, open) = match kept.work {
        Work::UdpIdle => (Load::Udp(Udp::Hold { count }), 0),
        _ => (Load::Hold { count }, count),
    };
    let proxy = match bench.begin(place, kept.work.purpose())? {
        Ok(proxy) => proxy,
        Err(reason) => return Ok(Err(reason)),
    };
    let before = usage::footprint(proxy.running.process);
    let held = bench.generator.put(proxy.address, hold, WITHIN)?;
    let settled = bench.generator.settle(open)?;
    let after = usage::footprint(proxy.running.process);
    let there = match kept.work {
        Work::UdpIdle => bench.generator.call(proxy.address)?.map(|_| ()),
        // The clients' sides; the backends' are counted as they settle.
        _ => bench.generator.put(proxy.address, Load::Kept, WITHIN)?.map(|_| ()),
    };
    let _ = bench.generator.put(proxy.address, Load::Release, WITHIN)?;
    // Before the proxy is killed, which resets what has not ended.
    let _ = bench.generator.settle(0)?;
    drop(proxy);
    Ok(held.and(settled).and(there).map(|()| each(before, after, count)))
}

fn each(before: Footprint, after: Footprint, count: u64) -> (f64, f64) {
    let each = |before: u64, after: u64| after.saturating_sub(before) as f64 / count as f64;
    (each(before.bytes, after.bytes) / 1024.0, each(before.descriptors, after.descriptors))
}
