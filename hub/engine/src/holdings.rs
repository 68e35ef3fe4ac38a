//! Holdings: what this hub has of all that it and another one both keep, at one moment, in a few numbers for each partition.
//!
//! Promise: pure, and of the store as it was flushed last. Absent: signing it (the daemon); finding which journals differ ([`crate::repair`]).

use std::collections::BTreeMap;

use millrace_merkle::{PartitionSet, Sums};
use millrace_model::receipt::Count;
use millrace_model::{NodeHash, NodeId, Partition};

use crate::Engine;

/// What is here of what both keep.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Holdings {
    /// The partitions that both keep.
    pub shared: PartitionSet,
    /// Records that are here and not known to be at the other hub.
    pub owed: u64,
    sums: Sums,
    counts: BTreeMap<Partition, Count>,
}

impl Engine {
    /// What is here of what `node` keeps too. Looks at every journal once: for people who ask, not for every second.
    #[must_use]
    pub fn holdings(&self, node: NodeId) -> Holdings {
        let shared = self.shared_with(node);
        let mut counts: BTreeMap<Partition, Count> = BTreeMap::new();
        for (journal, shelf) in &self.shelves {
            let partition = Partition::of(&journal.device);
            let records = shelf.present.count();
            if records > 0 && shared.contains(partition) {
                let count = counts.entry(partition).or_default();
                count.journals += 1;
                count.records = count.records.saturating_add(records);
            }
        }
        let owed = self.replication().into_iter().filter(|debt| debt.node == node);
        Holdings { shared, owed: owed.map(|debt| debt.records).sum(), sums: self.repair.sums.clone(), counts }
    }
}

impl Holdings {
    /// The sum over all journals of a partition.
    #[must_use]
    pub fn sum(&self, partition: Partition) -> u128 {
        self.sums.of(partition)
    }

    /// The root over these partitions.
    #[must_use]
    pub fn root(&self, partitions: &PartitionSet) -> NodeHash {
        self.sums.root(partitions)
    }

    /// How much there is in these partitions.
    #[must_use]
    pub fn count(&self, partitions: impl Iterator<Item = Partition>) -> Count {
        partitions.filter_map(|partition| self.counts.get(&partition)).fold(Count::default(), |sum, count| {
            Count {
                journals: sum.journals + count.journals,
                records: sum.records.saturating_add(count.records),
            }
        })
    }

    /// Which of these partitions, with the sums that another hub has for them, are the very same here; only of those that both keep.
    #[must_use]
    pub fn equal(&self, theirs: impl Iterator<Item = (Partition, u128)>) -> PartitionSet {
        let same = |(partition, sum): &(Partition, u128)| {
            self.shared.contains(*partition) && self.sum(*partition) == *sum
        };
        theirs.filter(same).map(|(partition, _)| partition).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_model::digest::{Root, Summary};
    use millrace_model::{DeviceId, Incarnation, JournalId, Lane};

    fn holdings(tail: u64) -> (Holdings, Partition) {
        let device = DeviceId::from_bytes([4; 16]);
        let journal = JournalId { device, incarnation: Incarnation::new(1), lane: Lane::Normal };
        let mut sums = Sums::default();
        sums.replace(&journal, &Summary::default(), &Summary { root: Root::default(), tail });
        let partition = Partition::of(&device);
        let counts = BTreeMap::from([(partition, Count { journals: 1, records: 7 })]);
        let shared = [partition, Partition(partition.0.wrapping_add(1))].into_iter().collect();
        (Holdings { shared, owed: 0, sums, counts }, partition)
    }

    #[test]
    fn partitions_are_equal_one_by_one_and_only_where_both_keep_them() {
        let ((mine, place), (other, _)) = (holdings(5), holdings(6));
        let of = |holdings: &Holdings, set: &PartitionSet| -> Vec<_> {
            set.iter().map(|partition| (partition, holdings.sum(partition))).collect()
        };
        assert_eq!(mine.equal(of(&mine, &PartitionSet::ALL).into_iter()), mine.shared);
        let equal = mine.equal(of(&other, &other.shared).into_iter());
        assert_eq!(equal.len(), 1);
        assert!(!equal.contains(place), "its only journal differs");
        assert_eq!(mine.root(&equal), other.root(&equal));
        assert_ne!(mine.root(&mine.shared), other.root(&mine.shared));
        assert_eq!(mine.count(mine.shared.iter()), Count { journals: 1, records: 7 });
        assert_eq!(mine.count(equal.iter()), Count::default());
    }
}
