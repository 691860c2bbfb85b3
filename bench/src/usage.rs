//! What processes use: processor time, memory, descriptors; read from /proc.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

use anyhow::{Context, Result};

/// One process; the time it was started tells it from a later one with the same number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    started: u64,
}

/// Fields of /proc/PID/stat, see proc_pid_stat(5); times in clock ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stat {
    /// It is a zombie.
    ended: bool,
    parent: i32,
    own: u64,
    /// Of children that ended and were waited for, with theirs.
    ended_children: u64,
    started: u64,
}

/// What a proxy uses in all its processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Footprint {
    /// Proportional set size: shared pages are divided among those who share them.
    pub(crate) bytes: u64,
    pub(crate) descriptors: u64,
    pub(crate) processes: u64,
}

impl Process {
    /// The process of this number, if there is one.
    pub(crate) fn find(pid: i32) -> Option<Self> {
        Some(Self { pid, started: stat(pid)?.started })
    }

    /// Whether it runs; one that has ended and was not waited for does not.
    pub(crate) fn lives(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.started == self.started && !stat.ended)
    }

    /// This process and all that descend from it.
    pub(crate) fn tree(self) -> Vec<Self> {
        let mut children: HashMap<i32, Vec<Self>> = HashMap::new();
        for pid in every_pid() {
            if let Some(stat) = stat(pid) {
                children.entry(stat.parent).or_default().push(Self { pid, started: stat.started });
            }
        }
        let mut tree = vec![self];
        let mut next = 0;
        while let Some(process) = tree.get(next) {
            tree.extend(children.remove(&process.pid).unwrap_or_default());
            next += 1;
        }
        tree
    }
}

/// Processor time used so far by a process, its threads, its descendants and its children that ended.
///
/// Living threads are exact to the nanosecond; what has ended is known in clock ticks of 10 ms, rounded once per
/// process that waited for it and not once per child.
pub(crate) fn processor_time(root: Process) -> Result<Duration> {
    root.tree().into_iter().map(|process| one(process.pid)).sum::<Option<Duration>>().with_context(
        || format!("the processor time of process {} cannot be read: it has ended", root.pid),
    )
}

fn one(pid: i32) -> Option<Duration> {
    let tick = Duration::from_secs(1) / u32::try_from(ticks_per_second()).ok()?;
    let ticks = |count: u64| tick * u32::try_from(count).unwrap_or(u32::MAX);
    let stat = stat(pid)?;
    // The sum over the threads misses those that have ended; the ticks do not.
    let threads = threads(pid)?;
    Some(threads.max(ticks(stat.own)) + ticks(stat.ended_children))
}

fn threads(pid: i32) -> Option<Duration> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let times = tasks.flatten().filter_map(|task| {
        // A thread may end between the listing and here.
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        parse_schedstat(&text)
    });
    Some(times.sum())
}

/// Memory and descriptors of a process and its descendants.
pub(crate) fn footprint(root: Process) -> Footprint {
    let mut sum = Footprint::default();
    for Process { pid, .. } in root.tree() {
        let memory = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        sum.bytes += parse_pss(&memory).unwrap_or_default();
        sum.descriptors +=
            fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count) as u64;
        sum.processes += 1;
    }
    sum
}

fn every_pid() -> impl Iterator<Item = i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

fn stat(pid: i32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

fn ticks_per_second() -> u64 {
    rustix::param::clock_ticks_per_second().max(1)
}

/// The first field: nanoseconds on a processor.
fn parse_schedstat(text: &str) -> Option<Duration> {
    text.split_whitespace().next()?.parse().ok().map(Duration::from_nanos)
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name may contain blanks and parentheses: what follows the last one counts. Its first field is the third.
    let (_, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
    Some(Stat {
        ended: matches!(fields.first(), Some(&"Z" | &"X")),
        parent: i32::try_from(field(4)?).ok()?,
        own: field(14)? + field(15)?,
        ended_children: field(16)? + field(17)?,
        started: field(22)?,
    })
}

fn parse_pss(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schedstat_starts_with_the_time_on_a_processor() {
        let time = parse_schedstat("1234567 89 3\n");
        assert_eq!(time, Some(Duration::from_nanos(1_234_567)));
        assert_eq!(parse_schedstat(""), None);
    }

    #[test]
    fn a_name_with_parentheses_does_not_move_the_fields() {
        let text = "42 (a (b) c) S 7 42 42 0 -1 4194304 1 2 3 4 10 5 20 6 20 0 1 0 9876 1 2";
        let stat = Stat { ended: false, parent: 7, own: 15, ended_children: 26, started: 9876 };
        assert_eq!(parse_stat(text), Some(stat));
    }

    #[test]
    fn proportional_memory_is_read_in_bytes() {
        let text = "55d0-7ffc ---p 00000000 00:00 0 [rollup]\nRss:  900 kB\nPss:    512 kB\nPss_Dirty: 4 kB\n";
        assert_eq!(parse_pss(text), Some(512 * 1024));
    }

    #[test]
    fn own_use_is_seen() {
        let own = Process::find(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(own.lives());
        assert!(own.tree().contains(&own));
        let before = processor_time(own).unwrap();
        let mut sum = 0_u64;
        while processor_time(own).unwrap() < before + Duration::from_millis(20) {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
        let footprint = footprint(own);
        assert!(footprint.bytes > 0 && footprint.descriptors > 0 && footprint.processes > 0);
    }
}
