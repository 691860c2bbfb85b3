//! The report as Markdown.

use std::fmt::Write;

use super::{Cell, Curve, Report, Row, Section, Target, Verdict};
use crate::stats::Spread;

/// The whole report.
pub(crate) fn markdown(report: &Report) -> String {
    let mut text = String::new();
    for line in &report.about {
        push(&mut text, format_args!("- {line}\n"));
    }
    for section in &report.sections {
        push(&mut text, format_args!("\n## {}\n\n", section.title));
        table(&mut text, section, &report.proxies);
    }
    for curve in &report.curves {
        push(&mut text, format_args!("\n## {}\n\n", curve.title));
        curve_table(&mut text, curve);
    }
    if !report.notes.is_empty() {
        push(&mut text, format_args!("\n## Notes\n\n"));
    }
    for note in &report.notes {
        push(&mut text, format_args!("- {note}\n"));
    }
    text
}

fn table(text: &mut String, section: &Section, proxies: &[String]) {
    let judged = section.rows.iter().any(|row| row.target != Target::Nothing);
    let mut head = vec!["".to_owned(), "unit".to_owned()];
    head.extend_from_slice(proxies);
    if judged {
        head.extend(["ratio to the best peer", "target", ""].map(str::to_owned));
    }
    let mut lines = vec![head];
    for row in &section.rows {
        let mut line = vec![row.name.clone(), row.unit.to_owned()];
        line.extend(row.cells.iter().map(cell));
        if judged {
            let ratio = ratio(row, proxies).unwrap_or_default();
            line.extend([ratio, target(row), verdict(row.verdict()).to_owned()]);
        }
        lines.push(line);
    }
    aligned(text, &lines);
}

fn curve_table(text: &mut String, curve: &Curve) {
    let mut head = vec![format!("{}, {}", curve.over, curve.unit)];
    head.extend(curve.lines.iter().map(|line| line.proxy.clone()));
    let mut places: Vec<f64> =
        curve.lines.iter().flat_map(|line| line.points.iter().map(|(place, _)| *place)).collect();
    places.sort_by(f64::total_cmp);
    places.dedup();
    let mut lines = vec![head];
    for place in places {
        let mut line = vec![format!("{place}")];
        for curve_line in &curve.lines {
            let found = curve_line.points.iter().find(|(at, _)| *at == place);
            let values = found.map_or(Cell::Fails, |(_, values)| Cell::Values(values.clone()));
            line.push(cell(&values));
        }
        lines.push(line);
    }
    aligned(text, &lines);
}

/// Writes a table whose columns are as wide as their widest field, so that it reads without being rendered too.
fn aligned(text: &mut String, lines: &[Vec<String>]) {
    let columns = lines.iter().map(Vec::len).max().unwrap_or_default();
    let width = |column: usize| {
        let fields = lines.iter().filter_map(|line| line.get(column));
        fields.map(|field| field.chars().count()).max().unwrap_or_default().max(3)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (number, line) in lines.iter().enumerate() {
        for (field, width) in line.iter().zip(&widths) {
            push(text, format_args!("| {field:width$} "));
        }
        text.push_str("|\n");
        if number == 0 {
            widths.iter().for_each(|width| push(text, format_args!("|{:-<1$}", "", width + 2)));
            text.push_str("|\n");
        }
    }
}

fn cell(cell: &Cell) -> String {
    match cell {
        Cell::Fails => "fails".to_owned(),
        Cell::Absent => "–".to_owned(),
        Cell::Passes => "passes".to_owned(),
        Cell::Unknown => "?".to_owned(),
        Cell::Values(_) => cell.spread().map(|values| spread(&values)).unwrap_or_default(),
    }
}

/// `0.95 (0.90–1.00) haproxy`
fn ratio(row: &Row, proxies: &[String]) -> Option<String> {
    Some(format!("{} {}", spread(&row.ratio()?), proxies.get(row.best_peer()?)?))
}

/// `12.3 (11.9–14.0)`; without the parenthesis where there is but one value.
fn spread(spread: &Spread) -> String {
    let median = number(spread.median);
    if spread.least == spread.most {
        return median;
    }
    format!("{median} ({}–{})", number(spread.least), number(spread.most))
}

/// Three digits that count.
pub(super) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

fn target(row: &Row) -> String {
    match row.target {
        Target::Nothing => String::new(),
        Target::RatioAtMost { aim, limit } if aim == limit => format!("ratio ≤ {aim}"),
        Target::RatioAtMost { aim, limit } => format!("ratio ≤ {aim}, never > {limit}"),
        Target::RatioAtLeast(least) => format!("ratio ≥ {least}"),
        Target::AtMost(most) => format!("≤ {most}"),
        Target::Pass => "passes".to_owned(),
    }
}

fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::NotAsked => "",
        Verdict::Met => "met",
        Verdict::Within => "within",
        Verdict::Missed => "missed",
    }
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _ = text.write_fmt(arguments);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Better, Line};

    #[test]
    fn the_table_shows_values_spread_ratio_and_verdict() {
        let row = Row {
            name: "connect-http".into(),
            unit: "µs",
            better: Better::Less,
            cells: vec![
                Cell::Values(vec![60.0, 54.0, 57.0]),
                Cell::Values(vec![60.0, 60.0, 60.0]),
                Cell::Fails,
            ],
            target: Target::RatioAtMost { aim: 0.95, limit: 1.0 },
            beside: None,
        };
        let report = Report {
            about: vec!["refractium 0.1.0".into()],
            proxies: vec!["refractium".into(), "haproxy".into(), "sslh-select".into()],
            sections: vec![Section { title: "Processor time".into(), rows: vec![row] }],
            curves: vec![Curve {
                title: "Scale".into(),
                over: "open".into(),
                unit: "µs",
                lines: vec![Line { proxy: "refractium".into(), points: vec![(10.0, vec![50.0])] }],
            }],
            notes: vec!["sslh-select fails connect-http".into()],
        };
        let expected = "\
- refractium 0.1.0

## Processor time

|              | unit | refractium       | haproxy | sslh-select | ratio to the best peer   | target                  |     |
|--------------|------|------------------|---------|-------------|--------------------------|-------------------------|-----|
| connect-http | µs   | 57.0 (54.0–60.0) | 60.0    | fails       | 0.95 (0.90–1.00) haproxy | ratio ≤ 0.95, never > 1 | met |

## Scale

| open, µs | refractium |
|----------|------------|
| 10       | 50.0       |

## Notes

- sslh-select fails connect-http
";
        assert_eq!(markdown(&report), expected);
    }

    #[test]
    fn numbers_have_three_digits() {
        let shown = [1234.5, 99.96, 12.34, 1.234, 0.5].map(number);
        assert_eq!(shown, ["1234", "100.0", "12.3", "1.23", "0.50"]);
    }
}
