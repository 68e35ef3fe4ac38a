//! The hash of a node of the digest.

use std::fmt;

use millrace_model::SegmentHash;
use serde::{Deserialize, Serialize};

/// Bytes of a node's hash. 128 bits: two holders of one journal are no adversaries, and a device that makes two segments collide
/// deceives nobody but those who keep its own readings.
pub const HASH_BYTES: usize = 16;

const NODE_CONTEXT: &str = "millrace 2026 digest node v1";

/// The hash of a segment, or of a node above segments.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeHash(#[serde(with = "bytes16")] pub [u8; HASH_BYTES]);

impl NodeHash {
    /// The hash that a sealed segment has as a leaf: the beginning of its own, which already names journal, ordinal and place.
    #[must_use]
    pub const fn of_segment(segment: &SegmentHash) -> Self {
        match segment.0.first_chunk() {
            Some(first) => Self(*first),
            None => Self([0; HASH_BYTES]),
        }
    }

    /// The hash over several children, each with its slot. Their places in the journal are named by the leaves.
    #[must_use]
    pub(crate) fn over(children: impl Iterator<Item = (u8, Self)>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(NODE_CONTEXT);
        for (slot, hash) in children {
            hasher.update(&[slot]);
            hasher.update(&hash.0);
        }
        let mut first = [0; HASH_BYTES];
        hasher.finalize_xof().fill(&mut first);
        Self(first)
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

/// A hash as a byte string, not as sixteen numbers.
mod bytes16 {
    use super::HASH_BYTES;
    use serde::Serializer;

    pub(super) fn serialize<S: Serializer>(hash: &[u8; HASH_BYTES], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(hash)
    }

    pub(super) fn deserialize<'de, D: serde::Deserializer<'de>>(
        from: D,
    ) -> Result<[u8; HASH_BYTES], D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = [u8; HASH_BYTES];

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(out, "a byte string of {HASH_BYTES} bytes")
            }

            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        from.deserialize_bytes(Visitor)
    }
}
