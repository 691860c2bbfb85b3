//! The works that are traffic, in interleaved rounds.

use std::collections::HashMap;

use anyhow::Result;

use super::{Bench, cell};
use crate::order::Load;
use crate::peer::{Proxy, Purpose};
use crate::report::{Better, Cell, Row, Section, Target};
use crate::sample::{self, Sample};
use crate::work::Work;

pub(super) const PROCESSOR_TIME: &str = "Processor time of the proxy";

/// Bytes of the answer that comes only after the end of the question.
const HALF_CLOSE: u64 = 1024 * 1024;

/// Seconds; a proxy that loses the half-close may also never end.
const HALF_CLOSE_WITHIN: u64 = 5;

/// A proxy's samples of one work, one for each round.
type Samples = HashMap<(Work, usize), Vec<Result<Sample, String>>>;

/// Puts every work on every proxy, round by round.
///
/// The proxies of a round are started anew, so that where their memory lies and how the kernel spreads their
/// connections is drawn again; within a round those of one purpose all stay, those that wait for their turn using
/// nothing.
pub(super) fn measure(bench: &mut Bench, works: &[Work]) -> Result<Vec<Section>> {
    if works.is_empty() {
        return Ok(Vec::new());
    }
    let mut samples = Samples::new();
    for round in 0..bench.rounds {
        for works in works.chunk_by(|one, next| one.purpose() == next.purpose()) {
            of_one_purpose(bench, round, works, &mut samples)?;
        }
    }
    Ok(sections(bench, works, &samples))
}

fn of_one_purpose(
    bench: &mut Bench,
    round: usize,
    works: &[Work],
    samples: &mut Samples,
) -> Result<()> {
    let Some(purpose) = works.first().map(|work| work.purpose()) else { return Ok(()) };
    let mut proxies = HashMap::new();
    for place in bench.able(purpose) {
        proxies.insert(place, bench.begin(place, purpose)?);
    }
    for (number, work) in works.iter().enumerate() {
        eprintln!("round {} of {}: {}", round + 1, bench.rounds, work.name());
        for place in bench.turns(round + number) {
            let Some(proxy) = proxies.get_mut(&place) else { continue };
            let sample = one(bench, place, proxy, *work)?;
            samples.entry((*work, place)).or_default().push(sample);
        }
    }
    Ok(())
}

fn one(
    bench: &mut Bench,
    place: usize,
    proxy: &mut Result<Proxy, String>,
    work: Work,
) -> Result<Result<Sample, String>> {
    let load = work.load(&bench.sizes);
    let sample = match proxy {
        Ok(proxy) => sample::take(&mut bench.generator, proxy, load, 0)?,
        Err(reason) => Err(reason.clone()),
    };
    if let Err(reason) = &sample {
        bench.note_failure(place, work, reason);
        // What the failure left behind is not to meet the next work.
        *proxy = bench.begin(place, work.purpose())?;
    }
    Ok(sample)
}

fn sections(bench: &Bench, works: &[Work], samples: &Samples) -> Vec<Section> {
    let table = Table { bench, samples };
    let works = || works.iter().copied();
    let processor = works().map(|work| Row {
        name: work.name(),
        unit: work.unit().cost(),
        better: Better::Less,
        cells: table.cells(work, |sample| {
            Some(sample.processor? * work.unit().scale() / sample.units as f64)
        }),
        target: work.target(),
        beside: None,
    });
    let throughput = works().map(|work| Row {
        name: work.name(),
        unit: work.unit().rate(),
        better: Better::More,
        cells: table
            .cells(work, |sample| Some(sample.units as f64 / sample.seconds / work.unit().many())),
        target: work.rate_target(),
        beside: None,
    });
    let latency = |work: Work, name: &str, value: fn(&Sample) -> f64, target| Row {
        name: format!("{} {name}", work.name()),
        unit: "µs",
        better: Better::Less,
        cells: table.cells(work, |sample| Some(value(sample))),
        target,
        beside: None,
    };
    let latencies = works().filter(|work| work.unit().is_timed()).flat_map(|work| {
        let [middle, tail] = work.latency_targets();
        [
            latency(work, "p50", |sample| sample.p50, middle),
            latency(work, "p99", |sample| sample.p99, tail),
        ]
    });
    [
        (PROCESSOR_TIME, processor.collect::<Vec<_>>()),
        ("Throughput", throughput.collect()),
        ("Latency", latencies.collect()),
    ]
    .into_iter()
    .filter(|(_, rows)| !rows.is_empty())
    .map(|(title, rows)| Section { title: title.to_owned(), rows })
    .collect()
}

struct Table<'a> {
    bench: &'a Bench,
    samples: &'a Samples,
}

impl Table<'_> {
    /// A value of a work for each proxy.
    fn cells(&self, work: Work, value: impl Fn(&Sample) -> Option<f64>) -> Vec<Cell> {
        let able: Vec<usize> = self.bench.able(work.purpose());
        let places = 0..self.bench.peers.len();
        let of = |place| {
            let samples = self.samples.get(&(work, place)).map(Vec::as_slice).unwrap_or_default();
            let values: Vec<_> =
                samples.iter().map(|one| one.as_ref().map(&value).map_err(Clone::clone)).collect();
            if able.contains(&place) { cell(&values) } else { Cell::Absent }
        };
        places.map(of).collect()
    }
}

/// The peer that needs the least processor time for a work.
pub(super) fn best_peer(sections: &[Section], work: Work) -> Option<usize> {
    let section = sections.iter().find(|section| section.title == PROCESSOR_TIME)?;
    section.rows.iter().find(|row| row.name == work.name())?.best_peer()
}

/// Whether an answer arrives that comes only after the client has ended its side.
pub(super) fn half_close(bench: &mut Bench) -> Result<Section> {
    let mut cells = Vec::new();
    for place in 0..bench.peers.len() {
        let proxy = bench.start(place, Purpose::Traffic)?;
        let load = Load::Half { bytes: HALF_CLOSE };
        let outcome = bench.generator.put(proxy.address, load, HALF_CLOSE_WITHIN)?;
        drop(proxy);
        let _ = bench.generator.settle(0)?;
        cells.push(match outcome {
            Ok(_) => Cell::Passes,
            Err(reason) => {
                bench.note_failure(place, Work::HalfClose, &reason);
                Cell::Fails
            }
        });
    }
    let name = "an answer of 1 MiB after the end of the question".to_owned();
    let (better, target) = (Better::Less, Target::Pass);
    let row = Row { name, unit: "", better, cells, target, beside: None };
    Ok(Section { title: "Half-close".to_owned(), rows: vec![row] })
}
