//! When each node was heard, and what it acknowledged: what quorum, staleness and older copies of a directory are judged by.
//!
//! Promise: ages are never too young: a leader counts from when it asked, a follower from when it was asked. A node that lacks
//! what it once acknowledged to this one, in the same life of its directory, was set back: it is known from then on.
//! Absent: gossip. Only messages of the consensus count. What other leaders were told; what was told before a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::raft::member::NodeId;

/// When each was heard.
#[derive(Debug)]
pub(crate) struct Contact {
    heard: Mutex<Heard>,
}

#[derive(Debug)]
struct Heard {
    /// When a leader that this node follows sent something.
    leader: Instant,
    /// Whether any leader was heard, or a majority elected this node, since it was started.
    any: bool,
    /// When a request was sent that this node answered as its follower.
    followers: BTreeMap<NodeId, Instant>,
    /// The term that this node leads, and since when.
    leads: Option<(u64, Instant)>,
    acknowledged: BTreeMap<Life, Acknowledged>,
}

/// A node, and the life of its directory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Life {
    pub(crate) node: NodeId,
    pub(crate) incarnation: u64,
}

/// What a node has on its disk, as it said itself.
#[derive(Debug, Default)]
struct Acknowledged {
    /// Entries up to here, to this leader in this term. Another leader may have had them cut off since.
    term: u64,
    matched: Option<u64>,
    /// Decided entries up to here: they are never cut off.
    lasting: Option<u64>,
    set_back: bool,
}

impl Contact {
    /// At start nobody was heard, but a leader may be there: it counts as heard now.
    pub(crate) fn new(now: Instant) -> Self {
        let (followers, acknowledged) = (BTreeMap::new(), BTreeMap::new());
        Self { heard: Mutex::new(Heard { leader: now, any: false, followers, leads: None, acknowledged }) }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn leader_spoke(&self, now: Instant) {
        let mut heard = self.heard();
        (heard.leader, heard.any) = (now, true);
    }

    /// Whether ages say anything: until a leader was heard, nobody knows how long this node was away.
    pub(crate) fn has_heard(&self) -> bool {
        self.heard().any
    }

    pub(crate) fn leader_age(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.heard().leader)
    }

    /// `node` answered what was sent at `sent`.
    pub(crate) fn follower_answered(&self, node: NodeId, sent: Instant) {
        let mut heard = self.heard();
        let newest = heard.followers.entry(node).or_insert(sent);
        *newest = sent.max(*newest);
    }

    /// A node has flushed the entries up to `matched`, of which those up to `committed` were decided; it said so to the leader
    /// of `term`, which is this node.
    pub(crate) fn acknowledged(&self, life: Life, term: u64, matched: u64, committed: Option<u64>) {
        let mut heard = self.heard();
        let known = heard.acknowledged.entry(life).or_default();
        if known.term != term {
            (known.term, known.matched) = (term, known.lasting);
        }
        known.matched = known.matched.max(Some(matched));
        known.lasting = known.lasting.max(known.matched.min(committed));
    }

    /// A node says to the leader of `term`, which is this node, that it lacks the entry at `index`. Whether it acknowledged it
    /// before: then its directory was set back, and it is remembered.
    pub(crate) fn lacks(&self, life: Life, term: u64, index: u64) -> bool {
        let mut heard = self.heard();
        let Some(known) = heard.acknowledged.get_mut(&life) else { return false };
        let held = if known.term == term { known.matched } else { known.lasting };
        if Some(index) > held {
            return false;
        }
        if !std::mem::replace(&mut known.set_back, true) {
            tracing::error!(
                node = life.node,
                index,
                held,
                "this node has an older log than it acknowledged: an older copy of its directory was put back, or its disk \
                 lost what it had flushed. It is not talked to any more: remove it from the cluster, move its data directory \
                 aside, and let it join again under a new id"
            );
        }
        true
    }

    /// Whether a node's directory is known to have been set back.
    pub(crate) fn is_set_back(&self, life: Life) -> bool {
        self.heard().acknowledged.get(&life).is_some_and(|known| known.set_back)
    }

