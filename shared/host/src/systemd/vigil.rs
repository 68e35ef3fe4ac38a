//! `Vigil`: decides whether the service manager's watchdog may be fed.
//!
//! Promise: fed only while every stage either has nothing to do or has made progress within the
//! deadline it named. A stage that was never heard of does not hold the feeding.
//! Absent: no clock (the moment is passed in), no threads, no systemd.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_model::Moment;

/// The name of a stage, such as `ingest`, `commit` or `sync`.
pub type StageName = &'static str;

/// What each stage last said, and the decision that follows from it.
#[derive(Debug, Clone, Default)]
pub struct Vigil {
    stages: BTreeMap<StageName, Work>,
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Idle,
    Busy { moved: Moment, deadline: Duration },
}

/// Whether to feed the watchdog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// All stages move or rest.
    Feed,
    /// This stage has work and has not moved for longer than its deadline.
    Hold {
        /// The stage; the first in alphabetical order when several are stuck.
        stage: StageName,
        /// How long ago it moved.
        stuck_for: Duration,
        /// What it had promised.
        deadline: Duration,
    },
}

impl Vigil {
    /// Nothing heard yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The stage has work and will move within `deadline`, counted from now or, when it was busy
    /// before, from its last progress: repeating the promise does not extend it.
    pub fn busy(&mut self, stage: StageName, deadline: Duration, now: Moment) {
        let moved = match self.stages.get(stage) {
            Some(Work::Busy { moved, .. }) => *moved,
            Some(Work::Idle) | None => now,
        };
        self.stages.insert(stage, Work::Busy { moved, deadline });
    }

    /// The stage has moved. Says nothing about a stage that is idle.
    pub fn tick(&mut self, stage: StageName, now: Moment) {
        if let Some(Work::Busy { moved, .. }) = self.stages.get_mut(stage) {
            *moved = now;
        }
    }

    /// The stage has nothing to do.
    pub fn idle(&mut self, stage: StageName) {
        self.stages.insert(stage, Work::Idle);
    }

    /// The decision at `now`.
    #[must_use]
    pub fn verdict(&self, now: Moment) -> Verdict {
        for (stage, work) in &self.stages {
            if let Work::Busy { moved, deadline } = work {
                let stuck_for = now.since(*moved);
                if stuck_for > *deadline {
                    return Verdict::Hold { stage, stuck_for, deadline: *deadline };
                }
            }
        }
        Verdict::Feed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(seconds: u64) -> Moment {
        Moment(seconds * 1_000_000)
    }

    #[test]
    fn stages_without_work_never_hold_the_feeding() {
        let mut vigil = Vigil::new();
        assert_eq!(vigil.verdict(at(0)), Verdict::Feed);
        vigil.idle("sync");
        assert_eq!(vigil.verdict(at(1_000_000)), Verdict::Feed);
    }

    #[test]
    fn a_busy_stage_holds_after_its_deadline_and_not_before() {
        let mut vigil = Vigil::new();
        vigil.busy("commit", 10 * SECOND, at(5));
        assert_eq!(vigil.verdict(at(15)), Verdict::Feed);
        let held = Verdict::Hold { stage: "commit", stuck_for: 11 * SECOND, deadline: 10 * SECOND };
        assert_eq!(vigil.verdict(at(16)), held);
    }

    #[test]
    fn progress_starts_the_deadline_anew() {
        let mut vigil = Vigil::new();
        vigil.busy("commit", 10 * SECOND, at(0));
        vigil.tick("commit", at(9));
        assert_eq!(vigil.verdict(at(19)), Verdict::Feed);
        assert!(matches!(vigil.verdict(at(20)), Verdict::Hold { .. }));
    }

    #[test]
    fn repeating_that_one_is_busy_does_not_count_as_progress() {
        let mut vigil = Vigil::new();
        for second in 0..30 {
            vigil.busy("ingest", 10 * SECOND, at(second));
        }
        assert!(matches!(vigil.verdict(at(30)), Verdict::Hold { stage: "ingest", .. }));
    }

    #[test]
    fn one_stuck_stage_is_named_although_others_move() {
        let mut vigil = Vigil::new();
        vigil.busy("commit", 5 * SECOND, at(0));
        vigil.busy("sync", 5 * SECOND, at(0));
        vigil.tick("commit", at(8));
        assert!(matches!(vigil.verdict(at(8)), Verdict::Hold { stage: "sync", .. }));
        vigil.idle("sync");
        assert_eq!(vigil.verdict(at(8)), Verdict::Feed);
    }

    #[test]
    fn work_that_begins_after_a_rest_has_its_whole_deadline() {
        let mut vigil = Vigil::new();
        vigil.busy("sync", 5 * SECOND, at(0));
        vigil.idle("sync");
        vigil.tick("sync", at(50));
        vigil.busy("sync", 5 * SECOND, at(100));
        assert_eq!(vigil.verdict(at(105)), Verdict::Feed);
    }
}
