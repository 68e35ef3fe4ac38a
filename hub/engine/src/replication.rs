//! Replication: what each replica has flushed, what it is owed, and which acks that allows.
//!
//! ```text
//!  a run comes ─▶ forward() ─▶ to the replicas that have room, while it is flushed here
//!  flushed here ─▶ stored()                            ┐
//!  flushed there ─▶ flushed() ─▶ less is owed, and ────┴▶ kept(): agents hear of what is safe at their level
//!  room again ─▶ next() ─▶ load from disk ─▶ loaded(): what a replica missed, urgent lanes first
//! ```
//!
//! Promise: only what a replica said it flushed counts, and only of a store that is full; what is owed is a set of ranges, so a
//! replica that is away for a week costs the others no queue and no memory; a slow one holds nobody up but the acks that need it.
//! Absent: connections, disks, and who is a replica ([`crate::placement`]). What two hubs hold under one number and cannot agree
//! on is the author's fork, not replication's to mend.

use std::collections::BTreeMap;

use millrace_model::coverage::covered;
use millrace_model::{AckLevel, Incarnation, JournalId, Lane, NodeId, Partition, RangeSet, SeqRange};

use crate::LinkId;
use crate::placement::{Assignment, Placement};

/// Bytes under way to one replica. What a region a quarter of a second away needs at a gigabit.
pub const WINDOW_BYTES: u64 = 32 << 20;

/// Runs under way to one replica: small ones must not make an endless list.
pub const WINDOW_RUNS: usize = 4_096;

/// Records of one load for a replica that missed them.
const LOAD_RECORDS_MAX: u64 = 16_384;

/// What is known of the other hubs' copies.
#[derive(Debug)]
pub struct Replication {
    me: NodeId,
    regions: BTreeMap<NodeId, String>,
    placement: Placement,
    peers: BTreeMap<NodeId, Peer>,
    promises: BTreeMap<JournalId, Vec<Promise>>,
}

/// Another hub's copy.
#[derive(Debug, Default)]
struct Peer {
    /// Which life of its store said so.
    life: Option<Incarnation>,
    /// Whether its store holds all that it should: only then it counts.
    full: bool,
    flushed: BTreeMap<JournalId, RangeSet>,
    /// What is here and not known to be there. Urgent lanes stand first.
    owed: BTreeMap<(Lane, JournalId), RangeSet>,
    road: Option<Road>,
}

/// An open connection to a replica.
#[derive(Debug, Default)]
struct Road {
    /// Runs that were sent and not answered, with their bytes.
    under_way: BTreeMap<JournalId, Vec<(SeqRange, u64)>>,
    runs: usize,
    bytes: u64,
    /// What is being read for it.
    loading: Option<(JournalId, SeqRange)>,
    /// It told everything that it holds: what it is owed is known.
    greeted: bool,
}

/// An agent that waits to hear that its records are safe.
#[derive(Debug)]
struct Promise {
    link: LinkId,
    level: AckLevel,
    ranges: RangeSet,
}

/// How one replica stands: one row of `members` and `status`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Debt {
    /// Which hub.
    pub node: NodeId,
    /// Whether it is connected.
    pub connected: bool,
    /// Whether it counts.
    pub full: bool,
    /// Records that are here and not known to be there.
    pub records: u64,
    /// Bytes on their way.
    pub bytes_under_way: u64,
}

impl Replication {
    /// Nobody is known yet but `me`.
    #[must_use]
    pub fn new(me: NodeId) -> Self {
        Self {
            me,
            regions: BTreeMap::new(),
            placement: Placement::default(),
            peers: BTreeMap::new(),
            promises: BTreeMap::new(),
        }
    }

    /// A placement was committed; `regions` says where each hub stands. Hubs that keep nothing any more are forgotten. What
    /// the others are owed of what is `here` is reckoned anew.
    pub fn placed<'a>(
        &mut self,
        placement: Placement,
        regions: BTreeMap<NodeId, String>,
        here: &(impl Iterator<Item = (JournalId, &'a RangeSet)> + Clone),
    ) {
        (self.placement, self.regions) = (placement, regions);
        self.peers.retain(|node, _| self.regions.contains_key(node));
        let nodes: Vec<NodeId> = self.peers.keys().copied().collect();
        for node in nodes {
            self.reckon(node, here.clone());
        }
    }

    /// A connection to `node` stands; `life` is its store's, which is `full` or not. What another life had flushed is gone.
    pub fn connected(&mut self, node: NodeId, life: Incarnation, full: bool) {
        let peer = self.peers.entry(node).or_default();
        if peer.life != Some(life) {
            *peer = Peer { life: Some(life), ..Peer::default() };
        }
        (peer.full, peer.road) = (full, Some(Road::default()));
    }

    /// A replica's store became full.
    pub fn filled(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.full = true;
        }
    }

