//! How fast the clients of an address may come.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::by_address::{ByAddress, SHARDS};

/// When each address will have come as slowly as it may: the generic cell rate algorithm (GCRA, ITU-T I.371), which needs one
/// number for each, and none once that time is over. Locked only while a rate is set.
#[derive(Debug)]
pub(crate) struct Rates {
    /// Since `began`.
    due: ByAddress<Duration>,
    began: Instant,
}

/// Who may be this far ahead may come all at once after a second in which nobody came.
const AHEAD: Duration = Duration::from_secs(1);

/// Most addresses that are remembered: 65,536 in all, about 4 MiB. Who comes while there are more is let in, for a rate
/// that so many share does not hold them back anyway.
const MOST_IN_SHARD: usize = 65_536 / SHARDS;

impl Default for Rates {
    fn default() -> Self {
        Self { due: ByAddress::default(), began: Instant::now() }
    }
}

impl Rates {
    /// Whether one more of this address may come now, of so many in a second; 0: any. One that may not does not count.
    pub(super) fn take(&self, address: IpAddr, per_second: usize, now: Instant) -> bool {
        let Some(each) = u32::try_from(per_second).ok().and_then(|it| AHEAD.checked_div(it)) else {
            return true;
        };
        let Some(mut shard) = self.due.shard(address) else { return true };
        let now = now.saturating_duration_since(self.began);
        if let Some(due) = shard.get_mut(&address) {
            let next = now.max(*due) + each;
            let is_slow = next <= now + AHEAD;
            if is_slow {
                *due = next;
            }
            return is_slow;
        }
        if has_room(&mut shard, now) {
            shard.insert(address, now + each);
        }
        true
    }
}

/// Forgets whose time is over, which changes nothing for them, whenever the map would have to grow.
fn has_room(shard: &mut HashMap<IpAddr, Duration>, now: Duration) -> bool {
    if shard.len() == shard.capacity() || shard.len() >= MOST_IN_SHARD {
        shard.retain(|_, due| *due > now);
        // Or else the next one would look through all of them again.
        let room = if shard.len() > shard.capacity() / 2 { shard.len() } else { 0 };
        shard.reserve(room.min(MOST_IN_SHARD.saturating_sub(shard.len())));
    }
    shard.len() < MOST_IN_SHARD
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    const OTHER: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2));

    /// How many of 10,000 a second are let in, in so many seconds.
    fn let_in(rates: &Rates, per_second: usize, from: Instant, seconds: u32) -> u32 {
        let each = Duration::from_micros(100);
        let times = (0..seconds * 10_000).map(|at| from + each * at);
        times.map(|now| u32::from(rates.take(ONE, per_second, now))).sum()
    }

    #[test]
    fn who_is_too_fast_is_held_to_the_rate() {
        let rates = Rates::default();
        let start = rates.began;
        // What one second allows at once, and then what each of ten allows.
        assert_eq!(let_in(&rates, 300, start, 10), 300 + 10 * 300 - 1);
        assert!(rates.take(OTHER, 300, start + AHEAD * 9), "others are nobody's concern");
        assert_eq!(let_in(&rates, 300, start + AHEAD * 10, 1), 300, "refusals do not count");
        assert_eq!(let_in(&rates, 300, start + AHEAD * 12, 1), 599, "after a second of rest");
    }

    #[test]
    fn one_a_second_and_none_at_all_are_rates_too() {
        let rates = Rates::default();
        let took = [0, 1, 999, 1000, 1001].map(|ms| {
            let now = rates.began + Duration::from_millis(ms);
            (rates.take(ONE, 1, now), rates.take(OTHER, 0, now))
        });
        assert_eq!(took.map(|it| it.0), [true, false, false, true, false]);
        assert!(took.iter().all(|it| it.1) && rates.due.len() == 1);
    }

    #[test]
    fn strangers_do_not_fill_the_memory() {
        let rates = Rates::default();
        let address = |at: u32| IpAddr::V4(Ipv4Addr::from(at));
        for at in 0..200_000 {
            assert!(rates.take(address(at), 1, rates.began), "{at}");
        }
        assert_eq!(rates.due.len(), SHARDS * MOST_IN_SHARD);
        let later = rates.began + AHEAD;
        for at in 200_000..400_000 {
            assert!(rates.take(address(at), 1_000_000, later), "{at}");
        }
        let much_later = later + AHEAD;
        assert!(rates.take(ONE, 1, much_later) && !rates.take(ONE, 1, much_later));
    }
}
