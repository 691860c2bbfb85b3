//! The comparison from start to end.

mod find;

use std::collections::BTreeMap;

use anyhow::Result;

use crate::children;
use crate::cli::{Cli, Cores};
use crate::generator::Generator;
use crate::order::{Kind, Load};
use crate::peer::{Peer, Proxy, Purpose, Setting};
use crate::sample::{self, Sample};
use crate::stats::Spread;
use crate::work::{Sizes, Unit, Work};
use clap::ValueEnum;

pub(crate) fn run(cli: &Cli) -> Result<()> {
    children::end_on_signals()?;
    let peers = find::peers(cli)?;
    for peer in &peers {
        println!("{}: {} ({})", peer.name, peer.version, peer.program.display());
    }
    let cores = std::thread::available_parallelism()?.get();
    let threads = cli.cores.as_ref().map_or(cores, |cores| cores.0.len());
    let others = others(cli.cores.as_ref(), cores);
    let generator_threads = others.as_ref().map_or(1, |others| others.0.len().div_ceil(2));
    let mut generator = Generator::start(others.as_ref(), generator_threads)?;
    let setting = Setting {
        ports: generator.ports,
        cores: cli.cores.clone(),
        threads,
        purpose: Purpose::Traffic,
    };
    let sizes = if cli.quick { Sizes::QUICK } else { Sizes::FULL };
    let works =
        if cli.only.is_empty() { Work::value_variants().to_vec() } else { cli.only.clone() };
    let mut samples: BTreeMap<(usize, usize), Vec<Result<Sample, String>>> = BTreeMap::new();
    for round in 0..cli.rounds as usize {
        let mut proxies = Vec::new();
        for peer in &peers {
            let proxy = peer.start(&setting)?;
            warm(&mut generator, &proxy, &sizes)?;
            proxies.push(proxy);
        }
        for (at, work) in works.iter().enumerate() {
            for turn in 0..peers.len() {
                let index = (turn + round + at) % peers.len();
                let Some(proxy) = proxies.get(index) else { continue };
                let sample = sample::take(&mut generator, proxy, work.load(&sizes), 0)?;
                eprintln!(
                    "round {round} {} {}: {sample:?}",
                    work.name(),
                    peers.get(index).map_or("", |peer| &peer.name)
                );
                if sample.is_err() {
                    // What it left behind is not to meet the next work.
                    drop(proxies.splice(index..=index, [peers[index].start(&setting)?]));
                    generator.settle(0)?.ok();
                }
                samples.entry((at, index)).or_default().push(sample);
            }
        }
    }
    for (at, work) in works.iter().enumerate() {
        print!("{:16}", work.name());
        let cost = |index: usize| -> Vec<f64> {
            let all = samples.get(&(at, index)).map(Vec::as_slice).unwrap_or_default();
            all.iter()
                .filter_map(|sample| sample.as_ref().ok())
                .map(|sample| {
                    let scale = if work.unit() == Unit::Byte { 1e12 } else { 1e6 };
                    sample.processor * scale / sample.units as f64
                })
                .collect()
        };
        let mut best: Option<(usize, f64)> = None;
        for (index, peer) in peers.iter().enumerate() {
            let spread = Spread::of(cost(index));
            match spread {
                Some(spread) => {
                    print!(
                        "{} {:.1} ({:.1}..{:.1})  ",
                        peer.name, spread.median, spread.least, spread.most
                    );
                    if index > 0 && best.is_none_or(|(_, least)| spread.median < least) {
                        best = Some((index, spread.median));
                    }
                }
                None => print!("{} fails  ", peer.name),
            }
        }
        if let Some((index, _)) = best
            && let Some(ratio) = Spread::of_ratios(&cost(0), &cost(index))
        {
            print!("ratio {:.2} ({:.2}..{:.2})", ratio.median, ratio.least, ratio.most);
        }
        println!();
    }
    Ok(())
}

/// What is allocated at the first use is not to count.
fn warm(generator: &mut Generator, proxy: &Proxy, sizes: &Sizes) -> Result<()> {
    let kind = Kind::Http;
    let bytes = sizes.bytes / 20;
    for load in [
        Load::Connect { kind, count: 200, at_once: 16 },
        Load::Pull { connections: 8, bytes },
        Load::Push { connections: 8, bytes },
    ] {
        // Whether it can do this at all is measured later.
        let _ = generator.put(proxy.address, load, sample::WITHIN)?;
    }
    let _ = generator.settle(0)?;
    Ok(())
}

/// The cores that the proxies do not have, if some are left.
fn others(proxies: Option<&Cores>, cores: usize) -> Option<Cores> {
    let proxies = proxies?;
    let others: Vec<_> = (0..cores).filter(|core| !proxies.0.contains(core)).collect();
    if others.is_empty() { None } else { Some(Cores(others)) }
}
