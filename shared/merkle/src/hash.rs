//! The hash of an inner node.

use millrace_model::NodeHash;

const NODE_CONTEXT: &str = "millrace 2026 digest node v1";

/// The hash over several children, each with its slot. Their places in the journal are named by the leaves.
#[must_use]
pub(crate) fn over(children: impl Iterator<Item = (u8, NodeHash)>) -> NodeHash {
    let mut hasher = blake3::Hasher::new_derive_key(NODE_CONTEXT);
    for (slot, hash) in children {
        hasher.update(&[slot]);
        hasher.update(&hash.0);
    }
    let mut first = [0; _];
    hasher.finalize_xof().fill(&mut first);
    NodeHash(first)
}