    /// Notes what the consensus says: the term that this node leads, if it does. Returns since when.
    pub(crate) fn leads(&self, term: Option<u64>, now: Instant) -> Option<Instant> {
        let mut heard = self.heard();
        let Some(term) = term else {
            // Who led until now has heard of the others until now.
            if heard.leads.take().is_some() {
                heard.followers.clear();
                heard.leader = now;
            }
            return None;
        };
        match heard.leads {
            Some((led, since)) if led == term => Some(since),
            _ => {
                heard.followers.clear();
                (heard.leads, heard.any) = (Some((term, now)), true);
                Some(now)
            }
        }
    }

    /// How long ago a majority of every configuration was last known to follow this leader. One that leads since a moment ago
    /// was just elected by one.
    pub(crate) fn quorum_age(&self, configs: &[BTreeSet<NodeId>], me: NodeId, now: Instant) -> Duration {
        let heard = self.heard();
        let since = heard.leads.map_or(Duration::MAX, |(_, since)| now.saturating_duration_since(since));
        let age = |node: &NodeId| {
            if *node == me {
                return Duration::ZERO;
            }
            heard.followers.get(node).map_or(since, |at| now.saturating_duration_since(*at))
        };
        let majority_age = |config: &BTreeSet<NodeId>| {
            let mut ages: Vec<Duration> = config.iter().map(age).collect();
            ages.sort_unstable();
            ages.get(config.len() / 2).copied().unwrap_or(Duration::MAX)
        };
        configs.iter().map(majority_age).max().unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_quorum_is_as_old_as_the_majority_that_answered_last() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let contact = Contact::new(start);
        let three: [BTreeSet<NodeId>; 1] = [[1, 2, 3].into()];
        assert_eq!(contact.quorum_age(&three, 1, at(1)), Duration::MAX);
        contact.leads(Some(4), at(1));
        assert_eq!(contact.quorum_age(&three, 1, at(3)), Duration::from_secs(2));
        contact.follower_answered(2, at(3));
        contact.follower_answered(2, at(2));
        assert_eq!(contact.quorum_age(&three, 1, at(5)), Duration::from_secs(2));
        let joint = [[1, 2, 3].into(), [1, 4, 5].into()];
        assert_eq!(contact.quorum_age(&joint, 1, at(5)), Duration::from_secs(4));
        assert_eq!(contact.quorum_age(&[[1].into()], 1, at(9)), Duration::ZERO);
        contact.leads(Some(5), at(9));
        assert_eq!(contact.quorum_age(&three, 1, at(9)), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn how_long_a_node_was_away_is_not_known_before_it_hears_of_a_leader() {
        let contact = Contact::new(Instant::now());
        assert!(!contact.has_heard());
        contact.leads(None, Instant::now());
        assert!(!contact.has_heard());
        contact.leader_spoke(Instant::now());
        assert!(contact.has_heard());
    }

    #[test]
    fn who_lacks_what_it_acknowledged_was_set_back() {
        let contact = Contact::new(Instant::now());
        let life = Life { node: 2, incarnation: 7 };
        assert!(!contact.lacks(life, 4, 3), "it never said anything");
        contact.acknowledged(life, 4, 10, Some(8));
        contact.acknowledged(life, 4, 9, Some(6));
        assert!(!contact.lacks(life, 4, 11));
        assert!(!contact.lacks(life, 5, 9), "another leader may have cut off what was not decided");
        assert!(!contact.is_set_back(life));
        assert!(contact.lacks(life, 5, 8) && contact.is_set_back(life));
        assert!(!contact.is_set_back(Life { incarnation: 8, ..life }), "it joined again");

        let other = Life { node: 3, incarnation: 7 };
        contact.acknowledged(other, 4, 10, None);
        contact.acknowledged(other, 5, 9, Some(4));
        assert!(!contact.lacks(other, 5, 10));
        assert!(contact.lacks(other, 5, 9));
    }
}
