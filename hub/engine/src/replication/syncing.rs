//! Syncing: when this hub holds everything that it must hold before it may count.
//!
//! A partition has n replicas, and whatever was acknowledged at level quorum is on q = n/2 + 1 of them. A hub that joins the
//! partition, or whose store began a new life, has to hear from so many replicas *other than itself* that at least one of them was
//! in every such majority: from n − q + 1. (It may have been in the majority itself, in a former life: then q − 1 of the n − 1
//! others were, and any n − 1 − (q − 1) + 1 of those meet them.) What they held when they told, and is not here, is *lacking*;
//! when nothing is lacking any more the partition is synced.
//!
//! Whoever is heard must have known, when it told, that this hub takes part: it knew the placement in which this hub began to join, or
//! the one that was raised for its new life. What it flushes later, it counts together with this hub ([`super::promises`]).
//!
//! When a partition shrinks, those that stay have to sync, too: what was on one of them and on one that leaves must be on more of them
//! before the others go. A replica that has lost nothing counts itself as heard, so n − q others are enough for it.
//!
//! Special cases. A replica that is not full itself counts as heard only when all others were heard as well, those to be among them:
//! then there is nobody left to learn from. One that was removed from the table will never tell, and its loss was accepted by
//! whoever removed it. A hub that is the only replica has nobody to hear, and is synced at once.
//!
//! Promise: range sets of what is lacking, nothing else; reported once for each change, and again when nothing comes of it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_model::{Incarnation, JournalId, Moment, NodeId, Partition, RangeSet};

use super::{Ranges, Replication, Shelves};
use crate::placement::Assignment;
use crate::{Placed, Synced};

/// Between two reports of what is synced: a large store is synced a partition at a time.
const REPORT_PAUSE: Duration = Duration::from_secs(1);

/// After this a report that nothing came of is made again: it may have been lost with a leader.
const REPORT_AGAIN: Duration = Duration::from_secs(10);

/// What was heard, and what is lacking of it.
#[derive(Debug, Default)]
pub(crate) struct Syncing {
    /// Partitions to be synced, and the placement that a hub must know to be heard.
    wanted: BTreeMap<Partition, u64>,
    heard: BTreeMap<NodeId, BTreeSet<Partition>>,
    lacking: BTreeMap<NodeId, BTreeMap<Partition, Ranges>>,
    /// What a hub let go: it is not to be waited for.
    gone: BTreeMap<NodeId, Ranges>,
    /// The life of this hub's store, and the placement with which it was first seen in the table.
    born: Option<(Incarnation, u64)>,
    /// Partitions that are synced, with the assignment under which they are.
    ready: BTreeMap<Partition, u64>,
    said: Synced,
    said_at: Option<Moment>,
}

impl Syncing {
    /// A hub's store began a new life: what the old one told is not to be had any more. When none was known before, what it let go was
    /// said by the one that is now: its own connection to this hub may stand before it has told here what it holds.
    pub(super) fn forget(&mut self, node: NodeId, first: bool) {
        self.heard.remove(&node);
        self.lacking.remove(&node);
        if !first {
            self.gone.remove(&node);
        }
    }

    /// Records are here now. Whether that was the last that a partition lacked.
    fn stored(&mut self, journal: JournalId, ranges: &RangeSet) -> bool {
        if self.lacking.is_empty() {
            return false;
        }
        let partition = Partition::of(&journal.device);
        let nodes: Vec<NodeId> = self.lacking.keys().copied().collect();
        let mut last = false;
        for node in nodes {
            last |= self.found(node, partition, journal, ranges);
        }
        last
    }

    fn found(&mut self, node: NodeId, partition: Partition, journal: JournalId, ranges: &RangeSet) -> bool {
        let Some(partitions) = self.lacking.get_mut(&node) else { return false };
        let Some(journals) = partitions.get_mut(&partition) else { return false };
        let Some(lacking) = journals.get_mut(&journal) else { return false };
        lacking.subtract(ranges);
        if lacking.is_empty() {
            journals.remove(&journal);
        }
        let last = journals.is_empty();
        if last {
            partitions.remove(&partition);
        }
        if partitions.is_empty() {
            self.lacking.remove(&node);
        }
        last
    }

