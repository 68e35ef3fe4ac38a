//! How a hub and an agent, or two hubs, find out what differs between their copies, and how what one has lost comes back to it.
//!
//! ```text
//!  hub                                              agent
//!    │ Inquiry {number, journal, about}
//!    │ ─────────────────────────────────────────────▶ │ reads its store
//!    │                        Reply {number, told}     │
//!    │ ◀───────────────────────────────────────────── │
//!    │ Wanted {journal, ranges}                        │
//!    │ ─────────────────────────────────────────────▶ │ they count as unacknowledged again
//!    │      Run … (as any backlog), Absent {ranges}    │
//!    │ ◀───────────────────────────────────────────── │
//!    │ Regain {journal, ranges}                        │
//!    │ ─────────────────────────────────────────────▶ │ when it has the room and the road for it:
//!    │      Fetch {journal, ranges, bytes_max}         │   see `recalling`
//!    │ ◀───────────────────────────────────────────── │
//! ```
//!
//! What is asked and answered stands in `millrace-merkle`; whoever answers keeps nothing between two inquiries, and one is under
//! way at a time.

use millrace_merkle::{About, Answer, Question, Told};
use millrace_model::{NodeHash, RangeSet};
use serde::{Deserialize, Serialize};

use crate::Lodging;

/// Hub → agent: what do you have of one of your journals?
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Inquiry {
    /// Stands in the reply.
    pub number: u64,
    /// Which journal.
    pub journal: Lodging,
    /// What about it.
    pub about: About,
}

/// Agent → hub: the answer to an inquiry.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Reply {
    /// The inquiry's.
    pub number: u64,
    /// What there is.
    pub told: Told,
}

/// Records of one journal of the agent. As Wanted (hub → agent): I acknowledged these and lost them. As Absent (agent → hub): of what was
/// wanted, these are not here either. As Doubt (hub → agent): what I have here and what you say you have differ; look whether yours
/// is sound. As Regain (hub → agent): you wrote these and do not have them any more; here they are.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Records {
    /// Which journal.
    pub journal: Lodging,
    /// Which records.
    #[serde(with = "millrace_merkle::spans")]
    pub ranges: RangeSet,
}

/// Hub → agent: hashes of the digest (`millrace-merkle`) for places of which the agent let everything go, and does not remember them, or
/// otherwise: damage took them before its floor passed them.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hashes {
    /// Which journal.
    pub journal: Lodging,
    /// At most [`HASHES_MAX`](crate::limits::HASHES_MAX).
    pub hashes: Vec<HashAt>,
}

/// The hash of one node.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct HashAt {
    /// Its level; leaves have 0.
    pub level: u8,
    /// Which of its level.
    pub index: u64,
    /// The hash.
    pub hash: NodeHash,
}

/// A hub asks another what it has.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerInquiry {
    /// Stands in the reply.
    pub number: u64,
    /// The question.
    pub question: Question,
}

/// The answer to it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct PeerReply {
    /// The inquiry's.
    pub number: u64,
    /// The answer.
    pub answer: Answer,
}
