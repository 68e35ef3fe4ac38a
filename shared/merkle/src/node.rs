//! An inner node: up to sixteen children, of which those that are there have a hash.

use std::fmt;

use millrace_model::NodeHash;
use millrace_model::digest::HASH_BYTES;

use crate::hash;

/// Children of one node. With 16, a journal of a hundred million records is five levels deep, and a node fits into 258 bytes.
pub const ARITY: usize = 16;

/// Bits of an ordinal that one level takes.
const LEVEL_BITS: u32 = 4;

/// Levels of the deepest tree: ordinals have 64 bits.
pub const LEVELS_MAX: u8 = 16;

/// Where a node stands: a leaf is at level 0, under its segment's ordinal; a node at level `l` spans 16ˡ ordinals.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// Levels above the leaves.
    pub level: u8,
    /// Which one of its level, from 0.
    pub index: u64,
}

impl Place {
    /// The leaf of the segment with this ordinal.
    #[must_use]
    pub const fn leaf(ordinal: u64) -> Self {
        Self { level: 0, index: ordinal }
    }

    /// The node above.
    #[must_use]
    pub const fn parent(self) -> Self {
        Self { level: self.level + 1, index: self.index >> LEVEL_BITS }
    }

    /// Its place among the children of its parent.
    #[must_use]
    pub const fn slot(self) -> u8 {
        self.index.to_be_bytes()[7] & 0xf
    }

    /// The child in `slot`; `None` for a leaf.
    #[must_use]
    pub const fn child(self, slot: u8) -> Option<Self> {
        match self.level.checked_sub(1) {
            Some(level) => Some(Self { level, index: (self.index << LEVEL_BITS) | slot as u64 }),
            None => None,
        }
    }

    /// The first and the last ordinal that it spans.
    #[must_use]
    pub const fn span(self) -> (u64, u64) {
        let bits = LEVEL_BITS * self.level as u32;
        if bits >= u64::BITS {
            return (0, u64::MAX);
        }
        let first = self.index << bits;
        (first, first | ((1 << bits) - 1))
    }

    /// Whether there is no such place: its level has fewer, or there is no such level.
    #[must_use]
    pub const fn is_nowhere(self) -> bool {
        let bits = LEVEL_BITS * self.level as u32;
        self.level > LEVELS_MAX || bits + (u64::BITS - self.index.leading_zeros()) > u64::BITS
    }

    /// Whether everything that it spans lies below `ordinal`.
    #[must_use]
    pub const fn is_below(self, ordinal: u64) -> bool {
        self.span().1 < ordinal
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}/{}", self.level, self.index)
    }
}

/// What a node holds.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Node([Option<NodeHash>; ARITY]);

impl Node {
    /// The hash of a child.
    #[must_use]
    pub fn child(&self, slot: u8) -> Option<NodeHash> {
        self.0.get(usize::from(slot)).copied().flatten()
    }

    /// The children that are there, with their slots.
    pub fn children(&self) -> impl Iterator<Item = (u8, NodeHash)> + '_ {
        (0..).zip(&self.0).filter_map(|(slot, hash)| Some((slot, (*hash)?)))
    }

    /// Puts a child into its slot, or takes it out. Returns whether that changed anything.
    pub fn set(&mut self, slot: u8, hash: Option<NodeHash>) -> bool {
        match self.0.get_mut(usize::from(slot)) {
            Some(place) => std::mem::replace(place, hash) != hash,
            None => false,
        }
    }

    /// Its own hash: `None` without children. A child alone is passed on as it is, so that the hash of a tree does not depend
    /// on how many levels were put above it.
    #[must_use]
    pub fn hash(&self) -> Option<NodeHash> {
        let mut children = self.children();
        match (children.next(), children.next()) {
            (None, _) => None,
            (Some((_, only)), None) => Some(only),
            _ => Some(hash::over(self.children())),
        }
    }

    /// As bytes: which slots are taken (16 bits, big-endian, the lowest bit is slot 0), then the hashes in order.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let taken = self.children().fold(0_u16, |taken, (slot, _)| taken | 1 << slot);
        let mut bytes = taken.to_be_bytes().to_vec();
        self.children().for_each(|(_, hash)| bytes.extend_from_slice(&hash.0));
        bytes
    }

    /// The node with these bytes; `None` when they are none.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (taken, hashes) = bytes.split_first_chunk()?;
        let taken = u16::from_be_bytes(*taken);
        let (hashes, rest) = hashes.as_chunks::<HASH_BYTES>();
        if !rest.is_empty() || hashes.len() != taken.count_ones() as usize {
            return None;
        }
        let mut node = Self::default();
        let slots = (0..16_u8).filter(|slot| taken & (1 << slot) != 0);
        slots.zip(hashes).for_each(|(slot, hash)| {
            node.set(slot, Some(NodeHash(*hash)));
        });
        Some(node)
    }
}
