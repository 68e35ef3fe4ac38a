//! The members: learners first, then voters; leaving.
//!
//! Promise: a node gets a vote only when it holds nearly everything; voters change by joint consensus, one change at a time.
//! Ids are never reused: a node that is known under another incarnation is refused. Absent: who may ask.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use openraft::ChangeMembers;
use openraft::error::{ClientWriteError, RaftError};
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

/// A change of the members.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MembershipChange {
    /// Adds a node that receives everything and has no vote.
    AddLearner(NodeId, Member),
    /// Gives a learner its vote.
    Promote(NodeId),
    /// Removes a node.
    Remove(NodeId),
}

/// A member, as this node knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberState {
    /// Its id.
    pub id: NodeId,
    /// What was committed about it.
    pub member: Member,
    /// Whether it votes.
    pub votes: bool,
    /// Whether it leads, as far as this node knows.
    pub leads: bool,
    /// Up to where its log is known to agree; only the leader knows.
    pub matched: Option<u64>,
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
        let matched = |id: &NodeId| {
            let known = metrics.replication.as_ref()?.get(id).copied().flatten();
            known.map(|id| id.index)
        };
        let state = |(id, member): (&NodeId, &Member)| MemberState {
            id: *id,
            member: member.clone(),
            votes: voters.contains(id),
            leads: leader == Some(*id),
            matched: matched(id),
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
    /// [`ControlError::NoMember`]; [`ControlError::Membership`] when it lags, or another change is under way.
    pub async fn promote(&self, id: NodeId) -> Result<(), ControlError> {
        self.change(MembershipChange::Promote(id)).await
    }

    /// Removes a member. Its id is not to be used again.
    ///
    /// # Errors
    /// [`ControlError::Membership`] when another change is under way; [`ControlError`].
    pub async fn remove(&self, id: NodeId) -> Result<(), ControlError> {
        self.change(MembershipChange::Remove(id)).await
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
                let voters: BTreeSet<NodeId> = membership.voter_ids().collect();
                if voters.contains(&id) {
                    // Without `retain`, the voter's record goes together with its vote.
                    self.commit(ChangeMembers::RemoveVoters([id].into())).await
                } else {
                    self.commit(ChangeMembers::RemoveNodes([id].into())).await
                }
            }
        }
    }

    async fn wait_for_learner(&self, id: NodeId) -> Result<(), ControlError> {
        let step = self.options.heartbeat;
        let mut waited = Duration::ZERO;
        loop {
            let metrics = self.raft.metrics().borrow().clone();
            let matched = metrics.replication.as_ref().and_then(|known| known.get(&id).copied().flatten());
            let last = metrics.last_log_index.unwrap_or_default();
            if matched.is_some_and(|matched| matched.index + LAG_MAX >= last) {
                return Ok(());
            }
            if waited > self.options.patience {
                let held =
                    matched.map_or_else(|| "nothing".to_owned(), |id| format!("entries up to {}", id.index));
                let what = format!("node {id} holds {held} of {last}: let it catch up first");
                return Err(ControlError::Membership(what));
            }
            sleep(step).await;
            waited += step;
        }
    }

    async fn commit(&self, change: ChangeMembers<NodeId, Member>) -> Result<(), ControlError> {
        match timeout(self.options.patience, self.raft.change_membership(change, false)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(ClientWriteError::ChangeMembershipError(error)))) => {
                Err(ControlError::Membership(error.to_string()))
            }
            Ok(Err(RaftError::APIError(error))) => Err(ControlError::Unknown(error.to_string())),
            Ok(Err(RaftError::Fatal(error))) => {
                Err(ControlError::Unknown(format!("this node stopped: {error}")))
            }
            Err(_) => Err(ControlError::Unknown("no majority has answered in time".to_owned())),
        }
    }
}

fn encode(change: &MembershipChange) -> Bytes {
    let mut to = Encoder::default();
    let (kind, id) = match change {
        MembershipChange::AddLearner(id, _) => (1, id),
        MembershipChange::Promote(id) => (2, id),
        MembershipChange::Remove(id) => (3, id),
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
        found => return Err(CodecError::Unknown { what: "change", found: found.into() }),
    };
    from.end()?;
    Ok(change)
}
