//! The disaster: all hubs are lost, and one comes back from an old copy of its store, alone, under the next epoch.
//!
//! What was acknowledged since the copy was made is lost at the hubs. Agents send again what they keep, and declare the rest; they must
//! not declare what any hub still has.

use std::time::Duration;

use millrace_hub_engine::HubStanding;
use millrace_hub_engine::placement::Placement;
use millrace_model::notice::{Gap, GapReason};
use millrace_model::store::Change;
use millrace_model::{Incarnation, JournalId, NodeId, SeqRange};
use millrace_wire::Lodging;

use super::agent::Agent;
use super::hub::Backup;
use super::oracle::{name_of, region_of};
use super::{ClusterFault, ClusterWorld, Happening};
use crate::invariants::loss;

/// How long after the disaster the first empty hub joins, and the others.
const REBUILT_AFTER: Duration = Duration::from_millis(50);

impl ClusterWorld {
    /// All hubs are lost; a new one begins with the copy of this one's store. Two empty ones join it.
    pub(super) fn lose_everything(&mut self, node: NodeId) {
        let Some(hub) = self.hubs.get_mut(&node) else { return };
        let Some(Backup { image, sound: left, damaged, floors }) = hub.backup.take() else { return };
        let lost: Vec<NodeId> = self.oracle.hubs.keys().copied().collect();
        for node in lost {
            self.oracle.hubs.remove(&node);
            self.remove_hub_unchecked(node);
        }
        self.oracle.leaving.clear();
        self.oracle.placement = Placement::default();
        self.oracle.epoch += 1;
        self.oracle.next_node += 1;
        let node = NodeId(self.oracle.next_node);
        let life = Incarnation::new(self.random.u64(..));
        self.settle_hub(node, life);
        if let Some(hub) = self.hubs.get_mut(&node) {
            hub.image = Some(image);
        }
        self.truth.disks.insert(node, left.clone());
        self.truth.put_back(node, damaged, floors);
        self.start_hub(node);
        // The copy remembers the life in which it was made.
        let life = self.hubs.get(&node).map_or(life, |hub| hub.life);
        for (journal, ranges) in &mut self.truth.acked {
            *ranges = left.get(journal).map(|left| ranges.intersection(left)).unwrap_or_default();
        }
        self.truth.lost_unknown(&left);
        for (journal, ranges) in &left {
            self.truth.stored(node, life, *journal, ranges);
        }
        let region = region_of(node, self.plan.regions);
        self.oracle.hubs.insert(node, HubStanding { hub: name_of(node), region, store: life, full: true });
        self.check(loss::none(&self.truth));
        self.steer();
        for number in 1..=2 {
            self.timeline.after(REBUILT_AFTER * number, Happening::Fault(ClusterFault::Join));
        }
    }
}

/// What an agent's commit declares as lost with the hubs.
pub(super) fn declared(agent: &Agent, changes: &[Change]) -> Vec<(JournalId, SeqRange)> {
    let appended = changes.iter().filter_map(|change| match change {
        Change::Append { records, .. } => Some(records),
        _ => None,
    });
    let gaps = appended.flatten().filter_map(Gap::from_record);
    let lost = gaps.filter(|gap| gap.reason == GapReason::HubsRenewed).filter_map(|gap| {
        let range = gap.range.and_then(|(first, last)| SeqRange::new(first, last))?;
        Some((Lodging { incarnation: gap.incarnation, lane: gap.lane }.of(agent.device), range))
    });
    lost.collect()
}
