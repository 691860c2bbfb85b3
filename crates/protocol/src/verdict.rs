/// What one protocol says of an opening.
///
/// `Match` and `NoMatch` are final: while more bytes may come, no longer opening changes them. There is deliberately no
/// conversion from `bool`: two values cannot tell *no* from *not yet*.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// It is this protocol, whatever follows.
    Match,
    /// It is not, whatever follows.
    NoMatch,
    /// It still may be. Once the opening has [ended](crate::Opening::ended) this counts as `NoMatch`.
    NeedMore,
}

impl Verdict {
    /// Either of two ways to be recognised: `Match` wins over `NeedMore`, which wins over `NoMatch`.
    pub fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Match, _) | (_, Self::Match) => Self::Match,
            (Self::NeedMore, _) | (_, Self::NeedMore) => Self::NeedMore,
            (Self::NoMatch, Self::NoMatch) => Self::NoMatch,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict::{self, Match, NeedMore, NoMatch};

    #[test]
    fn or_prefers_match_then_need_more() {
        let all = [Match, NeedMore, NoMatch];
        for (rank, a) in all.into_iter().enumerate() {
            for (other, b) in all.into_iter().enumerate() {
                let expected: Verdict = all[rank.min(other)];
                assert_eq!(a.or(b), expected);
            }
        }
    }
}
