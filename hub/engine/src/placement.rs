//! Placement: which hubs keep which partition, and how that changes without a moment in which readings have too few replicas.
//!
//! ```text
//!   members change ─▶ target() ─▶ begin() ─▶ joining hubs sync ─▶ joined() ─▶ replicas = target
//!                                 version+1      (they already get        version+1
//!                                                 what is new)
//! ```
//!
//! Promise: the same members give the same target everywhere; regions are filled before any region is used twice; a hub
//! that joins takes, and one that leaves gives, and nothing else moves; whoever leaves a partition stays until all who
//! join it are full.
//! Absent: gossip. Only the member table that Raft committed gets here.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::partition::PARTITIONS;
use millrace_model::{NodeId, Partition};
use serde::{Deserialize, Serialize};

/// Replicas of a partition when there are hubs enough.
pub const REPLICAS_DEFAULT: usize = 3;

/// Replicas of a partition at most: more copies make every reading slower and nothing safer.
pub const REPLICAS_MAX: usize = 7;

/// A hub that may keep readings. Witnesses, hubs that leave and hubs that were removed are not among them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct Site {
    /// Which hub.
    pub node: NodeId,
    /// Where it stands.
    pub region: String,
}

/// The hubs of one partition.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Assignment {
    /// Whose disks count, the one that the partition likes best first.
    pub replicas: Vec<NodeId>,
    /// The replicas to be, while some of them still sync; empty when nothing moves.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub target: Vec<NodeId>,
    /// Those of `target` that have not synced yet: who comes and, when fewer come than leave, also who stays.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub joining: BTreeSet<NodeId>,
    /// The version in which it began to move, or was placed at first: whoever knows that one sends the hubs of `target` what is new.
    #[serde(default)]
    pub since: u64,
}

impl Assignment {
    /// Who gets what is new: replicas, and those that are about to be.
    pub fn recipients(&self) -> impl Iterator<Item = NodeId> {
        let newcomers = self.target.iter().filter(|node| !self.replicas.contains(node));
        self.replicas.iter().chain(newcomers).copied()
    }

    /// Who must have flushed what is to be safe: of each of these lists of hubs, at least so many. More than half of the replicas and,
    /// while the partition moves, more than half of the replicas to be. So nothing that was acked depends on the day of the switch
    /// (joint consensus: Ongaro and Ousterhout, "In search of an understandable consensus algorithm", 2014, section 6).
    pub fn quorums(&self) -> impl Iterator<Item = (&[NodeId], usize)> {
        let to_be = Some(self.target.as_slice()).filter(|target| !target.is_empty());
        std::iter::once(self.replicas.as_slice()).chain(to_be).map(|of| (of, of.len() / 2 + 1))
    }
}

/// Who keeps what.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Placement {
    /// Rises with every change.
    pub version: u64,
    partitions: BTreeMap<Partition, Assignment>,
}

/// What one partition gains and gives up.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Move {
    /// Which partition.
    pub partition: Partition,
    /// Hubs that get it.
    pub add: Vec<NodeId>,
    /// Hubs that give it up.
    pub remove: Vec<NodeId>,
}

/// The replicas of every partition over `sites`: as many as `replicas` says, fewer when there are fewer hubs.
///
/// Within a partition, hubs are taken in the order in which it likes them; a second hub of a region is taken only when every
/// region has one, a third when every region has two, or has no more to give.
#[must_use]
pub fn target(sites: &[Site], replicas: usize) -> BTreeMap<Partition, Vec<NodeId>> {
    let wanted = replicas.clamp(1, REPLICAS_MAX).min(sites.len());
    Partition::all().map(|partition| (partition, choose(partition, sites, wanted))).collect()
}

fn choose(partition: Partition, sites: &[Site], wanted: usize) -> Vec<NodeId> {
    let mut ranked: Vec<(u64, &Site)> =
        sites.iter().map(|site| (partition.affinity(site.node), site)).collect();
    ranked.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.node.cmp(&b.1.node)));
    // The place of a hub within its own region decides in which round it is taken; the ranking decides within a round.
    let mut of_region: BTreeMap<&str, usize> = BTreeMap::new();
    let mut rounds: Vec<(usize, NodeId)> = Vec::with_capacity(ranked.len());
    for (_, site) in ranked {
        let round = of_region.entry(site.region.as_str()).or_default();
        rounds.push((*round, site.node));
        *round += 1;
    }
    rounds.sort_by_key(|(round, _)| *round);
    rounds.into_iter().take(wanted).map(|(_, node)| node).collect()
}

