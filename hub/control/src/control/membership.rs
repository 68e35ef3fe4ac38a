//! The members: learners first, then voters; leaving.
//!
//! Promise: a node gets a vote only when it holds nearly everything and answers; a vote is taken away only when those that are
//! left answer. Voters change by joint consensus, one change at a time; a change that is half done, because its leader died, is
//! seen ([`Metrics::joint`](super::Metrics)) and can be finished. Ids are never reused: a node that is known under another
//! incarnation is refused. Absent: who may ask.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use openraft::error::{ClientWriteError, RaftError};
use openraft::{ChangeMembers, ServerState};
use tokio::time::{sleep, timeout};

use super::error::ControlError;
use super::handle::{Boxed, Control, Inner, tell_members};
use super::standing::Standing;
use crate::codec::{CodecError, Decoder, Encoder};
use crate::raft::coding::{put_member, take_member};
use crate::raft::envelope::{Kind, Rejection};
use crate::raft::member::{Member, NodeId};
use crate::raft::network::WireError;

/// Entries that a learner may lack when it gets its vote: a second or so of a busy cluster.
const LAG_MAX: u64 = 1_000;

/// Members of a cluster, with and without a vote; no message has room for more.
const MEMBERS_MAX: usize = 64;

/// A change of the members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MembershipChange {
    /// Adds a node that receives everything and has no vote.
    AddLearner(NodeId, Member),
    /// Gives a learner its vote.
    Promote(NodeId),
    /// Removes a node.
    Remove(NodeId),
    /// Finishes a change of the voters that is half done.
    Settle,
}

/// A member, as this node knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberState {
    /// Its id.
    pub id: NodeId,
    /// What was committed about it.
    pub member: Member,
    /// Whether it votes; while a change of the voters is half done, before it or after it.
    pub votes: bool,
    /// Whether it leads, as far as this node knows.
    pub leads: bool,
    /// Up to where its log is known to agree; only the leader knows.
    pub matched: Option<u64>,
    /// Whether it answers, and lacks so little that it can vote; only the leader knows.
    pub current: bool,
}

impl Control {
    /// Makes a new cluster of one or more empty nodes; asked of exactly one of them, once.
    ///
    /// # Errors
    /// When this node is not empty, or not among them.
    pub fn found(&self, members: BTreeMap<NodeId, Member>) -> Boxed<'_, Result<(), ControlError>> {
        Box::pin(async {
            let founded = self.inner.raft.initialize(members).await;
            founded.map_err(|error| ControlError::Membership(error.to_string()))?;
            tell_members(&self.inner.raft).await.map_err(ControlError::Stopped)
        })
    }

    /// The members, by id.
    #[must_use]
    pub fn members(&self) -> Vec<MemberState> {
        let leader = self.leader();
        let metrics = self.inner.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
        let state = |(id, member): (&NodeId, &Member)| MemberState {
            id: *id,
            member: member.clone(),
            votes: voters.contains(id),
            leads: leader == Some(*id),
            matched: matched(&metrics, id),
            current: is_current(&metrics, id) && self.inner.answers(*id),
        };
        membership.nodes().map(state).collect()
    }

    /// Adds a node without a vote. It must be open, with an empty directory, and reachable.
    ///
    /// # Errors
    /// [`ControlError::Membership`] when its id is known under another incarnation; [`ControlError`].
    pub async fn add_learner(&self, id: NodeId, member: Member) -> Result<(), ControlError> {
        self.change(MembershipChange::AddLearner(id, member)).await
    }

    /// Gives a learner its vote; waits until it holds nearly everything.
    ///
    /// # Errors
    /// [`ControlError::NoMember`]; [`ControlError::Membership`] when it lags or does not answer, or another change is under way.
    pub async fn promote(&self, id: NodeId) -> Result<(), ControlError> {
        self.change(MembershipChange::Promote(id)).await
    }

    /// Removes a member. Its id is not to be used again.
    ///
    /// # Errors
    /// [`ControlError::Membership`] when another change is under way, or when those that are left could decide nothing, because
    /// no majority of them answers; [`ControlError`].
    pub async fn remove(&self, id: NodeId) -> Result<(), ControlError> {
        self.change(MembershipChange::Remove(id)).await
    }

    /// Finishes a change of the voters that is half done ([`Metrics::joint`](super::Metrics)): who led when it was begun has
    /// died or was cut off. When none is, nothing happens.
    ///
    /// # Errors
    /// [`ControlError::Membership`] when its first half is not decided yet; [`ControlError`].
    pub async fn settle(&self) -> Result<(), ControlError> {
        self.change(MembershipChange::Settle).await
    }

    fn change(&self, change: MembershipChange) -> Boxed<'_, Result<(), ControlError>> {
        Box::pin(self.change_here_or_there(change))
    }

    async fn change_here_or_there(&self, change: MembershipChange) -> Result<(), ControlError> {
        let inner = &self.inner;
        match inner.standing()? {
            Standing::Lead => inner.change_members(change).await,
            Standing::Follow(leader, member) => {
                let call = inner.wire.call(leader, &member, Kind::Membership, encode(&change));
                match timeout(inner.options.patience * 2, call).await {
                    Ok(Ok(_)) => Ok(()),
                    Ok(Err(WireError::Rejected(Rejection::Unknown(why)))) => Err(ControlError::Unknown(why)),
                    Ok(Err(WireError::Rejected(other))) => Err(ControlError::Membership(other.to_string())),
                    Ok(Err(error)) => Err(ControlError::Unknown(error.to_string())),
                    Err(_) => Err(ControlError::Unknown("the leader has not answered in time".to_owned())),
                }
            }
        }
    }
}

