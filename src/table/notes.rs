//! What an observer keeps of a route.

use std::any::Any;
use std::fmt;
use std::sync::OnceLock;

/// Room at a route for what an observer keeps of it, so that it need not look for that at every event.
///
/// There is room for one thing. Whoever finds it taken by another observer keeps its own elsewhere.
#[derive(Default)]
pub struct Notes(OnceLock<Box<dyn Any + Send + Sync>>);

impl Notes {
    /// Leaves this, if nothing was left before, and tells whether it did.
    pub fn leave(&self, note: impl Any + Send + Sync) -> bool {
        self.0.set(Box::new(note)).is_ok()
    }

    /// What was left, if it is of this type.
    pub fn read<T: Any>(&self) -> Option<&T> {
        self.0.get()?.downcast_ref()
    }
}

impl fmt::Debug for Notes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Notes").field("is_taken", &self.0.get().is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_first_has_the_room() {
        let notes = Notes::default();
        assert!(notes.read::<u8>().is_none());
        assert!(notes.leave(1_u8));
        assert!(!notes.leave(2_u8));
        assert_eq!((notes.read::<u8>(), notes.read::<u16>()), (Some(&1), None));
    }
}
