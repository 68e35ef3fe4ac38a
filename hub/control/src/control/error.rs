//! What can go wrong when something is asked of the cluster.
//!
//! Promise: each says whether it may have had an effect. Only [`ControlError::Unknown`] may.

use std::time::Duration;

use crate::kv::Refusal;
use crate::raft::member::NodeId;

/// Why something was not done, or what is not known.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ControlError {
    /// No majority of the voters follows: nothing can be decided now. It had no effect.
    #[error(
        "no quorum: {reason}; decisions wait until a majority of the hubs can talk to each other again (readings go on)"
    )]
    NoQuorum {
        /// What is missing, in words.
        reason: String,
    },
    /// As much waits as may. It had no effect.
    #[error("the control queue is full: try again in a moment")]
    Overloaded,
    /// It is larger than an entry may be. It had no effect.
    #[error("the command has {bytes} bytes, at most {limit} are taken: split it")]
    TooLarge {
        /// What was proposed.
        bytes: usize,
        /// What is taken.
        limit: usize,
    },
    /// The core refused it. It had no effect.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Whether it took effect is unknown. Read, or ask again with a compare that makes a second time harmless.
    #[error("whether it took effect is unknown: {0}; read the state before asking again")]
    Unknown(String),
    /// Nothing came in time. It only read, so it had no effect.
    #[error("no answer within {0:?}")]
    Late(Duration),
    /// The members cannot be changed this way now. It had no effect.
    #[error("the members were not changed: {0}")]
    Membership(String),
    /// No such member.
    #[error("node {0} is not a member")]
    NoMember(NodeId),
    /// The node has stopped taking part: its disk failed, or it was closed. End the process, the next start verifies.
    #[error("this node has stopped taking part: {0}; restart it")]
    Stopped(String),
}
