//! When each node was heard: what quorum and staleness are judged by.
//!
//! Promise: ages are never too young: a leader counts from when it asked, a follower from when it was asked.
//! Absent: gossip. Only messages of the consensus count.

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
    /// When a request was sent that this node answered as its follower.
    followers: BTreeMap<NodeId, Instant>,
    /// The term that this node leads, and since when.
    leads: Option<(u64, Instant)>,
}

impl Contact {
    /// At start nobody was heard, but a leader may be there: it counts as heard now.
    pub(crate) fn new(now: Instant) -> Self {
        Self { heard: Mutex::new(Heard { leader: now, followers: BTreeMap::new(), leads: None }) }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn leader_spoke(&self, now: Instant) {
        self.heard().leader = now;
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
                heard.leads = Some((term, now));
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
}
