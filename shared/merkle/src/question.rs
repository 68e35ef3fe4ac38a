//! What one holder asks another, and what it answers.
//!
//! The same question goes to one's own store and to the peer; whoever asks compares the two answers. So whoever answers keeps nothing between two questions.
//!
//! Promise: every list has a limit, here; an answer that is over it, or does not fit its question, is the peer's fault and ends the
//! comparison.

use bytes::Bytes;
use millrace_model::digest::{HASH_BYTES, Summary};
use millrace_model::{JournalId, NodeHash, Partition, RangeSet, RecordCheck, SegmentName, Seq};
use serde::{Deserialize, Serialize};

use crate::partitions::PartitionSet;

/// Nodes of one question, one level deep and [`NARROW`]; fewer when it looks deeper or wider ([`NODE_BYTES_MAX`]).
pub const NODES_MAX: usize = 1_024;

/// Bytes of children's hashes that one answer may have. Whoever asks for more is refused, whatever is there.
pub const NODE_BYTES_MAX: usize = 64 << 10;

/// Names of segments in one answer, 60 bytes each.
pub const NAMES_MAX: usize = 1_024;

/// Checks of tail rows in one answer, 8 bytes each.
pub const CHECKS_MAX: usize = 4_096;

/// Ranges of one answer, 17 bytes each at most when there are so many.
pub const SPANS_MAX: usize = 8 << 10;

/// Pages of one outline. Stores keep no more than 4,096 holes, so an honest journal has one.
pub const PAGES_MAX: usize = 4;

/// Journals of one answer, 40 bytes each.
pub const JOURNALS_MAX: usize = 1_024;

/// Journals of a partition from which on buckets are compared before they are listed.
pub const BUCKETS_FROM: usize = 256;

/// Bytes of a child's hash as they are compared at first. That two that differ look alike happens once in 2³² times; the roots then
/// differ still, and the next look takes all bytes ([`WIDE`]).
pub const NARROW: u8 = 4;

/// All bytes of a hash.
pub const WIDE: u8 = 16;

/// A question between two hubs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Question {
    /// The root over all journals of these partitions.
    #[serde(rename = "r")]
    Root(PartitionSet),
    /// One hash for each of these partitions.
    #[serde(rename = "p")]
    Partitions(PartitionSet),
    /// The journals of one partition: buckets when there are many and none is named, otherwise one by one.
    Journals {
        /// Which partition.
        partition: Partition,
        /// Only those of this bucket.
        bucket: Option<u8>,
        /// Only those behind this one: the answer before was cut off there.
        after: Option<JournalId>,
    },
    /// About one journal.
    Journal {
        /// Which.
        journal: JournalId,
        /// What.
        about: About,
    },
}

/// A question about one journal: all that agents are asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum About {
    /// Where it begins and ends, what is there, its digest.
    Outline {
        /// The first number of interest: an answer that was cut off goes on here.
        from: Seq,
    },
    /// The children of these nodes.
    Nodes {
        /// Their level, at least 1.
        level: u8,
        /// Which of that level, ascending.
        indexes: Vec<u64>,
        /// How many levels below: 1, or 2 at level 2 and above.
        depth: u8,
        /// Bytes of each hash: [`NARROW`] or [`WIDE`].
        width: u8,
    },
    /// The names of the segments with these ordinals.
    Names {
        /// Ascending.
        ordinals: Vec<u64>,
    },
    /// The checks of the tail rows in these ranges.
    Checks {
        /// Which records.
        ranges: RangeSet,
    },
}

/// An answer between two hubs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Question::Root`].
    #[serde(rename = "r")]
    Root(NodeHash),
    /// To [`Question::Partitions`]: 8 bytes for each that was asked for, in order ([`crate::sums::short`]).
    #[serde(rename = "p")]
    Partitions(Bytes),
    /// To [`Question::Journals`]: 8 bytes for each of 256 buckets.
    #[serde(rename = "b")]
    Buckets(Bytes),
    /// To [`Question::Journals`]: journals in order, each with 8 bytes of its digest.
    Journals {
        /// At most [`JOURNALS_MAX`]. A journal with nothing in it is not among them.
        journals: Vec<(JournalId, u64)>,
        /// Whether there are more behind them: only behind as many as may be told.
        more: bool,
    },
    /// To [`Question::Journal`].
    #[serde(rename = "j")]
    Journal(Told),
}

