//! Back-off: how long to wait before the next attempt to reach the broker.
//!
//! Promise: grows to a cap, never ends, and is spread by jitter, so that the machines of a site do not return all at once
//! after a power cut. Deterministic for a seed.
//! Absent: sleeping.

use std::time::Duration;

/// The first wait. A broker that restarts is back within a second or two.
const FIRST: Duration = Duration::from_millis(250);

/// The longest wait. Readings wait at the broker meanwhile, so half a minute costs nothing but delay.
const CAP: Duration = Duration::from_secs(30);

/// Growing, jittered waits.
#[derive(Debug)]
pub(crate) struct Backoff {
    random: fastrand::Rng,
    next: Duration,
}

impl Backoff {
    pub(crate) fn new(seed: u64) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), next: FIRST }
    }

    /// The wait before the next attempt: half of the step, plus a random part of the other half.
    pub(crate) fn wait(&mut self) -> Duration {
        let step = self.next;
        self.next = (step * 2).min(CAP);
        step / 2 + (step / 2).mul_f64(self.random.f64())
    }

    /// The connection did useful work: begin small again.
    pub(crate) fn reset(&mut self) {
        self.next = FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_stay_there() {
        let mut backoff = Backoff::new(1);
        let waits: Vec<Duration> = (0..12).map(|_| backoff.wait()).collect();
        assert!(waits[0] >= FIRST / 2 && waits[0] <= FIRST);
        assert!(waits.iter().all(|wait| *wait <= CAP));
        assert!(waits[11] >= CAP / 2);
        backoff.reset();
        assert!(backoff.wait() <= FIRST);
    }
}
