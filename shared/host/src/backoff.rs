//! Back-off: how long to wait before the next attempt to reach somebody.
//!
//! Promise: grows to a cap, never ends, and is spread by jitter, so that the machines of a site do not return all at once
//! after a power cut. Deterministic for a seed.
//! Absent: sleeping.

use std::time::Duration;

/// Growing, jittered waits.
#[derive(Debug)]
pub struct Backoff {
    random: fastrand::Rng,
    first: Duration,
    cap: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits that begin at `first` and double up to `cap`.
    #[must_use]
    pub fn new(first: Duration, cap: Duration, seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), first, cap, next: first }
    }

    /// The wait before the next attempt: half of the step, plus a random part of the other half.
    pub fn wait(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(self.cap);
        step / 2 + (step / 2).mul_f64(self.random.f64())
    }

    /// The connection did useful work: begin small again.
    pub const fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_stay_there_until_something_goes_well() {
        let (first, cap) = (Duration::from_millis(250), Duration::from_secs(30));
        let mut backoff = Backoff::new(first, cap, 1);
        let waits: Vec<Duration> = (0..12).map(|_| backoff.wait()).collect();
        assert!(waits[0] >= first / 2 && waits[0] <= first, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= cap), "{waits:?}");
        assert!(waits[11] >= cap / 2, "{waits:?}");
        backoff.reset();
        assert!(backoff.wait() <= first);
    }
}
