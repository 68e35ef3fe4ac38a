//! Debts: what each replica is owed, and what of it goes next.
//!
//! Promise: a debt is a set of ranges. What an agent brought here is owed until the replica proved that it has it; what another
//! hub brought is owed only when that hub, which delivers it to all, has not done so for a while.

use std::time::Duration;

use millrace_model::{JournalId, Moment, NodeId, RangeSet, Seq, SeqRange};

use super::{Peer, Ranges, Replication, Shelves};

/// Records of one load for a replica that missed them.
const LOAD_RECORDS_MAX: u64 = 16_384;

/// Ranges that one replica lost and fetches by itself, as far as that is remembered: 4 MB.
const LACKING_RANGES_MAX: usize = 1 << 18;

/// How often second-hand debts ripen. A record is owed after one to two of these: longer than any healthy delivery takes.
const RIPENING: Duration = Duration::from_secs(5);

impl Replication {
    /// A run came in from an agent and will be flushed here: who gets the same bytes at once.
    pub(crate) fn forward(&mut self, journal: JournalId, range: SeqRange, bytes: u64) -> Vec<NodeId> {
        let mut to = self.recipients(journal);
        to.retain(|node| {
            let Some(peer) = self.peers.get_mut(node) else { return false };
            let known = peer.held.get(&journal).is_some_and(|held| held.covers(range))
                && peer.proved.get(&journal).is_some_and(|proved| proved.covers(range));
            let clashes = peer.clash(journal).is_some_and(|past| past.first() <= range.last());
            let road = peer.road.as_mut().filter(|road| road.greeted && !known && !clashes);
            road.is_some_and(|road| road.take(journal, range, bytes))
        });
        to
    }

    /// Who is to hear of a seal: those that have, or are about to have, its records.
    pub(crate) fn sealed(&self, journal: JournalId, range: SeqRange) -> Vec<NodeId> {
        let mut to = self.recipients(journal);
        to.retain(|node| {
            let Some(peer) = self.peers.get(node) else { return false };
            let Some(road) = peer.road.as_ref().filter(|road| road.greeted && road.has_room()) else {
                return false;
            };
            let mut theirs = road.ranges(&journal);
            theirs.extend(peer.held.get(&journal).unwrap_or(&RangeSet::new()));
            theirs.covers(range) && peer.clash(journal).is_none()
        });
        to
    }

    /// Records were flushed here, which an agent brought, or the hub `from`: replicas are owed those that they have not.
    pub(crate) fn stored(
        &mut self,
        journal: JournalId,
        ranges: &RangeSet,
        from: Option<NodeId>,
        now: Moment,
    ) {
        self.came(journal, ranges);
        if self.placed.is_none() {
            return;
        }
        if from.is_none() {
            self.doubtful.entry(journal).or_default().extend(ranges);
        }
        // The hub that brought them, too: it sends before it has flushed, and may never do it.
        for node in self.recipients(journal) {
            let peer = self.peers.entry(node).or_default();
            let doubtful = self.doubtful.get(&journal).filter(|_| from.is_none());
            let mut news = ranges.difference(&peer.has(journal, doubtful, ranges));
            if let Some(past) = peer.clash(journal) {
                news.remove(past);
            }
            if news.is_empty() {
                continue;
            }
            if from.is_none() {
                peer.owed.entry((journal.lane, journal)).or_default().extend(&news);
            } else {
                peer.fresh.entry(journal).or_default().extend(&news);
                self.turn_at.get_or_insert(now + RIPENING);
            }
        }
    }

