//! What is to be done when.
//!
//! Promise: errands come out by time, and those of one moment in the order in which they were put in. There are at most a few
//! of each kind for each hub.
//! Absent: a clock, and doing it.

use std::collections::BTreeMap;
use std::time::Duration;

use foca::Timer;
use millrace_model::Moment;

use super::peer::Peer;

/// Why membership wants to be woken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WakeReason {
    /// A step of SWIM: a probe, a suspicion that ends, a round of gossip.
    Swim,
    /// Knocking at hubs that are not there.
    Announce,
    /// Asking a hub for its profile.
    Ask,
    /// Telling a changed load.
    Publish,
    /// Saying goodbye once more.
    Farewell,
}

/// Something to do.
#[derive(Debug)]
pub(crate) enum Errand {
    Swim(Timer<Peer>),
    Announce,
    Ask,
    Publish,
    Farewell,
}

impl Errand {
    const fn reason(&self) -> WakeReason {
        match self {
            Self::Swim(_) => WakeReason::Swim,
            Self::Announce => WakeReason::Announce,
            Self::Ask => WakeReason::Ask,
            Self::Publish => WakeReason::Publish,
            Self::Farewell => WakeReason::Farewell,
        }
    }
}

/// The errands, by time.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    count: u64,
    errands: BTreeMap<(Moment, u64), Errand>,
}

impl Agenda {
    pub(crate) fn at(&mut self, at: Moment, errand: Errand) {
        // A hub that comes and goes is forgotten a day after its last life ended: one errand, not one for each life.
        if let Errand::Swim(Timer::RemoveDown(peer)) = &errand {
            let same = |other: &Errand| matches!(other, Errand::Swim(Timer::RemoveDown(old)) if old.node == peer.node);
            self.errands.retain(|_, other| !same(other));
        }
        self.count += 1;
        self.errands.insert((at, self.count), errand);
    }

    pub(crate) fn next(&self) -> Option<(Moment, WakeReason)> {
        self.errands.first_key_value().map(|((at, _), errand)| (*at, errand.reason()))
    }

    /// The next errand that is due.
    pub(crate) fn due(&mut self, now: Moment) -> Option<Errand> {
        let entry = self.errands.first_entry().filter(|entry| entry.key().0 <= now)?;
        Some(entry.remove())
    }

    /// Moves everything by `span`, and lets suspicions begin anew: they end at `judgement` or later.
    pub(crate) fn postpone(&mut self, span: Duration, judgement: Moment) {
        let errands = std::mem::take(&mut self.errands);
        self.errands = errands
            .into_iter()
            .map(|((at, count), errand)| {
                let judges = matches!(errand, Errand::Swim(Timer::ChangeSuspectToDown { .. }));
                let at = if judges { (at + span).max(judgement) } else { at + span };
                ((at, count), errand)
            })
            .collect();
    }

    pub(crate) fn clear(&mut self) {
        self.errands.clear();
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.errands.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_model::{Incarnation, NodeId};

    fn peer(node: u64, life: u64) -> Peer {
        Peer { node: NodeId(node), life, incarnation: Incarnation::new(7) }
    }

    #[test]
    fn errands_come_by_time_then_by_order() {
        let mut agenda = Agenda::default();
        agenda.at(Moment(5), Errand::Ask);
        agenda.at(Moment(3), Errand::Announce);
        agenda.at(Moment(5), Errand::Publish);
        assert_eq!(agenda.next(), Some((Moment(3), WakeReason::Announce)));
        assert!(agenda.due(Moment(2)).is_none());
        let reasons: Vec<_> =
            std::iter::from_fn(|| agenda.due(Moment(9))).map(|errand| errand.reason()).collect();
        assert_eq!(reasons, [WakeReason::Announce, WakeReason::Ask, WakeReason::Publish]);
    }

    #[test]
    fn a_hub_that_comes_and_goes_is_forgotten_once() {
        let mut agenda = Agenda::default();
        for life in 1..100 {
            agenda.at(Moment(life), Errand::Swim(Timer::RemoveDown(peer(2, life))));
        }
        agenda.at(Moment(1), Errand::Swim(Timer::RemoveDown(peer(3, 1))));
        assert_eq!(agenda.len(), 2);
    }

    #[test]
    fn postponed_suspicions_get_their_whole_time() {
        let mut agenda = Agenda::default();
        let suspicion = Timer::ChangeSuspectToDown { member_id: peer(2, 1), incarnation: 0, token: 0 };
        agenda.at(Moment(1), Errand::Swim(suspicion));
        agenda.at(Moment(2), Errand::Ask);
        agenda.postpone(Duration::from_micros(10), Moment(50));
        assert_eq!(agenda.next(), Some((Moment(12), WakeReason::Ask)));
        assert!(agenda.due(Moment(12)).is_some() && agenda.due(Moment(49)).is_none());
        assert!(agenda.due(Moment(50)).is_some());
    }
}
