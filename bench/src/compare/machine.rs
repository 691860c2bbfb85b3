//! What the numbers were measured with.

use std::fs;

use super::Bench;
use crate::cli::Cli;

/// Versions, machine and manner, one a line.
pub(super) fn about(bench: &Bench, cli: &Cli) -> Vec<String> {
    let mut lines: Vec<String> = bench
        .peers
        .iter()
        .map(|peer| format!("{}: {} ({})", peer.name, peer.version, peer.program.display()))
        .collect();
    lines.push(format!(
        "system: Linux {}, {}",
        first_line("/proc/sys/kernel/osrelease"),
        processor()
    ));
    lines.push(cores(bench, cli));
    let load = first_line("/proc/loadavg");
    lines.push(format!(
        "{} rounds; other load on the machine at the start: {}",
        bench.rounds,
        load.split(' ').next().unwrap_or("unknown")
    ));
    if cli.quick {
        lines.push("a quick run: its numbers mean nothing".to_owned());
    }
    lines
}

fn cores(bench: &Bench, cli: &Cli) -> String {
    let threads = bench.setting.threads;
    match &cli.cores {
        Some(cores) => format!("proxies on the cores {cores} with {threads} threads each"),
        None => {
            format!("proxies, clients and backends share all cores; {threads} threads per proxy")
        }
    }
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    let model = text.lines().find_map(|line| line.strip_prefix("model name"));
    let model = model.map_or("unknown", |model| model.trim_start_matches([' ', '\t', ':']));
    format!("{count} cores of {model}")
}

fn first_line(path: &str) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    text.lines().next().unwrap_or_default().to_owned()
}
