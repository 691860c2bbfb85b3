//! The report as drawings.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use super::{Cell, Curve, Report, Row, Section};
use crate::report::table::number;

/// Refractium, then its peers in their order; told apart without colour vision too (Okabe and Ito, 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(213, 94, 0),
    RGBColor(0, 114, 178),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(128, 128, 128),
];

/// A bar that is longer ends here and has its number beside it.
const LONGEST: f64 = 2.0;

const FONT: &str = "sans-serif";
/// Pixels.
const WIDTH: u32 = 900;
/// Of one curve.
const PANEL: u32 = 450;
const BAR: u32 = 14;
/// A row has two lines of text.
const LEAST: u32 = 28;
const GAP: u32 = 10;
const HEAD: u32 = 70;
const FOOT: u32 = 50;

/// Draws a section as bars in parts of the best peer's value.
pub(crate) fn comparison(report: &Report, section: &Section, file: &Path) -> Result<()> {
    let bars: Vec<Vec<Bar>> = section.rows.iter().map(bars).collect();
    let tall = |bars: &Vec<Bar>| (bars.len() as u32 * BAR).max(LEAST) + GAP;
    let height = HEAD + FOOT + bars.iter().map(tall).sum::<u32>();
    let area = SVGBackend::new(file, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE)?;
    let title = format!("{}, in parts of the best peer's (less is better)", section.title);
    let text = |size: i32| (FONT, size).into_font().color(&BLACK);
    area.draw(&Text::new(title, (20, 14), text(18)))?;
    legend(&area, &report.proxies)?;
    let left = 140;
    let scale = f64::from(WIDTH - 240) / LONGEST;
    let x = |value: f64| left + (value.min(LONGEST) * scale).round() as i32;
    for tick in [0.0, 0.5, 1.0, 1.5, 2.0] {
        let style = if tick == 1.0 {
            BLACK.stroke_width(1)
        } else {
            RGBColor(220, 220, 220).stroke_width(1)
        };
        let bottom = i32::try_from(height - FOOT)?;
        area.draw(&PathElement::new([(x(tick), i32::try_from(HEAD)?), (x(tick), bottom)], style))?;
        area.draw(&Text::new(format!("{tick:.1}"), (x(tick) - 8, bottom + 8), text(12)))?;
    }
    let mut top = i32::try_from(HEAD + GAP / 2)?;
    for (row, bars) in section.rows.iter().zip(&bars) {
        let tall = i32::try_from(tall(bars))?;
        let middle = top + (tall - i32::try_from(GAP)?) / 2 - 7;
        area.draw(&Text::new(row.name.clone(), (16, middle - 7), text(13)))?;
        area.draw(&Text::new(row.unit, (16, middle + 9), text(11)))?;
        for (number, bar) in bars.iter().enumerate() {
            let y = top + i32::try_from(number)? * i32::try_from(BAR)?;
            let right = x(bar.length);
            let corners = [(left, y), (right, y + i32::try_from(BAR)? - 2)];
            area.draw(&Rectangle::new(corners, colour(bar.proxy).filled()))?;
            area.draw(&Text::new(bar.label.clone(), (right + 5, y), text(11)))?;
        }
        top += tall;
    }
    area.present().map_err(|error| anyhow!("{}: {error}", file.display()))
}

/// What is drawn of one proxy in one row.
struct Bar {
    /// Its place among the proxies.
    proxy: usize,
    /// In parts of the best peer's value.
    length: f64,
    label: String,
}

/// A bar for each proxy that was asked.
fn bars(row: &Row) -> Vec<Bar> {
    let best = row.best_peer().and_then(|place| row.cells.get(place)?.spread());
    let value = |cell: &Cell| match (cell, cell.spread(), best) {
        (_, Some(own), Some(best)) => {
            let part = own.median / best.median;
            (part, format!("{part:.2} ({})", number(own.median)))
        }
        (_, Some(own), None) => (0.0, number(own.median)),
        (Cell::Fails, ..) => (0.0, "fails".to_owned()),
        _ => (0.0, "not known".to_owned()),
    };
    let asked = row.cells.iter().enumerate().filter(|(_, cell)| **cell != Cell::Absent);
    asked
        .map(|(proxy, cell)| {
            let (length, label) = value(cell);
            Bar { proxy, length, label }
        })
        .collect()
}

