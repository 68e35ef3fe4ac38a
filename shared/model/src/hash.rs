//! What is hashed, and how bytes are bound to their place, so that a valid body in the wrong place is noticed.
//!
//! BLAKE3 in its key-derivation mode (BLAKE3 paper, section 2.3): each use has its own context string.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::id::FixedBytes;
use crate::{JournalId, Ordinal, Seq};

const SEGMENT_CONTEXT: &str = "millrace 2026 segment v1";
const RECORD_CONTEXT: &str = "millrace 2026 record v1";

/// Hash of a sealed segment: its journal, ordinal, first sequence number and canonical bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentHash(pub [u8; 32]);

impl SegmentHash {
    /// Hash of the canonical `block` that is segment `ordinal` of `journal` and begins at `first`.
    #[must_use]
    pub fn of(journal: &JournalId, ordinal: Ordinal, first: Seq, block: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(SEGMENT_CONTEXT);
        hasher.update(&journal.to_bytes());
        hasher.update(&ordinal.to_be_bytes());
        hasher.update(&first.to_be_bytes());
        hasher.update(block);
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Display for SegmentHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl fmt::Debug for SegmentHash {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().take(6).try_for_each(|byte| write!(out, "{byte:02x}"))
    }
}

impl Serialize for SegmentHash {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if to.is_human_readable() { to.collect_str(self) } else { to.serialize_bytes(&self.0) }
    }
}

impl<'de> Deserialize<'de> for SegmentHash {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Ok(Self(<FixedBytes<32>>::deserialize(from)?.0))
    }
}

/// 64-bit check of one record in its place: guards a tail row against flipped bits and swapped rows, and tells
/// whether two holders have the same record.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RecordCheck(pub u64);

/// Computes the checks of one journal's records without hashing the journal's name anew for each.
#[derive(Clone)]
pub struct RecordChecker(blake3::Hasher);

impl RecordChecker {
    /// The checker for records of `journal`.
    #[must_use]
    pub fn new(journal: &JournalId) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(RECORD_CONTEXT);
        hasher.update(&journal.to_bytes());
        Self(hasher)
    }

    /// The check of the record at `seq` with these canonical bytes.
    #[must_use]
    pub fn check(&self, seq: Seq, canonical: &[u8]) -> RecordCheck {
        let mut hasher = self.0.clone();
        hasher.update(&seq.to_be_bytes());
        hasher.update(canonical);
        let mut first = [0; 8];
        hasher.finalize_xof().fill(&mut first);
        RecordCheck(u64::from_be_bytes(first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{DeviceId, Incarnation, Lane};

    #[test]
    fn a_hash_depends_on_the_place_as_well_as_on_the_bytes() {
        let journal = JournalId {
            device: DeviceId::from_bytes([1; 16]),
            incarnation: Incarnation::new(2),
            lane: Lane::Normal,
        };
        let other = JournalId { lane: Lane::Bulk, ..journal };
        let here = SegmentHash::of(&journal, 3, 4, b"block");
        assert_eq!(here, SegmentHash::of(&journal, 3, 4, b"block"));
        for there in [
            SegmentHash::of(&other, 3, 4, b"block"),
            SegmentHash::of(&journal, 2, 4, b"block"),
            SegmentHash::of(&journal, 3, 5, b"block"),
            SegmentHash::of(&journal, 3, 4, b"blocK"),
        ] {
            assert_ne!(here, there);
        }
        let checker = RecordChecker::new(&journal);
        assert_eq!(checker.check(1, b"x"), checker.check(1, b"x"));
        assert_ne!(checker.check(1, b"x"), checker.check(2, b"x"));
        assert_ne!(checker.check(1, b"x"), RecordChecker::new(&other).check(1, b"x"));
    }
}
