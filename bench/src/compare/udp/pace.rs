//! How many new sessions in a second a proxy carries without a loss, and what Refractium loses at the best peer's pace.

use anyhow::Result;

use super::super::{Bench, cell};
use crate::generator::Pace;
use crate::order::{Load, Udp};
use crate::peer::Proxy;
use crate::report::{Better, Cell, Row, Section, Target};
use crate::sample::WITHIN;
use crate::work::Work;

/// Each takes ten seconds or so for each proxy.
const ROUNDS: usize = 3;

/// Sessions in a second. Every proxy carries the first on every machine; nothing on earth the last.
const FIRST: f64 = 4_000.0;
const LAST: f64 = 4_000_000.0;

/// From one pace to the next, until one is too fast.
const FACTOR: f64 = 1.5;

/// How often the distance to the one that was too fast is then halved: the end is exact to 3 %.
const HALVINGS: u32 = 4;

/// Seconds of one pace.
const LONG: f64 = 1.0;
const QUICK: f64 = 0.05;

/// What has taken so much longer to be sent was not sent at that pace: this machine has no more to give.
const SLACK: f64 = 1.05;

/// What came of one pace.
enum Outcome {
    Carried,
    Lost(u64),
    /// Nothing was lost, but it could not be sent so fast.
    Late,
}

pub(super) fn measure(bench: &mut Bench) -> Result<Section> {
    let able = bench.able(Work::UdpRate.purpose());
    let mut paces: Vec<Vec<Result<Option<f64>, String>>> = vec![Vec::new(); bench.peers.len()];
    let mut losses: Vec<Result<Option<f64>, String>> = Vec::new();
    let mut beside = None;
    for round in 0..bench.rounds.min(ROUNDS) {
        eprintln!("round {}: new sessions at a pace", round + 1);
        let mut best: Option<(usize, f64)> = None;
        for place in bench.turns(round).filter(|place| able.contains(place)) {
            let pace = highest(bench, place)?;
            match &pace {
                Err(reason) => bench.note_failure(place, Work::UdpRate, reason),
                Ok(pace) if place > 0 && best.is_none_or(|(_, best)| *pace > best) => {
                    best = Some((place, *pace));
                }
                Ok(_) => {}
            }
            if let Some(paces) = paces.get_mut(place) {
                paces.push(pace.map(Some));
            }
        }
        if let Some((peer, pace)) = best {
            beside = Some(peer);
            losses.push(lost(bench, pace)?.map(Some));
        }
    }
    let cells = paces.iter().enumerate();
    let cells = cells.map(|(place, paces)| match able.contains(&place) {
        true => cell(paces),
        false => Cell::Absent,
    });
    let mut rows = vec![Row {
        name: "the fastest pace without a loss".to_owned(),
        unit: "sessions/s",
        better: Better::More,
        cells: cells.collect(),
        target: Target::RatioAtLeast(1.0),
        beside: None,
    }];
    if let Some(peer) = beside {
        let cells = (0..bench.peers.len()).map(|place| match place {
            0 => cell(&losses),
            _ if place == peer => Cell::Values(vec![0.0]),
            _ => Cell::Absent,
        });
        rows.push(Row {
            name: format!("lost at the fastest pace of {}", bench.name(peer)),
            unit: "sessions",
            better: Better::Less,
            cells: cells.collect(),
            target: Target::AtMost(0.0),
            beside: Some(peer),
        });
    }
    Ok(Section { title: "New sessions at a pace".to_owned(), rows })
}

/// The fastest pace at which nothing is lost.
fn highest(bench: &mut Bench, place: usize) -> Result<Result<f64, String>> {
    let (mut carried, mut wanted, mut too_fast) = (0.0, FIRST, None);
    let mut proxy = None;
    let mut halvings = 0;
    while halvings <= HALVINGS && wanted < LAST {
        match at_pace(bench, place, &mut proxy, wanted)? {
            Err(reason) => return Ok(Err(reason)),
            Ok(Outcome::Carried) => carried = wanted,
            Ok(Outcome::Lost(_) | Outcome::Late) => too_fast = Some(wanted),
        }
        match too_fast {
            None => wanted *= FACTOR,
            Some(too_fast) => {
                wanted = f64::midpoint(carried, too_fast);
                halvings += 1;
            }
        }
    }
    Ok(Ok(carried))
}

/// What Refractium loses at this pace.
fn lost(bench: &mut Bench, pace: f64) -> Result<Result<f64, String>> {
    let outcome = at_pace(bench, 0, &mut None, pace)?;
    Ok(outcome.map(|outcome| match outcome {
        Outcome::Carried | Outcome::Late => 0.0,
        Outcome::Lost(lost) => lost as f64,
    }))
}

/// Tries a pace on a proxy, which is started if there is none; one that has lost something is ended, because what it
/// still waits for would slow it down.
fn at_pace(
    bench: &mut Bench,
    place: usize,
    proxy: &mut Option<Proxy>,
    pace: f64,
) -> Result<Result<Outcome, String>> {
    let running = match proxy.take() {
        Some(running) => running,
        None => match bench.begin(place, Work::UdpRate.purpose())? {
            Ok(started) => started,
            Err(reason) => return Ok(Err(reason)),
        },
    };
    let seconds = if bench.sizes.is_quick() { QUICK } else { LONG };
    let load = Load::Udp(Udp::Paced { count: (pace * seconds) as u64, rate: pace as u64 });
    bench.generator.set_pace(Pace::First);
    let done = bench.generator.put(running.address, load, WITHIN);
    bench.generator.set_pace(Pace::Equal);
    let done = match done? {
        Ok(done) => done,
        Err(reason) => return Ok(Err(reason)),
    };
    if done.astray > 0 {
        let name = bench.name(place);
        let (lost, astray) = (done.lost, done.astray);
        bench.notes.push(format!(
            "{name} at {pace:.0} sessions/s: {astray} of {lost} lost answers went to other clients"
        ));
    }
    if done.lost > 0 {
        return Ok(Ok(Outcome::Lost(done.lost)));
    }
    *proxy = Some(running);
    let late = done.seconds > seconds * SLACK;
    Ok(Ok(if late { Outcome::Late } else { Outcome::Carried }))
}
