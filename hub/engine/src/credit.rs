//! How much each agent may send: a window over what is not flushed yet, narrowed by memory and by the device's rate.
//!
//! Promise: the runs in memory stay within the memory budget plus two frames for each connection.

use std::time::Duration;

use millrace_model::Moment;
use millrace_wire::limits::RUN_BODY_MAX;

/// Smallest window: a device can always send something.
pub const WINDOW_BYTES_MIN: u64 = 64 << 10;

/// Credit is raised in steps, so that small records do not cost a Credit frame each: this part of the window.
const STEP: u64 = 4;

/// What a device with this rate is granted at once: a second's worth, and never too little to send anything.
fn spread(rate: u64) -> u64 {
    rate.max(WINDOW_BYTES_MIN)
}

/// The window that a rate leaves: what is granted at once, twice, so that the road does not run empty meanwhile.
fn allowed(window: u64, rate: Option<u64>) -> u64 {
    rate.filter(|rate| *rate > 0).map_or(window, |rate| window.min(spread(rate).saturating_mul(2)))
}

fn step(window: u64, rate: Option<u64>) -> u64 {
    rate.filter(|rate| *rate > 0).map_or(window / STEP, |rate| (window / STEP).min(spread(rate)))
}

/// One connection's credit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    granted: u64,
    received: u64,
    settled: u64,
    window: u64,
    step: u64,
    allowed_at: Option<Moment>,
}

impl Account {
    /// A session begins with this window; with a `rate` in bytes per second, with little of it.
    #[must_use]
    pub fn new(window: u64, rate: Option<u64>) -> Self {
        let (step, window) = (step(window, rate), allowed(window, rate));
        Self { granted: window, received: 0, settled: 0, window, step, allowed_at: None }
    }

    /// The running total that the agent was told.
    #[must_use]
    pub const fn granted(&self) -> u64 {
        self.granted
    }

    /// A run came in. `false` when the agent cannot have had any credit for it: the last run that it sends may overdraw, and
    /// may arrive before others that were sent earlier on another channel.
    #[must_use]
    pub const fn received(&mut self, bytes: u64) -> bool {
        let honest = self.received < self.granted.saturating_add(RUN_BODY_MAX as u64);
        self.received = self.received.saturating_add(bytes);
        honest
    }

    /// Runs are off the memory: flushed or refused.
    pub const fn settled(&mut self, bytes: u64) {
        self.settled = self.settled.saturating_add(bytes);
    }

    /// The new running total, when it is time to tell the agent. With a `rate` in bytes per second, what was settled has to
    /// be paid off first.
    pub fn raise(&mut self, window: u64, rate: Option<u64>, now: Moment) -> Option<u64> {
        (self.window, self.step) = (allowed(window, rate), step(window, rate));
        let mut total = self.settled.saturating_add(self.window);
        if total < self.granted.saturating_add(self.step) {
            return None;
        }
        if let Some(rate) = rate.filter(|rate| *rate > 0) {
            match self.allowed_at {
                Some(at) if at > now => return None,
                _ => {
                    total = total.min(self.granted.saturating_add(spread(rate)));
                    let more = total - self.granted;
                    let wait = Duration::from_micros(more.saturating_mul(1_000_000) / rate);
                    self.allowed_at = Some(now + wait);
                }
            }
        }
        self.granted = total;
        Some(total)
    }

    /// When a device that is over its rate gets credit again.
    #[must_use]
    pub fn waits_until(&self) -> Option<Moment> {
        let due = self.settled.saturating_add(self.window) >= self.granted.saturating_add(self.step);
        self.allowed_at.filter(|_| due && self.window > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credit_follows_what_is_settled_in_steps() {
        let mut account = Account::new(1_000, None);
        assert!(account.received(900));
        account.settled(100);
        assert_eq!(account.raise(1_000, None, Moment(0)), None, "too small a step");
        account.settled(800);
        assert_eq!(account.raise(1_000, None, Moment(0)), Some(1_900));
        assert_eq!(account.raise(1_000, None, Moment(0)), None, "told already");
    }

    #[test]
    fn a_run_without_any_credit_is_dishonest() {
        let mut account = Account::new(100, None);
        assert!(account.received(RUN_BODY_MAX as u64 + 99), "the last frame may overdraw");
        assert!(account.received(1), "and overtake one that was sent before it");
        assert!(!account.received(1));
    }

    #[test]
    fn a_rate_spreads_credit_over_time() {
        let mut account = Account::new(1_000, Some(1_000));
        account.settled(1_000);
        assert_eq!(account.raise(1_000, Some(1_000), Moment(0)), Some(2_000));
        account.settled(1_000);
        assert_eq!(account.raise(1_000, Some(1_000), Moment(10)), None);
        assert_eq!(account.waits_until(), Some(Moment(1_000_000)));
        assert_eq!(account.raise(1_000, Some(1_000), Moment(1_000_000)), Some(3_000));
    }

    #[test]
    fn a_slow_device_gets_little_at_once_and_soon_again() {
        let (window, rate) = (8 << 20, Some(4 << 10));
        let mut account = Account::new(window, rate);
        assert_eq!(account.granted(), 2 * WINDOW_BYTES_MIN, "no burst at the start of a session");
        account.settled(WINDOW_BYTES_MIN);
        assert_eq!(account.raise(window, rate, Moment(0)), Some(3 * WINDOW_BYTES_MIN));
        assert_eq!(account.raise(window, rate, Moment(0)), None);
        account.settled(WINDOW_BYTES_MIN);
        assert_eq!(account.waits_until(), Some(Moment(16_000_000)));
    }
}