    fn has_heard(&self, node: NodeId, partition: Partition) -> bool {
        let lacking = self.lacking.get(&node).is_some_and(|partitions| partitions.contains_key(&partition));
        !lacking && self.heard.get(&node).is_some_and(|heard| heard.contains(&partition))
    }

    /// Partitions that are not synced, and how many records are known to be lacking.
    pub(super) fn left(&self) -> (usize, u64) {
        let mut lacking: BTreeMap<JournalId, RangeSet> = BTreeMap::new();
        for (journal, ranges) in self.lacking.values().flat_map(BTreeMap::values).flatten() {
            lacking.entry(*journal).or_default().extend(ranges);
        }
        let lacking = lacking.values().map(RangeSet::count).fold(0, u64::saturating_add);
        (self.wanted.len().saturating_sub(self.ready.len()), lacking)
    }

    /// When something is to be reported.
    pub(crate) fn due(&self) -> Option<Moment> {
        if self.ready.is_empty() {
            return None;
        }
        let pause = if self.ready == self.said.partitions { REPORT_AGAIN } else { REPORT_PAUSE };
        Some(self.said_at.map_or(Moment(0), |at| at + pause))
    }
}

/// The partitions that this hub must sync, and the placement that whoever is heard must know.
fn wanted(placed: &Placed, born: Option<(Incarnation, u64)>) -> BTreeMap<Partition, u64> {
    // Until the table speaks of this very life, nobody knows that it has to be filled.
    let standing = placed.hubs.get(&placed.me).filter(|standing| standing.store == placed.store);
    let Some(standing) = standing else { return BTreeMap::new() };
    let life = if standing.full { 0 } else { born.map_or(placed.placement.version, |(_, version)| version) };
    let mine = placed.placement.assignments().filter_map(|(partition, assignment)| {
        let joins = assignment.joining.contains(&placed.me);
        let fills = !standing.full && assignment.recipients().any(|node| node == placed.me);
        let since = if joins { assignment.since.max(life) } else { life };
        (joins || fills).then_some((partition, since))
    });
    mine.collect()
}

impl Replication {
    /// The placement changed: what has to be synced may be something else.
    pub(super) fn resume_syncing(&mut self, shelves: &Shelves) {
        let Some(placed) = &self.placed else { return };
        let syncing = &mut self.syncing;
        let life = placed.hubs.get(&placed.me).map(|standing| standing.store);
        if life == Some(placed.store) && syncing.born.map(|(life, _)| life) != life {
            syncing.born = Some((placed.store, placed.placement.version));
        }
        let wanted = wanted(placed, syncing.born);
        let kept = |partition: &Partition| wanted.get(partition) == syncing.wanted.get(partition);
        for heard in syncing.heard.values_mut() {
            heard.retain(|partition| wanted.contains_key(partition) && kept(partition));
        }
        for lacking in syncing.lacking.values_mut() {
            lacking.retain(|partition, _| wanted.contains_key(partition) && kept(partition));
        }
        syncing.said.partitions.retain(|partition, _| wanted.contains_key(partition) && kept(partition));
        syncing.lacking.retain(|_, lacking| !lacking.is_empty());
        if syncing.wanted != wanted {
            syncing.wanted = wanted;
            syncing.said_at = None;
        }
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        nodes.into_iter().for_each(|node| self.listen(node, shelves));
        self.weigh();
    }

    /// Takes what `node` holds as told, for every partition for which it may be heard.
    pub(super) fn listen(&mut self, node: NodeId, shelves: &Shelves) {
        let Some(peer) = self.peers.get(&node) else { return };
        if !peer.road.as_ref().is_some_and(|road| road.greeted) {
            return;
        }
        let syncing = &mut self.syncing;
        let heard = syncing.heard.entry(node).or_default();
        let fresh = |(partition, since): (&Partition, &u64)| {
            (!heard.contains(partition) && *since <= peer.version).then_some(*partition)
        };
        let fresh: BTreeSet<Partition> = syncing.wanted.iter().filter_map(fresh).collect();
        if fresh.is_empty() {
            return;
        }
        heard.extend(&fresh);
        let gone = syncing.gone.get(&node);
        for (journal, held) in &peer.held {
            let partition = Partition::of(&journal.device);
            if !fresh.contains(&partition) {
                continue;
            }
            let mut lacking = match shelves.get(journal) {
                Some(shelf) => held.difference(&shelf.had()).difference(&shelf.passed),
                None => held.clone(),
            };
            if let Some(gone) = gone.and_then(|gone| gone.get(journal)) {
                lacking = lacking.difference(gone);
            }
            // What this hub has another history of will never come under this name.
            if let Some(past) = peer.clash(*journal) {
                lacking.remove(past);
            }
            if !lacking.is_empty() {
                let of_node = syncing.lacking.entry(node).or_default();
                of_node.entry(partition).or_default().insert(*journal, lacking);
            }
        }
        self.weigh();
    }

