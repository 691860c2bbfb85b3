//! Many bytes, both ways at once.

use super::engine::Engine;
use super::exchange::{Call, call, exchanging};
use super::stream::{open, result};

on_both_engines! {
    two_gibibytes_both_ways_at_once_arrive_whole,
    both_directions_are_carried_at_once,
}

/// Row T3: every byte, by SHA-256 at both ends.
fn two_gibibytes_both_ways_at_once_arrive_whole(engine: Engine) {
    exchange(engine, &[1 << 30]);
}

/// The same for sizes around those of the buffers on the way.
fn both_directions_are_carried_at_once(engine: Engine) {
    let sizes = [1, 64 << 10, 128 << 10, 256 << 10, 512 << 10, 1 << 20, 64 << 20];
    let around: Vec<_> = sizes.into_iter().flat_map(|size| [size - 1, size, size + 1]).collect();
    exchange(engine, &around);
}

/// For each size a connection on which both sides send that much.
fn exchange(engine: Engine, sizes: &[usize]) {
    let (backend, at_backend) = exchanging();
    let proxy = engine.proxy(&backend, "");
    for &size in sizes {
        call(open(&proxy), Call { size, seed: 0 }).is_mirrored_by(&result(&at_backend));
    }
    engine.carried(&proxy, sizes.len(), 2 * sizes.iter().sum::<usize>());
}
