//! What a hub says of its own store: the very decision of the daemon's upkeep, and how it is committed.
//!
//! Promise: what is said is committed only when the hub's standing and the placement are still those that it knew; what was said in vain is
//! said again.

use std::time::Duration;

use millrace_hub_engine::{Synced, upkeep};
use millrace_model::store::Change;
use millrace_model::{Incarnation, NodeId};

use super::ClusterWorld;
use super::hub::{HubHappening, LIFE};
use super::oracle::{OracleHappening, Said};
use crate::ClusterSabotage;
use crate::invariants::Violation;

/// How long a hub waits before it says again what was not heard.
const AGAIN: Duration = Duration::from_secs(1);

impl ClusterWorld {
    /// A hub says what the table does not know yet, if anything.
    pub(super) fn keep_up(&mut self, node: NodeId) {
        let settled = !self.oracle.leaving.contains(&node);
        let Some(hub) = self.hubs.get_mut(&node).filter(|hub| hub.engine.is_some()) else { return };
        let Some(placed) = &hub.placed else { return };
        let Some(known) = placed.hubs.get(&node).cloned() else { return };
        let (placement, store) = (&placed.placement, hub.life);
        let counting = match self.plan.sabotage {
            ClusterSabotage::RememberedSync => hub.ever_synced.clone(),
            _ => hub.reported.counting(placement, node, store),
        };
        let was_full = known.full && known.store == store;
        let full = was_full || upkeep::is_full(placement, node, &counting, settled);
        let said = if (known.store, known.full) == (store, full) {
            let Some(joined) = upkeep::joined(placement, node, &counting) else { return };
            Said::Placement(joined)
        } else {
            Said::Store { store, full }
        };
        let version = placement.version;
        if !std::mem::replace(&mut hub.keeps_up, true) {
            self.hub_later(node, AGAIN, HubHappening::KeepUp);
        }
        self.say_to_oracle(OracleHappening { node, known, version, said });
    }

    /// The store is not what it was: it gets a new life.
    pub(super) fn relive(&mut self, node: NodeId, reason: &str) {
        let life = Incarnation::new(self.random.u64(..));
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        let change = Change::Remember { name: LIFE, value: life.bits().to_be_bytes().to_vec() };
        let written = hub.store.as_mut().map(|store| store.commit(0, &[change]));
        hub.before = Some(std::mem::replace(&mut hub.life, life));
        hub.reported = Synced::default();
        hub.ever_synced.clear();
        if let Some(Err(error)) = written {
            self.check(Err(Violation::new("survival", error.to_string())));
        }
        // What is here was flushed by the new life, as far as anybody will count.
        for (journal, ranges) in self.truth.disks.get(&node).cloned().unwrap_or_default() {
            self.truth.stored(node, life, journal, &ranges);
        }
        self.truth.unaware.remove(&node);
        self.transcript.note(self.now, format_args!("hub {node} begins store {life}: {reason}"));
        self.keep_up(node);
        self.inform(node);
    }
}
