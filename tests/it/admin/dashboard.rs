//! The dashboard in `packaging/grafana`: everything that it asks for is there, and asked as Prometheus wants it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::{Value as Json, json};

use super::{ADMIN, admin_of, get, status_with};
use crate::harness::udp::{Backend as UdpBackend, Client};
use crate::harness::{Backend, Proxy, ask, need, route, run_command};

fn dashboard() -> Json {
    let text = include_str!("../../../packaging/grafana/refractium.json");
    serde_json::from_str(text).expect("JSON")
}

/// What it asks for: the expressions of panels, annotations and variables.
fn expressions(dashboard: &Json) -> Vec<(String, String)> {
    let list = |of: &Json| of.as_array().cloned().unwrap_or_default();
    let text = |of: &Json| of.as_str().unwrap_or_default().to_owned();
    let mut all = Vec::new();
    for panel in list(&dashboard["panels"]) {
        for target in list(&panel["targets"]) {
            all.push((text(&target["expr"]), text(&target["legendFormat"])));
        }
    }
    for note in list(&dashboard["annotations"]["list"]) {
        all.push((text(&note["expr"]), text(&note["titleFormat"]) + &text(&note["textFormat"])));
    }
    let variables = list(&dashboard["templating"]["list"]).into_iter();
    let queries = variables.filter(|it| it["type"] == "query").map(|it| text(&it["definition"]));
    let inner = |query: String| {
        let inner = query.strip_prefix("label_values(")?.strip_suffix(')')?;
        let (metric, label) = inner.rsplit_once(", ")?;
        Some((metric.to_owned(), format!("{{{{{label}}}}}")))
    };
    all.extend(queries.map(|it| inner(it).expect("label_values")));
    all
}

/// Every series by its name, and the labels it has.
fn series(metrics: &str) -> BTreeMap<&str, BTreeSet<&str>> {
    let mut all: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
    for line in metrics.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let (name, labels) = line.split_once('{').unwrap_or((line, ""));
        let name = name.split(' ').next().expect("a name");
        let labels = labels.split(['{', ',']).filter_map(|it| Some(it.split_once("=\"")?.0));
        all.entry(name).or_default().extend(labels);
    }
    all
}

fn is_of_word(it: char) -> bool {
    it.is_ascii_alphanumeric() || it == '_'
}

/// The metrics in an expression.
fn metrics_in(expression: &str) -> BTreeSet<&str> {
    let words = expression.split(|it| !is_of_word(it));
    words.filter(|it| it.starts_with("refractium_") || it.starts_with("process_")).collect()
}

/// The labels that an expression or what is written beside it speaks of.
fn labels_in<'t>(expression: &'t str, beside: &'t str) -> BTreeSet<&'t str> {
    let by = expression.split("by (").skip(1).filter_map(|it| it.split(')').next());
    let by = by.flat_map(|it| it.split(", "));
    let chosen = expression.split('{').skip(1).filter_map(|it| it.split('}').next());
    let chosen = chosen.flat_map(|it| it.split(", ")).filter_map(|it| it.split(['=', '!']).next());
    let shown = beside.split("{{").skip(1).filter_map(|it| it.split("}}").next());
    by.chain(chosen).chain(shown).filter(|it| it.chars().all(is_of_word)).collect()
}

#[test]
fn everything_it_asks_for_is_there() {
    let (web, game) = (Backend::echo("web"), UdpBackend::echo("game"));
    let more = "patterns = \"GAME\"\ntransport = \"udp\"\nresponses = 1";
    let routes = [ADMIN, &route("http", "", web.address()), &route("game", more, game.address())];
    let proxy = Proxy::start(&routes.concat());
    let admin = admin_of(&proxy);
    ask(proxy.address(), b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n");
    ask(proxy.address(), b"\0nobody's");
    Client::of(proxy.address()).reaches("game", b"GAME 1");
    status_with(admin, "all of it", |it| {
        it.connections.refused.contains_key("no_route").then_some(())
    });
    let metrics = get(admin, "/metrics").whole();
    let series = series(&metrics);
    let dashboard = dashboard();
    let expressions = expressions(&dashboard);
    assert!(expressions.len() > 30, "{}", expressions.len());
    let mut seen = BTreeSet::new();
    for (expression, beside) in &expressions {
        let asked = metrics_in(expression);
        assert!(!asked.is_empty(), "{expression}");
        // Prometheus gives the one to everything; the other is gone once a quantile is told.
        let mut known = BTreeSet::from(["instance", "le"]);
        for metric in &asked {
            let labels = series.get(metric).unwrap_or_else(|| panic!("no {metric}: {expression}"));
            known.extend(labels);
        }
        let spoken = labels_in(expression, beside);
        assert!(spoken.is_subset(&known), "{spoken:?} of {known:?}: {expression}");
        seen.extend(asked);
    }
    // What is counted and shown nowhere has been forgotten.
    let without_parts = |name: &&str| !name.ends_with("_sum") && !name.ends_with("_count");
    let shown: BTreeSet<_> = series.keys().copied().filter(without_parts).collect();
    assert_eq!(shown.difference(&seen).collect::<Vec<_>>(), Vec::<&&str>::new());
}

/// Panels have numbers of their own and do not lie upon each other.
#[test]
fn its_panels_have_places() {
    let dashboard = dashboard();
    let panels = dashboard["panels"].as_array().expect("panels").clone();
    let mut taken = BTreeSet::new();
    let mut numbers = BTreeSet::new();
    for panel in &panels {
        assert!(numbers.insert(panel["id"].as_u64().expect("a number")), "{panel}");
        let place = |key: &str| panel["gridPos"][key].as_u64().expect("a place");
        for x in place("x")..place("x") + place("w") {
            for y in place("y")..place("y") + place("h") {
                assert!(x < 24 && taken.insert((x, y)), "{panel}");
            }
        }
    }
    assert_eq!(dashboard["uid"], json!("refractium"));
}

#[test]
fn prometheus_understands_what_it_asks() {
    if !need(&["promtool"]) {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let rules = expressions(&dashboard()).into_iter().enumerate().map(|(at, (expression, _))| {
        let filled = expression.replace("$__rate_interval", "1m").replace("$instance", ".*");
        json!({"record": format!("rule:{at}"), "expr": filled.replace("$route", ".*")})
    });
    let rules = rules.collect::<Vec<_>>();
    let count = rules.len();
    let rules = json!({"groups": [{"name": "dashboard", "rules": rules}]});
    let file = folder.path().join("rules.yml");
    std::fs::write(&file, rules.to_string()).expect("a file");
    let mut command = Command::new("promtool");
    command.args(["check", "rules"]).arg(&file);
    let (code, stdout, stderr) = run_command(command);
    assert_eq!(code, 0, "{stdout}{stderr}");
    assert!(stdout.contains(&format!("{count} rules found")), "{stdout}");
}
