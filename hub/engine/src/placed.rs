//! What the cluster has committed about its hubs, as far as the engine needs it.
//!
//! Absent: how it was decided, and addresses: the daemon dials.

use std::collections::BTreeMap;

use millrace_model::{HubId, Incarnation, NodeId};

use crate::placement::Placement;

/// The committed table and placement, as one hub sees them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Placed {
    /// This hub's number.
    pub me: NodeId,
    /// Which life of its own store it runs with; the table may still name an older one.
    pub store: Incarnation,
    /// How often the cluster was made anew.
    pub epoch: u64,
    /// Who keeps what.
    pub placement: Placement,
    /// All hubs of the table, this one too. Witnesses keep nothing and may be left out.
    pub hubs: BTreeMap<NodeId, HubStanding>,
}

/// How one hub stands in the committed table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HubStanding {
    /// Who it is.
    pub hub: HubId,
    /// Where it is.
    pub region: String,
    /// Which life of its store the table speaks of.
    pub store: Incarnation,
    /// Whether that life holds all that it should: only then it counts.
    pub full: bool,
}

impl Placed {
    /// Whether this very life of a hub's store is committed as full.
    #[must_use]
    pub fn is_full(&self, node: NodeId, store: Incarnation) -> bool {
        self.hubs.get(&node).is_some_and(|standing| standing.full && standing.store == store)
    }
}

/// How much of what this hub should hold it knows to hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Fullness {
    /// Partitions that this hub keeps, or is about to keep.
    pub partitions: usize,
    /// Those of them that need no syncing any more.
    pub synced: usize,
    /// Records that others told of and that are not here.
    pub lacking: u64,
}
