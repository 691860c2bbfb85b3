//! docs/configuration.md, held against the code.

use std::collections::BTreeMap;

use super::keys::{DAY, HEALTH, NUMBERS, ROUTE_NUMBERS, TARGET, route_keys};
use super::*;
use crate::balance::Balance;
use crate::check::{Check, CheckKind};

const REFERENCE: &str = include_str!("../../docs/configuration.md");

/// A row: its default and what it may be.
type Rows = BTreeMap<String, (String, String)>;

/// The rows of the section with this head.
fn rows(head: &str) -> Rows {
    let section = REFERENCE.split("\n## ").find(|it| it.lines().next() == Some(head));
    let section = section.unwrap_or_else(|| panic!("docs/configuration.md has no {head}"));
    let lines = section.lines().filter(|line| line.starts_with("| `"));
    let row = |line: &str| {
        let cells: Vec<_> = line.split(" | ").map(|it| it.trim_matches(['|', ' '])).collect();
        let [key, default, may_be, meaning] = cells[..] else { panic!("four cells: {line}") };
        assert!(!meaning.is_empty(), "{line}");
        (key.replace('`', ""), (default.replace('`', ""), may_be.to_owned()))
    };
    let rows: Vec<_> = lines.map(row).collect();
    let count = rows.len();
    let rows: Rows = rows.into_iter().collect();
    assert_eq!(rows.len(), count, "a key stands twice in {head}");
    rows
}

fn assert_keys<'k>(head: &str, known: impl Iterator<Item = &'k str>) -> Rows {
    let rows = rows(head);
    let mut known: Vec<_> = known.collect();
    known.sort_unstable();
    let said: Vec<_> = rows.keys().map(String::as_str).collect();
    assert_eq!(said, known, "the keys that docs/configuration.md has of {head}, and the program's");
    rows
}

fn assert_bounds(rows: &Rows, key: &str, least: u64, most: u64) {
    let most = if most == DAY { "a day".to_owned() } else { most.to_string() };
    let may_be = rows.get(key).map(|(_, may_be)| may_be.as_str());
    assert_eq!(may_be, Some(&*format!("{least} to {most}")), "what `{key}` may be");
}

fn assert_words(rows: &Rows, key: &str, words: &[&str]) {
    let words: Vec<_> = words.iter().map(|word| format!("`\"{word}\"`")).collect();
    assert_eq!(rows.get(key).map(|(_, may_be)| may_be.as_str()), Some(&*words.join(", ")));
}

#[test]
fn every_setting_is_in_the_reference_with_its_default() {
    let route = "[[protocols]]\nname = \"app\"\npatterns = \"a\"\nforward_to = \"a:1\"\n";
    let config = parse(Some((Path::new("a"), route)), &Overrides::default()).expect("sound");
    for (head, prefix) in [("`[server]`", ""), ("`[log]`", "log."), ("`[admin]`", "admin.")] {
        let of_head = |it: &&Setting| match it.name.split_once('.') {
            Some(_) => !prefix.is_empty() && it.name.starts_with(prefix),
            None => prefix.is_empty(),
        };
        let settings: Vec<_> = config.settings.iter().filter(of_head).collect();
        let key = |it: &Setting| it.name.trim_start_matches(prefix);
        let rows = assert_keys(head, settings.iter().map(|it| key(it)));
        for setting in settings {
            // What is said in brackets beside a value is no part of it.
            let default = setting.value.split(" (").next();
            assert_eq!(rows.get(key(setting)).map(|it| it.0.as_str()), default, "{}", setting.name);
        }
    }
    let server = rows("`[server]`");
    for number in NUMBERS {
        assert_bounds(&server, number.name, number.least, number.most);
    }
    // And no table is left out.
    let tables = REFERENCE.lines().filter_map(|line| line.strip_prefix("## `[")?.split(']').next());
    let mut tables: Vec<_> = tables.map(|it| it.trim_start_matches('[')).collect();
    tables.retain(|it| *it != "protocols.health");
    tables.sort_unstable();
    let mut known = super::file::TABLES.to_vec();
    known.sort_unstable();
    assert_eq!(tables, known);
}

#[test]
fn every_key_of_a_route_is_in_the_reference() {
    let rows = assert_keys("`[[protocols]]`", route_keys());
    for number in ROUTE_NUMBERS {
        assert_bounds(&rows, number.name, number.least, number.most);
    }
    assert_words(&rows, "balance", &Balance::ALL.map(Balance::word));
    assert_keys("A backend", TARGET.iter().copied());
}

#[test]
fn every_key_of_a_check_is_in_the_reference_with_its_default() {
    let rows = assert_keys("`[protocols.health]`", HEALTH.iter().copied());
    assert_words(&rows, "kind", &CheckKind::WORDS);
    let usual = Check::default();
    for (key, value) in [
        ("interval_ms", usual.interval.as_millis()),
        ("timeout_ms", usual.timeout.as_millis()),
        ("slow_start_ms", usual.slow_start.as_millis()),
        ("rise", usual.rise.into()),
        ("fall", usual.fall.into()),
    ] {
        assert_eq!(rows.get(key).map(|it| it.0.as_str()), Some(&*value.to_string()), "{key}");
    }
}
