//! What openraft is told of our kinds of things.
//!
//! Entries carry a batch of commands as bytes; the core decodes them once, when it applies them. openraft is built with
//! `single-term-leader`: a term has at most one leader, as in the paper, and an entry is known by term and index.

use std::fmt;

use bytes::Bytes;

use crate::kv::Outcome;
use crate::raft::member::{Member, NodeId};
use crate::raft::snapshot::SnapshotFile;

openraft::declare_raft_types!(
    /// The consensus of the hubs.
    pub(crate) Consensus:
        D = Batch,
        R = Outcomes,
        NodeId = NodeId,
        Node = Member,
        Entry = openraft::Entry<Consensus>,
        SnapshotData = SnapshotFile,
        AsyncRuntime = openraft::TokioRuntime,
);

pub(crate) type Raft = openraft::Raft<Consensus>;
pub(crate) type Entry = openraft::Entry<Consensus>;
pub(crate) type LogId = openraft::LogId<NodeId>;
pub(crate) type Vote = openraft::Vote<NodeId>;
pub(crate) type Membership = openraft::Membership<NodeId, Member>;
pub(crate) type StoredMembership = openraft::StoredMembership<NodeId, Member>;
pub(crate) type StorageError = openraft::StorageError<NodeId>;

/// Commands that share an entry, encoded.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Batch(pub(crate) Bytes);

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Batch({} bytes)", self.0.len())
    }
}

/// One outcome for each command of a batch; none for entries of the consensus itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Outcomes(pub(crate) Vec<Outcome>);

/// The id of an entry.
pub(crate) fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(openraft::CommittedLeaderId::new(term, 0), index)
}
