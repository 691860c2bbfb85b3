//! How much comes at a time, and whether it is worth a pipe.

/// What a source has sent lately. Every connection has room for two of them, so they are small.
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// Since it was last found empty, in blocks; one that was begun counts.
    lately: u16,
    is_bulk: bool,
}

/// Bytes of a block.
const BLOCK: usize = 64;

/// A source that sends fewer blocks than these at a time is copied: a pipe takes more system calls, which cost more than
/// 32 KiB.
const LITTLE: u16 = 512;

/// What brings so many before it is found empty is bulk: two reads that fill the thread's buffer.
const BULK: u16 = 2048;

impl Pace {
    /// So much comes at a time that a pipe is worth its system calls.
    pub(super) const fn is_bulk(&self) -> bool {
        self.is_bulk
    }

    pub(super) fn took(&mut self, bytes: usize) {
        let blocks = u16::try_from(bytes.div_ceil(BLOCK)).unwrap_or(u16::MAX);
        self.lately = self.lately.saturating_add(blocks);
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
        pace.took(32 * 1024 - BLOCK);
        assert!(pace.is_bulk(), "until it is known how much comes");
        pace.found_empty();
        assert!(!pace.is_bulk());
        pace.took(32 * 1024);
        assert!(!pace.is_bulk());
        pace.found_empty();
        assert!(pace.is_bulk(), "answers of this length are worth it");
    }
}
