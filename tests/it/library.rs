//! The engine inside another program.
