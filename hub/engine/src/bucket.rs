//! Buckets: how much of its rate each device has used up, whatever connection it comes by.
//!
//! Promise: all connections and incarnations of a device drink from one bucket, and coming back does not fill it.
//! Absent: when a connection wants more ([`crate::credit`]).
//!
//! A bucket is one moment: when everything that was taken is paid for at the device's rate. A moment that has passed is
//! a full bucket and is forgotten, so what is kept are the devices that took more than their rate of late.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_model::{DeviceId, Moment};

use crate::credit::spread;

/// What a full bucket holds, in portions of [`spread`]: one is on the road while the next is granted.
const PORTIONS: u64 = 2;

/// The buckets that are not full.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Buckets {
    paid_at: BTreeMap<DeviceId, Moment>,
}

fn time_of(bytes: u64, rate: u64) -> Duration {
    // Rounded up: a device that waits this long has earned all of it.
    Duration::from_micros(bytes.saturating_mul(1_000_000).div_ceil(rate.max(1)))
}

fn fill_time(rate: u64) -> Duration {
    time_of(spread(rate).saturating_mul(PORTIONS), rate)
}

impl Buckets {
    /// Takes `bytes` out of a device's bucket; when the device may have them: `now`, or when they are earned. Whoever
    /// asks later waits longer, so connections of one device take turns.
    pub fn book(&mut self, device: DeviceId, bytes: u64, rate: u64, now: Moment) -> Moment {
        let paid_at = self.paid_at.get(&device).copied().unwrap_or(now).max(now) + time_of(bytes, rate);
        self.paid_at.insert(device, paid_at);
        let since = Moment(0) + fill_time(rate);
        Moment(paid_at.0.saturating_sub(since.0)).max(now)
    }

    /// Takes what is there at once, at most `most`, and nothing when that is less than `least`.
    pub fn take(&mut self, device: DeviceId, (least, most): (u64, u64), rate: u64, now: Moment) -> u64 {
        let owed = self.paid_at.get(&device).map_or(Duration::ZERO, |at| at.since(now));
        let left =
            fill_time(rate).saturating_sub(owed).as_micros().saturating_mul(u128::from(rate)) / 1_000_000;
        let taken = most.min(u64::try_from(left).unwrap_or(u64::MAX));
        if taken < least {
            return 0;
        }
        self.book(device, taken, rate, now);
        taken
    }

    /// Gives back what was taken and not used.
    pub fn give_back(&mut self, device: DeviceId, bytes: u64, rate: u64) {
        if let Some(at) = self.paid_at.get_mut(&device) {
            let span = Moment(0) + time_of(bytes, rate);
            *at = Moment(at.0.saturating_sub(span.0));
        }
    }

    /// Forgets full buckets when there are more than `limit`. When that is not enough, those go that are nearest to being
    /// full: their devices gain the least by it.
    pub fn forget_full(&mut self, limit: usize, now: Moment) {
        if self.paid_at.len() <= limit {
            return;
        }
        self.paid_at.retain(|_, at| *at > now);
        let surplus = self.paid_at.len().saturating_sub(limit);
        if surplus == 0 {
            return;
        }
        let mut by_debt: Vec<(Moment, DeviceId)> = self.paid_at.iter().map(|(id, at)| (*at, *id)).collect();
        by_debt.sort_unstable();
        for (_, device) in by_debt.into_iter().take(surplus) {
            self.paid_at.remove(&device);
        }
    }

    /// How many are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.paid_at.len()
    }

    /// Whether all buckets are full.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.paid_at.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: u64 = 100_000;

    fn device(number: u8) -> DeviceId {
        DeviceId::from_bytes([number; 16])
    }

    #[test]
    fn a_full_bucket_gives_two_seconds_at_once_and_then_its_rate() {
        let mut buckets = Buckets::default();
        assert_eq!(buckets.book(device(1), RATE, RATE, Moment(5)), Moment(5));
        assert_eq!(buckets.book(device(1), RATE, RATE, Moment(5)), Moment(5));
        assert_eq!(buckets.book(device(1), RATE, RATE, Moment(5)), Moment(1_000_005));
        assert_eq!(buckets.book(device(1), RATE, RATE, Moment(5)), Moment(2_000_005), "in turn");
        assert_eq!(buckets.book(device(2), RATE, RATE, Moment(5)), Moment(5), "each device has its own");
    }

    #[test]
    fn what_is_there_is_taken_at_once_and_what_was_not_used_comes_back() {
        let mut buckets = Buckets::default();
        assert_eq!(buckets.take(device(1), (1, 3 * RATE), RATE, Moment(0)), 2 * RATE);
        assert_eq!(buckets.take(device(1), (1, RATE), RATE, Moment(0)), 0);
        assert_eq!(buckets.take(device(1), (1, RATE), RATE, Moment(500_000)), RATE / 2);
        buckets.give_back(device(1), RATE, RATE);
        assert_eq!(
            buckets.take(device(1), (2 * RATE, 2 * RATE), RATE, Moment(500_000)),
            0,
            "less than asked for"
        );
        assert_eq!(buckets.take(device(1), (1, 2 * RATE), RATE, Moment(500_000)), RATE);
    }

    #[test]
    fn full_buckets_are_forgotten_first_and_then_those_that_owe_least() {
        let mut buckets = Buckets::default();
        for number in 1..=4 {
            buckets.book(device(number), RATE * u64::from(number), RATE, Moment(0));
        }
        buckets.forget_full(4, Moment(1_500_000));
        assert_eq!(buckets.len(), 4, "there is room");
        buckets.forget_full(2, Moment(1_500_000));
        assert_eq!(buckets.paid_at.keys().copied().collect::<Vec<_>>(), [device(3), device(4)]);
    }
}
