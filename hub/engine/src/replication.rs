//! Replication: what each replica has flushed, what it is owed, and which acks that allows.
//!
//! ```text
//!  a run comes ─▶ forward() ─▶ to the replicas that have room, while it is flushed here
//!  flushed here ─▶ stored()                            ┐
//!  flushed there ─▶ proved() ─▶ less is owed, and ─────┴▶ kept(): agents hear of what is safe at their level
//!  room again ─▶ next() ─▶ load from disk ─▶ loaded(): what a replica missed, urgent lanes first
//! ```
//!
//! Two things are known of another hub's copy. What it *holds* are numbers: they say what need not be sent, and what is to be had
//! there. What it *proved* are records that it compared with ours. What an agent brought here counts as being there only when it
//! is proved: a device that was put back, or cloned, may have given another history to another hub under the same numbers.
//!
//! A store that was put back from an old copy of itself does not know it; the others do, and tell it (Lost) as soon as they speak with it. Until
//! then it counts as what it was: whoever puts copies back must not take another hub away at the same time.
//!
//! Promise: only what a replica said it flushed counts, and only of a store whose very life is committed as full; what is owed is
//! a set of ranges, so a replica that is away for a week costs the others no queue and no memory; a slow one holds nobody up but
//! the acks that need it.
//! Absent: connections and disks (the rooms [`crate::owing`] and [`crate::guests`] ask for them), and who is a replica
//! ([`crate::placement`]). What two hubs hold under one number and cannot agree on is the author's fork, not replication's to mend.
//!
//! | room | what is decided there |
//! |---|---|
//! | [`road`] | how much is under way to one replica |
//! | [`debts`] | what each replica is owed, and what of it goes next |
//! | [`promises`] | what is safe at which level, and who waits to hear so |
//! | [`syncing`] | when this hub holds what the others held |

pub mod debts;
pub mod promises;
pub mod road;
pub mod syncing;

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::{
    DeviceId, Incarnation, JournalId, Lane, Moment, NodeId, Partition, RangeSet, Seq, SeqRange,
};

use crate::placement::Assignment;
use crate::shelf::Shelf;
use crate::{Fullness, Placed};
use promises::Promise;
use road::Road;
use syncing::Syncing;

/// Journals that one hub may tell of: a hub of a million devices. One that tells of more is no hub of ours.
pub const JOURNALS_TOLD_MAX: usize = 4 << 20;

/// What is known of this hub's journals.
pub(crate) type Shelves = BTreeMap<JournalId, Shelf>;

/// Ranges of some journals.
pub(crate) type Ranges = BTreeMap<JournalId, RangeSet>;

/// What is known of the other hubs' copies.
#[derive(Debug, Default)]
pub struct Replication {
    /// Without one this hub is alone.
    pub(crate) placed: Option<Placed>,
    pub(crate) peers: BTreeMap<NodeId, Peer>,
    promises: BTreeMap<JournalId, Vec<Promise>>,
    /// What agents brought here since the process began: elsewhere it counts only when it is proved.
    doubtful: Ranges,
    pub(crate) syncing: Syncing,
    /// The life of this hub's own store, when others know that it held more.
    regressed: Option<Incarnation>,
    /// When second-hand debts ripen.
    turn_at: Option<Moment>,
}

/// Another hub's copy.
#[derive(Debug, Default)]
pub(crate) struct Peer {
    /// Which life of its store said so.
    pub(crate) life: Option<Incarnation>,
    /// A life of its store that once held more than it does: it counts for nothing until another one begins.
    regressed: Option<Incarnation>,
    /// The newest placement that it said it knows.
    pub(crate) version: u64,
    /// Numbers that it has.
    pub(crate) held: Ranges,
    /// Records that were compared with ours, by it or here, and are the same. That it has flushed them, `held` says.
    proved: Ranges,
    /// From here on its history of a journal is another one.
    clashed: BTreeMap<JournalId, Seq>,
    /// What it lost, and fetches by itself: owed only when it asks for it.
    lacking: Ranges,
    /// What is here and not known to be there. Urgent lanes stand first.
    owed: BTreeMap<(Lane, JournalId), RangeSet>,
    /// What another hub brought here, and will bring there, too: owed only when that takes long. `fresh` becomes `ripe`, `ripe` is
    /// owed.
    fresh: Ranges,
    ripe: Ranges,
    /// What it has said so far of all that it holds.
    telling: Ranges,
    pub(crate) road: Option<Road>,
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

/// What a hub that has told all makes known.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    /// What it held before, in the same life, and does not hold now.
    pub(crate) lost: Ranges,
    /// What it does not hold, and this hub let go: it is not to wait for it.
    pub(crate) gone: Ranges,
}

