//! The oracle: in the place of Raft it commits the table, the placement, and who is full; hubs hear of it a little later, and
//! whoever is cut off from the others much later.
//!
//! Absent: how decisions are made (`millrace-hub-control`).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_hub_engine::placement::{Placement, REPLICAS_DEFAULT, Site, target};
use millrace_hub_engine::{HubStanding, Placed};
use millrace_model::{HubId, Incarnation, NodeId};

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
    /// How often all hubs were lost.
    pub(super) epoch: u64,
    /// Rises with every change.
    pub(super) revision: u64,
}

/// What a hub says to control, which hears it a little later.
#[derive(Clone, Debug)]
pub(super) struct OracleHappening {
    pub(super) node: NodeId,
    /// The hub's standing and the version of the placement, as it knows them: nothing is committed when they are others by now.
    pub(super) known: HubStanding,
    pub(super) version: u64,
    pub(super) said: Said,
}

/// What it says.
#[derive(Clone, Debug)]
pub(super) enum Said {
    /// Which life its store lives, and whether that is full.
    Store { store: Incarnation, full: bool },
    /// The placement, in which it has joined what it has synced.
    Placement(Placement),
}

/// The name of a hub in certificates.
pub(super) fn name_of(node: NodeId) -> HubId {
    HubId::from_bytes([u8::try_from(node.0).unwrap_or(u8::MAX); 16])
}

/// Where a hub stands.
pub(super) fn region_of(node: NodeId, regions: usize) -> String {
    format!("region-{}", node_of(node) as usize % regions.max(1))
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
            epoch: 1 + self.oracle.epoch,
            placement: self.oracle.placement.clone(),
            hubs: self.oracle.hubs.clone(),
        };
        let revision = self.oracle.revision;
        self.hub_later(node, span, HubHappening::Placed { revision, placed: Box::new(placed) });
    }

    /// A hub says something to control: it arrives now and then not, and never from a hub that is cut off.
    pub(super) fn say_to_oracle(&mut self, what: OracleHappening) {
        let lost = self.random.u8(0..10) == 0;
        let isolated = self.hubs.get(&what.node).is_some_and(|hub| hub.isolated);
        if !lost && !isolated {
            let span = Duration::from_millis(self.random.u64(1..300));
            self.timeline.after(span, Happening::Oracle(what));
        }
    }

    pub(super) fn oracle_happened(&mut self, what: OracleHappening) {
        let OracleHappening { node, known, version, said } = what;
        let Some(standing) = self.oracle.hubs.get_mut(&node) else { return };
        if *standing != known || self.oracle.placement.version != version {
            return;
        }
        match said {
            Said::Store { store, full } => {
                let begins = standing.store != store;
                (standing.store, standing.full) = (store, full);
                if begins {
                    self.oracle.placement.raise();
                }
                if full {
                    self.truth.filled(node);
                }
                self.transcript.note(self.now, format_args!("committed: {node} store {store}, full {full}"));
            }
            Said::Placement(placement) => {
                self.oracle.placement = placement;
                let moving = self.oracle.placement.moving();
                self.transcript.note(self.now, format_args!("committed: {node} joined, {moving} still move"));
            }
        }
        self.steer();
    }

    /// Adds a hub to the table: a founder is full at once.
    pub(super) fn add_hub(&mut self, founder: bool) {
        self.oracle.next_node += 1;
        let node = NodeId(self.oracle.next_node);
        let region = region_of(node, self.plan.regions);
        let store = Incarnation::new(self.random.u64(..));
        let standing = HubStanding { hub: name_of(node), region, store, full: founder };
        self.oracle.hubs.insert(node, standing);
        self.settle_hub(node, store);
        self.timeline.at(self.now, Happening::StartHub(node));
    }
}