    /// `node` let records go that it told of.
    pub(crate) fn gone(&mut self, node: NodeId, journal: JournalId, ranges: &RangeSet) {
        self.syncing.gone.entry(node).or_default().entry(journal).or_default().extend(ranges);
        if self.syncing.found(node, Partition::of(&journal.device), journal, ranges) {
            self.weigh();
        }
    }

    /// Records are here now: less is lacking.
    pub(crate) fn came(&mut self, journal: JournalId, ranges: &RangeSet) {
        if self.syncing.stored(journal, ranges) {
            self.weigh();
        }
    }

    /// What other hubs let go before it came here, and is not waited for any more: the beginnings of journals, which age.
    pub(crate) fn let_go(&mut self) -> Vec<(JournalId, RangeSet)> {
        let wanted = &self.syncing.wanted;
        let mut passed = Vec::new();
        for journals in self.syncing.gone.values_mut() {
            journals.retain(|journal, gone| {
                let waits = wanted.contains_key(&Partition::of(&journal.device));
                let beginning = gone.range_of(1).filter(|_| !waits);
                passed.extend(beginning.map(|range| (*journal, RangeSet::from(range))));
                waits
            });
        }
        self.syncing.gone.retain(|_, journals| !journals.is_empty());
        passed
    }

    /// Looks which partitions are synced. A store that is not what it was has synced nothing until it begins another life.
    pub(crate) fn weigh(&mut self) {
        let Some(placed) = &self.placed else { return };
        let synced = |partition: &Partition| {
            let assignment = placed.placement.of(*partition)?;
            self.is_synced(placed, assignment, *partition).then_some((*partition, assignment.since))
        };
        let wanted = self.syncing.wanted.keys().filter(|_| self.regressed.is_none());
        self.syncing.ready = wanted.filter_map(synced).collect();
    }

    fn is_synced(&self, placed: &Placed, assignment: &Assignment, partition: Partition) -> bool {
        let replicas = assignment.replicas.len();
        let quorum = replicas / 2 + 1;
        let others = assignment.recipients().filter(|node| *node != placed.me);
        let others: Vec<NodeId> = others.filter(|node| placed.hubs.contains_key(node)).collect();
        let heard: Vec<NodeId> =
            others.iter().copied().filter(|node| self.syncing.has_heard(*node, partition)).collect();
        let is_full = |node: &NodeId| {
            let life = self.peers.get(node).and_then(|peer| peer.life);
            life.is_some_and(|life| placed.is_full(*node, life))
        };
        // Every quorum is a majority of the replicas, whatever those to be have flushed as well.
        let full = heard.iter().filter(|node| assignment.replicas.contains(node) && is_full(node)).count();
        // A replica that has lost nothing is one of those itself.
        let mine = assignment.replicas.contains(&placed.me)
            && self.regressed.is_none()
            && placed.is_full(placed.me, placed.store);
        heard.len() == others.len() || full + usize::from(mine) >= replicas + 1 - quorum
    }

    /// What is to be reported now.
    pub(crate) fn report(&mut self, now: Moment) -> Option<Vec<Partition>> {
        self.syncing.due().filter(|due| *due <= now)?;
        let store = self.placed.as_ref()?.store;
        let syncing = &mut self.syncing;
        (syncing.said, syncing.said_at) = (Synced { store, partitions: syncing.ready.clone() }, Some(now));
        Some(syncing.ready.keys().copied().collect())
    }

    /// What was reported last, as far as it still holds.
    pub(crate) const fn synced(&self) -> &Synced {
        &self.syncing.said
    }
}
