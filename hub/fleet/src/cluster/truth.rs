//! The truth: what agents wrote, what is on which disk, and what agents were told.
//!
//! Promise: it learns from commits alone, never from what an engine believes.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{DeviceId, Incarnation, JournalId, NodeId, RangeSet, RecordCheck, Seq, SeqRange};

use super::possession::Possession;
use super::setback::Setbacks;

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
    /// What agents declared as lost: in a disaster, or by damage to their own disks.
    pub forgiven: BTreeMap<JournalId, RangeSet>,
    /// What of it is there again, because its device got it back from a hub.
    pub back: BTreeMap<JournalId, RangeSet>,
    /// What is known of devices that were set back.
    pub setbacks: Setbacks,
    /// What is known of each device's disk.
    pub devices: BTreeMap<DeviceId, Possession>,
    /// Hubs whose disk was lost, or is older than it was, until they are full again.
    pub broken: BTreeSet<NodeId>,
    /// Those of them whose store was put back from an old copy, until they know it.
    pub unaware: BTreeSet<NodeId>,
    /// What is damaged on each hub's disk, or was moved aside, and is not there again.
    pub damaged: BTreeMap<NodeId, BTreeMap<JournalId, RangeSet>>,
    /// Hubs whose disk was ever damaged.
    pub harmed: BTreeSet<NodeId>,
    /// First records that are kept, on each hub's disk now.
    pub floors: BTreeMap<NodeId, BTreeMap<JournalId, Seq>>,
    /// The highest floor that any hub ever had.
    pub let_go: BTreeMap<JournalId, Seq>,
    /// How often damage was done, moved aside, and mended; records of it, and records that retention took.
    pub wear: Wear,
}

/// What happened to stores in a world.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wear {
    /// Times that a store was damaged.
    pub harms: u64,
    /// Records that were damaged.
    pub damaged: u64,
    /// Times that damage was found and moved aside.
    pub found: u64,
    /// Records that were damaged and are there again.
    pub mended: u64,
    /// Records that were let go, or declared as lost by their device, before they were mended.
    pub aged: u64,
    /// Digests that were reckoned anew.
    pub digests: u64,
    /// Times that a device's store was damaged.
    pub device_harms: u64,
    /// Records that were damaged there.
    pub device_damaged: u64,
    /// Times that a device found damage and moved it aside.
    pub device_found: u64,
    /// Records of it that came back from a hub.
    pub device_regained: u64,
    /// Records that a device lost before it had heard that they are safe.
    pub device_slipped: u64,
    /// Times that a device was set back to an older copy of its store.
    pub setbacks: u64,
}

impl std::ops::AddAssign for Wear {
    fn add_assign(&mut self, more: Self) {
        self.harms += more.harms;
        self.damaged += more.damaged;
        self.found += more.found;
        self.mended += more.mended;
        self.aged += more.aged;
        self.digests += more.digests;
        self.device_harms += more.device_harms;
        self.device_damaged += more.device_damaged;
        self.device_found += more.device_found;
        self.device_regained += more.device_regained;
        self.device_slipped += more.device_slipped;
        self.setbacks += more.setbacks;
    }
}

impl Truth {
    /// A hub flushed records.
    pub fn stored(&mut self, node: NodeId, life: Incarnation, journal: JournalId, ranges: &RangeSet) {
        self.flushed.entry((node, life)).or_default().entry(journal).or_default().extend(ranges);
        self.disks.entry(node).or_default().entry(journal).or_default().extend(ranges);
        self.wear.mended += self.sound_again(node, journal, ranges);
    }

    /// These records are not damaged any more: how many were.
    fn sound_again(&mut self, node: NodeId, journal: JournalId, ranges: &RangeSet) -> u64 {
        let Some(journals) = self.damaged.get_mut(&node) else { return 0 };
        let Some(damaged) = journals.get_mut(&journal) else { return 0 };
        let count = damaged.intersection(ranges).count();
        damaged.subtract(ranges);
        journals.retain(|_, damaged| !damaged.is_empty());
        if journals.is_empty() {
            self.damaged.remove(&node);
        }
        count
    }

