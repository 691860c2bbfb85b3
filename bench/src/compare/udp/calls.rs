//! System calls of a flow, as strace counts them.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::super::Bench;
use super::super::calls::{Calls, attach, detach, parse};
use crate::order::{Load, Manner, Udp, Way};
use crate::report::{Better, Cell, Row, Section, Target};
use crate::sample::WITHIN;
use crate::work::Work;

/// Shares are of so many.
const TEN: u64 = 10;

const WAYS: [(Way, Work); 2] = [(Way::Push, Work::UdpPushGso), (Way::Pull, Work::UdpPullGso)];

/// The calls that count, and their names for the system.
const KINDS: [(&str, &[&str]); 2] = [
    ("to receive", &["recvfrom", "recvmsg", "recvmmsg"]),
    ("to send", &["sendto", "sendmsg", "sendmmsg"]),
];

/// Calls for ten datagrams that a sender gives the kernel joined: to receive them, to send them on, and of every kind.
pub(super) fn measure(bench: &mut Bench) -> Result<Option<Section>> {
    if Command::new("strace").arg("-V").output().is_err() {
        bench
            .notes
            .push("strace is not installed: calls for datagrams were not counted".to_owned());
        return Ok(None);
    }
    let able = bench.able(Work::UdpCalls.purpose());
    let mut rows = Vec::new();
    for (way, work) in WAYS {
        let mut found: Vec<Option<Result<Calls, String>>> = Vec::new();
        for place in 0..bench.peers.len() {
            let counted = match able.contains(&place) {
                true => Some(count(bench, place, way)?),
                false => None,
            };
            if let Some(Err(reason)) = &counted {
                bench.note_failure(place, Work::UdpCalls, reason);
            }
            found.push(counted);
        }
        let mut row = |what: &str, target, counts: &dyn Fn(&str) -> bool| {
            let cells = found.iter().map(|calls| value(calls.as_ref(), counts)).collect();
            let name = format!("{}, {what}", work.name());
            let (unit, better) = ("calls for 10", Better::Less);
            rows.push(Row { name, unit, better, cells, target, beside: None });
        };
        for (what, names) in KINDS {
            row(what, Target::AtMost(1.0), &|name| names.contains(&name));
        }
        row("all", Target::Nothing, &|_| true);
    }
    Ok(Some(Section { title: "System calls for 10 datagrams of a flow".to_owned(), rows }))
}

fn value(calls: Option<&Result<Calls, String>>, counts: impl Fn(&str) -> bool) -> Cell {
    match calls {
        None => Cell::Absent,
        Some(Err(_)) => Cell::Fails,
        Some(Ok(calls)) => {
            let counted = calls.iter().filter(|(name, _)| counts(name)).map(|(_, count)| count);
            Cell::Values(vec![counted.sum()])
        }
    }
}

fn count(bench: &mut Bench, place: usize, way: Way) -> Result<Result<Calls, String>> {
    eprintln!("system calls for datagrams: {}", bench.name(place));
    let proxy = match bench.begin(place, Work::UdpCalls.purpose())? {
        Ok(proxy) => proxy,
        Err(reason) => return Ok(Err(reason)),
    };
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("calls");
    let count = bench.sizes.datagrams / TEN;
    let strace = attach(&proxy, &file)?;
    let load = Load::Udp(Udp::flow(way, Manner::Joined, count));
    let done = bench.generator.put(proxy.address, load, WITHIN)?;
    let settled = bench.generator.settle(0)?;
    detach(strace)?;
    let text = fs::read_to_string(&file).context("the output of strace")?;
    Ok(done.and(settled).map(|()| parse(&text, count / TEN)))
}
