//! Who leads, and whether a majority follows: what decides between doing, forwarding and refusing.
//!
//! Promise: without a majority the answer is a refusal, at once, with what is missing.

use std::collections::BTreeSet;
use std::time::Duration;

use openraft::ServerState;
use tokio::time::Instant;

use super::error::ControlError;
use super::handle::Inner;
use crate::kv::Usage;
use crate::raft::member::{Member, NodeId};

/// What a node is in the consensus now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// It leads.
    Leader,
    /// It follows and votes.
    Follower,
    /// It asks for votes.
    Candidate,
    /// It follows and has no vote.
    Learner,
    /// It has stopped.
    Stopped,
}

/// Where a node stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Metrics {
    /// What it is.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// How long ago it heard of that leader, or, leading itself, of a majority.
    pub age: Duration,
    /// Whether a change of the voters is half done: until it is [settled](super::Control::settle), every decision needs a
    /// majority of the voters before it and one of those after it.
    pub joint: bool,
    /// Index of the last entry of its log.
    pub last_log: Option<u64>,
    /// Index of the last entry that it applied.
    pub applied: Option<u64>,
    /// Index of the last entry in its newest snapshot.
    pub snapshot: Option<u64>,
    /// Index up to which its log was purged.
    pub purged: Option<u64>,
    /// Bytes in its log since it was purged.
    pub log_bytes: u64,
    /// What its store holds.
    pub usage: Usage,
}

/// What can be done with a decision.
pub(crate) enum Standing {
    /// Make it here.
    Lead,
    /// Ask the leader.
    Follow(NodeId, Member),
}

impl Inner {
    /// What can be done now.
    pub(crate) fn standing(&self) -> Result<Standing, ControlError> {
        let metrics = self.raft.metrics().borrow().clone();
        if let Err(error) = &metrics.running_state {
            return Err(ControlError::Stopped(error.to_string()));
        }
        if let Some(why) = self.log.failed() {
            return Err(ControlError::Stopped(why));
        }
        let lease = self.options.lease;
        let membership = metrics.membership_config.membership();
        let no_quorum = |reason: String| Err(ControlError::NoQuorum { reason });
        if membership.voter_ids().next().is_none() {
            return no_quorum("this node belongs to no cluster yet".to_owned());
        }
        let age = self.age();
        if metrics.state == ServerState::Leader {
            if age <= lease {
                return Ok(Standing::Lead);
            }
            return no_quorum(format!("this hub leads, but no majority has answered for {}", seconds(age)));
        }
        match metrics.current_leader {
            Some(leader) if leader != self.id && age <= lease => match membership.get_node(&leader) {
                Some(member) => Ok(Standing::Follow(leader, member.clone())),
                None => no_quorum(format!("the leader, node {leader}, is not among the members known here")),
            },
            _ => no_quorum(format!("no leader has been heard for {}", seconds(age))),
        }
    }

    /// How long ago this node heard of its leader, or, leading itself, of a majority.
    pub(crate) fn age(&self) -> Duration {
        let now = Instant::now();
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        if metrics.state == ServerState::Leader {
            self.contact.leads(Some(metrics.current_term), now);
            let configs: &[BTreeSet<NodeId>] = metrics.membership_config.membership().get_joint_config();
            self.contact.quorum_age(configs, self.id, now)
        } else {
            self.contact.leads(None, now);
            self.contact.leader_age(now)
        }
    }

    /// Whether a node has answered this leader in its term, and last within the lease.
    pub(crate) fn answers(&self, node: NodeId) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        // Before a node has answered, contact counts from the election.
        let in_term = |node| {
            metrics.replication.as_ref().is_some_and(|known| known.get(node).is_some_and(Option::is_some))
        };
        let age = self.contact.quorum_age(&[[node].into()], self.id, Instant::now());
        node == self.id || (in_term(&node) && age <= self.options.lease)
    }

    pub(crate) fn metrics(&self) -> Metrics {
        let (age, metrics) = (self.age(), self.raft.metrics().borrow().clone());
        let role = match (&metrics.running_state, metrics.state) {
            _ if self.log.failed().is_some() => Role::Stopped,
            (Err(_), _) | (_, ServerState::Shutdown) => Role::Stopped,
            (_, ServerState::Leader) => Role::Leader,
            (_, ServerState::Follower) => Role::Follower,
            (_, ServerState::Candidate) => Role::Candidate,
            (_, ServerState::Learner) => Role::Learner,
        };
        Metrics {
            role,
            term: metrics.current_term,
            leader: metrics.current_leader.filter(|_| age <= self.options.lease),
            age,
            joint: metrics.membership_config.membership().get_joint_config().len() > 1,
            last_log: metrics.last_log_index,
            applied: metrics.last_applied.map(|id| id.index),
            snapshot: metrics.snapshot.map(|id| id.index),
            purged: metrics.purged.map(|id| id.index),
            log_bytes: self.log.unpurged_bytes(),
            usage: self.shared.store().usage(),
        }
    }
}

fn seconds(age: Duration) -> String {
    if age > Duration::from_secs(365 * 86_400) {
        return "as long as it leads".to_owned();
    }
    format!("{:.1} s", age.as_secs_f64())
}
