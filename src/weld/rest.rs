//! What a short write leaves.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes read and not yet written, in memory of their own.
///
/// In a box, so that the many directions that have none keep room for no more than a pointer.
#[derive(Debug, Default)]
pub(super) struct Rest(Option<Box<Kept>>);

#[derive(Debug)]
struct Kept {
    bytes: Box<[u8]>,
    written: usize,
}

/// What all the rests of the process may hold together before reads become small.
const BUDGET: usize = 64 * 1024 * 1024;

static USED: AtomicUsize = AtomicUsize::new(0);

impl Rest {
    /// Keeps what could not be written.
    pub(super) fn keep(bytes: &[u8]) -> Self {
        USED.fetch_add(bytes.len(), Ordering::Relaxed);
        Self(Some(Box::new(Kept { bytes: bytes.into(), written: 0 })))
    }

    /// Whether so much waits in this process that no direction should read more than a little at a time.
    pub(super) fn is_scarce() -> bool {
        USED.load(Ordering::Relaxed) >= BUDGET
    }

    /// What is still to be written.
    pub(super) fn waiting(&self) -> &[u8] {
        self.0.as_ref().and_then(|kept| kept.bytes.get(kept.written..)).unwrap_or_default()
    }

    /// Frees itself once nothing is left.
    pub(super) fn advance(&mut self, written: usize) {
        if let Some(kept) = &mut self.0 {
            kept.written += written;
        }
        if self.waiting().is_empty() {
            *self = Self::default();
        }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        USED.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_budget_is_given_back() {
        let before = USED.load(Ordering::Relaxed);
        let block = vec![0; BUDGET / 4];
        let mut rests: Vec<_> = (0..4).map(|_| Rest::keep(&block)).collect();
        assert!(Rest::is_scarce());
        rests[0].advance(block.len());
        assert!(rests[0].waiting().is_empty());
        drop(rests);
        assert!(USED.load(Ordering::Relaxed) <= before, "nothing else keeps rests in this test");
        assert!(!Rest::is_scarce());
    }
}
