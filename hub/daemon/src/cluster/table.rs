//! The table: what the cluster has decided about its hubs, as this hub knows it.
//!
//! Promise: pure; the same records give the same table. Each record comes with the revision of its last change, which a
//! change is guarded by.
//! Absent: who seems alive.

use std::collections::BTreeMap;

use millrace_hub_engine::placement::{Placement, Site};
use millrace_model::{HubId, Incarnation, NodeId};
use serde::de::DeserializeOwned;

use super::keys::Key;
use super::record::{ClusterRecord, EnrolledRecord, GoneRecord, HubRecord, HubState, Settings, StoreRecord};

/// Something that was decided, and when.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Dated<T> {
    /// It.
    pub value: T,
    /// Revision of its last change; 0: it was never decided.
    pub revision: u64,
}

/// The table.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Table {
    /// The cluster itself.
    pub cluster: Option<ClusterRecord>,
    /// The hubs.
    pub hubs: BTreeMap<NodeId, Dated<HubRecord>>,
    /// Who keeps what.
    pub placement: Dated<Placement>,
    /// What the cluster was told to be like.
    pub settings: Dated<Settings>,
    /// Hubs that were removed.
    pub gone: BTreeMap<NodeId, GoneRecord>,
    /// Machines that have a hub's certificate and have not joined yet.
    pub enrolled: BTreeMap<HubId, EnrolledRecord>,
}

impl Table {
    /// Takes in what stands under `key` since `revision`, or that nothing stands there any more. Whether the table knows such
    /// keys.
    pub(crate) fn take_in(&mut self, key: &Key, value: Option<&[u8]>, revision: u64) -> bool {
        match key {
            Key::Cluster => self.cluster = value.and_then(read),
            Key::Placement => self.placement = dated(value, revision),
            Key::Settings => self.settings = dated(value, revision),
            Key::Hub(node) => match value.and_then(read) {
                Some(record) => drop(self.hubs.insert(*node, Dated { value: record, revision })),
                None => drop(self.hubs.remove(node)),
            },
            Key::Gone(node) => match value.and_then(read) {
                Some(record) => drop(self.gone.insert(*node, record)),
                None => drop(self.gone.remove(node)),
            },
            Key::EnrolledHub(hub) => match value.and_then(read) {
                Some(record) => drop(self.enrolled.insert(*hub, record)),
                None => drop(self.enrolled.remove(hub)),
            },
            Key::Device(_) | Key::Token(_) => return false,
        }
        true
    }

    /// One hub.
    #[must_use]
    pub fn hub(&self, node: NodeId) -> Option<&HubRecord> {
        self.hubs.get(&node).map(|dated| &dated.value)
    }

    /// What the table says of this very life of a hub's store; what it says of another life does not count.
    #[must_use]
    pub fn store_of(&self, node: NodeId, life: Option<Incarnation>) -> Option<StoreRecord> {
        self.hub(node)?.store.filter(|store| Some(store.incarnation) == life)
    }

    /// All hubs.
    pub fn records(&self) -> impl Iterator<Item = &HubRecord> {
        self.hubs.values().map(|dated| &dated.value)
    }

    /// The number of the hub with this id: the newest, when it has joined again, and one that stays before one that leaves.
    #[must_use]
    pub fn node_of(&self, hub: &HubId) -> Option<NodeId> {
        let own = self.records().filter(|record| record.hub == *hub);
        own.max_by_key(|record| (record.state != HubState::Leaving, record.node)).map(|record| record.node)
    }

    /// The hub with this name that is not leaving.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<&HubRecord> {
        self.records().find(|record| record.name == name && record.state != HubState::Leaving)
    }

    /// Whether the hub with this id was removed, and has not come back under a new number.
    #[must_use]
    pub fn was_removed(&self, hub: &HubId) -> bool {
        self.node_of(hub).is_none() && self.gone.values().any(|gone| gone.hub == *hub)
    }

    /// The other hubs, as they are to be reached: of a hub that has joined again its newest number only.
    #[must_use]
    pub fn others(&self, me: NodeId) -> BTreeMap<NodeId, &HubRecord> {
        let newest =
            |record: &&HubRecord| record.node != me && self.node_of(&record.hub) == Some(record.node);
        self.records().filter(newest).map(|record| (record.node, record)).collect()
    }

    /// Where hubs other than `me` are reached.
    #[must_use]
    pub fn seeds(&self, me: NodeId) -> Vec<String> {
        let stay = self.records().filter(|record| record.node != me && record.state != HubState::Leaving);
        stay.flat_map(|record| record.addresses.iter().cloned()).collect()
    }

    /// How many partitions are on fewer hubs than the settings want, and there are.
    #[must_use]
    pub fn short(&self) -> usize {
        let wanted = self.settings.value.replicas.min(self.sites().len()).max(1);
        self.placement.value.short_of(wanted)
    }

    /// The hubs that may keep readings.
    #[must_use]
    pub fn sites(&self) -> Vec<Site> {
        let stays = |record: &&HubRecord| record.state == HubState::Member && !record.witness;
        let site = |record: &HubRecord| Site { node: record.node, region: record.region.clone() };
        self.records().filter(stays).map(site).collect()
    }
}

fn dated<T: DeserializeOwned + Default>(value: Option<&[u8]>, revision: u64) -> Dated<T> {
    match value.and_then(read) {
        Some(value) => Dated { value, revision },
        None => Dated::default(),
    }
}

/// A record that cannot be read was written by a newer program: what it says does not count here.
pub(crate) fn read<T: DeserializeOwned>(value: &[u8]) -> Option<T> {
    match serde_json::from_slice(value) {
        Ok(record) => Some(record),
        Err(error) => {
            tracing::error!(%error, "a record of the cluster cannot be read: is this program older than the others?");
            None
        }
    }
}
