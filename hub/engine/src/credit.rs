//! How much each agent may send: a window over what is not flushed yet, narrowed by memory and by the device's rate.
//!
//! Promise: the runs in memory stay within the memory budget plus two frames for each connection.
//! Absent: what a device has used of its rate on all its connections ([`crate::bucket`]).

use millrace_model::Moment;
use millrace_wire::limits::RUN_BODY_MAX;

/// Smallest window: a device can always send something.
pub const WINDOW_BYTES_MIN: u64 = 64 << 10;

/// Credit is raised in steps, so that small records do not cost a Credit frame each: this part of the window.
const STEP: u64 = 4;

/// What a device with this rate is granted at once: a second's worth, and never too little to send anything.
pub(crate) fn spread(rate: u64) -> u64 {
    rate.max(WINDOW_BYTES_MIN)
}

/// The window that a rate leaves: what is granted at once, twice, so that the road does not run empty meanwhile.
fn allowed(window: u64, rate: Option<u64>) -> u64 {
    rate.map_or(window, |rate| window.min(spread(rate).saturating_mul(2)))
}

fn step(window: u64, rate: Option<u64>) -> u64 {
    rate.map_or(window / STEP, |rate| (window / STEP).min(spread(rate)))
}

/// Bytes that the device's rate allows later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Booking {
    due: Moment,
    bytes: u64,
}

/// One connection's credit. Rates are in bytes per second, and never 0.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Account {
    granted: u64,
    received: u64,
    settled: u64,
    booked: Option<Booking>,
}

impl Account {
    /// A session begins with this much.
    #[must_use]
    pub fn new(granted: u64) -> Self {
        Self { granted, ..Self::default() }
    }

    /// What a session with this window should begin with: at least, so that it is worth while, and at most.
    #[must_use]
    pub fn first_grant(window: u64, rate: Option<u64>) -> (u64, u64) {
        let most = allowed(window, rate);
        (step(most, rate).max(1), most)
    }

    /// The running total that the agent was told.
    #[must_use]
    pub const fn granted(&self) -> u64 {
        self.granted
    }

    /// A run came in. `false` when the agent cannot have had any credit for it: the last run that it sends may overdraw, and
    /// may arrive before others that were sent earlier on another channel. Without any credit nothing may come at all:
    /// else each new connection could bring one run beyond the device's rate.
    #[must_use]
    pub const fn received(&mut self, bytes: u64) -> bool {
        let honest = self.granted > 0 && self.received < self.granted.saturating_add(RUN_BODY_MAX as u64);
        self.received = self.received.saturating_add(bytes);
        honest
    }

    /// Runs are off the memory: flushed or refused.
    pub const fn settled(&mut self, bytes: u64) {
        self.settled = self.settled.saturating_add(bytes);
    }

    /// How much more the agent should get now that its window is this, if it is time for more: enough for a step, and nothing
    /// waits for the rate already.
    #[must_use]
    pub fn wants(&self, window: u64, rate: Option<u64>) -> Option<u64> {
        let (step, window) = (step(allowed(window, rate), rate), allowed(window, rate));
        let total = self.settled.saturating_add(window);
        let fits = self.booked.is_none() && total >= self.granted.saturating_add(step.max(1));
        fits.then(|| total.saturating_sub(self.granted).min(rate.map_or(u64::MAX, spread)))
    }

    /// The agent gets `bytes` more at `due`.
    pub const fn book(&mut self, bytes: u64, due: Moment) {
        self.booked = Some(Booking { due, bytes });
    }

    /// Grants what is due; whether there was anything.
    pub fn redeem(&mut self, now: Moment) -> bool {
        let due = self.booked.take_if(|booked| booked.due <= now);
        self.granted = self.granted.saturating_add(due.map_or(0, |booked| booked.bytes));
        due.is_some()
    }

    /// When a device that is over its rate gets credit again.
    #[must_use]
    pub fn waits_until(&self) -> Option<Moment> {
        self.booked.map(|booked| booked.due)
    }

    /// The connection is over: what it took of the device's rate and did not use, and what it used and had not taken.
    pub fn conclude(&mut self) -> (u64, u64) {
        let taken = self.granted.saturating_add(self.booked.take().map_or(0, |booked| booked.bytes));
        self.granted = self.received;
        (taken.saturating_sub(self.received), self.received.saturating_sub(taken))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Grants what is wanted, without a rate.
    fn raise(account: &mut Account, window: u64) -> Option<u64> {
        let more = account.wants(window, None)?;
        account.book(more, Moment(0));
        account.redeem(Moment(0)).then(|| account.granted())
    }

    #[test]
    fn credit_follows_what_is_settled_in_steps() {
        let mut account = Account::new(1_000);
        assert!(account.received(900));
        account.settled(100);
        assert_eq!(raise(&mut account, 1_000), None, "too small a step");
        account.settled(800);
        assert_eq!(raise(&mut account, 1_000), Some(1_900));
        assert_eq!(raise(&mut account, 1_000), None, "told already");
    }

    #[test]
    fn a_run_without_any_credit_is_dishonest() {
        let mut account = Account::new(100);
        assert!(account.received(RUN_BODY_MAX as u64 + 99), "the last frame may overdraw");
        assert!(account.received(1), "and overtake one that was sent before it");
        assert!(!account.received(1));
        assert!(!Account::new(0).received(1), "nothing was granted yet");
    }

    #[test]
    fn what_waits_for_the_rate_is_granted_once_when_it_is_due() {
        let mut account = Account::new(128 << 10);
        assert_eq!(account.wants(8 << 20, Some(4 << 10)), None);
        account.settled(200 << 10);
        assert_eq!(account.wants(8 << 20, Some(4 << 10)), Some(WINDOW_BYTES_MIN), "little at once");
        account.book(WINDOW_BYTES_MIN, Moment(9));
        assert_eq!(account.wants(8 << 20, Some(4 << 10)), None, "one booking at a time");
        assert!(!account.redeem(Moment(8)));
        assert_eq!(account.waits_until(), Some(Moment(9)));
        assert!(account.redeem(Moment(9)) && !account.redeem(Moment(9)));
        assert_eq!(account.granted(), 192 << 10);
    }

    #[test]
    fn a_connection_that_ends_says_what_it_left_and_what_it_overdrew() {
        let mut account = Account::new(1_000);
        assert!(account.received(300));
        account.book(50, Moment(1));
        assert_eq!(account.conclude(), (750, 0));
        assert_eq!(account.conclude(), (0, 0), "once");
        let mut account = Account::new(1_000);
        assert!(account.received(1_200));
        assert_eq!(account.conclude(), (0, 200));
    }
}
