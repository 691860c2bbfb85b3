//! Any bytes of a sender that is trusted to say who the client is: the law of `src/proxy_protocol/tests` holds.
#![no_main]

#[path = "../../src/proxy_protocol/tests/law.rs"]
mod law;
#[allow(dead_code, reason = "what only the program and its tests use")]
#[path = "../../src/proxy_protocol/read.rs"]
mod read;
#[path = "../../src/proxy_protocol/wire.rs"]
mod wire;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| law::check(bytes));