impl Inner {
    /// Changes the members, as leader.
    pub(crate) async fn change_members(&self, change: MembershipChange) -> Result<(), ControlError> {
        // No node could read what one would not send.
        let change = decode(encode(&change)).map_err(|error| ControlError::Membership(error.to_string()))?;
        let metrics = self.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        match change {
            MembershipChange::AddLearner(id, member) => {
                if let Some(known) = membership.get_node(&id) {
                    if known.incarnation == member.incarnation {
                        return Ok(());
                    }
                    let what = format!("node {id} is known by another incarnation: ids are never reused");
                    return Err(ControlError::Membership(what));
                }
                if membership.nodes().count() >= MEMBERS_MAX {
                    let what = format!("there are {MEMBERS_MAX} already: remove one first");
                    return Err(ControlError::Membership(what));
                }
                self.commit(ChangeMembers::AddNodes([(id, member)].into())).await
            }
            MembershipChange::Promote(id) => {
                if membership.get_node(&id).is_none() {
                    return Err(ControlError::NoMember(id));
                }
                self.wait_for_learner(id).await?;
                self.commit(ChangeMembers::AddVoterIds([id].into())).await
            }
            MembershipChange::Remove(id) => {
                if membership.get_node(&id).is_none() {
                    return Err(ControlError::NoMember(id));
                }
                let mut voters: BTreeSet<NodeId> = membership.voter_ids().collect();
                if voters.remove(&id) {
                    self.wait_for_the_rest(id, &voters).await?;
                    // Without `retain`, the voter's record goes together with its vote.
                    self.commit(ChangeMembers::RemoveVoters([id].into())).await
                } else {
                    self.commit(ChangeMembers::RemoveNodes([id].into())).await
                }
            }
            MembershipChange::Settle if membership.get_joint_config().len() > 1 => {
                // Asked of a joint configuration, this leads to its last one.
                self.commit(ChangeMembers::AddVoterIds(BTreeSet::new())).await
            }
            MembershipChange::Settle => Ok(()),
        }
    }

    /// Waits until a majority of the voters that are left answers, for a lease at most. The change holds from when it is
    /// written down: without them it would be the last thing that this leader writes.
    async fn wait_for_the_rest(&self, id: NodeId, rest: &BTreeSet<NodeId>) -> Result<(), ControlError> {
        let (step, lease) = (self.options.heartbeat, self.options.lease);
        let mut waited = Duration::ZERO;
        loop {
            let silent: Vec<String> =
                rest.iter().filter(|node| !self.answers(**node)).map(NodeId::to_string).collect();
            // Nobody left is refused by the consensus itself.
            if rest.is_empty() || silent.len() * 2 < rest.len() {
                return Ok(());
            }
            if waited > lease {
                let what = format!(
                    "without node {id} no majority is left that answers: {} of {} voters are silent (node {}): start \
                     them, or remove them first",
                    silent.len(),
                    rest.len(),
                    silent.join(", ")
                );
                return Err(ControlError::Membership(what));
            }
            self.goes_on_leading(step).await?;
            waited += step;
        }
    }

