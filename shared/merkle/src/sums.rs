//! Sums over journals: one for each partition, so that the root over all journals needs no walk.
//!
//! An additive set hash (AdHash: Bellare and Micciancio, "A new paradigm for collision-free hashing", 1997): a journal that changes is
//! taken out and put in again. Its 128 bits guard against accidents, as the hashes of nodes do.
//!
//! Promise: the order in which journals came does not matter, nor the levels of their trees. An empty journal counts as none.

use millrace_model::digest::Summary;
use millrace_model::partition::PARTITIONS;
use millrace_model::{JournalId, NodeHash, Partition};

use crate::partitions::PartitionSet;

/// Buckets of one partition: parts of it that are compared before its journals are listed.
pub const BUCKETS: usize = 256;

const ENTRY_CONTEXT: &str = "millrace 2026 journal in a partition v1";
const ROOT_CONTEXT: &str = "millrace 2026 root over partitions v1";
const BUCKET_CONTEXT: &str = "millrace 2026 bucket of a journal v1";

/// What one journal adds to the sum of its partition; 0 when there is nothing in it.
#[must_use]
pub fn entry(journal: &JournalId, summary: &Summary) -> u128 {
    if summary.root.hash.is_none() && summary.tail == 0 {
        return 0;
    }
    let mut hasher = blake3::Hasher::new_derive_key(ENTRY_CONTEXT);
    hasher.update(&journal.to_bytes());
    hasher.update(&[u8::from(summary.root.hash.is_some())]);
    hasher.update(&summary.root.hash.map_or([0; _], |hash| hash.0));
    hasher.update(&summary.tail.to_be_bytes());
    u128::from_be_bytes(first_of(&hasher))
}

/// The part of an entry, or of a sum of entries, that is compared at first: sums of parts are parts of sums.
#[must_use]
pub const fn short(entry: u128) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = entry.to_be_bytes();
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

/// Which bucket of its partition a journal belongs to.
#[must_use]
pub fn bucket(journal: &JournalId) -> u8 {
    let mut hasher = blake3::Hasher::new_derive_key(BUCKET_CONTEXT);
    hasher.update(&journal.to_bytes());
    let [first] = first_of(&hasher);
    first
}

fn first_of<const N: usize>(hasher: &blake3::Hasher) -> [u8; N] {
    let mut first = [0; N];
    hasher.finalize_xof().fill(&mut first);
    first
}

/// The sums of all partitions.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Sums([u128; PARTITIONS]);

impl Default for Sums {
    fn default() -> Self {
        Self([0; PARTITIONS])
    }
}

impl Sums {
    /// A journal's digest changes from `old` to `new`; for one that comes or goes, the other one is empty ([`Summary::default`]).
    pub fn replace(&mut self, journal: &JournalId, old: &Summary, new: &Summary) {
        let partition = Partition::of(&journal.device);
        if let Some(sum) = self.0.get_mut(usize::from(partition.0)) {
            *sum = sum.wrapping_sub(entry(journal, old)).wrapping_add(entry(journal, new));
        }
    }

    /// The sum of one partition.
    #[must_use]
    pub fn of(&self, partition: Partition) -> u128 {
        self.0.get(usize::from(partition.0)).copied().unwrap_or_default()
    }

    /// The root over all journals of these partitions.
    #[must_use]
    pub fn root(&self, partitions: &PartitionSet) -> NodeHash {
        let mut hasher = blake3::Hasher::new_derive_key(ROOT_CONTEXT);
        for partition in partitions.iter() {
            hasher.update(&[partition.0]);
            hasher.update(&self.of(partition).to_be_bytes());
        }
        NodeHash(first_of(&hasher))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_model::digest::Root;
    use millrace_model::{DeviceId, Incarnation, Lane};
    use proptest::prelude::{any, proptest};

    fn journal(device: u8) -> JournalId {
        JournalId {
            device: DeviceId::from_bytes([device; 16]),
            incarnation: Incarnation::new(3),
            lane: Lane::Normal,
        }
    }

    fn summary(tail: u64, level: u8) -> Summary {
        Summary { root: Root { level, hash: (!tail.is_multiple_of(3)).then_some(NodeHash([7; 16])) }, tail }
    }

    proptest! {
        #[test]
        fn only_what_is_there_at_last_counts(changes in proptest::collection::vec((any::<u8>(), 0_u64..9, 0_u8..5), 0..40)) {
            let mut held = std::collections::BTreeMap::new();
            let mut sums = Sums::default();
            for (device, tail, level) in changes {
                let new = summary(tail, level);
                let old = held.insert(device, new).unwrap_or_default();
                sums.replace(&journal(device), &old, &new);
            }
            let mut other = Sums::default();
            for (device, last) in held.iter().rev() {
                other.replace(&journal(*device), &Summary::default(), last);
            }
            assert_eq!(sums, other);
            assert_eq!(sums.root(&PartitionSet::ALL), other.root(&PartitionSet::ALL));
        }
    }

    #[test]
    fn a_root_speaks_of_the_partitions_it_was_asked_for_alone() {
        let (mut sums, place) = (Sums::default(), Partition::of(&journal(1).device));
        let others: PartitionSet = Partition::all().filter(|partition| *partition != place).collect();
        let before = (sums.root(&PartitionSet::ALL), sums.root(&others));
        sums.replace(&journal(1), &Summary::default(), &summary(1, 1));
        assert_ne!(sums.root(&PartitionSet::ALL), before.0);
        assert_eq!(sums.root(&others), before.1);
        assert_ne!(sums.root(&others), sums.root(&PartitionSet::ALL));
    }

    #[test]
    fn entries_and_buckets_never_change() {
        let entry = entry(&journal(1), &summary(4, 2));
        assert_eq!(
            (entry, short(entry), bucket(&journal(1))),
            (294_775_221_582_270_131_075_999_382_966_915_222_698, 15_721_028_759_164_996_778, 157)
        );
    }
}
