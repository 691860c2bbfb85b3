//! What is carried after the decision: every byte, ends as ends, failures as failures.
//!
//! Each test runs twice: `copy::…` through the proxy's memory, `splice::…` through the kernel where there is bulk.

#[macro_use]
mod engine;

mod bulk;
mod ends;
mod exchange;
mod idle;
mod pulse;
mod quiet;
mod resets;
mod scarce;
mod strangers;
mod stream;
mod stuck;
mod tails;
mod urgent;
mod vanish;

pub(crate) use engine::figure;
