//! How much comes at a time, and whether it is worth a pipe.

/// What a source has sent lately.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Since it was last found empty.
    lately: u32,
    is_bulk: bool,
}

/// A source that sends less than this at a time is copied: a pipe takes more system calls, which cost more than that.
const LITTLE: u32 = 32 * 1024;

/// What brings so much before it is found empty is bulk: two reads that fill the thread's buffer.
const BULK: u32 = 128 * 1024;

impl Pace {
    /// So much comes at a time that a pipe is worth its system calls.
    pub(super) const fn is_bulk(&self) -> bool {
        self.is_bulk
    }

    pub(super) fn took(&mut self, bytes: usize) {
        self.lately = self.lately.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
        self.is_bulk |= self.lately >= BULK;
    }

    /// What came since it last was is what will come next, probably: answers of a kept connection, say.
    pub(super) const fn found_empty(&mut self) {
        if self.lately > 0 {
            self.is_bulk = self.lately >= LITTLE;
            self.lately = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bulk_is_what_does_not_end_or_what_was_long_the_last_time() {
        let mut pace = Pace::default();
        pace.took(64 * 1024);
        assert!(!pace.is_bulk(), "it may be all");
        pace.took(64 * 1024);
        assert!(pace.is_bulk());
        pace.found_empty();
        pace.found_empty();
        assert!(pace.is_bulk(), "nothing new says nothing new");
        pace.took(LITTLE as usize - 1);
        assert!(pace.is_bulk(), "until it is known how much comes");
        pace.found_empty();
        assert!(!pace.is_bulk());
        pace.took(LITTLE as usize);
        assert!(!pace.is_bulk());
        pace.found_empty();
        assert!(pace.is_bulk(), "answers of this length are worth it");
    }
}
