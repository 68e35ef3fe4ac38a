//! The oracle: in the place of Raft it commits the table, the placement, and who is full; hubs hear of it a little later, and
//! whoever is cut off from the others much later.
//!
//! Absent: how decisions are made (`millrace-hub-control`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_hub_engine::placement::{Placement, REPLICAS_DEFAULT, Site, target};
use millrace_hub_engine::{HubStanding, Placed};
use millrace_model::{HubId, Incarnation, NodeId, Partition};

use super::hub::HubHappening;
use super::{ClusterWorld, Happening, node_of};

/// What is committed.
#[derive(Debug, Default)]
pub(super) struct Oracle {
    pub(super) hubs: BTreeMap<NodeId, HubStanding>,
    pub(super) placement: Placement,
    /// Hubs that leave: they get no partition, and are removed when they have none.
    pub(super) leaving: BTreeSet<NodeId>,
    pub(super) next_node: u64,
    /// Rises with every change.
    pub(super) revision: u64,
}

/// What the oracle is told, a little later.
#[derive(Clone, Debug)]
pub(super) enum OracleHappening {
    Synced { node: NodeId, store: Incarnation, partitions: Vec<Partition>, all: bool },
    Begun { node: NodeId, store: Incarnation },
}

/// The name of a hub in certificates.
pub(super) fn name_of(node: NodeId) -> HubId {
    HubId::from_bytes([u8::try_from(node.0).unwrap_or(u8::MAX); 16])
}

impl ClusterWorld {
    /// Brings the placement towards what the table says, as a leader's steward does.
    pub(super) fn steer(&mut self) {
        let stays = self.oracle.hubs.iter().filter(|(node, _)| !self.oracle.leaving.contains(node));
        let sites: Vec<Site> =
            stays.map(|(node, hub)| Site { node: *node, region: hub.region.clone() }).collect();
        self.oracle.placement.begin(&target(&sites, REPLICAS_DEFAULT));
        let keeps: BTreeSet<NodeId> =
            self.oracle.placement.assignments().flat_map(|(_, of)| of.recipients()).collect();
        let gone: Vec<NodeId> =
            self.oracle.leaving.iter().copied().filter(|node| !keeps.contains(node)).collect();
        for node in gone {
            self.oracle.leaving.remove(&node);
            self.oracle.hubs.remove(&node);
            self.transcript.note(self.now, format_args!("hub {node} is removed"));
            self.remove_hub(node);
        }
        self.announce();
    }

    /// Everybody hears of what is committed.
    fn announce(&mut self) {
        self.oracle.revision += 1;
        let nodes: Vec<NodeId> = self.oracle.hubs.keys().copied().collect();
        nodes.into_iter().for_each(|node| self.inform(node));
    }

    /// A hub hears of what is committed now, a little later.
    pub(super) fn inform(&mut self, node: NodeId) {
        let span = Duration::from_millis(self.random.u64(1..400));
        let placed = Placed {
            me: node,
            store: Incarnation::new(0),
            epoch: 1,
            placement: self.oracle.placement.clone(),
            hubs: self.oracle.hubs.clone(),
        };
        let revision = self.oracle.revision;
        self.hub_later(node, span, HubHappening::Placed { revision, placed: Box::new(placed) });
    }

    /// A hub says something to control: it arrives, unless the hub is cut off.
    pub(super) fn say_to_oracle(&mut self, node: NodeId, what: OracleHappening) {
        let lost = self.random.u8(0..10) == 0 && matches!(what, OracleHappening::Synced { .. });
        let isolated = self.hubs.get(&node).is_some_and(|hub| hub.isolated);
        if lost || (isolated && matches!(what, OracleHappening::Synced { .. })) {
            return;
        }
        let span = Duration::from_millis(self.random.u64(1..300));
        self.timeline.after(span, Happening::Oracle(what));
    }

    pub(super) fn oracle_happened(&mut self, what: OracleHappening) {
        match what {
            OracleHappening::Begun { node, store } => {
                // A hub that is cut off says so until it is heard.
                if self.hubs.get(&node).is_some_and(|hub| hub.isolated) {
                    let again = OracleHappening::Begun { node, store };
                    return self.timeline.after(Duration::from_millis(500), Happening::Oracle(again));
                }
                let current = self.hubs.get(&node).map(|hub| hub.life);
                let Some(standing) = self.oracle.hubs.get_mut(&node).filter(|_| current == Some(store))
                else {
                    return;
                };
                (standing.store, standing.full) = (store, false);
                self.oracle.placement.raise();
                self.transcript.note(self.now, format_args!("committed: {node} begins store {store}"));
                self.announce();
            }
            OracleHappening::Synced { node, store, partitions, all } => {
                let Some(standing) = self.oracle.hubs.get_mut(&node).filter(|hub| hub.store == store) else {
                    return;
                };
                standing.full |= all;
                for partition in &partitions {
                    self.oracle.placement.joined(*partition, node);
                }
                let count = partitions.len();
                self.transcript.note(self.now, format_args!("committed: {node} synced {count}, all {all}"));
                if all {
                    self.truth.filled(node);
                }
                self.steer();
            }
        }
    }

    /// Adds a hub to the table: a founder is full at once.
    pub(super) fn add_hub(&mut self, founder: bool) {
        self.oracle.next_node += 1;
        let node = NodeId(self.oracle.next_node);
        let region = format!("region-{}", node_of(node) as usize % self.plan.regions.max(1));
        let store = Incarnation::new(self.random.u64(..));
        let standing = HubStanding { hub: name_of(node), region, store, full: founder };
        self.oracle.hubs.insert(node, standing);
        self.settle_hub(node, store);
        self.timeline.at(self.now, Happening::StartHub(node));
    }
}
