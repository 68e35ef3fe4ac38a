//! Upkeep: what a hub may say of its own store in the table: which partitions it has joined, and that it holds everything.
//!
//! Promise: pure. What was synced counts for the life of the store that synced it, and for the assignment under which it was synced.
//! A partition that moves again, shrinks, or was given up and is taken again, has to be synced anew, however often it was before.
//! Absent: syncing ([`crate::replication::syncing`]), and how it is said: the daemon has it committed.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{Incarnation, NodeId, Partition};

use crate::placement::{Assignment, Placement};

/// What the engine has synced: it holds everything that enough replicas of these partitions held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Synced {
    /// The life of the store that has it.
    pub store: Incarnation,
    /// The partitions, each with [`Assignment::since`] of the assignment under which it was synced.
    pub partitions: BTreeMap<Partition, u64>,
}

impl Default for Synced {
    /// Nothing, in no life.
    fn default() -> Self {
        Self { store: Incarnation::new(0), partitions: BTreeMap::new() }
    }
}

impl Synced {
    /// What of it counts under `placement` for the hub `me`, whose store lives its life `store`.
    #[must_use]
    pub fn counting(&self, placement: &Placement, me: NodeId, store: Incarnation) -> BTreeSet<Partition> {
        let counts = |(partition, since): (&Partition, &u64)| {
            let assignment = placement.of(*partition).filter(|assignment| keeps(assignment, me))?;
            (assignment.since == *since).then_some(*partition)
        };
        let said = self.partitions.iter().filter(|_| self.store == store);
        said.filter_map(counts).collect()
    }
}

/// Whether a store that is not full yet may count as full: `synced`, as it counts, is every partition of the hub `me`, or nobody else
/// has or gets any of them. A hub that keeps nothing has nothing to wait for once it has `settled`.
#[must_use]
pub fn is_full(placement: &Placement, me: NodeId, synced: &BTreeSet<Partition>, settled: bool) -> bool {
    let mut mine = placement.assignments().filter(|(_, assignment)| keeps(assignment, me)).peekable();
    if mine.peek().is_none() {
        return settled && placement.version > 0 && placement.moving() == 0;
    }
    let (mut has_all, mut alone) = (true, true);
    for (partition, assignment) in mine {
        has_all &= synced.contains(&partition);
        alone &= assignment.recipients().all(|node| node == me);
    }
    has_all || alone
}

/// The placement in which the hub `me` has joined what it has `synced`; `None` when that changes nothing.
#[must_use]
pub fn joined(placement: &Placement, me: NodeId, synced: &BTreeSet<Partition>) -> Option<Placement> {
    let mut next = placement.clone();
    let mut changed = false;
    for partition in synced {
        changed |= next.joined(*partition, me);
    }
    changed.then_some(next)
}

/// Whether the hub `node` keeps a partition, or is about to.
fn keeps(assignment: &Assignment, node: NodeId) -> bool {
    assignment.recipients().any(|one| one == node)
}
