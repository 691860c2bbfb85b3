//! System calls per connection, as strace counts them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use super::{Bench, rounds};
use crate::children::{self, Place, Running};
use crate::order::{Kind, Load};
use crate::peer::{Proxy, Purpose};
use crate::report::{Better, Cell, Row, Section, Target};
use crate::sample::WITHIN;
use crate::usage::Process;
use crate::work::Work;

/// One after the other: what a proxy does for one connection, shared with no other.
const CONNECTIONS: u64 = 200;

/// How long strace may take to begin and to end.
const PATIENCE: Duration = Duration::from_secs(5);

const KINDS: [(Work, Kind); 4] = [
    (Work::ConnectHttp, Kind::Http),
    (Work::ConnectTls, Kind::Tls),
    (Work::ConnectTlsPq, Kind::TlsBig),
    (Work::ConnectSsh, Kind::Ssh),
];

/// Calls per unit by their names.
pub(super) type Calls = BTreeMap<String, f64>;

/// The sum for each kind of connection, then the calls by name for the first kind.
///
/// Refractium is compared with the peer that needs the least processor time for this kind: a `fork` is one call too.
/// Who loses such connections in the timed run has no price for them here either.
pub(super) fn measure(bench: &mut Bench, timed: &[Section]) -> Result<Vec<Section>> {
    if Command::new("strace").arg("-V").output().is_err() {
        bench.notes.push("strace is not installed: system calls were not counted".to_owned());
        return Ok(Vec::new());
    }
    let mut found: Vec<Vec<Result<Calls, String>>> = vec![Vec::new(); KINDS.len()];
    for place in 0..bench.peers.len() {
        eprintln!("system calls: {}", bench.name(place));
        let mut proxy = bench.start(place, Purpose::Traffic)?;
        for ((work, kind), found) in KINDS.into_iter().zip(&mut found) {
            if bench.has_failed(place, work) {
                found.push(Err("the timed run failed".to_owned()));
                continue;
            }
            let counted = count(bench, &proxy, kind)?;
            if let Err(reason) = &counted {
                bench.note_failure(place, Work::Calls, reason);
                proxy = bench.start(place, Purpose::Traffic)?;
            }
            found.push(counted);
        }
    }
    let rows = KINDS.iter().zip(&found).map(|((work, _), found)| Row {
        name: work.name(),
        unit: "calls",
        better: Better::Less,
        cells: found.iter().map(|calls| value(calls, |calls| calls.values().sum())).collect(),
        target: Target::RatioAtMost { aim: 1.0, limit: 1.0 },
        beside: rounds::best_peer(timed, *work),
    });
    let sums = Section { title: "System calls per connection".to_owned(), rows: rows.collect() };
    let names = found.first().map(|found| by_name(found)).unwrap_or_default();
    let names = Section { title: "System calls of connect-http by name".to_owned(), rows: names };
    Ok(vec![sums, names])
}

fn by_name(found: &[Result<Calls, String>]) -> Vec<Row> {
    let mut names: Vec<&String> = found.iter().flatten().flat_map(Calls::keys).collect();
    names.sort_unstable();
    names.dedup();
    let row = |name: &String| Row {
        name: name.clone(),
        unit: "calls",
        better: Better::Less,
        cells: found
            .iter()
            .map(|calls| value(calls, |calls| calls.get(name).copied().unwrap_or_default()))
            .collect(),
        target: Target::Nothing,
        beside: None,
    };
    names.into_iter().map(row).collect()
}

fn value(calls: &Result<Calls, String>, value: impl Fn(&Calls) -> f64) -> Cell {
    calls.as_ref().map_or(Cell::Fails, |calls| Cell::Values(vec![value(calls)]))
}

fn count(bench: &mut Bench, proxy: &Proxy, kind: Kind) -> Result<Result<Calls, String>> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("calls");
    let strace = attach(proxy, &file)?;
    let load = Load::Connect { kind, count: CONNECTIONS, at_once: 1 };
    let done = bench.generator.put(proxy.address, load, WITHIN)?;
    let settled = bench.generator.settle(0)?;
    detach(strace)?;
    let text = fs::read_to_string(&file).context("the output of strace")?;
    Ok(done.and(settled).map(|()| parse(&text, CONNECTIONS)))
}

/// Starts strace on all processes of a proxy, and waits until it has every thread.
pub(super) fn attach(proxy: &Proxy, file: &Path) -> Result<Running> {
    let tree = proxy.running.process.tree();
    let mut program: Vec<OsString> = ["strace", "-f", "-c", "-q", "-o"].map(OsString::from).into();
    program.push(file.into());
    for process in &tree {
        program.extend(["-p".into(), process.pid.to_string().into()]);
    }
    let mut strace = children::start(Place::default(), &program, |_| {})?;
    let deadline = Instant::now() + PATIENCE;
    while !tree.iter().all(|process| is_traced(*process)) {
        if !strace.lives() || Instant::now() > deadline {
            bail!("strace cannot watch {}", proxy.running.process.pid);
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(strace)
}

/// Lets go of the proxy, and waits until strace has written what it counted.
pub(super) fn detach(mut strace: Running) -> Result<()> {
    children::send(strace.process, Signal::TERM);
    let deadline = Instant::now() + PATIENCE;
    while strace.lives() {
        if Instant::now() > deadline {
            bail!("strace does not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn is_traced(process: Process) -> bool {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid)).into_iter().flatten().flatten();
    tasks.filter_map(|task| fs::read_to_string(task.path().join("status")).ok()).all(|status| {
        let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:"));
        tracer.is_some_and(|tracer| tracer.trim() != "0")
    })
}

/// Reads the table of `strace -c`: share, seconds, microseconds per call, calls, errors if any, name.
pub(super) fn parse(text: &str, units: u64) -> Calls {
    let rows = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let calls: u64 = fields.get(3)?.parse().ok()?;
        let name = fields.last().filter(|name| **name != "total")?;
        Some(((*name).to_owned(), calls as f64 / units as f64))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_strace_is_read() {
        let text = "\
% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 50.00    0.002000           5       400           recvfrom
 50.00    0.002000           5       200        10 accept4
------ ----------- ----------- --------- --------- ----------------
100.00    0.004000           5       600        10 total
";
        let expected = [("accept4".to_owned(), 1.0), ("recvfrom".to_owned(), 2.0)];
        assert_eq!(parse(text, 200), Calls::from(expected));
    }
}
