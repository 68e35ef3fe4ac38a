//! A pass of the scrub: when it begins, how far it is, and how long to rest between two steps.
//!
//! Promise: pure. A pass that was interrupted goes on where it was; one whose note is lost begins anew.
//! Absent: reading ([`super`]), waiting, keeping the note (the daemons).

use std::time::Duration;

use millrace_model::Wall;
use serde::{Deserialize, Serialize};

use super::{ScrubCursor, Scrubbed};

/// The longest rest: whoever stops the daemon does not wait for it, and a pass makes progress that people see.
pub const SCRUB_REST_MAX: Duration = Duration::from_secs(60);

/// The shortest rest: others who read go first.
const REST_MIN: Duration = Duration::from_millis(1);

/// How the scrub goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScrubPace {
    /// A pass begins so long after the one before began, and is over before that.
    pub within: Duration,
    /// Between two steps it rests so many times as long as the step took, unless the pass would not be over in time.
    pub tranquility: u32,
    /// Then it rests so many times as long as the step took all the same.
    pub tranquility_min: u32,
    /// Stored bytes that one step reads: some ten milliseconds of the machine at hand.
    pub step_bytes: u64,
}

/// How far it has come.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct ScrubProgress {
    /// When this pass began, or the last one, µs of the wall clock.
    pub began_us: i64,
    /// Where it goes on; `None`: the pass is over.
    pub cursor: Option<ScrubCursor>,
    /// Passes that came to their end.
    pub passes: u64,
    /// When the last one did.
    pub ended_us: Option<i64>,
    /// Stored bytes that this pass has read.
    pub bytes: u64,
    /// Records that it has read.
    pub records: u64,
    /// Damaged places that this pass, or the last one, found.
    pub damaged: u64,
    /// Digests that were not those of their rows.
    pub digests: u64,
}

impl ScrubProgress {
    /// Whether a pass is under way.
    #[must_use]
    pub const fn is_running(&self) -> bool {
        self.cursor.is_some()
    }

    /// Whether a pass is under way, or begins now. One that is late (there was more to read than could be, the machine was off, or its clock
    /// jumped) gets all of the time once more: hurrying is of no use any more.
    pub fn goes_on(&mut self, now: Wall, pace: ScrubPace) -> bool {
        let due = Wall(self.began_us).plus(pace.within) <= now || self.began_us == 0 || now.0 < self.began_us;
        if self.cursor.is_none() && due {
            let (passes, ended_us) = (self.passes, self.ended_us);
            *self = Self {
                began_us: now.0,
                cursor: Some(ScrubCursor::default()),
                passes,
                ended_us,
                ..Self::default()
            };
        }
        if due {
            self.began_us = now.0;
        }
        self.cursor.is_some()
    }

    /// A step was done.
    pub fn took(&mut self, step: &Scrubbed, now: Wall) {
        self.bytes = self.bytes.saturating_add(step.stored_bytes);
        self.records = self.records.saturating_add(step.records);
        self.damaged = self.damaged.saturating_add(step.damaged.len() as u64);
        self.digests = self.digests.saturating_add(step.digests.len() as u64);
        self.cursor = step.next;
        if self.cursor.is_none() {
            self.passes += 1;
            self.ended_us = Some(now.0);
        }
    }

    /// How long to rest after a step that took `step`, so that a store of `store_bytes` is through in time.
    #[must_use]
    pub fn rest(&self, step: Duration, store_bytes: u64, now: Wall, pace: ScrubPace) -> Duration {
        let calm = step.saturating_mul(pace.tranquility);
        let left = Wall(self.began_us).plus(pace.within).0.saturating_sub(now.0);
        let left = Duration::from_micros(u64::try_from(left).unwrap_or(0));
        let steps = store_bytes.saturating_sub(self.bytes).div_ceil(pace.step_bytes.max(1)).max(1);
        let in_time = left / u32::try_from(steps).unwrap_or(u32::MAX);
        let least = step.saturating_mul(pace.tranquility_min).max(REST_MIN);
        calm.min(in_time.saturating_sub(step)).max(least).min(SCRUB_REST_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACE: ScrubPace = ScrubPace {
        within: Duration::from_secs(7 * 86_400),
        tranquility: 9,
        tranquility_min: 0,
        step_bytes: 4 << 20,
    };

    #[test]
    fn a_pass_rests_as_long_as_it_may_and_is_over_in_time() {
        let now = Wall(1_000_000_000);
        let mut progress = ScrubProgress::default();
        assert!(progress.goes_on(now, PACE));
        let step = Duration::from_millis(20);
        assert_eq!(
            progress.rest(step, 1 << 30, now, PACE),
            Duration::from_millis(180),
            "a small store: calmly"
        );
        let late = now.plus(PACE.within).plus(Duration::from_secs(5));
        let nearly = now.plus(PACE.within - Duration::from_secs(5));
        assert_eq!(progress.rest(step, 1 << 30, nearly, PACE), REST_MIN, "a pass that is late hardly rests");
        let small = ScrubPace { tranquility_min: 4, ..PACE };
        assert_eq!(progress.rest(step, 1 << 30, nearly, small), step * 4, "on a small machine it does");
        let petabyte = 1_u64 << 50;
        assert_eq!(
            progress.rest(step, petabyte, now, PACE),
            REST_MIN,
            "as does one that has too much to read"
        );
        progress.took(&Scrubbed { stored_bytes: 9, records: 3, ..Scrubbed::default() }, late);
        assert_eq!((progress.passes, progress.bytes, progress.cursor), (1, 9, None));
        assert!(
            !progress.goes_on(now.plus(Duration::from_secs(60)), PACE),
            "the next one waits for its time"
        );
        assert!(progress.goes_on(late, PACE));
        assert_eq!((progress.passes, progress.bytes), (1, 0));
    }

    #[test]
    fn a_pass_that_a_jump_of_the_clock_makes_late_goes_on_as_calmly_as_before_and_no_second_one_follows() {
        let step = Duration::from_millis(20);
        let mut progress = ScrubProgress::default();
        // A board without a battery begins in 1970.
        assert!(progress.goes_on(Wall(1_000_000), PACE));
        progress.bytes = 77;
        let today = Wall(1_790_000_000_000_000);
        assert!(progress.goes_on(today, PACE));
        assert_eq!((progress.bytes, progress.began_us), (77, today.0), "the same pass");
        assert_eq!(progress.rest(step, 1 << 30, today, PACE), Duration::from_millis(180));
        progress.took(&Scrubbed::default(), today);
        assert!(!progress.goes_on(today.plus(Duration::from_secs(60)), PACE));
    }
}