    /// Waits for a step, in which another may have been elected: whom that one hears is not known here.
    async fn goes_on_leading(&self, step: Duration) -> Result<(), ControlError> {
        sleep(step).await;
        if self.raft.metrics().borrow().state == ServerState::Leader {
            return Ok(());
        }
        Err(ControlError::NoQuorum { reason: "the leader changed meanwhile".to_owned() })
    }

    async fn wait_for_learner(&self, id: NodeId) -> Result<(), ControlError> {
        let step = self.options.heartbeat;
        let mut waited = Duration::ZERO;
        loop {
            let metrics = self.raft.metrics().borrow().clone();
            let answers = self.answers(id);
            if answers && is_current(&metrics, &id) {
                return Ok(());
            }
            if waited > self.options.patience {
                let last = metrics.last_log_index.unwrap_or_default();
                let held = matched(&metrics, &id)
                    .map_or_else(|| "nothing".to_owned(), |index| format!("entries up to {index}"));
                let silent = if answers { "" } else { " and does not answer" };
                let what = format!("node {id} holds {held} of {last}{silent}: let it catch up first");
                return Err(ControlError::Membership(what));
            }
            self.goes_on_leading(step).await?;
            waited += step;
        }
    }

    async fn commit(&self, change: ChangeMembers<NodeId, Member>) -> Result<(), ControlError> {
        let raft = self.raft.clone();
        // A task of its own: whoever loses patience does not leave a change half done.
        let changing = tokio::spawn(async move { raft.change_membership(change, false).await });
        match timeout(self.options.patience, changing).await {
            Ok(Ok(Ok(_))) => Ok(()),
            Ok(Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error))))) => {
                Err(ControlError::Membership(error.to_string()))
            }
            Ok(Ok(Err(RaftError::APIError(error)))) => Err(ControlError::Unknown(error.to_string())),
            Ok(Ok(Err(RaftError::Fatal(error)))) => {
                Err(ControlError::Unknown(format!("this node stopped: {error}")))
            }
            Ok(Err(error)) => Err(ControlError::Unknown(format!("this node stopped: {error}"))),
            Err(_) => Err(ControlError::Unknown("no majority has answered in time".to_owned())),
        }
    }
}

type RaftMetrics = openraft::RaftMetrics<NodeId, Member>;

/// Up to where a node's log is known to agree with the leader's.
fn matched(metrics: &RaftMetrics, id: &NodeId) -> Option<u64> {
    metrics.replication.as_ref()?.get(id).copied().flatten().map(|id| id.index)
}

/// Whether a node lacks so little that it can vote.
fn is_current(metrics: &RaftMetrics, id: &NodeId) -> bool {
    let last = metrics.last_log_index.unwrap_or_default();
    matched(metrics, id).is_some_and(|index| index + LAG_MAX >= last)
}

fn encode(change: &MembershipChange) -> Bytes {
    let mut to = Encoder::default();
    let (kind, id) = match change {
        MembershipChange::AddLearner(id, _) => (1, id),
        MembershipChange::Promote(id) => (2, id),
        MembershipChange::Remove(id) => (3, id),
        // Every change names a node; this one is about none.
        MembershipChange::Settle => (4, &0),
    };
    to.byte(kind);
    to.number(*id);
    if let MembershipChange::AddLearner(_, member) = change {
        put_member(&mut to, member);
    }
    to.finish()
}

pub(crate) fn decode(bytes: Bytes) -> Result<MembershipChange, CodecError> {
    let mut from = Decoder::new(bytes);
    let kind = from.byte("change")?;
    let id = from.number("node")?;
    let change = match kind {
        1 => MembershipChange::AddLearner(id, take_member(&mut from)?),
        2 => MembershipChange::Promote(id),
        3 => MembershipChange::Remove(id),
        4 => MembershipChange::Settle,
        found => return Err(CodecError::Unknown { what: "change", found: found.into() }),
    };
    from.end()?;
    Ok(change)
}
