//! Consecutive records of one journal on their way from one store to another: a sealed segment, or a part of one,
//! or a stretch of the tail.
//!
//! Absent: compression itself. A run carries its body as it is stored; who stores, decodes.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{JournalId, Ordinal, SegmentHash, Seq, SeqRange};

/// How the body of a run is encoded.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub enum Encoding {
    /// A canonical block ([`crate::block`]) as it is.
    Plain,
    /// A canonical block in one zstd frame whose header states the size of its content.
    Zstd,
}

/// The name of a sealed segment: decided once by the author, the same at every holder.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
pub struct SegmentName {
    /// Its place among the journal's segments.
    pub ordinal: Ordinal,
    /// Its first record.
    pub first: Seq,
    /// How many records it has, 1 to [`crate::limits::SEGMENT_RECORDS_MAX`].
    pub count: u32,
    /// Hash of its place and its canonical block.
    pub hash: SegmentHash,
}

impl SegmentName {
    /// The sequence numbers of its records; `None` when the name is malformed.
    #[must_use]
    pub const fn range(&self) -> Option<SeqRange> {
        SeqRange::starting(self.first, self.count as u64)
    }
}

/// Consecutive records of one journal.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Where they belong.
    pub journal: JournalId,
    /// The first of them.
    pub first: Seq,
    /// How many.
    pub count: u32,
    /// How the body is encoded.
    pub encoding: Encoding,
    /// Their canonical block, encoded.
    pub body: Bytes,
    /// The sealed segment that all of them belong to, when they are sealed.
    pub segment: Option<SegmentName>,
}

impl Run {
    /// The sequence numbers of its records; `None` when the run is malformed.
    #[must_use]
    pub const fn range(&self) -> Option<SeqRange> {
        SeqRange::starting(self.first, self.count as u64)
    }

    /// Whether this is a whole sealed segment, to be stored byte for byte.
    #[must_use]
    pub fn is_whole_segment(&self) -> bool {
        self.segment.is_some_and(|name| name.first == self.first && name.count == self.count)
    }
}