    /// `node` says what it holds of a journal.
    pub fn holds(&mut self, node: NodeId, journal: JournalId, held: RangeSet) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.flushed.insert(journal, held);
        }
    }

    /// `node` has told all that it holds: what is `here` and not there is owed.
    pub fn greeted<'a>(&mut self, node: NodeId, here: impl Iterator<Item = (JournalId, &'a RangeSet)>) {
        self.reckon(node, here);
        if let Some(road) = self.peers.get_mut(&node).and_then(|peer| peer.road.as_mut()) {
            road.greeted = true;
        }
    }

    /// The connection to `node` is gone. What was under way is still owed.
    pub fn disconnected(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.road = None;
        }
    }

    /// A run came in that will be flushed here: who gets the same bytes at once.
    pub fn forward(&mut self, journal: JournalId, range: SeqRange, bytes: u64) -> Vec<NodeId> {
        let mut to = self.recipients(journal);
        to.retain(|node| {
            let Some(peer) = self.peers.get_mut(node) else { return false };
            if peer.flushed.get(&journal).is_some_and(|flushed| flushed.covers(range)) {
                return false;
            }
            peer.road.as_mut().is_some_and(|road| road.greeted && road.take(journal, range, bytes))
        });
        to
    }

    /// Records were flushed here: replicas are owed those that they have not flushed.
    pub fn stored(&mut self, journal: JournalId, ranges: &RangeSet) {
        for node in self.recipients(journal) {
            let peer = self.peers.entry(node).or_default();
            let owed = match peer.flushed.get(&journal) {
                Some(flushed) => ranges.difference(flushed),
                None => ranges.clone(),
            };
            if !owed.is_empty() {
                peer.owed.entry((journal.lane, journal)).or_default().extend(&owed);
            }
        }
    }

    /// `node` has flushed records.
    pub fn flushed(&mut self, node: NodeId, journal: JournalId, ranges: &RangeSet) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let flushed = peer.flushed.entry(journal).or_default();
        flushed.extend(ranges);
        if let Some(road) = &mut peer.road {
            road.settle(journal, |range| flushed.covers(range));
        }
        peer.pay((journal.lane, journal), ranges);
    }

    /// `node` could not take a run: it is read and sent again.
    pub fn declined(&mut self, node: NodeId, journal: JournalId, declined: SeqRange) {
        if let Some(road) = self.peers.get_mut(&node).and_then(|peer| peer.road.as_mut()) {
            road.settle(journal, |range| range == declined);
        }
    }

    /// What `node` missed and should be read for it now, if it has room.
    pub fn next(&mut self, node: NodeId) -> Option<(JournalId, SeqRange)> {
        let peer = self.peers.get_mut(&node)?;
        let road = peer.road.as_mut()?;
        if !road.greeted || road.loading.is_some() || !road.has_room() {
            return None;
        }
        for ((_, journal), owed) in &peer.owed {
            let under_way = road.ranges(journal);
            let Some(range) = owed.difference(&under_way).iter().next() else { continue };
            let last = range.last().min(range.first().saturating_add(LOAD_RECORDS_MAX - 1));
            let range = SeqRange::new(range.first(), last)?;
            road.loading = Some((*journal, range));
            return road.loading;
        }
        None
    }

    /// What [`Self::next`] asked for was read: the runs, oldest first, with the bytes that each has. Those that are returned are to
    /// be sent; what is not here any more is not owed any more.
    pub fn loaded(&mut self, node: NodeId, runs: &[(SeqRange, u64)]) {
        let Some(peer) = self.peers.get_mut(&node) else { return };
        let Some(road) = &mut peer.road else { return };
        let Some((journal, asked)) = road.loading.take() else { return };
        // Between and before the runs nothing is here; behind the last one the load may have ended for its size.
        let through = runs.last().map_or(asked.last(), |(range, _)| range.last());
        let here: RangeSet = runs.iter().map(|(range, _)| *range).collect();
        for (range, bytes) in runs {
            road.push(journal, *range, *bytes);
        }
        if let Some(looked_at) = SeqRange::new(asked.first(), through) {
            let gone = RangeSet::from(looked_at).difference(&here);
            peer.pay((journal.lane, journal), &gone);
        }
    }

    /// `link` is to hear of these records when they are safe at `level`.
    pub fn promise(&mut self, link: LinkId, journal: JournalId, ranges: RangeSet, level: AckLevel) {
        let promises = self.promises.entry(journal).or_default();
        match promises.iter_mut().find(|promise| promise.link == link && promise.level == level) {
            Some(promise) => promise.ranges.extend(&ranges),
            None => promises.push(Promise { link, level, ranges }),
        }
    }

    /// Takes out the promises that can be kept for a journal of which `here` is flushed on this disk.
    pub fn kept(&mut self, journal: JournalId, here: &RangeSet) -> Vec<(LinkId, AckLevel, RangeSet)> {
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

    /// Nobody waits on `link` any more.
    pub fn forget(&mut self, link: LinkId) {
        self.promises.retain(|_, promises| {
            promises.retain(|promise| promise.link != link);
            !promises.is_empty()
        });
    }

    /// Which of `asked` are safe at `level`, when `here` is flushed on this disk.
    #[must_use]
    pub fn safe(&self, journal: JournalId, level: AckLevel, here: &RangeSet, asked: &RangeSet) -> RangeSet {
        let none = RangeSet::new();
        let here = here.intersection(asked);
        let Some(assignment) = self.placement.of(Partition::of(&journal.device)) else {
            // Without a placement this hub is alone: it is all replicas that there are.
            return here;
        };
        let at = |node: &NodeId| -> RangeSet {
            if *node == self.me {
                return here.clone();
            }
            let peer = self.peers.get(node).filter(|peer| peer.full);
            peer.and_then(|peer| peer.flushed.get(&journal)).unwrap_or(&none).intersection(asked)
        };
        let common = |nodes: &[NodeId], at_least: usize| {
            let sets: Vec<RangeSet> = nodes.iter().map(at).collect();
            covered(&sets.iter().collect::<Vec<_>>(), at_least)
        };
        match level {
            AckLevel::Hub => here,
            AckLevel::Region => {
                let mut nodes = self.in_my_region(assignment);
                if !nodes.contains(&self.me) {
                    nodes.push(self.me);
                }
                common(&nodes, nodes.len())
            }
            AckLevel::Quorum => {
                let majority = |nodes: &[NodeId]| common(nodes, nodes.len() / 2 + 1);
                let safe = majority(&assignment.replicas);
                if assignment.target.is_empty() {
                    safe
                } else {
                    safe.intersection(&majority(&assignment.target))
                }
            }
        }
    }

    /// What every other hub is owed.
    #[must_use]
    pub fn debts(&self) -> Vec<Debt> {
        let debt = |(node, peer): (&NodeId, &Peer)| Debt {
            node: *node,
            connected: peer.road.is_some(),
            full: peer.full,
            records: peer.owed.values().map(RangeSet::count).fold(0, u64::saturating_add),
            bytes_under_way: peer.road.as_ref().map_or(0, |road| road.bytes),
        };
        self.peers.iter().map(debt).collect()
    }

    fn in_my_region(&self, assignment: &Assignment) -> Vec<NodeId> {
        let mine = self.regions.get(&self.me);
        assignment.replicas.iter().copied().filter(|node| self.regions.get(node) == mine).collect()
    }

    /// The other hubs that get what is new in a journal.
    fn recipients(&self, journal: JournalId) -> Vec<NodeId> {
        let assignment = self.placement.of(Partition::of(&journal.device));
        assignment.into_iter().flat_map(Assignment::recipients).filter(|node| *node != self.me).collect()
    }

    fn reckon<'a>(&mut self, node: NodeId, here: impl Iterator<Item = (JournalId, &'a RangeSet)>) {
        let mut owed = BTreeMap::new();
        for (journal, here) in here {
            if !self.recipients(journal).contains(&node) {
                continue;
            }
            let flushed = self.peers.get(&node).and_then(|peer| peer.flushed.get(&journal));
            let missing = flushed.map_or_else(|| here.clone(), |flushed| here.difference(flushed));
            if !missing.is_empty() {
                owed.insert((journal.lane, journal), missing);
            }
        }
        if let Some(peer) = self.peers.get_mut(&node) {
            peer.owed = owed;
        }
    }
}

