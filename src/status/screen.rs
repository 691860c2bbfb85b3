//! Where it is shown: once, block after block, or in place.

use std::io;

use rustix::termios::tcgetwinsize;

use crate::{Reader, Unwritten, print};

/// Standard output.
pub(super) struct Screen {
    /// Each block takes the place of the one before.
    in_place: bool,
    is_first: bool,
}

/// ECMA-48: to the upper left corner; the rest of the line, and of the screen, is cleared.
const HOME: &str = "\x1b[H";
const TO_THE_END: &str = "\x1b[K";
const BELOW: &str = "\x1b[J";

impl Screen {
    pub(super) const fn new(in_place: bool) -> Self {
        Self { in_place, is_first: true }
    }

    /// Shows a block.
    pub(super) fn show(&mut self, block: &str) -> Result<Reader, Unwritten> {
        let text = if self.in_place {
            placed(block, rows())
        } else {
            let gap = if self.is_first || !block.contains('\n') { "" } else { "\n" };
            format!("{gap}{}\n", block.trim_end())
        };
        self.is_first = false;
        print(&text)
    }
}

/// A block in the place of another, as far as there are rows for it.
fn placed(block: &str, rows: usize) -> String {
    let lines: Vec<_> = block.trim_end().lines().collect();
    let mut text = HOME.to_owned();
    let shown = if lines.len() < rows { lines.len() } else { rows.saturating_sub(2) };
    for line in lines.iter().take(shown) {
        text += &format!("{line}{TO_THE_END}\n");
    }
    if shown < lines.len() {
        text += &format!("... {} lines more{TO_THE_END}\n", lines.len() - shown);
    }
    text + BELOW
}

fn rows() -> usize {
    let rows = tcgetwinsize(io::stdout()).map_or(0, |it| it.ws_row);
    // A terminal that does not know shows all.
    if rows == 0 { usize::MAX } else { rows.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_room_is_counted() {
        assert_eq!(placed("a\nb\n", 3), "\x1b[Ha\x1b[K\nb\x1b[K\n\x1b[J");
        let few = placed("a\nb\nc\nd\n", 4);
        assert_eq!(few, "\x1b[Ha\x1b[K\nb\x1b[K\n... 2 lines more\x1b[K\n\x1b[J");
    }
}
