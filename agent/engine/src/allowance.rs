//! How many bytes may go: the hub's credit, and the operator's bandwidth budget as a token bucket
//! (ITU-T I.371, generic cell rate).
//!
//! Promise: the backlog leaves a part of the credit, as far as whole runs allow, so a live record does not wait behind it.

use std::time::Duration;

use millrace_model::Moment;

/// Credit that the backlog leaves to live records. The smallest window of a hub is twice as large and three quarters of it
/// always come back, so the backlog never starves.
pub const LIVE_RESERVE_BYTES: u64 = 32 << 10;

/// What a bucket may save up: this much time of its rate. More would let a long pause end in a flood.
const BURST: Duration = Duration::from_secs(1);

/// Tokens below this do not start a backlog read: a read for a few bytes is not worth its disk access.
const BURST_BYTES_MIN: u64 = 16 << 10;

/// The hub's credit.
#[derive(Clone, Copy, Debug, Default)]
pub struct Credit {
    total: u64,
    spent: u64,
}

impl Credit {
    /// A session begins with `total` bytes.
    #[must_use]
    pub const fn new(total: u64) -> Self {
        Self { total, spent: 0 }
    }

    /// The hub raised the running total.
    pub fn raise(&mut self, total: u64) {
        self.total = self.total.max(total);
    }

    /// `bytes` were sent.
    pub const fn spend(&mut self, bytes: u64) {
        self.spent = self.spent.saturating_add(bytes);
    }

    /// Bytes left. A frame may be sent while there are any, so the last one may overdraw.
    #[must_use]
    pub const fn left(&self) -> u64 {
        self.total.saturating_sub(self.spent)
    }
}

/// The bandwidth budget.
#[derive(Clone, Copy, Debug)]
pub struct Bucket {
    rate: Option<u64>,
    /// Micro-bytes (bytes × 10⁶), so that microseconds × rate adds up without rounding; negative after an overdraft.
    level: i128,
    filled_at: Moment,
}

const MICRO: i128 = 1_000_000;

impl Bucket {
    /// A full bucket.
    #[must_use]
    pub fn new(rate: Option<u64>, now: Moment) -> Self {
        let mut bucket = Self { rate, level: 0, filled_at: now };
        bucket.level = bucket.size();
        bucket
    }

    fn size(&self) -> i128 {
        let rate = i128::from(self.rate.unwrap_or(0));
        let burst = rate * i128::try_from(BURST.as_micros()).unwrap_or(MICRO);
        if rate == 0 { 0 } else { burst.max(i128::from(BURST_BYTES_MIN) * MICRO) }
    }

    fn fill(&mut self, now: Moment) {
        let passed = i128::try_from(now.since(self.filled_at).as_micros()).unwrap_or(0);
        self.filled_at = self.filled_at.max(now);
        self.level = (self.level + passed * i128::from(self.rate.unwrap_or(0))).min(self.size());
    }

    /// Another rate from now on.
    pub fn adjust(&mut self, rate: Option<u64>, now: Moment) {
        self.fill(now);
        self.rate = rate;
        self.level = self.level.min(self.size());
    }

    /// `bytes` were sent.
    pub fn spend(&mut self, bytes: u64, now: Moment) {
        if self.rate.is_some() {
            self.fill(now);
            self.level -= i128::from(bytes) * MICRO;
        }
    }

    /// Whether the backlog may go on.
    pub fn allows(&mut self, now: Moment) -> bool {
        self.fill(now);
        self.rate.is_none() || self.level > 0
    }

    /// When it may again; `None` when it may now, or never.
    #[must_use]
    pub fn ready_at(&self) -> Option<Moment> {
        let rate = i128::from(self.rate.filter(|rate| *rate > 0)?);
        if self.level > 0 {
            return None;
        }
        let micros = (-self.level) / rate + 1;
        Some(self.filled_at + Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    /// Bytes per second, if limited.
    #[must_use]
    pub const fn rate(&self) -> Option<u64> {
        self.rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_bucket_lets_its_rate_through_and_no_more() {
        let start = Moment(0);
        let mut bucket = Bucket::new(Some(100_000), start);
        assert!(bucket.allows(start));
        bucket.spend(250_000, start);
        assert!(!bucket.allows(start));
        let ready = bucket.ready_at().unwrap();
        assert_eq!(ready.since(start), Duration::from_micros(1_500_001));
        assert!(!bucket.allows(start + SECOND));
        assert!(bucket.allows(ready));
    }

    #[test]
    fn a_long_pause_saves_up_one_burst_only() {
        let mut bucket = Bucket::new(Some(100_000), Moment(0));
        let late = Moment(0) + SECOND * 3_600;
        assert!(bucket.allows(late));
        bucket.spend(100_001, late);
        assert!(!bucket.allows(late));
    }

    #[test]
    fn a_rate_of_zero_never_allows_and_no_rate_always_does() {
        let mut closed = Bucket::new(Some(0), Moment(0));
        assert!(!closed.allows(Moment(0) + SECOND * 3_600));
        assert_eq!(closed.ready_at(), None);
        closed.adjust(None, Moment(0));
        assert!(closed.allows(Moment(0)));
    }

    #[test]
    fn credit_is_a_running_total_that_never_shrinks() {
        let mut credit = Credit::new(100);
        credit.spend(150);
        assert_eq!(credit.left(), 0);
        credit.raise(200);
        credit.raise(120);
        assert_eq!(credit.left(), 50);
    }
}
