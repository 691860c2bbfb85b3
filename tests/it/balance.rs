//! Backends taken in turn, and what happens when they fail.
