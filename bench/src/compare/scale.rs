//! What a connection costs while many others are open, and with many routes.

use anyhow::Result;

use super::{Bench, idle};
use crate::order::{Kind, Load};
use crate::peer::{Make, Proxy, Purpose};
use crate::report::{Curve, Line};
use crate::sample::{self, WITHIN};

const OPEN: [u64; 3] = [10, 1_000, 8_000];
const ROUTES: [usize; 3] = [10, 1_000, 10_000];

/// Connections that are opened at the same time.
const AT_ONCE: u64 = 16;

/// Where, and the values there; a place where a proxy failed is missing.
pub(super) type Points = Vec<(f64, Vec<f64>)>;

/// One curve over open connections, one over routes.
pub(super) fn measure(bench: &mut Bench, limit: Option<u64>) -> Result<Vec<Curve>> {
    let most = idle::fitting(bench, bench.sizes.idle, 2, limit);
    let mut open = OPEN.map(|open| open.min(most)).to_vec();
    open.dedup();
    let mut over_open = points(bench, open.iter().map(|open| *open as f64));
    let mut over_routes = points(bench, ROUTES.into_iter().map(|routes| routes as f64));
    for round in 0..bench.rounds {
        eprintln!("round {} of {}: scale", round + 1, bench.rounds);
        for place in bench.turns(round).filter(|place| scales(bench, *place)).collect::<Vec<_>>() {
            with_open(bench, place, &open, &mut over_open)?;
        }
        for place in bench.turns(round).filter(|place| scales(bench, *place)).collect::<Vec<_>>() {
            with_routes(bench, place, &mut over_routes)?;
        }
    }
    let curve = |title: &str, over: &str, points: Vec<Points>| Curve {
        title: title.to_owned(),
        over: over.to_owned(),
        unit: "µs of processor per connection",
        lines: lines(bench, points, |place| scales(bench, place)),
    };
    Ok(vec![
        curve("Connections beside others that are open", "open connections", over_open),
        curve("Connections with many routes by name", "routes", over_routes),
    ])
}

/// sslh has a list of routes that is walked and, by kind, a `select` that ends at 1,024 descriptors or a process for
/// each connection: it has other uses. How HAProxy splices is no matter here.
fn scales(bench: &Bench, place: usize) -> bool {
    let make = bench.peers.get(place).map(|peer| peer.make);
    matches!(make, Some(Make::Refractium | Make::Haproxy | Make::Nginx))
}

pub(super) fn points(bench: &Bench, places: impl Iterator<Item = f64>) -> Vec<Points> {
    let empty: Points = places.map(|place| (place, Vec::new())).collect();
    vec![empty; bench.peers.len()]
}

pub(super) fn lines(
    bench: &Bench,
    points: Vec<Points>,
    wanted: impl Fn(usize) -> bool,
) -> Vec<Line> {
    let named = bench.peers.iter().zip(points).enumerate();
    let scaled = named.filter(|(place, _)| wanted(*place));
    scaled
        .map(|(_, (peer, points))| Line {
            proxy: peer.name.clone(),
            points: points.into_iter().filter(|(_, values)| !values.is_empty()).collect(),
        })
        .collect()
}

fn with_open(bench: &mut Bench, place: usize, open: &[u64], over: &mut [Points]) -> Result<()> {
    let proxy = bench.start(place, Purpose::Idle)?;
    let mut held = 0;
    for (number, wanted) in open.iter().enumerate() {
        let load = Load::Hold { count: wanted - held };
        if let Err(reason) = bench.generator.put(proxy.address, load, WITHIN)? {
            bench.notes.push(format!(
                "{} does not hold {wanted} open connections: {reason}",
                bench.name(place)
            ));
            break;
        }
        held = *wanted;
        one(
            bench,
            place,
            &proxy,
            held,
            over.get_mut(place).and_then(|points| points.get_mut(number)),
        )?;
    }
    let _ = bench.generator.put(proxy.address, Load::Release, WITHIN)?;
    // Before the proxy is killed, which resets what has not ended.
    let _ = bench.generator.settle(0)?;
    drop(proxy);
    Ok(())
}

fn with_routes(bench: &mut Bench, place: usize, over: &mut [Points]) -> Result<()> {
    for (number, routes) in ROUTES.into_iter().enumerate() {
        let proxy = bench.start(place, Purpose::Routes(routes))?;
        one(
            bench,
            place,
            &proxy,
            0,
            over.get_mut(place).and_then(|points| points.get_mut(number)),
        )?;
    }
    Ok(())
}

/// Microseconds for each of some connections that open with a ClientHello.
fn one(
    bench: &mut Bench,
    place: usize,
    proxy: &Proxy,
    held: u64,
    point: Option<&mut (f64, Vec<f64>)>,
) -> Result<()> {
    let count = bench.sizes.connections / 2;
    let load = Load::Connect { kind: Kind::Tls, count, at_once: AT_ONCE };
    match sample::take(&mut bench.generator, proxy, load, held)? {
        Err(reason) => {
            let note = format!("{} fails beside {held}: {reason}", bench.name(place));
            bench.notes.push(note);
        }
        Ok(sample) => {
            let processor = sample.processor.map(|seconds| seconds * 1e6 / sample.units as f64);
            if let Some((_, values)) = point {
                values.extend(processor);
            }
        }
    }
    Ok(())
}