    /// Records on a hub's disk are not what they were.
    pub fn harm(&mut self, node: NodeId, journal: JournalId, ranges: &RangeSet) {
        let here = self.disks.entry(node).or_default().entry(journal).or_default();
        let harmed = here.intersection(ranges);
        here.subtract(ranges);
        self.wear.damaged += harmed.count();
        if !harmed.is_empty() {
            self.damaged.entry(node).or_default().entry(journal).or_default().extend(&harmed);
        }
    }

    /// An agent declares records as lost: no hub waits for them any more.
    pub fn forgive(&mut self, journal: JournalId, range: SeqRange) {
        self.forgiven.entry(journal).or_default().insert(range);
        if let Some(back) = self.back.get_mut(&journal) {
            back.remove(range);
        }
        let nodes: Vec<NodeId> = self.damaged.keys().copied().collect();
        for node in nodes {
            self.wear.aged += self.sound_again(node, journal, &range.into());
        }
    }

    /// Nobody has these records any more, and the hubs say so.
    pub fn given_up(&mut self, journal: JournalId, ranges: &RangeSet) {
        ranges.iter().for_each(|range| self.forgive(journal, range));
    }

    /// What is damaged on the only hub's disk is safe no more, whatever its device was told.
    pub fn lone(&mut self, node: NodeId) {
        for (journal, damaged) in self.damaged.get(&node).into_iter().flatten() {
            if let Some(acked) = self.acked.get_mut(journal) {
                acked.subtract(damaged);
            }
        }
    }

    /// A hub let everything below `floor` go.
    pub fn dropped(&mut self, node: NodeId, journal: JournalId, floor: Seq) {
        let known = self.floors.entry(node).or_default().entry(journal).or_insert(1);
        *known = floor.max(*known);
        let ever = self.let_go.entry(journal).or_insert(1);
        *ever = floor.max(*ever);
        let Some(below) = SeqRange::new(1, floor.saturating_sub(1)) else { return };
        if let Some(here) = self.disks.get_mut(&node).and_then(|disk| disk.get_mut(&journal)) {
            here.remove(below);
        }
        self.wear.aged += self.sound_again(node, journal, &below.into());
    }

    /// A hub has mended all that it will: what it did not get back some hub let go.
    pub fn mended(&mut self, node: NodeId, journal: JournalId) {
        let aged = self.aged(&journal);
        self.wear.aged += self.sound_again(node, journal, &aged);
    }

    /// What some hub let go of a journal.
    #[must_use]
    pub fn aged(&self, journal: &JournalId) -> RangeSet {
        let floor = self.let_go.get(journal).copied().unwrap_or(1);
        SeqRange::new(1, floor.saturating_sub(1)).map(RangeSet::from).unwrap_or_default()
    }

    /// What is sound on a hub's disk of a journal.
    #[must_use]
    pub fn sound(&self, node: NodeId, journal: &JournalId) -> RangeSet {
        self.disks.get(&node).and_then(|disk| disk.get(journal)).cloned().unwrap_or_default()
    }

    /// A hub's disk is lost, or holds what an older copy held.
    pub fn lost(&mut self, node: NodeId, left: BTreeMap<JournalId, RangeSet>) {
        self.disks.insert(node, left);
        self.floors.remove(&node);
        self.damaged.remove(&node);
        self.broken.insert(node);
    }

    /// A hub's store is an older copy, of which this is damaged and that was let go.
    pub fn put_back(
        &mut self,
        node: NodeId,
        damaged: BTreeMap<JournalId, RangeSet>,
        floors: BTreeMap<JournalId, Seq>,
    ) {
        self.floors.insert(node, floors);
        if !damaged.is_empty() {
            self.damaged.insert(node, damaged);
            self.harmed.insert(node);
        }
    }

    /// A hub is gone, and its disk with it.
    pub fn removed(&mut self, node: NodeId) {
        self.disks.remove(&node);
        self.damaged.remove(&node);
        self.floors.remove(&node);
        self.filled(node);
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