impl Placement {
    /// The hubs of a partition; nobody before the first placement.
    #[must_use]
    pub fn of(&self, partition: Partition) -> Option<&Assignment> {
        self.partitions.get(&partition)
    }

    /// All assignments, by partition.
    pub fn assignments(&self) -> impl Iterator<Item = (Partition, &Assignment)> {
        self.partitions.iter().map(|(partition, assignment)| (*partition, assignment))
    }

    /// What would move if `target` were begun now, without what moves already.
    #[must_use]
    pub fn plan(&self, target: &BTreeMap<Partition, Vec<NodeId>>) -> Vec<Move> {
        let nobody = Vec::new();
        let moves = target.iter().filter_map(|(partition, nodes)| {
            let now = self.partitions.get(partition).map_or(&nobody, |assignment| &assignment.replicas);
            let add: Vec<NodeId> = nodes.iter().filter(|node| !now.contains(node)).copied().collect();
            let remove: Vec<NodeId> = now.iter().filter(|node| !nodes.contains(node)).copied().collect();
            (!add.is_empty() || !remove.is_empty()).then_some(Move { partition: *partition, add, remove })
        });
        moves.collect()
    }

    /// Begins to move towards `target`. A partition that nobody has goes to its hubs at once: there is nothing to sync. One
    /// whose move is under way takes the new target instead of the old one. Returns whether anything changed.
    pub fn begin(&mut self, target: &BTreeMap<Partition, Vec<NodeId>>) -> bool {
        let before = self.partitions.clone();
        let version = self.version + 1;
        for (partition, nodes) in target {
            let assignment = self.partitions.entry(*partition).or_default();
            if assignment.replicas.is_empty() {
                assignment.replicas.clone_from(nodes);
                assignment.since = version;
                continue;
            }
            let goal = if assignment.target.is_empty() { &assignment.replicas } else { &assignment.target };
            if goal == nodes {
                continue;
            }
            assignment.since = version;
            // Each newcomer takes the place of one that leaves. When more leave than come, what only they and one other had would be
            // on too few: then those that stay have to sync, too.
            let shrinks = nodes.len() < assignment.replicas.len();
            let joins = |node: &&NodeId| shrinks || !assignment.replicas.contains(node);
            assignment.joining = nodes.iter().filter(joins).copied().collect();
            assignment.target.clone_from(nodes);
            assignment.switch();
        }
        self.changed(&before)
    }

    /// `node` has synced `partition`: it holds what the replicas held when it began, and everything since. Returns
    /// whether anything changed.
    pub fn joined(&mut self, partition: Partition, node: NodeId) -> bool {
        let before = self.partitions.clone();
        if let Some(assignment) = self.partitions.get_mut(&partition)
            && assignment.joining.remove(&node)
        {
            assignment.switch();
        }
        self.changed(&before)
    }

    /// A hub's store began a new life: whoever still counts by the version before, counts the old life with it. To be committed
    /// together with the new life.
    pub const fn raise(&mut self) {
        self.version += 1;
    }

    /// How many partitions still move.
    #[must_use]
    pub fn moving(&self) -> usize {
        self.partitions.values().filter(|assignment| !assignment.target.is_empty()).count()
    }

    /// How many partitions are on fewer than `wanted` hubs: those that nobody keeps, too.
    #[must_use]
    pub fn short_of(&self, wanted: usize) -> usize {
        let enough = self.partitions.values().filter(|assignment| assignment.replicas.len() >= wanted);
        PARTITIONS.saturating_sub(enough.count())
    }

    /// How many partitions each hub keeps.
    #[must_use]
    pub fn load(&self) -> BTreeMap<NodeId, usize> {
        let mut load = BTreeMap::new();
        for node in self.partitions.values().flat_map(|assignment| &assignment.replicas) {
            *load.entry(*node).or_default() += 1;
        }
        load
    }

    fn changed(&mut self, before: &BTreeMap<Partition, Assignment>) -> bool {
        debug_assert!(self.partitions.len() <= PARTITIONS, "a partition is a byte");
        let changed = self.partitions != *before;
        self.version += u64::from(changed);
        changed
    }
}

impl Assignment {
    /// Takes over the target when nobody has to sync any more.
    fn switch(&mut self) {
        if self.joining.is_empty() && !self.target.is_empty() {
            self.replicas = std::mem::take(&mut self.target);
        }
    }
}

#[cfg(test)]
#[path = "placement_tests.rs"]
mod tests;
