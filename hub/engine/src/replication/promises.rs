//! Promises: what is safe at which level, and who waits to hear so.
//!
//! Promise: safe at level quorum is what a majority of the replicas has flushed, of the replicas to be as well while a partition
//! moves ([`Assignment::quorums`]), and only by stores that count. A replica that knows a newer placement than this hub does not count here until this hub knows it, too: so whoever was
//! heard by a hub that joins is in no majority that does not ask that hub.

use std::collections::BTreeSet;

use millrace_model::coverage::covered;
use millrace_model::{AckLevel, JournalId, NodeId, RangeSet};

use super::Replication;
use crate::LinkId;
use crate::placement::Assignment;

/// An agent that waits to hear that its records are safe.
#[derive(Debug)]
pub(super) struct Promise {
    link: LinkId,
    level: AckLevel,
    ranges: RangeSet,
}

impl Replication {
    /// `link` is to hear of these records when they are safe at `level`.
    pub(crate) fn promise(&mut self, link: LinkId, journal: JournalId, ranges: &RangeSet, level: AckLevel) {
        if ranges.is_empty() {
            return;
        }
        let promises = self.promises.entry(journal).or_default();
        match promises.iter_mut().find(|promise| promise.link == link && promise.level == level) {
            Some(promise) => promise.ranges.extend(ranges),
            None => promises.push(Promise { link, level, ranges: ranges.clone() }),
        }
    }

    /// Takes out the promises that can be kept for a journal of which `here` is flushed on this disk.
    pub(crate) fn kept(&mut self, journal: JournalId, here: &RangeSet) -> Vec<(LinkId, AckLevel, RangeSet)> {
        let Some(mut promises) = self.promises.remove(&journal) else { return Vec::new() };
        let mut kept = Vec::new();
        for promise in &mut promises {
            let safe = self.safe(journal, promise.level, here, &promise.ranges);
            if !safe.is_empty() {
                promise.ranges = promise.ranges.difference(&safe);
                kept.push((promise.link, promise.level, safe));
            }
        }
        promises.retain(|promise| !promise.ranges.is_empty());
        if !promises.is_empty() {
            self.promises.insert(journal, promises);
        }
        kept
    }

    /// Journals of which anybody waits to hear.
    pub(crate) fn promised(&self) -> BTreeSet<JournalId> {
        self.promises.keys().copied().collect()
    }

    /// Nobody waits on `link` any more.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.promises.retain(|_, promises| {
            promises.retain(|promise| promise.link != link);
            !promises.is_empty()
        });
    }

    /// Which of `asked` are safe at `level`, when `here` is flushed on this disk.
    #[must_use]
    pub fn safe(&self, journal: JournalId, level: AckLevel, here: &RangeSet, asked: &RangeSet) -> RangeSet {
        let here = here.intersection(asked);
        let (Some(placed), Some(assignment)) = (&self.placed, self.assignment(journal)) else {
            // Without a placement this hub is alone: it is all replicas that there are.
            return here;
        };
        if level == AckLevel::Hub {
            return here;
        }
        let doubtful = self.doubtful.get(&journal);
        let at = |node: &NodeId| -> RangeSet {
            if *node == placed.me {
                let life = Some(placed.store);
                let counts = self.regressed.is_none() && self.counts(assignment, *node, life);
                return if counts { here.clone() } else { RangeSet::new() };
            }
            let Some(peer) = self.peers.get(node) else { return RangeSet::new() };
            let regressed = peer.regressed.is_some() && peer.regressed == peer.life;
            let counts = !regressed
                && peer.version <= placed.placement.version
                && self.counts(assignment, *node, peer.life);
            if counts { peer.has(journal, doubtful, asked) } else { RangeSet::new() }
        };
        let common = |nodes: &[NodeId], at_least: usize| {
            let sets: Vec<RangeSet> = nodes.iter().map(at).collect();
            covered(&sets.iter().collect::<Vec<_>>(), at_least)
        };
        if level == AckLevel::Region {
            let mut nodes = self.in_my_region(assignment);
            // A hub that is no replica tells only of what is on its disk, too.
            let mine = if nodes.contains(&placed.me) { at(&placed.me) } else { here.clone() };
            nodes.retain(|node| *node != placed.me);
            return if nodes.is_empty() { mine } else { common(&nodes, nodes.len()).intersection(&mine) };
        }
        let each = assignment.quorums().map(|(nodes, at_least)| common(nodes, at_least));
        each.reduce(|safe, other| safe.intersection(&other)).unwrap_or_default()
    }

    /// Which of `asked` can never be safe at `level` under their names: a replica has another history there.
    pub(crate) fn contested(&self, journal: JournalId, asked: &RangeSet) -> RangeSet {
        let first = self.peers.values().filter_map(|peer| peer.clash(journal)).min();
        first.map(|past| asked.within(past)).unwrap_or_default()
    }

    fn in_my_region(&self, assignment: &Assignment) -> Vec<NodeId> {
        let Some(placed) = &self.placed else { return Vec::new() };
        let region = |node: &NodeId| placed.hubs.get(node).map(|standing| &standing.region);
        let mine = region(&placed.me);
        assignment.replicas.iter().copied().filter(|node| region(node) == mine).collect()
    }
}