    /// `node` says that it has these numbers now, whoever brought them.
    pub(crate) fn holds(&mut self, node: NodeId, journal: JournalId, ranges: &RangeSet) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.found(journal, ranges);
        let paid = peer.has(journal, self.doubtful.get(&journal), ranges);
        peer.pay(journal, &paid);
    }

    /// `node` sent these very records. It may not have flushed them yet: when it has, it says so by their numbers.
    pub(crate) fn matched(&mut self, node: NodeId, journal: JournalId, ranges: &RangeSet) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.proved.entry(journal).or_default().extend(ranges);
        }
    }

    /// `node` has compared and flushed these very records.
    pub(crate) fn proved(&mut self, node: NodeId, journal: JournalId, ranges: &RangeSet) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        peer.found(journal, ranges);
        let proved = peer.proved.entry(journal).or_default();
        proved.extend(ranges);
        if let Some(road) = &mut peer.road {
            road.settle(journal, |range| proved.covers(range));
        }
        peer.pay(journal, ranges);
    }

    /// `node` has lost these records, and fetches them by itself: they do not count as there, and are not sent unasked.
    pub(crate) fn lacks(&mut self, node: NodeId, journal: JournalId, ranges: &RangeSet) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        for of in [&mut peer.held, &mut peer.proved] {
            if let Some(known) = of.get_mut(&journal) {
                known.subtract(ranges);
            }
        }
        peer.pay(journal, ranges);
        // What is not remembered goes there unasked, and is welcome.
        let known = peer.lacking.values().map(RangeSet::range_count).fold(0, usize::saturating_add);
        if known.saturating_add(ranges.range_count()) <= LACKING_RANGES_MAX {
            peer.lacking.entry(journal).or_default().extend(ranges);
        }
    }

    /// `node` asks for records that it lost: what is here of them is owed. Returns what is not.
    pub(crate) fn asked(
        &mut self,
        node: NodeId,
        journal: JournalId,
        ranges: &RangeSet,
        present: &RangeSet,
    ) -> RangeSet {
        self.lacks(node, journal, ranges);
        let Some(peer) = self.peers.get_mut(&node) else { return ranges.clone() };
        let mut here = ranges.intersection(present);
        if let Some(past) = peer.clash(journal) {
            here.remove(past);
        }
        peer.owed.entry((journal.lane, journal)).or_default().extend(&here);
        ranges.difference(&here)
    }

    /// `node` could not take a run. What of it is here is read and sent again, after a while.
    pub(crate) fn declined(&mut self, node: NodeId, journal: JournalId, declined: SeqRange, now: Moment) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let owed =
            peer.owed.get(&(journal.lane, journal)).is_some_and(|owed| !owed.within(declined).is_empty());
        if let Some(road) = &mut peer.road {
            road.settle(journal, |range| range == declined);
            if owed {
                road.rest(journal, now);
            }
        }
    }

    /// `node` holds other records under these numbers. From the first of them on its history is another one: nothing of it counts,
    /// and nothing of ours is sent into it.
    pub(crate) fn clashed(&mut self, node: NodeId, journal: JournalId, ranges: &RangeSet) {
        let (Some(peer), Some(first)) = (self.peers.get_mut(&node), ranges.first()) else { return };
        let from = peer.clashed.entry(journal).or_insert(first);
        *from = first.min(*from);
        let from = *from;
        if let Some(road) = &mut peer.road {
            road.settle(journal, |range| range.last() >= from);
        }
        if let Some(past) = SeqRange::new(from, Seq::MAX) {
            peer.pay(journal, &past.into());
        }
    }

    /// What `node` missed and should be read for it now, if it has room.
    pub(crate) fn next(&mut self, node: NodeId, now: Moment) -> Option<(JournalId, SeqRange)> {
        let peer = self.peers.get_mut(&node)?;
        let road = peer.road.as_mut()?;
        road.wake(now);
        if !road.greeted || road.loading.is_some() || !road.has_room() {
            return None;
        }
        for ((_, journal), owed) in peer.owed.iter().filter(|((_, journal), _)| !road.rests(journal)) {
            let under_way = road.ranges(journal);
            let Some(range) = owed.difference(&under_way).iter().next() else { continue };
            let last = range.last().min(range.first().saturating_add(LOAD_RECORDS_MAX - 1));
            let range = SeqRange::new(range.first(), last)?;
            road.loading = Some((*journal, range));
            return road.loading;
        }
        None
    }

    /// What [`Self::next`] asked for was read: the runs, oldest first, with the bytes that each has. Those are to be sent; what is
    /// returned is not here any more, and not owed any more. `None` when nobody waits for it.
    pub(crate) fn loaded(
        &mut self,
        node: NodeId,
        asked: (JournalId, SeqRange),
        runs: &[(SeqRange, u64)],
    ) -> Option<RangeSet> {
        let peer = self.peers.get_mut(&node)?;
        let road = peer.road.as_mut()?;
        road.loading.take_if(|loading| *loading == asked)?;
        let (journal, asked) = asked;
        // Between and before the runs nothing is here; behind the last one the load may have ended for its size.
        let through = runs.last().map_or(asked.last(), |(range, _)| range.last().min(asked.last()));
        let here: RangeSet = runs.iter().map(|(range, _)| *range).collect();
        for (range, bytes) in runs {
            road.push(journal, *range, *bytes);
        }
        let gone = SeqRange::new(asked.first(), through)
            .map(|looked_at| RangeSet::from(looked_at).difference(&here))
            .unwrap_or_default();
        peer.pay(journal, &gone);
        Some(gone)
    }

    /// When second-hand debts ripen, or a journal has rested.
    pub(crate) fn wakes_at(&self) -> Option<Moment> {
        let roads = self.peers.values().filter_map(|peer| peer.road.as_ref()?.wakes_at());
        roads.chain(self.turn_at).min()
    }

    /// Second-hand debts that are old enough are owed now.
    pub(crate) fn ripen(&mut self, now: Moment) {
        if self.turn_at.is_none_or(|at| at > now) {
            return;
        }
        let mut left = false;
        for peer in self.peers.values_mut() {
            let fresh = std::mem::take(&mut peer.fresh);
            for (journal, ranges) in std::mem::replace(&mut peer.ripe, fresh) {
                peer.owed.entry((journal.lane, journal)).or_default().extend(&ranges);
            }
            left |= !peer.ripe.is_empty();
        }
        self.turn_at = left.then_some(now + RIPENING);
    }

    /// Reckons what `node` is owed. Returns what it does not hold, and this hub held and let go.
    pub(super) fn reckon(&mut self, node: NodeId, shelves: &Shelves) -> Ranges {
        let (mut owed, mut gone) = (std::collections::BTreeMap::new(), Ranges::new());
        let none = Peer::default();
        let peer = self.peers.get(&node).unwrap_or(&none);
        for (journal, shelf) in shelves {
            if !self.recipients(*journal).contains(&node) {
                continue;
            }
            let there = peer.has(*journal, self.doubtful.get(journal), &shelf.present);
            let mut missing = shelf.present.difference(&there);
            if let Some(past) = peer.clash(*journal) {
                missing.remove(past);
            }
            if let Some(lacking) = peer.lacking.get(journal) {
                missing = missing.difference(lacking);
            }
            if !missing.is_empty() {
                owed.insert((journal.lane, *journal), missing);
            }
            let let_go = shelf.had().difference(&shelf.present);
            let let_go =
                peer.held.get(journal).map_or_else(|| let_go.clone(), |held| let_go.difference(held));
            if !let_go.is_empty() {
                gone.insert(*journal, let_go);
            }
        }
        if let Some(peer) = self.peers.get_mut(&node) {
            (peer.owed, peer.fresh, peer.ripe) = (owed, Ranges::new(), Ranges::new());
            if !peer.road.as_ref().is_some_and(|road| road.greeted) {
                gone.clear();
            }
        }
        gone
    }
}

impl Peer {
    /// It has these now.
    fn found(&mut self, journal: JournalId, ranges: &RangeSet) {
        self.held.entry(journal).or_default().extend(ranges);
        pay(&mut self.lacking, journal, ranges);
    }

    /// These are not owed any more.
    fn pay(&mut self, journal: JournalId, ranges: &RangeSet) {
        pay(&mut self.owed, (journal.lane, journal), ranges);
        pay(&mut self.fresh, journal, ranges);
        pay(&mut self.ripe, journal, ranges);
    }
}

fn pay<K: Ord + Copy>(debts: &mut std::collections::BTreeMap<K, RangeSet>, key: K, ranges: &RangeSet) {
    let Some(owed) = debts.get_mut(&key) else { return };
    owed.subtract(ranges);
    if owed.is_empty() {
        debts.remove(&key);
    }
}