/// Draws curves side by side.
pub(crate) fn scale(curves: &[Curve], file: &Path) -> Result<()> {
    let width = PANEL * u32::try_from(curves.len().max(2))?;
    let area = SVGBackend::new(file, (width, 420)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut proxies: Vec<String> = Vec::new();
    for line in curves.iter().flat_map(|curve| &curve.lines) {
        if !proxies.contains(&line.proxy) {
            proxies.push(line.proxy.clone());
        }
    }
    legend(&area, &proxies)?;
    let (_, below) = area.split_vertically(HEAD);
    for (curve, panel) in curves.iter().zip(below.split_evenly((1, curves.len().max(1)))) {
        draw_curve(curve, &proxies, &panel)?;
    }
    area.present().map_err(|error| anyhow!("{}: {error}", file.display()))
}

fn draw_curve(
    curve: &Curve,
    proxies: &[String],
    panel: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
) -> Result<()> {
    let medians = |line: &super::Line| -> Vec<(f64, f64)> {
        let points = line.points.iter();
        points
            .filter_map(|(at, values)| Some((*at, Cell::Values(values.clone()).spread()?.median)))
            .collect()
    };
    let all: Vec<(f64, f64)> = curve.lines.iter().flat_map(medians).collect();
    let most = |values: &mut dyn Iterator<Item = f64>| values.fold(1.0, f64::max);
    let right = most(&mut all.iter().map(|point| point.0));
    let top = most(&mut all.iter().map(|point| point.1)) * 1.15;
    let mut chart = ChartBuilder::on(panel)
        .caption(&curve.title, (FONT, 15))
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(50)
        .build_cartesian_2d((5.0..right * 1.3).log_scale(), 0.0..top)?;
    chart
        .configure_mesh()
        .x_desc(&curve.over)
        .y_desc(curve.unit)
        .x_label_formatter(&|value| format!("{value:.0}"))
        .light_line_style(WHITE)
        .draw()?;
    for line in &curve.lines {
        let place = proxies.iter().position(|proxy| *proxy == line.proxy).unwrap_or_default();
        let points = medians(line);
        chart.draw_series(LineSeries::new(points.clone(), colour(place).stroke_width(2)))?;
        chart.draw_series(
            points.iter().map(|point| Circle::new(*point, 3, colour(place).filled())),
        )?;
    }
    Ok(())
}

fn legend(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    proxies: &[String],
) -> Result<()> {
    let mut x = 20;
    for (place, name) in proxies.iter().enumerate() {
        area.draw(&Rectangle::new([(x, 42), (x + 12, 54)], colour(place).filled()))?;
        area.draw(&Text::new(name.clone(), (x + 18, 42), (FONT, 13).into_font().color(&BLACK)))?;
        x += 40 + 9 * i32::try_from(name.len())?;
    }
    Ok(())
}

fn colour(place: usize) -> RGBColor {
    COLOURS.get(place % COLOURS.len()).copied().unwrap_or(BLACK)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Better, Line, Target};

    #[test]
    fn drawings_name_every_proxy_and_work() {
        let row = Row {
            name: "connect-http".into(),
            unit: "µs",
            better: Better::Less,
            cells: vec![
                Cell::Values(vec![57.0]),
                Cell::Values(vec![60.0]),
                Cell::Fails,
                Cell::Absent,
            ],
            target: Target::Nothing,
            beside: None,
        };
        assert_eq!(bars(&row).iter().map(|bar| bar.proxy).collect::<Vec<_>>(), [0, 1, 2]);
        let proxies: Vec<String> =
            ["refractium", "haproxy", "sslh-select", "nginx"].map(Into::into).into();
        let report = Report {
            about: Vec::new(),
            proxies: proxies.clone(),
            sections: Vec::new(),
            curves: Vec::new(),
            notes: Vec::new(),
        };
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("comparison.svg");
        let section = Section { title: "Processor time".into(), rows: vec![row] };
        comparison(&report, &section, &file).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        for word in ["connect-http", "refractium", "haproxy", "0.95", "fails"] {
            assert!(text.contains(word), "{word}");
        }
        let lines = proxies
            .into_iter()
            .map(|proxy| Line { proxy, points: vec![(10.0, vec![50.0]), (1000.0, vec![60.0])] });
        let curve = Curve {
            title: "Open".into(),
            over: "connections".into(),
            unit: "µs",
            lines: lines.collect(),
        };
        let file = folder.path().join("scale.svg");
        scale(&[curve], &file).unwrap();
        assert!(std::fs::read_to_string(&file).unwrap().contains("1000"));
    }
}