impl Peer {
    /// These are not owed any more.
    fn pay(&mut self, journal: (Lane, JournalId), ranges: &RangeSet) {
        let Some(owed) = self.owed.get_mut(&journal) else { return };
        ranges.iter().for_each(|range| owed.remove(range));
        if owed.is_empty() {
            self.owed.remove(&journal);
        }
    }
}

impl Road {
    const fn has_room(&self) -> bool {
        self.bytes < WINDOW_BYTES && self.runs < WINDOW_RUNS
    }

    /// Notes a run as under way, if there is room for it.
    fn take(&mut self, journal: JournalId, range: SeqRange, bytes: u64) -> bool {
        let room = self.has_room();
        if room {
            self.push(journal, range, bytes);
        }
        room
    }

    fn push(&mut self, journal: JournalId, range: SeqRange, bytes: u64) {
        self.under_way.entry(journal).or_default().push((range, bytes));
        self.runs += 1;
        self.bytes += bytes;
    }

    /// Runs for which `done` is said are under way no more.
    fn settle(&mut self, journal: JournalId, done: impl Fn(SeqRange) -> bool) {
        let Some(runs) = self.under_way.get_mut(&journal) else { return };
        runs.retain(|(range, bytes)| {
            let done = done(*range);
            if done {
                self.runs -= 1;
                self.bytes -= bytes;
            }
            !done
        });
        if runs.is_empty() {
            self.under_way.remove(&journal);
        }
    }

    fn ranges(&self, journal: &JournalId) -> RangeSet {
        self.under_way.get(journal).into_iter().flatten().map(|(range, _)| *range).collect()
    }
}

#[cfg(test)]
#[path = "replication_tests.rs"]
mod tests;
