//! What became of the datagrams of one flow.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// Gaps that are remembered; a flow with more of them has failed anyhow.
const REMEMBERED: usize = 100_000;

/// What the receiving side tells the sending one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Counts {
    /// The number after the highest that came: all below it have come or are lost.
    pub(crate) next: u64,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    /// Came after a later one.
    pub(crate) late: u64,
}

/// Numbers as they come in, each of which is to come once and in its turn.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    counts: Counts,
    /// Those that have not come though later ones have.
    missing: BTreeSet<u64>,
}

impl Ledger {
    pub(crate) fn note(&mut self, number: u64) {
        let counts = &mut self.counts;
        if number >= counts.next {
            let room = REMEMBERED.saturating_sub(self.missing.len());
            self.missing.extend((counts.next..number).take(room));
            counts.lost += number - counts.next;
            counts.next = number + 1;
        } else if self.missing.remove(&number) {
            counts.lost -= 1;
            counts.late += 1;
        } else {
            counts.doubled += 1;
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        self.counts
    }
}

impl Counts {
    /// What is wrong, where `count` datagrams were to come.
    pub(crate) fn fault(self, count: u64) -> Option<String> {
        let lost = self.lost + count.saturating_sub(self.next);
        let Self { doubled, late, .. } = self;
        let wrong = lost + doubled + late > 0;
        wrong.then(|| format!("of {count} datagrams {lost} lost, {doubled} doubled, {late} late"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(numbers: &[u64]) -> Counts {
        let mut ledger = Ledger::default();
        numbers.iter().for_each(|number| ledger.note(*number));
        ledger.counts()
    }

    #[test]
    fn each_once_and_in_turn_is_right() {
        let counts = counted(&[0, 1, 2]);
        assert_eq!((counts.next, counts.fault(3)), (3, None));
    }

    #[test]
    fn what_is_lost_doubled_or_late_is_told_apart() {
        let counts = counted(&[0, 2, 2, 5, 3]);
        assert_eq!(counts, Counts { next: 6, lost: 2, doubled: 1, late: 1 });
        assert_eq!(counts.fault(8).as_deref(), Some("of 8 datagrams 4 lost, 1 doubled, 1 late"));
    }

    #[test]
    fn a_huge_gap_takes_no_huge_memory() {
        let mut ledger = Ledger::default();
        ledger.note(1 << 40);
        assert_eq!(ledger.counts().lost, 1 << 40);
        assert_eq!(ledger.missing.len(), REMEMBERED);
    }
}
