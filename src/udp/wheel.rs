//! When to look at which session again: one timer for all of them.

use std::time::Duration;

use tokio::time::Instant;

/// How finely time is told. A session ends at most so much later than it should.
pub(crate) const TICK: Duration = Duration::from_millis(100);

/// How many ticks ahead an entry may lie; what is due later is looked at then and put off.
const HORIZON: u64 = 512;

/// Entries by the tick at which they are due. Finding out that nothing is to be done costs little, so what keeps a session
/// alive never touches it.
#[derive(Debug)]
pub(crate) struct Wheel {
    since: Instant,
    /// Everything that was due before this tick has been given out.
    next: u64,
    slots: Box<[Vec<u32>]>,
}

impl Wheel {
    pub(crate) fn new(now: Instant) -> Self {
        Self { since: now, next: 0, slots: (0..HORIZON).map(|_| Vec::new()).collect() }
    }

    /// The tick of a moment.
    pub(crate) fn tick(&self, now: Instant) -> u64 {
        let elapsed = now.saturating_duration_since(self.since).as_millis() / TICK.as_millis();
        u64::try_from(elapsed).unwrap_or(u64::MAX)
    }

    /// When a tick has passed.
    pub(crate) fn end_of(&self, tick: u64) -> Instant {
        let ticks = u32::try_from(tick.saturating_add(1)).unwrap_or(u32::MAX);
        self.since + TICK.saturating_mul(ticks)
    }

    /// Notes an entry; says when it will be given out, which may be earlier than asked for.
    pub(crate) fn add(&mut self, entry: u32, due: u64) -> u64 {
        let due = due.clamp(self.next, self.next + HORIZON - 1);
        let slot = usize::try_from(due % HORIZON).unwrap_or(0);
        if let Some(slot) = self.slots.get_mut(slot) {
            slot.push(entry);
        }
        due
    }

    /// Gives out what is due at this tick or before, one tick at a time: `None` once there is no more.
    pub(crate) fn due(&mut self, tick: u64) -> Option<Vec<u32>> {
        if self.next > tick {
            return None;
        }
        // Who slept for longer than the horizon has seen every slot once it has gone round.
        self.next = self.next.max(tick.saturating_sub(HORIZON - 1));
        let slot = usize::try_from(self.next % HORIZON).unwrap_or(0);
        self.next += 1;
        Some(self.slots.get_mut(slot).map(std::mem::take).unwrap_or_default())
    }
}

/// How many ticks a time takes, the last one whole.
pub(crate) fn ticks(time: Duration) -> u64 {
    u64::try_from(time.as_millis().div_ceil(TICK.as_millis())).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all_due(wheel: &mut Wheel, tick: u64) -> Vec<u32> {
        std::iter::from_fn(|| wheel.due(tick)).flatten().collect()
    }

    #[test]
    fn an_entry_is_given_out_once_and_when_it_is_due() {
        let mut wheel = Wheel::new(Instant::now());
        assert_eq!(wheel.add(7, 3), 3);
        assert_eq!(wheel.add(8, 4), 4);
        assert!(all_due(&mut wheel, 2).is_empty());
        assert_eq!(all_due(&mut wheel, 3), [7]);
        assert_eq!(all_due(&mut wheel, 9), [8]);
        assert!(all_due(&mut wheel, 2000).is_empty());
    }

    #[test]
    fn what_is_due_late_is_given_out_early_and_what_is_late_at_once() {
        let mut wheel = Wheel::new(Instant::now());
        assert_eq!(wheel.add(1, 100_000), HORIZON - 1);
        assert_eq!(all_due(&mut wheel, HORIZON - 1), [1]);
        assert_eq!(wheel.add(2, 5), HORIZON, "the past is now");
        assert_eq!(all_due(&mut wheel, 1_000_000), [2], "however long nobody looked");
    }

    #[test]
    fn ticks_are_counted_from_the_start_and_times_rounded_up() {
        let start = Instant::now();
        let wheel = Wheel::new(start);
        assert_eq!(wheel.tick(start + 3 * TICK), 3);
        assert_eq!(wheel.end_of(3), start + 4 * TICK);
        assert_eq!(ticks(Duration::from_millis(101)), 2);
        assert_eq!(ticks(Duration::ZERO), 0);
    }
}
