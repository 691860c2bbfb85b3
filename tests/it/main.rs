//! Integration tests: the built program between real clients and real servers, all on loopback.
//!
//! One binary, one module per theme. A new test goes where its theme is; a new theme is a module here. Each ends at
//! bytes or addresses that a backend recorded, so that it fails if the program in the middle does something else.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests are tests, which clippy.toml allows these"
)]

mod address;
mod admin;
mod balance;
mod calm;
mod cli;
mod clients;
mod detect;
mod explain;
mod harness;
mod health;
mod hello;
mod library;
mod life;
mod limits;
mod log;
mod names;
mod readme;
mod relay;
mod reload;
mod smoke;
mod status;
mod udp;
mod workers;
