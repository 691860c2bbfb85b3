//! Numbers that decide: drawn, or computed from addresses in the same way everywhere.
//!
//! `source_hash` is weighted rendezvous hashing. A client's number is FNV-1a (64 bits) over the octets of its address,
//! a backend's the same over `address:port` as text, each then mixed by the finalizer of SplitMix64. For client c and
//! backend b, h = mix(c xor b), and the backend with the least -log2(h / 2^64) / weight has the client; log2 is cut to 32
//! binary digits, and of equals the greater h wins. Integers only: two machines never differ.

use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};

/// Who it is, whatever port: an IPv4 address is the same however it is written.
pub(super) fn of_client(client: IpAddr) -> u64 {
    match client.to_canonical() {
        IpAddr::V4(address) => mix(fnv(&address.octets())),
        IpAddr::V6(address) => mix(fnv(&address.octets())),
    }
}

pub(super) fn of_backend(address: SocketAddr) -> u64 {
    mix(fnv(address.to_string().as_bytes()))
}

/// How near a backend is to a client. Of several, the least has it.
pub(super) struct Nearness {
    hash: u64,
    weight: u16,
}

impl Nearness {
    pub(super) fn new(backend: u64, client: u64, weight: u16) -> Self {
        Self { hash: mix(backend ^ client), weight }
    }

    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let by_hash = other.hash.cmp(&self.hash);
        match (by_hash, other.weight.cmp(&self.weight)) {
            // A logarithm is 200 ns, and rises with what it is of: where hash and weight agree, they say it all.
            (order, Ordering::Equal) => order,
            (order, by_weight) if order == by_weight => order,
            _ => {
                let scaled =
                    |it: &Self, by: &Self| u128::from(distance(it.hash)) * u128::from(by.weight);
                scaled(self, other).cmp(&scaled(other, self)).then(by_hash)
            }
        }
    }
}

/// -log2(hash / 2^64), in 2^-32.
fn distance(hash: u64) -> u64 {
    let hash = hash.max(1);
    let whole = u64::from(hash.leading_zeros());
    // From 1 up to 2, with 63 binary digits. Squaring it doubles its logarithm, which so comes out digit by digit.
    let mut square = hash << hash.leading_zeros();
    let mut digits = 0_u64;
    for _ in 0..32 {
        let wide = u128::from(square) * u128::from(square);
        let is_two = wide >> 127 == 1;
        digits = digits << 1 | u64::from(is_two);
        let cut = if is_two { wide >> 64 } else { wide >> 63 };
        square = u64::try_from(cut & u128::from(u64::MAX)).unwrap_or(u64::MAX);
    }
    ((whole + 1) << 32).saturating_sub(digits)
}

fn fnv(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// The finalizer of SplitMix64: every bit of the input decides on every bit of the output.
pub(super) const fn mix(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

/// Two different numbers below `end`, or the same one twice if there is no other.
pub(super) fn two_below(draw: u64, end: usize) -> Option<(usize, usize)> {
    let below = |bits: u64, end: usize| usize::try_from(bits).unwrap_or(0).checked_rem(end);
    let one = below(draw & 0xffff_ffff, end)?;
    let step = below(draw >> 32, end - 1).map_or(0, |step| step + 1);
    Some((one, (one + step) % end))
}

pub(crate) const fn greatest_common_divisor(mut one: u64, mut other: u64) -> u64 {
    while other != 0 {
        (one, other) = (other, one % other);
    }
    one
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The short cuts of comparing change nothing: it is always the least -log2(h / 2^64) / weight.
    #[test]
    fn the_order_is_that_of_the_rule() {
        let mut draw = 1;
        for _ in 0..20_000 {
            let [one, other] = [(); 2].map(|()| {
                draw = mix(draw);
                let weight = u16::try_from(draw % 4 + 1).expect("small");
                Nearness { hash: mix(draw), weight }
            });
            let far =
                |it: &Nearness| -(it.hash as f64 / 2_f64.powi(64)).log2() / f64::from(it.weight);
            if (far(&one) - far(&other)).abs() > 1e-6 {
                let order = far(&one).total_cmp(&far(&other));
                assert_eq!(one.compare(&other), order, "{} {}", one.hash, other.hash);
            }
        }
    }
}
