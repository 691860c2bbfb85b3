//! Connections over several threads, each with listeners of its own.

mod blocked;
mod program;
