//! The truth: what agents wrote, what is on which disk, and what agents were told.
//!
//! Promise: it learns from commits alone, never from what an engine believes.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{Incarnation, JournalId, NodeId, RangeSet, RecordCheck, Seq};

/// The truth.
#[derive(Debug, Default)]
pub struct Truth {
    /// What agents wrote.
    pub written: BTreeMap<(JournalId, Seq), RecordCheck>,
    /// What each life of a hub's store ever flushed.
    pub flushed: BTreeMap<(NodeId, Incarnation), BTreeMap<JournalId, RangeSet>>,
    /// What is on each hub's disk now, also while it is off.
    pub disks: BTreeMap<NodeId, BTreeMap<JournalId, RangeSet>>,
    /// What agents were told to be on a quorum, and was not lost in a disaster since.
    pub acked: BTreeMap<JournalId, RangeSet>,
    /// What agents were ever told to be on a quorum.
    pub told: BTreeMap<JournalId, RangeSet>,
    /// What agents declared as lost in a disaster.
    pub forgiven: BTreeMap<JournalId, RangeSet>,
    /// Hubs whose disk was lost, or is older than it was, until they are full again.
    pub broken: BTreeSet<NodeId>,
    /// Those of them whose store was put back from an old copy, until they know it.
    pub unaware: BTreeSet<NodeId>,
}

impl Truth {
    /// A hub flushed records.
    pub fn stored(&mut self, node: NodeId, life: Incarnation, journal: JournalId, ranges: &RangeSet) {
        self.flushed.entry((node, life)).or_default().entry(journal).or_default().extend(ranges);
        self.disks.entry(node).or_default().entry(journal).or_default().extend(ranges);
    }

    /// A hub's disk is lost, or holds what an older copy held.
    pub fn lost(&mut self, node: NodeId, left: BTreeMap<JournalId, RangeSet>) {
        self.disks.insert(node, left);
        self.broken.insert(node);
    }

    /// A hub holds everything again.
    pub fn filled(&mut self, node: NodeId) {
        self.broken.remove(&node);
        self.unaware.remove(&node);
    }

    /// What this life of a hub's store ever flushed of a journal.
    #[must_use]
    pub fn flushed_by(&self, node: NodeId, life: Incarnation, journal: &JournalId) -> RangeSet {
        let of_life = self.flushed.get(&(node, life));
        of_life.and_then(|journals| journals.get(journal)).cloned().unwrap_or_default()
    }
}
