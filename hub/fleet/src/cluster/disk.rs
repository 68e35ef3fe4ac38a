//! A hub's commits, and what the truth learns from them.

use millrace_hub_engine::Event;
use millrace_journal::{CommitError, Store};
use millrace_model::store::{Change, Outcome, Refusal};
use millrace_model::{Durable, NodeId, RangeSet};
use millrace_sim::Flush;

use super::ClusterWorld;
use super::damage::measured_of;
use crate::ClusterSabotage;
use crate::invariants::{Violation, aside, trimmed};
use crate::measuring::measured;

/// The hub whose disk drops records, when one is to.
const DROPPER: NodeId = NodeId(3);

impl ClusterWorld {
    /// The time of a commit is over.
    pub(super) fn hub_flushed(&mut self, node: NodeId) {
        match self.hubs.get_mut(&node).and_then(|hub| hub.disk.finish()) {
            Some(Flush::Refused((commit, _))) => {
                self.tell_hub(node, Event::CommitRefused { commit, refusal: Refusal::Full });
            }
            Some(Flush::Flushed((commit, changes))) => {
                let Some((durable, outcomes)) = self.apply(node, commit, &changes) else { return };
                let store = self.hubs.get(&node).and_then(|hub| hub.store.as_ref());
                let usage = store.map(Store::usage).unwrap_or_default();
                let measured = match self.plan.ageing {
                    Some(_) => measured_of(store, &outcomes),
                    None => measured(store),
                };
                self.tell_hub(node, Event::Committed { durable, outcomes, usage });
                self.tell_hub(node, measured);
            }
            None => {}
        }
    }

    pub(super) fn apply(
        &mut self,
        node: NodeId,
        commit: u64,
        changes: &[Change],
    ) -> Option<(Durable, Vec<Outcome>)> {
        let hub = self.hubs.get_mut(&node)?;
        let lies = |random: &mut fastrand::Rng, how| self.plan.sabotage == how && random.u8(0..20) == 0;
        let forgets = lies(&mut self.random, ClusterSabotage::ForgetfulDisks);
        let drops = node == DROPPER && lies(&mut self.random, ClusterSabotage::DroppedRecords);
        let store = hub.store.as_mut()?;
        let committed = if drops { pretend(store, commit, changes) } else { store.commit(commit, changes) };
        match committed {
            Ok((durable, outcomes)) => {
                // What was put aside went before the changes were applied.
                let (aside, done): (Vec<_>, Vec<_>) =
                    outcomes.iter().partition(|outcome| matches!(outcome, Outcome::Quarantined(_)));
                for outcome in aside.into_iter().chain(done.into_iter().filter(|_| !forgets)) {
                    self.learn(node, outcome);
                }
                Some((durable, outcomes))
            }
            Err(CommitError::Refused(refusal)) => {
                self.tell_hub(node, Event::CommitRefused { commit, refusal });
                None
            }
            Err(error) => {
                self.check(Err(Violation::new("survival", format!("hub {node}: {error}"))));
                None
            }
        }
    }

    fn learn(&mut self, node: NodeId, outcome: &Outcome) {
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        let (life, before) = (hub.life, hub.before);
        match outcome {
            Outcome::Received { journal, stored, .. } => {
                let verdict = trimmed::stored(&self.truth, node, journal, stored);
                self.truth.stored(node, life, *journal, stored);
                if let Some(before) = before {
                    self.truth.stored(node, before, *journal, stored);
                }
                self.check(verdict);
            }
            Outcome::Dropped { journal, floor, .. } => {
                self.truth.dropped(node, *journal, *floor);
                if self.plan.sabotage == ClusterSabotage::ForgottenFloors
                    && let Some(store) = &mut hub.store
                    && let Err(error) = store.forget_floors()
                {
                    self.check(Err(Violation::new("survival", error.to_string())));
                }
            }
            Outcome::Quarantined(moved) => {
                self.truth.wear.found += 1;
                self.check(aside::moved(&self.truth, node, &moved.journal, &moved.ranges));
            }
            _ => {}
        }
    }
}

/// Says that a store stored every run of a commit, and stores none.
fn pretend(
    store: &mut Store,
    commit: u64,
    changes: &[Change],
) -> Result<(Durable, Vec<Outcome>), CommitError> {
    let received = |change: &Change| match change {
        Change::Receive(run) => run.range().map(|range| Outcome::Received {
            journal: run.journal,
            stored: range.into(),
            duplicate: RangeSet::new(),
            conflict: RangeSet::new(),
            refused: None,
            gaps: Vec::new(),
        }),
        _ => None,
    };
    let (durable, _) = store.commit(commit, &[])?;
    Ok((durable, changes.iter().map(|change| received(change).unwrap_or(Outcome::Done)).collect()))
}
