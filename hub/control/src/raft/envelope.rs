//! What stands around every message between nodes, and who may open it.
//!
//! ```text
//! request := version:1 epoch from from_incarnation to to_incarnation kind body
//! answer  := version:1 0 body | version:1 1 refusal
//! ```
//! Promise: a message for another cluster, another node, or another incarnation of a node is refused before its body is
//! looked at. Absent: who may connect at all; certificates decide that, in `shared/link`.

use bytes::Bytes;

use crate::codec::{CodecError, Decoder, Encoder};
use crate::raft::member::NodeId;

const VERSION: u8 = 1;

/// What a request asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    /// Append entries, or a heartbeat.
    Append,
    /// A vote.
    Vote,
    /// A piece of a snapshot.
    Snapshot,
    /// Whether a vote would be granted.
    PreVote,
    /// Commands for the leader.
    Propose,
    /// The index that a linearizable read must wait for.
    ReadIndex,
    /// Renewals of leases.
    Renew,
    /// A change of the members.
    Membership,
}

const KINDS: [(Kind, u8); 8] = [
    (Kind::Append, 1),
    (Kind::Vote, 2),
    (Kind::Snapshot, 3),
    (Kind::PreVote, 4),
    (Kind::Propose, 5),
    (Kind::ReadIndex, 6),
    (Kind::Renew, 7),
    (Kind::Membership, 8),
];

/// A request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Request {
    pub(crate) epoch: u64,
    pub(crate) from: NodeId,
    pub(crate) from_incarnation: u64,
    pub(crate) to: NodeId,
    pub(crate) to_incarnation: u64,
    pub(crate) kind: Kind,
    pub(crate) body: Bytes,
}

/// Why a request was refused.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(crate) enum Rejection {
    /// It is of another cluster, or of this one before a disaster.
    #[error("the message is of cluster epoch {found}, this node is in {expected}")]
    Epoch {
        /// The sender's.
        found: u64,
        /// The receiver's.
        expected: u64,
    },
    /// It is for somebody else.
    #[error("the message is for node {found}, this is node {expected}")]
    Node {
        /// Whom it is for.
        found: NodeId,
        /// Who received it.
        expected: NodeId,
    },
    /// It is for, or from, a data directory that is not the committed one: wiped, restored or exchanged.
    #[error("node {node} is known by incarnation {expected:016x}, the message says {found:016x}")]
    Incarnation {
        /// Whose.
        node: NodeId,
        /// What the message says.
        found: u64,
        /// What is right.
        expected: u64,
    },
    /// The connection belongs to another node than the message says.
    #[error("the message says it is from node {claimed}, its connection is of node {peer}")]
    Sender {
        /// What the message says.
        claimed: NodeId,
        /// What the certificate says.
        peer: NodeId,
    },
    /// This node does not lead.
    #[error("this node does not lead")]
    NotLeader,
    /// The leader has no majority.
    #[error("the leader reaches no majority")]
    NoQuorum,
    /// As much waits as may.
    #[error("as many requests wait as may")]
    Overloaded,
    /// The answer is not known.
    #[error("what became of it is unknown: {0}")]
    Unknown(String),
    /// It was not understood, or cannot be done.
    #[error("{0}")]
    Invalid(String),
    /// A piece of a snapshot does not follow what was received: send it from its beginning.
    #[error("the piece of the snapshot does not follow: send it from its beginning")]
    OutOfStep,
}

impl Request {
    pub(crate) fn encode(&self) -> Bytes {
        let mut to = Encoder::with_capacity(self.body.len() + 48);
        to.byte(VERSION);
        [self.epoch, self.from, self.from_incarnation, self.to, self.to_incarnation]
            .iter()
            .for_each(|number| to.number(*number));
        to.byte(KINDS.iter().find(|(kind, _)| *kind == self.kind).map_or(0, |(_, number)| *number));
        to.rest(&self.body);
        to.finish()
    }

    pub(crate) fn decode(bytes: Bytes) -> Result<Self, CodecError> {
        let mut from = versioned(bytes)?;
        let epoch = from.number("epoch")?;
        let (sender, from_incarnation) = (from.number("sender")?, from.number("incarnation")?);
        let (to, to_incarnation) = (from.number("receiver")?, from.number("incarnation")?);
        let found = from.byte("kind")?;
        let (kind, _) = KINDS
            .iter()
            .find(|(_, number)| *number == found)
            .ok_or(CodecError::Unknown { what: "message", found: found.into() })?;
        Ok(Self { epoch, from: sender, from_incarnation, to, to_incarnation, kind: *kind, body: from.rest() })
    }
}

