//! What the comparison found, and how it is judged.

mod draw;
mod table;

use serde::Serialize;

use crate::stats::Spread;

pub(crate) use draw::{comparison, scale};
pub(crate) use table::markdown;

/// Everything that is printed and drawn. The first proxy is Refractium; the others are its peers.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Versions, machine, how it was measured.
    pub(crate) about: Vec<String>,
    pub(crate) proxies: Vec<String>,
    pub(crate) sections: Vec<Section>,
    pub(crate) curves: Vec<Curve>,
    /// What failed and why, and what was left out.
    pub(crate) notes: Vec<String>,
}

/// One table.
#[derive(Debug, Serialize)]
pub(crate) struct Section {
    pub(crate) title: String,
    pub(crate) rows: Vec<Row>,
}

/// One measure of one work.
#[derive(Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    /// One for each proxy, in the report's order.
    pub(crate) cells: Vec<Cell>,
    pub(crate) target: Target,
    /// The peer to compare with, if it is not to be the best of this very row.
    pub(crate) beside: Option<usize>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) enum Cell {
    /// One value for each round.
    Values(Vec<f64>),
    /// It cannot do this; the notes say how that showed.
    Fails,
    /// It was not asked: it does not say that it can.
    Absent,
    Passes,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) enum Better {
    Less,
    More,
}

/// What is aimed at.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) enum Target {
    /// It is shown, and nothing is aimed at.
    Nothing,
    /// The ratio to the best peer is to be at most `aim`, and never above `limit`.
    RatioAtMost { aim: f64, limit: f64 },
    /// The ratio to the best peer is to be at least this.
    RatioAtLeast(f64),
    /// Refractium's own value is to be at most this.
    AtMost(f64),
    /// It is to pass.
    Pass,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    NotAsked,
    Met,
    /// Short of the aim, but within the limit.
    Within,
    Missed,
}

/// Values over something that grows, a line for each proxy.
#[derive(Debug, Serialize)]
pub(crate) struct Curve {
    pub(crate) title: String,
    pub(crate) over: String,
    pub(crate) unit: &'static str,
    pub(crate) lines: Vec<Line>,
}

#[derive(Debug, Serialize)]
pub(crate) struct Line {
    pub(crate) proxy: String,
    /// Where, and the values there, one for each round.
    pub(crate) points: Vec<(f64, Vec<f64>)>,
}

impl Cell {
    pub(crate) fn spread(&self) -> Option<Spread> {
        match self {
            Self::Values(values) => Spread::of(values.iter().copied()),
            Self::Fails | Self::Absent | Self::Passes | Self::Unknown => None,
        }
    }
}

impl Row {
    /// The peer whose median is best, or that was named, by its place among the proxies.
    pub(crate) fn best_peer(&self) -> Option<usize> {
        if self.beside.is_some() {
            return self.beside;
        }
        let peers = self.cells.iter().enumerate().skip(1);
        let medians = peers.filter_map(|(place, cell)| Some((place, cell.spread()?.median)));
        let best = match self.better {
            Better::Less => medians.min_by(|one, other| one.1.total_cmp(&other.1)),
            Better::More => medians.max_by(|one, other| one.1.total_cmp(&other.1)),
        };
        best.map(|(place, _)| place)
    }

    /// Refractium's value in parts of the best peer's, round by round.
    pub(crate) fn ratio(&self) -> Option<Spread> {
        let best = self.cells.get(self.best_peer()?)?;
        match (self.cells.first()?, best) {
            (Cell::Values(ours), Cell::Values(theirs)) => Spread::of_ratios(ours, theirs),
            _ => None,
        }
    }

    pub(crate) fn verdict(&self) -> Verdict {
        let ratio = self.ratio().map(|ratio| ratio.median);
        let own = self.cells.first();
        let judged = match self.target {
            Target::Nothing => None,
            Target::RatioAtMost { aim, limit } => ratio.map(|ratio| {
                if ratio > aim && ratio <= limit { Verdict::Within } else { met(ratio <= aim) }
            }),
            Target::RatioAtLeast(least) => ratio.map(|ratio| met(ratio >= least)),
            Target::AtMost(most) => own.and_then(Cell::spread).map(|own| met(own.median <= most)),
            Target::Pass => own.map(|own| met(*own == Cell::Passes)),
        };
        match (judged, own) {
            (_, Some(Cell::Fails)) => Verdict::Missed,
            (judged, _) => judged.unwrap_or(Verdict::NotAsked),
        }
    }
}

fn met(met: bool) -> Verdict {
    if met { Verdict::Met } else { Verdict::Missed }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(cells: Vec<Cell>, better: Better, target: Target) -> Row {
        Row { name: "work".into(), unit: "us", better, cells, target, beside: None }
    }

    fn values(values: &[f64]) -> Cell {
        Cell::Values(values.to_vec())
    }

    #[test]
    fn the_best_peer_is_compared_with() {
        let cells = vec![values(&[9.0, 10.0]), values(&[20.0, 20.0]), values(&[10.0, 10.0])];
        let least = row(cells.clone(), Better::Less, Target::RatioAtMost { aim: 0.95, limit: 1.0 });
        assert_eq!(least.best_peer(), Some(2));
        assert_eq!(least.ratio(), Some(Spread { median: 0.95, least: 0.9, most: 1.0 }));
        assert_eq!(least.verdict(), Verdict::Met);
        let most = row(cells, Better::More, Target::RatioAtLeast(1.1));
        assert_eq!((most.best_peer(), most.verdict()), (Some(1), Verdict::Missed));
    }

    #[test]
    fn a_peer_that_fails_is_not_the_best() {
        let cells = vec![values(&[1.0]), Cell::Fails, Cell::Unknown, values(&[1.0])];
        let row = row(cells, Better::Less, Target::RatioAtMost { aim: 0.95, limit: 1.0 });
        assert_eq!((row.best_peer(), row.verdict()), (Some(3), Verdict::Within));
    }

    #[test]
    fn a_peer_that_is_named_is_compared_with() {
        let cells = vec![values(&[20.0]), values(&[19.0]), values(&[20.0])];
        let target = Target::RatioAtMost { aim: 1.0, limit: 1.0 };
        let mut row = row(cells, Better::Less, target);
        assert_eq!((row.best_peer(), row.verdict()), (Some(1), Verdict::Missed));
        row.beside = Some(2);
        assert_eq!((row.best_peer(), row.verdict()), (Some(2), Verdict::Met));
    }

    #[test]
    fn own_limits_hold_without_peers() {
        let idle = |value| row(vec![values(&[value])], Better::Less, Target::AtMost(2.0)).verdict();
        assert_eq!((idle(2.0), idle(2.1)), (Verdict::Met, Verdict::Missed));
        let half = |cell| row(vec![cell], Better::Less, Target::Pass).verdict();
        assert_eq!((half(Cell::Passes), half(Cell::Fails)), (Verdict::Met, Verdict::Missed));
    }

    #[test]
    fn own_failure_is_a_miss_and_no_peer_no_verdict() {
        let target = Target::RatioAtMost { aim: 0.95, limit: 1.0 };
        let failed = row(vec![Cell::Fails, values(&[1.0])], Better::Less, target);
        assert_eq!(failed.verdict(), Verdict::Missed);
        assert_eq!(row(vec![values(&[1.0])], Better::Less, target).verdict(), Verdict::NotAsked);
    }
}
