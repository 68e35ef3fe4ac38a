//! The agenda: which rounds are to come, and when.
//!
//! Promise: of each partner at most two rounds stand on it, one that mends and one that only looks; neither takes the other's place. What
//! somebody asked for is put off by nothing that comes of itself.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_model::Moment;

use super::{Partner, Trigger};

/// A round with an agent that brings something waits so often for it to be silent. Then it begins all the same: most devices are never
/// silent, and what is on its way has come by the second look.
const POSTPONED_MAX: u8 = 4;

/// After a round that found something: is it mended? Twice as long after each further round that found something, up to the interval.
const RECHECK: Duration = Duration::from_secs(30);

/// That is 17 hours: no interval is longer.
const RECHECK_DOUBLINGS_MAX: u32 = 11;

/// A round that is to come.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Planned {
    pub(super) partner: Partner,
    /// It only looks.
    pub(super) dry_run: bool,
}

impl Planned {
    /// The one that mends.
    pub(super) const fn mending(partner: Partner) -> Self {
        Self { partner, dry_run: false }
    }
}

/// Rounds that are to come.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    due: BTreeMap<Planned, Due>,
    order: BTreeSet<(Moment, Planned)>,
    /// Rounds in a row that found something to do.
    rechecks: BTreeMap<Partner, u32>,
}

/// When a round is due, and why.
#[derive(Clone, Copy, Debug)]
struct Due {
    at: Moment,
    trigger: Trigger,
    /// How often it was put off.
    postponed: u8,
}

impl Agenda {
    pub(super) fn schedule(&mut self, round: Planned, at: Moment, trigger: Trigger) {
        if self.due.get(&round).is_some_and(|known| known.trigger < trigger) {
            return;
        }
        if let Some(before) = self.due.insert(round, Due { at, trigger, postponed: 0 }) {
            self.order.remove(&(before.at, round));
        }
        self.order.insert((at, round));
    }

    /// The next round after one with `partner` is over that mends, and that `found` something to do or nothing.
    pub(super) fn again(&mut self, partner: Partner, found: bool, interval: Duration, now: Moment) {
        let (pause, trigger) = if found {
            let before = self.rechecks.entry(partner).or_default();
            let pause = before_recheck(*before, interval);
            *before = before.saturating_add(1);
            (pause, Trigger::Recheck)
        } else {
            self.rechecks.remove(&partner);
            (interval, Trigger::Interval)
        };
        self.schedule(Planned::mending(partner), now + pause, trigger);
    }

    pub(super) fn postpone(&mut self, round: Planned, at: Moment) {
        if let Some(due) = self.due.get_mut(&round) {
            self.order.remove(&(due.at, round));
            (due.at, due.postponed) = (at, due.postponed.saturating_add(1));
            self.order.insert((at, round));
        }
    }

    /// It begins now.
    pub(super) fn settle(&mut self, round: Planned) -> Option<Trigger> {
        let due = self.due.remove(&round)?;
        self.order.remove(&(due.at, round));
        Some(due.trigger)
    }

    /// The partner is gone.
    pub(super) fn left(&mut self, partner: Partner) {
        for dry_run in [false, true] {
            self.settle(Planned { partner, dry_run });
        }
        self.rechecks.remove(&partner);
    }

    /// When the next round is due.
    pub(super) fn begins_at(&self) -> Option<Moment> {
        self.order.first().map(|(at, _)| *at)
    }

    /// The first round that is due.
    pub(super) fn next(&self, now: Moment) -> Option<Planned> {
        self.order.first().filter(|(at, _)| *at <= now).map(|(_, round)| *round)
    }

    /// Whether a round waits for silence no more.
    pub(super) fn is_hurried(&self, round: Planned) -> bool {
        let due = self.due.get(&round);
        due.is_some_and(|due| due.trigger == Trigger::Demand || due.postponed >= POSTPONED_MAX)
    }

    /// How many rounds somebody asked for.
    pub(super) fn demanded(&self) -> usize {
        self.due.values().filter(|due| due.trigger == Trigger::Demand).count()
    }
}

/// How long after a round that found something the next one begins, when as many as `before` in a row had found something by then.
fn before_recheck(before: u32, interval: Duration) -> Duration {
    RECHECK.saturating_mul(1 << before.min(RECHECK_DOUBLINGS_MAX)).min(interval)
}

#[cfg(test)]
mod tests {
    use millrace_model::NodeId;

    use super::*;

    const HUB: Partner = Partner::Hub(NodeId(2));

    #[test]
    fn a_round_that_only_looks_takes_nothing_of_the_one_that_mends() {
        let (look, mend) = (Planned { partner: HUB, dry_run: true }, Planned::mending(HUB));
        let mut agenda = Agenda::default();
        agenda.schedule(mend, Moment(50), Trigger::Recheck);
        agenda.schedule(look, Moment(10), Trigger::Demand);
        assert_eq!((agenda.begins_at(), agenda.next(Moment(9))), (Some(Moment(10)), None));
        assert_eq!((agenda.next(Moment(10)), agenda.demanded()), (Some(look), 1));
        assert_eq!(agenda.settle(look), Some(Trigger::Demand));
        assert_eq!(agenda.next(Moment(50)), Some(mend));
        agenda.schedule(mend, Moment(5), Trigger::Demand);
        agenda.schedule(mend, Moment(90), Trigger::Interval);
        assert_eq!(agenda.settle(mend), Some(Trigger::Demand), "what comes of itself puts nothing off");
        agenda.schedule(look, Moment(1), Trigger::Demand);
        agenda.schedule(mend, Moment(1), Trigger::Interval);
        agenda.left(HUB);
        assert_eq!(agenda.begins_at(), None);
    }

    #[test]
    fn silence_is_waited_for_only_so_long() {
        let mend = Planned::mending(HUB);
        let mut agenda = Agenda::default();
        agenda.schedule(mend, Moment(1), Trigger::Interval);
        for at in 2..=u64::from(POSTPONED_MAX) {
            agenda.postpone(mend, Moment(at));
            assert!(!agenda.is_hurried(mend));
        }
        agenda.postpone(mend, Moment(9));
        assert!(agenda.is_hurried(mend));
        agenda.schedule(mend, Moment(9), Trigger::Demand);
        assert!(agenda.is_hurried(mend), "whoever asks does not wait");
    }

    #[test]
    fn what_cannot_be_mended_is_looked_at_ever_more_rarely() {
        let hour = Duration::from_secs(3_600);
        let pauses: Vec<u64> = (0..9).map(|before| before_recheck(before, hour).as_secs()).collect();
        assert_eq!(pauses, [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600]);
        assert_eq!(before_recheck(u32::MAX, hour), hour);
        let mut agenda = Agenda::default();
        for (found, at) in [(true, 30), (true, 60), (false, 3_600), (true, 30)] {
            agenda.again(HUB, found, hour, Moment(0));
            assert_eq!(agenda.begins_at(), Some(Moment(0) + Duration::from_secs(at)));
            agenda.settle(Planned::mending(HUB));
        }
    }
}
