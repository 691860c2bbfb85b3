//! How long one decision takes: the opening in, the route out, through `dyn` protocols and the real table.
//!
//! `cargo bench` prints a table; `docs/identification.md` says what is in it. With `--count ROW` every opening of one row is
//! decided once, inside `counted`: what `benches/instructions` has valgrind count.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    missing_docs,
    reason = "a bench is no part of the product: what goes wrong here should end it"
)]

#[allow(dead_code, reason = "the tests change more of a hello")]
#[path = "../crates/protocol/tests/common/hello.rs"]
mod hello;
#[path = "identify/rows.rs"]
mod rows;
#[path = "../crates/protocol/tests/common/words.rs"]
mod words;

use std::hint::black_box;
use std::time::{Duration, Instant};

use criterion::Criterion;
use refractium::Table;
use refractium::protocol::{Opening, Scratch};

use rows::Row;
use words::Words;

/// Decisions between two looks at the clock.
const PASS: usize = 2_048;
const SAMPLES: usize = 50;
const NAMES: [usize; 5] = [1, 10, 100, 1_000, 10_000];

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    if let Some(at) = arguments.iter().position(|argument| argument == "--count") {
        return count(arguments.get(at + 1).map(String::as_str));
    }
    let mut criterion = Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let table = rows::table();
    let mut lines = Vec::new();
    for row in rows::rows() {
        let samples = measure(&mut criterion, row.name, &table, &row, Order::Drawn);
        lines.push((row.name.to_owned(), row.target, samples));
    }
    for count in NAMES {
        let (table, row) = (rows::table_of_names(count), rows::hellos(count));
        let name = format!("TLS, {count} names");
        let samples = measure(&mut criterion, &name, &table, &row, Order::AsTheyCome);
        lines.push((name, None, samples));
    }
    let (table, row) = rows::longest_name();
    let name = "TLS, 127 labels";
    let samples = measure(&mut criterion, name, &table, &row, Order::Drawn);
    lines.push((name.to_owned(), None, samples));
    print(&lines);
    criterion.final_summary();
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    /// Another draw for every pass.
    Drawn,
    /// One behind the other in memory, as many as there are.
    AsTheyCome,
}

/// Nanoseconds per decision, one for every sample of criterion's.
fn measure(
    criterion: &mut Criterion,
    name: &str,
    table: &Table,
    row: &Row,
    order: Order,
) -> Vec<f64> {
    let (mut words, mut scratch) = (Words::new(1), Box::new(Scratch::new()));
    let mut openings: Vec<_> = row.samples().map(|sample| sample.opening()).collect();
    if order == Order::Drawn {
        openings.resize(PASS, openings[0]);
    }
    let mut samples = Vec::new();
    criterion.bench_function(name, |bencher| {
        bencher.iter_custom(|passes| {
            let mut taken: Vec<Duration> = Vec::new();
            for _ in 0..passes {
                if order == Order::Drawn {
                    row.draw(&mut words, &mut openings);
                }
                let start = Instant::now();
                pass(table, &openings, &mut scratch);
                taken.push(start.elapsed());
            }
            // The median, because others run on these cores: a pass is short enough to be left alone.
            taken.sort_unstable();
            let one = taken[taken.len() / 2].as_nanos() as f64 / openings.len() as f64;
            samples.push(one);
            Duration::from_nanos(1).mul_f64(one * passes as f64)
        });
    });
    // Those before were warming up.
    samples.split_off(samples.len().saturating_sub(SAMPLES))
}

fn pass(table: &Table, openings: &[Opening<'_>], scratch: &mut Scratch) {
    for opening in openings {
        black_box(table.decide(black_box(opening), scratch));
    }
}

fn print(lines: &[(String, Option<f64>, Vec<f64>)]) {
    println!("\n{:26} {:>6} {:>7}   {:>13}", "ns per decision", "target", "median", "p10 .. p90");
    for (name, target, samples) in lines {
        let mut sorted = samples.clone();
        sorted.sort_by(f64::total_cmp);
        // A filter on the command line leaves rows out.
        let Some(at) = sorted.len().checked_sub(1) else { continue };
        let [low, median, high] = [at / 10, at / 2, at * 9 / 10].map(|at| sorted[at]);
        let aimed = target.map(|target| target.to_string()).unwrap_or_default();
        let met = target.map(|target| if median <= target { "met" } else { "missed" });
        let met = met.unwrap_or_default();
        println!("{name:26} {aimed:>6} {median:>7.1}   {low:>5.1} .. {high:<5.1} {met}");
    }
}

/// Decides every opening of a row once, or names all rows.
fn count(name: Option<&str>) {
    let (rows, table) = (rows::rows(), rows::table());
    let Some(name) = name else {
        return rows.iter().for_each(|row| println!("{}", row.name));
    };
    let row = rows.iter().find(|row| row.name == name).expect("the name of a row");
    let mut scratch = Box::new(Scratch::new());
    for sample in row.samples() {
        counted(&table, &sample.opening(), &mut scratch);
    }
    println!("{}", row.samples().count());
}

/// Never inlined, so that valgrind finds it.
#[inline(never)]
fn counted(table: &Table, opening: &Opening<'_>, scratch: &mut Scratch) {
    black_box(table.decide(black_box(opening), scratch));
}