/// Whom a message says it is from; `None` when it cannot be read, which whoever is asked to serve it says.
#[must_use]
pub fn sender(message: &Bytes) -> Option<NodeId> {
    Request::decode(message.clone()).ok().map(|request| request.from)
}

fn versioned(bytes: Bytes) -> Result<Decoder, CodecError> {
    let mut from = Decoder::new(bytes);
    match from.byte("version")? {
        VERSION => Ok(from),
        found => Err(CodecError::Unknown { what: "version", found: found.into() }),
    }
}

pub(crate) fn encode_answer(answer: Result<Bytes, Rejection>) -> Bytes {
    let mut to = Encoder::with_capacity(64);
    to.byte(VERSION);
    to.flag(answer.is_err());
    match answer {
        Ok(body) => to.rest(&body),
        Err(rejection) => put_rejection(&mut to, &rejection),
    }
    to.finish()
}

pub(crate) fn decode_answer(bytes: Bytes) -> Result<Result<Bytes, Rejection>, CodecError> {
    let mut from = versioned(bytes)?;
    if !from.flag("refused")? {
        return Ok(Ok(from.rest()));
    }
    let rejection = take_rejection(&mut from)?;
    from.end()?;
    Ok(Err(rejection))
}

fn put_rejection(to: &mut Encoder, rejection: &Rejection) {
    let (kind, numbers, text): (u8, Vec<u64>, &str) = match rejection {
        Rejection::Epoch { found, expected } => (1, vec![*found, *expected], ""),
        Rejection::Node { found, expected } => (2, vec![*found, *expected], ""),
        Rejection::Incarnation { node, found, expected } => (3, vec![*node, *found, *expected], ""),
        Rejection::Sender { claimed, peer } => (4, vec![*claimed, *peer], ""),
        Rejection::NotLeader => (5, vec![], ""),
        Rejection::NoQuorum => (6, vec![], ""),
        Rejection::Overloaded => (7, vec![], ""),
        Rejection::Unknown(what) => (8, vec![], what),
        Rejection::Invalid(what) => (9, vec![], what),
        Rejection::OutOfStep => (10, vec![], ""),
    };
    to.byte(kind);
    numbers.iter().for_each(|number| to.number(*number));
    if matches!(kind, 8 | 9) {
        to.bytes(text.as_bytes());
    }
}

fn take_rejection(from: &mut Decoder) -> Result<Rejection, CodecError> {
    Ok(match from.byte("refusal")? {
        1 => Rejection::Epoch { found: from.number("epoch")?, expected: from.number("epoch")? },
        2 => Rejection::Node { found: from.number("node")?, expected: from.number("node")? },
        3 => Rejection::Incarnation {
            node: from.number("node")?,
            found: from.number("incarnation")?,
            expected: from.number("incarnation")?,
        },
        4 => Rejection::Sender { claimed: from.number("node")?, peer: from.number("node")? },
        5 => Rejection::NotLeader,
        6 => Rejection::NoQuorum,
        7 => Rejection::Overloaded,
        8 => Rejection::Unknown(from.text("why", 8_192)?),
        9 => Rejection::Invalid(from.text("why", 8_192)?),
        10 => Rejection::OutOfStep,
        found => return Err(CodecError::Unknown { what: "refusal", found: found.into() }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_of_every_kind_are_read_as_they_were_written() {
        for (kind, _) in KINDS {
            let request = Request {
                epoch: 7,
                from: 1,
                from_incarnation: u64::MAX,
                to: 2,
                to_incarnation: 0,
                kind,
                body: "body".into(),
            };
            assert_eq!(Request::decode(request.encode()).unwrap(), request);
            assert_eq!(sender(&request.encode()), Some(1));
        }
        assert!(Request::decode(Bytes::from_static(&[2, 0])).is_err());
    }

    #[test]
    fn answers_and_every_refusal_are_read_as_they_were_written() {
        let all = [
            Ok(Bytes::from("fine")),
            Err(Rejection::Epoch { found: 1, expected: 2 }),
            Err(Rejection::Node { found: 1, expected: 2 }),
            Err(Rejection::Incarnation { node: 1, found: 2, expected: 3 }),
            Err(Rejection::Sender { claimed: 1, peer: 2 }),
            Err(Rejection::NotLeader),
            Err(Rejection::NoQuorum),
            Err(Rejection::Overloaded),
            Err(Rejection::Unknown("late".into())),
            Err(Rejection::Invalid("odd".into())),
            Err(Rejection::OutOfStep),
        ];
        for answer in all {
            assert_eq!(decode_answer(encode_answer(answer.clone())).unwrap(), answer);
        }
    }
}