impl Replication {
    /// A table and placement were committed. Hubs that are not in it are forgotten; what the others are owed is reckoned anew where
    /// their part changed. Returns what is to be told as gone.
    pub(crate) fn placed(&mut self, placed: Placed, shelves: &Shelves) -> BTreeMap<NodeId, Ranges> {
        let before = self.placed.take();
        if before.as_ref().is_some_and(|before| before.me != placed.me) {
            (self.peers, self.syncing) = (BTreeMap::new(), Syncing::default());
        }
        if self.regressed.is_some_and(|life| life != placed.store) {
            self.regressed = None;
        }
        let me = placed.me;
        self.peers.retain(|node, peer| placed.hubs.contains_key(node) || peer.road.is_some());
        for node in placed.hubs.keys().filter(|node| **node != me) {
            self.peers.entry(*node).or_default();
        }
        let part = |placed: &Placed, node: NodeId| -> BTreeSet<Partition> {
            let all = placed.placement.assignments();
            all.filter(|(_, of)| of.recipients().any(|to| to == node))
                .map(|(partition, _)| partition)
                .collect()
        };
        let changed =
            |node: &NodeId| before.as_ref().is_none_or(|before| part(before, *node) != part(&placed, *node));
        let nodes: Vec<NodeId> = self.peers.keys().copied().filter(changed).collect();
        self.placed = Some(placed);
        let reckoned = nodes.into_iter().map(|node| (node, self.reckon(node, shelves)));
        let gone = reckoned.filter(|(_, gone)| !gone.is_empty()).collect();
        self.resume_syncing(shelves);
        gone
    }

    /// Whether nothing is here that is not known to be at `node`.
    pub(crate) fn owes_nothing(&self, node: NodeId) -> bool {
        self.peers.get(&node).is_some_and(|peer| peer.debt() == 0)
    }

    /// Who I am, once that is committed.
    pub(crate) fn me(&self) -> Option<NodeId> {
        self.placed.as_ref().map(|placed| placed.me)
    }

    /// A connection to `node` stands.
    pub(crate) fn connected(&mut self, node: NodeId) {
        let peer = self.peers.entry(node).or_default();
        (peer.road, peer.telling) = (Some(Road::default()), Ranges::new());
    }

    /// The connection to `node` is gone. What was under way is still owed.
    pub(crate) fn disconnected(&mut self, node: NodeId) {
        if let Some(peer) = self.peers.get_mut(&node) {
            (peer.road, peer.telling) = (None, Ranges::new());
        }
        // One that was removed meanwhile is owed nothing.
        if self.placed.as_ref().is_some_and(|placed| !placed.hubs.contains_key(&node)) {
            self.peers.remove(&node);
        }
    }

    /// Whether a connection to `node` stands, and whether it has told all.
    pub(crate) fn standing(&self, node: NodeId) -> Option<bool> {
        self.peers.get(&node)?.road.as_ref().map(|road| road.greeted)
    }

    /// `node` says, in greeting, what it holds of a journal. `false` when it says too much.
    pub(crate) fn tells(&mut self, node: NodeId, journal: JournalId, held: &RangeSet) -> bool {
        let Some(peer) = self.peers.get_mut(&node) else { return true };
        peer.telling.entry(journal).or_default().extend(held);
        peer.telling.len() <= JOURNALS_TOLD_MAX
    }

    /// `node`, whose store lives its life `life`, has told all that it holds, knowing the placement `version`. When it had told
    /// that before, only the version is news.
    pub(crate) fn told(&mut self, node: NodeId, life: Incarnation, version: u64, shelves: &Shelves) -> Heard {
        let Some(peer) = self.peers.get_mut(&node) else { return Heard::default() };
        let mut heard = Heard::default();
        if peer.road.as_ref().is_some_and(|road| !road.greeted) {
            let told = std::mem::take(&mut peer.telling);
            if peer.life != Some(life) {
                self.began_anew(node, life);
            } else {
                heard.lost = missing(&peer.held, &told);
                if !heard.lost.is_empty() {
                    peer.regressed = Some(life);
                }
            }
            let Some(peer) = self.peers.get_mut(&node) else { return heard };
            peer.held = told;
            for (journal, lost) in &heard.lost {
                let proved = peer.proved.entry(*journal).or_default();
                proved.subtract(lost);
            }
            if let Some(road) = &mut peer.road {
                road.greeted = true;
            }
            heard.gone = self.reckon(node, shelves);
        }
        if let Some(peer) = self.peers.get_mut(&node) {
            // What it told on this road is still on its disk when its store is given another life.
            (peer.version, peer.life) = (version, Some(life));
        }
        self.listen(node, shelves);
        heard
    }

    /// `node` says which life of its store it lives. What another life had is gone: from now on nobody is told that it counts. `true`
    /// when the connection to it is to end: what is still on its way there was said by the other life.
    pub(crate) fn lives(&mut self, node: NodeId, life: Incarnation) -> bool {
        if self.peers.get(&node).is_none_or(|peer| peer.life.is_none_or(|known| known == life)) {
            return false;
        }
        self.began_anew(node, life);
        let road = self.peers.get_mut(&node).map(|peer| &mut peer.road);
        road.is_some_and(|road| road.take_if(|road| road.greeted).is_some())
    }

    fn began_anew(&mut self, node: NodeId, life: Incarnation) {
        let peer = self.peers.entry(node).or_default();
        let (road, first) = (peer.road.take(), peer.life.is_none());
        *peer = Peer { life: Some(life), road, ..Peer::default() };
        self.syncing.forget(node, first);
    }

