//! The comparison from start to end.

mod calls;
mod find;
mod idle;
mod machine;
mod rounds;
mod scale;
mod udp;

use std::fs;

use anyhow::{Context, Result};
use clap::ValueEnum;

use crate::children;
use crate::cli::{Cli, Cores};
use crate::generator::Generator;
use crate::launch;
use crate::order::{Kind, Load, Manner, Udp, Way};
use crate::peer::{Peer, Proxy, Purpose, Sessions, Setting};
use crate::report::{self, Cell, Report, Section};
use crate::sample;
use crate::work::{Sizes, Work};

/// What every part of the comparison needs.
struct Bench {
    /// Refractium, then its peers.
    peers: Vec<Peer>,
    generator: Generator,
    setting: Setting,
    sizes: Sizes,
    rounds: usize,
    /// Which proxies failed which works.
    failed: Vec<(usize, Work)>,
    /// Why they failed, and what was left out.
    notes: Vec<String>,
}

pub(crate) fn run(cli: &Cli) -> Result<()> {
    children::end_on_signals()?;
    let limit = launch::raise_descriptor_limit()?;
    let mut bench = Bench::new(cli)?;
    let about = machine::about(&bench, cli);
    about.iter().for_each(|line| eprintln!("{line}"));
    let works = match cli.only.is_empty() {
        true => Work::value_variants().to_vec(),
        false => cli.only.clone(),
    };
    let mut sections = measure(&mut bench, &works, limit)?;
    let mut curves = Vec::new();
    if cli.scale && works.iter().any(|work| !work.is_udp()) {
        curves.extend(scale::measure(&mut bench, limit)?);
    }
    if cli.scale && works.iter().any(|work| work.is_udp()) {
        let (curve, growth) = udp::scale(&mut bench, limit)?;
        curves.push(curve);
        sections.push(growth);
    }
    let proxies = bench.peers.iter().map(|peer| peer.name.clone()).collect();
    publish(cli, &Report { about, proxies, sections, curves, notes: bench.notes })
}

/// The works themselves.
fn measure(bench: &mut Bench, works: &[Work], limit: Option<u64>) -> Result<Vec<Section>> {
    let (traffic, others): (Vec<_>, Vec<_>) = works.iter().partition(|work| work.is_traffic());
    let mut sections = rounds::measure(bench, &traffic)?;
    if others.contains(&Work::Idle) {
        sections.push(idle::measure(bench, Work::Idle, limit)?);
    }
    if others.contains(&Work::Calls) {
        let calls = calls::measure(bench, &sections)?;
        sections.extend(calls);
    }
    if others.contains(&Work::HalfClose) {
        sections.push(rounds::half_close(bench)?);
    }
    sections.extend(udp::measure(bench, &others, limit)?);
    Ok(sections)
}

impl Bench {
    fn new(cli: &Cli) -> Result<Self> {
        let peers = find::peers(cli)?;
        let cores = std::thread::available_parallelism()?.get();
        let threads = cli.cores.as_ref().map_or(cores, |cores| cores.0.len());
        let others = others(cli.cores.as_ref(), cores);
        // Half of what is left for the clients, half for the servers.
        let each = others.as_ref().map_or(1, |others| others.0.len().div_ceil(2));
        let generator = Generator::start(others.as_ref(), each)?;
        let setting = Setting {
            ports: generator.ports,
            cores: cli.cores.clone(),
            threads,
            purpose: Purpose::Traffic,
        };
        let sizes = if cli.quick { Sizes::QUICK } else { Sizes::FULL };
        let rounds = if cli.quick { 1 } else { cli.rounds as usize };
        Ok(Self { peers, generator, setting, sizes, rounds, failed: Vec::new(), notes: Vec::new() })
    }

    /// Starts one proxy, and uses it a little: what is allocated at the first use is not to count.
    fn start(&mut self, place: usize, purpose: Purpose) -> Result<Proxy> {
        let setting = Setting { purpose, ..self.setting.clone() };
        let proxy = self.peers.get(place).context("no such proxy")?.start(&setting)?;
        for load in self.first_use(purpose) {
            // Whether it can do this at all is measured later.
            let _ = self.generator.put(proxy.address, load, sample::WITHIN)?;
        }
        let _ = self.generator.settle(0)?;
        Ok(proxy)
    }

