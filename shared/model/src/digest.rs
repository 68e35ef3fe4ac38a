//! The digest of a journal, as far as everybody speaks of it: the hash over its segments, and the sum of its tail rows.
//!
//! Absent: how it is reckoned (`millrace-merkle`).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::SegmentHash;
use crate::id::{FixedBytes, unhex};

/// Bytes of a node's hash. 128 bits: two holders of one journal are no adversaries, and a device that makes two segments collide
/// deceives nobody but those who keep its own readings.
pub const HASH_BYTES: usize = 16;

/// The hash of a segment, or of a node above segments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeHash(pub [u8; HASH_BYTES]);

impl NodeHash {
    /// The hash that a sealed segment has as a leaf: the beginning of its own, which already names journal, ordinal and place.
    #[must_use]
    pub const fn of_segment(segment: &SegmentHash) -> Self {
        match segment.0.first_chunk() {
            Some(first) => Self(*first),
            None => Self([0; HASH_BYTES]),
        }
    }
}

impl fmt::Display for NodeHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for NodeHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(4).try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl Serialize for NodeHash {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { to.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for NodeHash {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        if from.is_human_readable() {
            let wrong = || serde::de::Error::custom("a hash has 32 hexadecimal digits");
            return unhex(&String::deserialize(from)?).map(Self).ok_or_else(wrong);
        }
        Ok(Self(<FixedBytes<HASH_BYTES>>::deserialize(from)?.0))
    }
}

/// The top of the tree over a journal's segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Root {
    /// Levels above the leaves; 0: nothing was ever in it.
    pub level: u8,
    /// The hash over all leaves, whatever the level; `None`: there are none.
    pub hash: Option<NodeHash>,
}

/// What a holder says of one journal in a few bytes. It speaks of segments that are here or were let go, and of the rows that are here.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Summary {
    /// Over all segments.
    pub root: Root,
    /// Sum of the checks of all tail rows, modulo 2⁶⁴: their order does not matter (Clarke et al., "Incremental multiset hash functions",
    /// 2003).
    pub tail: u64,
}

impl Summary {
    /// Whether both speak of the same records.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        (self.root.hash, self.tail) == (other.root.hash, other.tail)
    }
}