    /// Others know that this hub's store held more in the life that it lives. `true` when that is news.
    pub(crate) fn regress(&mut self) -> bool {
        let life = self.placed.as_ref().map(|placed| placed.store);
        let news = life.is_some() && self.regressed != life;
        self.regressed = life;
        self.weigh();
        news
    }

    /// What every other hub is owed.
    #[must_use]
    pub fn debts(&self) -> Vec<Debt> {
        let full = |node: &NodeId, life: Option<Incarnation>| {
            let standing = self.placed.as_ref().and_then(|placed| placed.hubs.get(node));
            standing.is_some_and(|standing| standing.full && life.is_none_or(|life| life == standing.store))
        };
        let debt = |(node, peer): (&NodeId, &Peer)| Debt {
            node: *node,
            connected: peer.road.is_some(),
            full: full(node, peer.life),
            records: peer.debt(),
            bytes_under_way: peer.road.as_ref().map_or(0, |road| road.bytes),
        };
        self.peers.iter().map(debt).collect()
    }

    /// How much of what this hub should hold it knows to hold.
    #[must_use]
    pub fn fullness(&self) -> Fullness {
        let Some(placed) = &self.placed else { return Fullness::default() };
        let all = placed.placement.assignments();
        let partitions = all.filter(|(_, of)| of.recipients().any(|node| node == placed.me)).count();
        let (unsynced, lacking) = self.syncing.left();
        Fullness { partitions, synced: partitions.saturating_sub(unsynced), lacking }
    }

    /// Whether what this hub holds of a device is what the hubs hold of it: it is alone, or a replica whose store is full.
    pub(crate) fn is_complete(&self, device: &DeviceId) -> bool {
        let Some(placed) = &self.placed else { return true };
        let assignment = placed.placement.of(Partition::of(device));
        let keeps = assignment.is_some_and(|assignment| assignment.replicas.contains(&placed.me));
        keeps && self.regressed.is_none() && placed.is_full(placed.me, placed.store)
    }

    /// Whether the store life `life` of `node` counts in a partition. A hub that comes counts among the replicas to be for what it has
    /// flushed, full or not: no earlier ack of the partition relies on a former life of it.
    fn counts(&self, assignment: &Assignment, node: NodeId, life: Option<Incarnation>) -> bool {
        let standing = self.placed.as_ref().and_then(|placed| placed.hubs.get(&node));
        standing.is_some_and(|standing| {
            let comes = assignment.joining.contains(&node) && !assignment.replicas.contains(&node);
            Some(standing.store) == life && (standing.full || comes)
        })
    }

    /// What of `wanted` another hub is known to hold.
    pub(crate) fn holds_of(&self, node: NodeId, journal: JournalId, wanted: &RangeSet) -> RangeSet {
        let held = self.peers.get(&node).and_then(|peer| peer.held.get(&journal));
        held.map(|held| held.intersection(wanted)).unwrap_or_default()
    }

    pub(crate) fn assignment(&self, journal: JournalId) -> Option<&Assignment> {
        self.placed.as_ref()?.placement.of(Partition::of(&journal.device))
    }

    /// The other hubs that get what is new in a journal.
    pub(crate) fn recipients(&self, journal: JournalId) -> Vec<NodeId> {
        let me = self.me();
        let all = self.assignment(journal).into_iter().flat_map(Assignment::recipients);
        all.filter(|node| Some(*node) != me).collect()
    }
}

impl Peer {
    /// How many records are here and not known to be there.
    fn debt(&self) -> u64 {
        let second_hand = self.fresh.values().chain(self.ripe.values());
        self.owed.values().chain(second_hand).map(RangeSet::count).fold(0, u64::saturating_add)
    }

    /// What it has of `asked`, as far as that counts: nothing past a clash, and of what is in doubt only what is proved.
    fn has(&self, journal: JournalId, doubtful: Option<&RangeSet>, asked: &RangeSet) -> RangeSet {
        let mut has = self.held.get(&journal).map(|held| held.intersection(asked)).unwrap_or_default();
        if let Some(doubtful) = doubtful {
            let sure = self.proved.get(&journal).map(|proved| proved.intersection(&has)).unwrap_or_default();
            has = has.difference(doubtful);
            has.extend(&sure);
        }
        if let Some(past) = self.clash(journal) {
            has.remove(past);
        }
        has
    }

    /// The numbers of a journal from which on its history is another one.
    fn clash(&self, journal: JournalId) -> Option<SeqRange> {
        self.clashed.get(&journal).and_then(|first| SeqRange::new(*first, Seq::MAX))
    }
}

/// What `before` has and `now` has not.
fn missing(before: &Ranges, now: &Ranges) -> Ranges {
    let none = RangeSet::new();
    let left =
        before.iter().map(|(journal, held)| (*journal, held.difference(now.get(journal).unwrap_or(&none))));
    left.filter(|(_, ranges)| !ranges.is_empty()).collect()
}

#[cfg(test)]
mod tests;
