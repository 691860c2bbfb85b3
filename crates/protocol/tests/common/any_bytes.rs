//! Every law on bytes that nobody chose, for `tests/replay.rs` and the fuzz target `identify`.

use refractium_protocol::{BUILTIN, Transport};

use crate::check::{check_datagrams, check_stream};
use crate::words::Words;

/// Holds every built-in protocol to the laws on these bytes, cut where the bytes themselves decide.
pub(crate) fn check_every_protocol(bytes: &[u8]) {
    let ends = cuts(bytes);
    let twice = [bytes, bytes].concat();
    for &protocol in BUILTIN {
        for transport in protocol.transports() {
            match transport {
                Transport::Tcp => check_stream(protocol, bytes, ends.iter().copied()),
                Transport::Udp => {
                    check_datagrams(protocol, bytes, &ends[1..]);
                    check_datagrams(protocol, &twice, &[bytes.len(), twice.len()]);
                }
            }
        }
    }
}

/// From no byte to all: every length up to 16, where protocols are told apart, and 24 more.
fn cuts(bytes: &[u8]) -> Vec<usize> {
    let seed = bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash: u64, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3) // FNV-1a
    });
    let mut words = Words::new(seed);
    let mut ends: Vec<_> = (0..=bytes.len().min(16)).collect();
    ends.extend(std::iter::repeat_with(|| words.below(bytes.len() + 1)).take(24));
    ends.push(bytes.len());
    ends.sort_unstable();
    ends
}
