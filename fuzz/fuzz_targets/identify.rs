//! Any bytes, put to every built-in protocol: the laws hold, and no answer takes long.
#![no_main]

#[path = "../../crates/protocol/tests/common/any_bytes.rs"]
mod any_bytes;
#[path = "../../crates/protocol/tests/common/check.rs"]
mod check;
#[path = "../../crates/protocol/tests/common/words.rs"]
mod words;

use std::time::{Duration, Instant};

use libfuzzer_sys::fuzz_target;
use refractium_protocol::{BUILTIN, Opening, Scratch};

/// Longest that all the protocols may take over one opening of at most 16 KiB.
const LIMIT: Duration = Duration::from_millis(10);
const LARGEST: usize = 16 * 1024;

fuzz_target!(|bytes: &[u8]| {
    any_bytes::check_every_protocol(bytes);
    if bytes.len() <= LARGEST {
        // The best of five: a busy machine may hold up any one of them.
        let best = (0..5).map(|_| time(bytes)).find(|&taken| taken <= LIMIT);
        assert!(best.is_some(), "{} bytes took more than {LIMIT:?} five times", bytes.len());
    }
});

fn time(bytes: &[u8]) -> Duration {
    let (opening, mut scratch) = (Opening::stream(bytes), Scratch::new());
    let start = Instant::now();
    for protocol in BUILTIN {
        check::ask(protocol, &opening, &mut scratch);
    }
    start.elapsed()
}
