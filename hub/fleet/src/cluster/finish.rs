//! When everything has converged, and what is asked then.

use std::collections::BTreeMap;
use std::time::Duration;

use millrace_model::{NodeId, SeqRange};

use super::{ClusterWorld, Happening};
use crate::invariants::replicas::Contents;
use crate::invariants::{Violation, convergence, loss, replicas};

impl ClusterWorld {
    /// Looks whether everything has converged.
    pub(super) fn watch(&mut self) {
        let early = self.healed_at.is_none_or(|at| self.now.since(at) < Duration::from_secs(5));
        if early || !self.waiting().is_empty() {
            return self.timeline.after(Duration::from_millis(500), Happening::Watch);
        }
        self.over = true;
        self.check(loss::none(&self.truth));
        let mut contents: BTreeMap<NodeId, Contents> = BTreeMap::new();
        for (node, hub) in self.hubs.iter().filter(|(_, hub)| !hub.removed) {
            let Some(store) = &hub.store else { continue };
            let held = contents.entry(*node).or_default();
            for state in store.journals() {
                for range in state.present.iter() {
                    let mut from = range.first();
                    while let Some(rest) = SeqRange::new(from, range.last()) {
                        let found = store.checks(&state.journal, rest).unwrap_or_default();
                        let Some((last, _)) = found.last().copied() else { break };
                        held.extend(found.into_iter().map(|(seq, check)| ((state.journal, seq), check)));
                        from = last + 1;
                    }
                }
            }
        }
        self.check(replicas::alike(&self.truth, &self.oracle.placement, &contents));
    }

    /// The time to converge is over.
    pub(super) fn out_of_time(&mut self) {
        let waiting = self.waiting();
        self.check(convergence::reached(&waiting));
        self.check(Err(Violation::new("convergence", "the world did not end")));
        self.over = true;
    }

    /// Who still waits for what.
    fn waiting(&self) -> Vec<String> {
        let mut waiting = Vec::new();
        for (place, agent) in self.agents.iter().enumerate() {
            let Some(engine) = &agent.engine else {
                waiting.push(format!("agent {place} is off"));
                continue;
            };
            if engine.awaits_complete_hub() {
                waiting.push(format!("agent {place} does not know what the hubs still hold"));
            }
            let status = engine.status();
            if status.ledger.pending > 0 || status.session != "open" {
                waiting
                    .push(format!("agent {place} is {}, {} pending", status.session, status.ledger.pending));
            }
        }
        if self.oracle.placement.moving() > 0 || !self.oracle.leaving.is_empty() {
            waiting.push(format!("{} partitions move", self.oracle.placement.moving()));
        }
        for (node, standing) in &self.oracle.hubs {
            let Some(engine) = self.hubs.get(node).and_then(|hub| hub.engine.as_ref()) else {
                waiting.push(format!("hub {node} is off"));
                continue;
            };
            if !standing.full {
                waiting.push(format!("hub {node} is not full: {:?}", engine.fullness()));
            }
            let owed: Vec<_> =
                engine.replication().into_iter().filter(|debt| debt.records > 0 || !debt.connected).collect();
            if engine.is_busy() || !owed.is_empty() {
                waiting.push(format!("hub {node} owes {owed:?}"));
            }
        }
        waiting
    }
}
