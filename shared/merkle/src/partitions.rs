//! A set of partitions.

use std::fmt;

use millrace_model::Partition;
use serde::{Deserialize, Serialize};

/// Some of the 256 partitions: what two hubs share.
#[derive(Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct PartitionSet([u64; 4]);

impl PartitionSet {
    /// All of them.
    pub const ALL: Self = Self([u64::MAX; 4]);

    /// Puts one in.
    pub fn insert(&mut self, partition: Partition) {
        if let Some(word) = self.0.get_mut(usize::from(partition.0 / 64)) {
            *word |= 1 << (partition.0 % 64);
        }
    }

    /// Whether one is in it.
    #[must_use]
    pub fn contains(&self, partition: Partition) -> bool {
        self.0.get(usize::from(partition.0 / 64)).is_some_and(|word| word & (1 << (partition.0 % 64)) != 0)
    }

    /// Those that are in it, in order.
    pub fn iter(&self) -> impl Iterator<Item = Partition> + '_ {
        Partition::all().filter(|partition| self.contains(*partition))
    }

    /// How many are in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Whether none is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0 == [0; 4]
    }
}

impl FromIterator<Partition> for PartitionSet {
    fn from_iter<I: IntoIterator<Item = Partition>>(partitions: I) -> Self {
        let mut set = Self::default();
        partitions.into_iter().for_each(|partition| set.insert(partition));
        set
    }
}

impl fmt::Debug for PartitionSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::ALL {
            return out.write_str("{all}");
        }
        out.debug_set().entries(self.iter().map(|partition| partition.0)).finish()
    }
}
