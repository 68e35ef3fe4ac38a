//! Which steps rest because they failed, and which failures are told.
//!
//! Promise: pure. A step that fails holds up no other. That it fails is told once, and again every hour while it goes on: a hub
//! that joined and was never started is no news every ten seconds. At most one entry for each step that is due.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_model::{Moment, NodeId};

use super::deciding::Step;

/// How long a step rests when what it was decided from has changed.
const LATE: Duration = Duration::from_secs(1);
/// How long a step that failed rests: the hub is probably not reachable.
const REST: Duration = Duration::from_secs(5);
/// How long the same failure is not told again.
const SILENCE: Duration = Duration::from_secs(3_600);

/// What a step does, and to whom.
type Subject = (u8, NodeId);

/// The steps that rest.
#[derive(Default, Debug)]
pub struct Resting(BTreeMap<Subject, Rest>);

#[derive(Debug)]
struct Rest {
    until: Moment,
    told: Option<Moment>,
}

impl Resting {
    /// The first of these steps that does not rest. What is not among them is not due any more, and forgotten.
    pub fn next(&mut self, steps: Vec<Step>, now: Moment) -> Option<Step> {
        let due: Vec<Subject> = steps.iter().map(subject).collect();
        self.0.retain(|subject, _| due.contains(subject));
        let rests = |step: &Step| self.0.get(&subject(step)).is_some_and(|rest| rest.until > now);
        steps.into_iter().find(|step| !rests(step))
    }

    /// What the step was decided from has changed: it rests for a moment.
    pub fn was_late(&mut self, step: &Step, now: Moment) {
        let rest = self.0.entry(subject(step)).or_insert(Rest { until: now, told: None });
        rest.until = now + LATE;
    }

    /// The step failed, and rests. Whether that is to be told.
    #[must_use]
    pub fn has_failed(&mut self, step: &Step, now: Moment) -> bool {
        let rest = self.0.entry(subject(step)).or_insert(Rest { until: now, told: None });
        rest.until = now + REST;
        let is_news = rest.told.is_none_or(|told| now.since(told) >= SILENCE);
        if is_news {
            rest.told = Some(now);
        }
        is_news
    }
}

const fn subject(step: &Step) -> Subject {
    match step {
        Step::Settle => (0, NodeId(0)),
        Step::AddLearner(node, _) => (1, *node),
        Step::Promote(node) => (2, *node),
        Step::Welcome(node) => (3, *node),
        Step::Place(_) => (4, NodeId(0)),
        Step::Remove(node) => (5, *node),
        Step::Bury(node) => (6, *node),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hub_that_was_never_started_is_told_once_and_then_every_hour_and_holds_up_nobody() {
        let mut resting = Resting::default();
        let steps = || vec![Step::Promote(NodeId(2)), Step::Bury(NodeId(3))];
        let at = |seconds: u64| Moment(0) + Duration::from_secs(seconds);
        let mut told = Vec::new();
        for second in (0..2 * 3_600).step_by(10) {
            let step = resting.next(steps(), at(second)).unwrap();
            assert_eq!(step, Step::Promote(NodeId(2)));
            if resting.has_failed(&step, at(second)) {
                told.push(second);
            }
            assert_eq!(resting.next(steps(), at(second + 1)), Some(Step::Bury(NodeId(3))));
        }
        assert_eq!(told, [0, 3_600]);
        assert_eq!(resting.next(vec![Step::Bury(NodeId(3))], at(7_200)), Some(Step::Bury(NodeId(3))));
        assert!(
            resting.has_failed(&Step::Promote(NodeId(2)), at(7_200)),
            "it was done meanwhile, and fails anew"
        );
    }

    #[test]
    fn a_step_that_was_late_rests_for_a_moment_and_nothing_is_told() {
        let mut resting = Resting::default();
        let at = |seconds: u64| Moment(0) + Duration::from_secs(seconds);
        resting.was_late(&Step::Settle, at(0));
        assert_eq!(resting.next(vec![Step::Settle], at(0)), None);
        assert_eq!(resting.next(vec![Step::Settle], at(1)), Some(Step::Settle));
        assert!(resting.has_failed(&Step::Settle, at(1)));
    }
}