/// An answer about one journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Told {
    /// There is no such journal here.
    #[serde(rename = "u")]
    Unknown,
    /// To [`About::Outline`].
    #[serde(rename = "o")]
    Outline(Outline),
    /// To [`About::Nodes`]: one for each node that was asked for, in order.
    #[serde(rename = "n")]
    Nodes(Vec<Slots>),
    /// To [`About::Names`]: those that are here.
    #[serde(rename = "s")]
    Names(Vec<SegmentName>),
    /// To [`About::Checks`]: of the rows that are here, in order; at most [`CHECKS_MAX`].
    #[serde(rename = "c")]
    Checks(Vec<(Seq, RecordCheck)>),
    /// It cannot be read now.
    #[serde(rename = "x")]
    Unreadable,
}

/// The outline of a journal.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Outline {
    /// First record that is kept, or will be.
    pub floor: Seq,
    /// Last record ever held; 0 when there is none.
    pub head: Seq,
    /// All ordinals below it belong to records below the floor: they were let go, or were never here and are not wanted. Of the segment
    /// in which the floor lies it is the ordinal, also while that one is damaged or not sealed. A holder that does not know says 0, and
    /// is compared all the same.
    pub first_ordinal: u64,
    /// The digest.
    pub summary: Summary,
    /// What is here, from where it was asked for, in the form of [`crate::spans`]. At most [`SPANS_MAX`] ranges.
    pub present: Bytes,
    /// Whether there are more ranges behind them: only behind as many as may be told.
    pub more: bool,
}

/// The descendants of one node, so many levels below as was asked for.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Slots {
    /// Which places are taken: one bit for each of 16 or 256, the lowest bit of the first byte is the first place.
    pub taken: Bytes,
    /// The beginnings of their hashes, in order, each as wide as was asked for.
    pub hashes: Bytes,
}

impl About {
    /// How many nodes or names of each holder it asks for.
    #[must_use]
    pub fn nodes(&self) -> u64 {
        match self {
            Self::Nodes { indexes, depth: 2, .. } => indexes.len() as u64 * 17,
            Self::Nodes { indexes, .. } => indexes.len() as u64,
            Self::Names { ordinals } => ordinals.len() as u64,
            Self::Outline { .. } | Self::Checks { .. } => 0,
        }
    }

    /// How many bytes it has, about, without its frame.
    #[must_use]
    pub fn weight(&self) -> u64 {
        match self {
            Self::Outline { from } => number(*from),
            Self::Nodes { indexes: numbers, .. } => 3 + numbers.iter().copied().map(number).sum::<u64>(),
            Self::Names { ordinals: numbers } => numbers.iter().copied().map(number).sum(),
            Self::Checks { ranges } => ranges.range_count() as u64 * 2 * number(u64::MAX),
        }
    }
}

impl Told {
    /// How many bytes it has, about, without its frame.
    #[must_use]
    pub fn weight(&self) -> u64 {
        match self {
            Self::Unknown | Self::Unreadable => 1,
            Self::Outline(Outline { floor, head, first_ordinal, present, .. }) => {
                let numbers = [*floor, *head, *first_ordinal].map(number).iter().sum::<u64>();
                numbers + 1 + HASH_BYTES as u64 + number(u64::MAX) + present.len() as u64 + 1
            }
            Self::Nodes(nodes) => {
                nodes.iter().map(|slots| (slots.taken.len() + slots.hashes.len()) as u64).sum()
            }
            Self::Names(names) => {
                names.iter().map(|name| number(name.ordinal) + number(name.first) + 3 + 32).sum()
            }
            Self::Checks(rows) => rows.iter().map(|(seq, _)| number(*seq) + number(u64::MAX)).sum(),
        }
    }
}

/// Bytes of a number in CBOR.
const fn number(value: u64) -> u64 {
    match value {
        0..24 => 1,
        24..0x100 => 2,
        0x100..0x1_0000 => 3,
        0x1_0000..0x1_0000_0000 => 5,
        _ => 9,
    }
}