    fn first_use(&self, purpose: Purpose) -> Vec<Load> {
        let (bytes, count) = (self.sizes.bytes / 20, self.sizes.datagrams / 50);
        let flow = |way| Load::Udp(Udp::flow(way, Manner::Joined, count));
        let sessions = Load::Udp(Udp::Sessions { count: 200, at_once: 16 });
        match purpose {
            // A flow does not end with one answer.
            Purpose::Udp(Sessions::Short) => vec![sessions],
            Purpose::Udp(_) => vec![sessions, flow(Way::Pull), flow(Way::Push)],
            _ => vec![
                Load::Connect { kind: Kind::Http, count: 200, at_once: 16 },
                Load::Pull { connections: 8, bytes },
                Load::Push { connections: 8, bytes },
            ],
        }
    }

    /// Starts one proxy; one that does not serve UDP fails only that, so that a build without can be compared too.
    fn begin(&mut self, place: usize, purpose: Purpose) -> Result<Result<Proxy, String>> {
        match (self.start(place, purpose), purpose) {
            (Err(error), Purpose::Udp(_)) => {
                let reason = format!("{error:#}");
                Ok(Err(reason.lines().next().unwrap_or_default().to_owned()))
            }
            (started, _) => started.map(Ok),
        }
    }

    /// The places of the proxies that can do what is asked for.
    fn able(&self, purpose: Purpose) -> Vec<usize> {
        let able = self.peers.iter().enumerate().filter(|(_, peer)| peer.can(purpose));
        able.map(|(place, _)| place).collect()
    }

    fn name(&self, place: usize) -> &str {
        self.peers.get(place).map_or("", |peer| &peer.name)
    }

    /// The places of the proxies in the order of their turn, another one every time.
    fn turns(&self, time: usize) -> impl Iterator<Item = usize> + use<> {
        let count = self.peers.len();
        (0..count).map(move |turn| (turn + time) % count)
    }

    /// Notes why a proxy fails a work; reasons differ a little from round to round, and the first is enough.
    fn note_failure(&mut self, place: usize, work: Work, reason: &str) {
        let note = format!("{} fails {}: {reason}", self.name(place), work.name());
        eprintln!("{note}");
        if !self.has_failed(place, work) {
            self.failed.push((place, work));
            self.notes.push(note);
        }
    }

    fn has_failed(&self, place: usize, work: Work) -> bool {
        self.failed.contains(&(place, work))
    }
}

/// Values of all rounds, or that one failed.
fn cell(values: &[Result<Option<f64>, String>]) -> Cell {
    if values.is_empty() || values.iter().any(Result::is_err) {
        return Cell::Fails;
    }
    let known: Option<Vec<f64>> = values.iter().flatten().copied().collect();
    known.map_or(Cell::Unknown, Cell::Values)
}

/// The cores that the proxies do not have, if some are left.
fn others(proxies: Option<&Cores>, cores: usize) -> Option<Cores> {
    let proxies = proxies?;
    let others: Vec<_> = (0..cores).filter(|core| !proxies.0.contains(core)).collect();
    if others.is_empty() { None } else { Some(Cores(others)) }
}

fn publish(cli: &Cli, report: &Report) -> Result<()> {
    let markdown = report::markdown(report);
    println!("{markdown}");
    if let Some(file) = &cli.markdown {
        let title = "# Refractium beside its peers\n\n";
        fs::write(file, format!("{title}{markdown}"))
            .with_context(|| file.display().to_string())?;
    }
    if let Some(file) = &cli.json {
        fs::write(file, serde_json::to_string_pretty(report)?)
            .with_context(|| file.display().to_string())?;
    }
    let Some(folder) = &cli.svg else { return Ok(()) };
    fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let drawn: Option<&Section> =
        report.sections.iter().find(|section| section.title == rounds::PROCESSOR_TIME);
    if let Some(section) = drawn {
        report::comparison(report, section, &folder.join("comparison.svg"))?;
    }
    if !report.curves.is_empty() {
        report::scale(&report.curves, &folder.join("scale.svg"))?;
    }
    Ok(())
}
