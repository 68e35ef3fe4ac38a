//! The vigil over a connection: has the hub fallen silent?
//!
//! Silence begins with something that asks for an answer: a reading, a sign of life, one of QUIC's probes. On an idle
//! connection there is none to be heard, so time alone says nothing.
//!
//! Promise: time in which this process itself stood still does not count against the hub.
//! Absent: what is done about it.

use std::time::Duration;

use millrace_model::Moment;

/// Round trips that a hub may take to answer, whatever the road's preset says: one that was lost, its repetition, and some more.
const ROUND_TRIPS: u32 = 4;

/// What was heard and asked on one connection, and since when nothing was answered.
#[derive(Clone, Debug)]
pub struct Vigil {
    silence: Duration,
    heard: u64,
    asked: u64,
    waited: Option<Duration>,
    looked: Moment,
}

impl Vigil {
    /// A vigil that begins at `now`. `silence` is how long nothing may be answered.
    #[must_use]
    pub const fn new(silence: Duration, now: Moment) -> Self {
        Self { silence, heard: 0, asked: 0, waited: None, looked: now }
    }

    /// How often to look: a tenth of the silence, so that it is noticed in time; 50 ms at least.
    #[must_use]
    pub fn pace(&self) -> Duration {
        (self.silence / 10).max(Duration::from_millis(50))
    }

    /// Looks at the counts of what was heard from the hub and what was asked of it, both since the connection began. Whether
    /// it has been silent for too long, given that a round trip takes `rtt`.
    pub fn look(&mut self, heard: u64, asked: u64, rtt: Duration, now: Moment) -> bool {
        // A look that comes late means that this process was held up; what arrived meanwhile may not have been read yet.
        let passed = now.since(self.looked).min(self.pace() * 2);
        self.looked = now;
        if heard != self.heard {
            // What was asked since the last look may have been answered by what was heard. If not, QUIC asks again.
            (self.heard, self.asked, self.waited) = (heard, asked, None);
            return false;
        }
        if asked == self.asked {
            return false;
        }
        let waited = self.waited.map_or(Duration::ZERO, |waited| waited + passed);
        self.waited = Some(waited);
        waited >= self.silence.max(rtt * ROUND_TRIPS)
    }

    /// Whether the hub has answered everything, as far as was seen at the last look.
    #[must_use]
    pub const fn is_calm(&self) -> bool {
        self.waited.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RTT: Duration = Duration::from_millis(10);

    fn at(ms: u64) -> Moment {
        Moment(ms * 1_000)
    }

    fn vigil() -> Vigil {
        Vigil::new(Duration::from_secs(1), at(0))
    }

    /// Looks every 100 ms from `from` on, with counts that stand still; when silence is found.
    fn until_silent(vigil: &mut Vigil, heard: u64, asked: u64, rtt: Duration, from: u64) -> Option<u64> {
        (0..100).map(|look| from + look * 100).find(|ms| vigil.look(heard, asked, rtt, at(*ms)))
    }

    #[test]
    fn an_idle_hub_may_be_silent_for_ever() {
        let mut vigil = vigil();
        assert!(!vigil.look(5, 3, RTT, at(100)));
        assert_eq!(until_silent(&mut vigil, 5, 3, RTT, 200), None);
        assert!(vigil.is_calm());
    }

    #[test]
    fn a_hub_that_answers_nothing_for_a_second_is_silent() {
        let mut vigil = vigil();
        assert!(!vigil.look(5, 3, RTT, at(100)));
        assert_eq!(until_silent(&mut vigil, 5, 4, RTT, 200), Some(1_200));
        assert!(!vigil.look(6, 9, RTT, at(1_300)), "it speaks again");
        assert_eq!(until_silent(&mut vigil, 6, 9, RTT, 1_400), None);
    }

    #[test]
    fn on_a_long_road_four_round_trips_are_waited_for() {
        let mut vigil = vigil();
        assert!(!vigil.look(5, 3, RTT, at(100)));
        assert_eq!(until_silent(&mut vigil, 5, 4, Duration::from_millis(500), 200), Some(2_200));
    }

    #[test]
    fn a_process_that_was_held_up_does_not_blame_the_hub() {
        let mut vigil = vigil();
        assert!(!vigil.look(5, 3, RTT, at(100)));
        assert!(!vigil.look(5, 4, RTT, at(200)));
        assert!(!vigil.look(5, 4, RTT, at(30_000)), "what arrived may lie in the socket");
        assert!(!vigil.look(6, 4, RTT, at(30_001)));
        assert!(vigil.is_calm());
    }
}
