//! Which hubs keep a device's readings: devices fall into 256 partitions, and every partition ranks all hubs.
//!
//! The ranking is rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998): a hub
//! that joins or leaves changes nobody else's order, so only what it gains or gives up has to move.
//! Absent: which of the ranked hubs are chosen (the hub's engine), and who decided it (its control).

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::DeviceId;

/// How many partitions there are. Fixed for ever: it is part of what every hub and agent has agreed on.
pub const PARTITIONS: usize = 256;

const DEVICE_CONTEXT: &str = "millrace 2026 partition of a device v1";
const RANK_CONTEXT: &str = "millrace 2026 rank of a hub v1";

/// A hub's number in its cluster. Allocated once, from 1, and never used again, also not after the hub has left.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "n{}", self.0)
    }
}

/// One of the [`PARTITIONS`] of devices.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub u8);

impl Partition {
    /// Where a device belongs. Ids are random, but some plants number their devices: hence the hash.
    #[must_use]
    pub fn of(device: &DeviceId) -> Self {
        let [first, ..] = hash(DEVICE_CONTEXT, &[device.as_bytes()]);
        Self(first)
    }

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..=u8::MAX).map(Self)
    }

    /// How much this partition would like to be at this hub: the higher the better, the same everywhere.
    #[must_use]
    pub fn affinity(self, node: NodeId) -> u64 {
        let [a, b, c, d, e, f, g, h, ..] = hash(RANK_CONTEXT, &[&[self.0], &node.0.to_be_bytes()]);
        u64::from_be_bytes([a, b, c, d, e, f, g, h])
    }
}

impl fmt::Display for Partition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "p{:03}", self.0)
    }
}

fn hash(context: &str, parts: &[&[u8]]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key(context);
    for part in parts {
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_that_are_numbered_spread_over_all_partitions() {
        let mut counts = [0_u32; PARTITIONS];
        for number in 0..256_000_u128 {
            let device = DeviceId::from_bytes(number.to_be_bytes());
            counts[usize::from(Partition::of(&device).0)] += 1;
        }
        let (least, most) = (counts.iter().min().copied(), counts.iter().max().copied());
        assert!(least > Some(850) && most < Some(1_150), "{least:?} to {most:?}, 1,000 is fair");
    }

    #[test]
    fn places_and_ranks_never_change() {
        let device = DeviceId::from_bytes([7; 16]);
        assert_eq!(
            (Partition::of(&device).to_string(), Partition(9).affinity(NodeId(3))),
            ("p111".to_owned(), 10_246_529_628_722_767_132),
        );
    }
}
