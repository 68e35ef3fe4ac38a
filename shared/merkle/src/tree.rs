//! The tree of one journal: sixteen children to a node, segments as leaves, by ordinal.
//!
//! A change touches one node of each level above it, and a batch of changes each node once. Nodes that lie wholly below the floor are
//! remembered by their parents' hashes of them and need no rows of their own: so the root stays what it was when segments are trimmed.
//!
//! Promise: the root depends on the leaves alone, not on the order in which they came, nor on the levels above them.
//! Absent: where nodes are kept.

use std::collections::BTreeMap;

use millrace_model::NodeHash;
use millrace_model::digest::Root;

use crate::node::{LEVELS_MAX, Node, Place};

/// Where the nodes of a tree are kept.
pub trait Nodes {
    /// Why a node could not be read.
    type Error;

    /// The children of an inner node; one that was never written has none.
    ///
    /// # Errors
    /// When it cannot be read.
    fn node(&mut self, at: Place) -> Result<Node, Self::Error>;
}

/// Where the top of a tree stands.
const fn top_of(root: Root) -> Place {
    Place { level: root.level, index: 0 }
}

/// Changes of a tree that have not moved up to the root yet.
#[derive(Debug, Default)]
pub struct Update {
    changed: BTreeMap<Place, Node>,
}

/// What an update leads to: nodes to be written, those without children to be deleted, and the new root.
#[derive(Debug, Default)]
pub struct Changes {
    /// Inner nodes as they are now.
    pub nodes: Vec<(Place, Node)>,
    /// The top.
    pub root: Root,
}

impl Update {
    /// Whether nothing was changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty()
    }

    /// Gives the segment with this ordinal a hash, or takes it out.
    ///
    /// # Errors
    /// When a node cannot be read.
    pub fn set<N: Nodes>(
        &mut self,
        nodes: &mut N,
        ordinal: u64,
        hash: Option<NodeHash>,
    ) -> Result<(), N::Error> {
        self.set_node(nodes, Place::leaf(ordinal), hash)
    }

    /// Gives a leaf or a whole subtree, whose own nodes are not kept here, a hash.
    ///
    /// # Errors
    /// When a node cannot be read.
    pub fn set_node<N: Nodes>(
        &mut self,
        nodes: &mut N,
        at: Place,
        hash: Option<NodeHash>,
    ) -> Result<(), N::Error> {
        let slot = at.slot();
        let parent = self.load(nodes, at.parent())?;
        parent.set(slot, hash);
        Ok(())
    }

    fn load<N: Nodes>(&mut self, nodes: &mut N, at: Place) -> Result<&mut Node, N::Error> {
        use std::collections::btree_map::Entry;
        match self.changed.entry(at) {
            Entry::Occupied(known) => Ok(known.into_mut()),
            Entry::Vacant(unknown) => Ok(unknown.insert(nodes.node(at)?)),
        }
    }

    /// Moves all changes up to the root.
    ///
    /// # Errors
    /// When a node cannot be read.
    pub fn finish<N: Nodes>(mut self, nodes: &mut N, root: Root) -> Result<Changes, N::Error> {
        let top = self.changed.keys().map(|at| level_over(*at)).fold(root.level, u8::max);
        if top > root.level && root.level > 0 && !self.is_replaced(root, top) {
            // What was the whole tree is the first child of what stands above it now. When it is trimmed, its hash is all there is of it.
            self.set_node(nodes, top_of(root), root.hash)?;
        }
        for level in 1..top {
            let of_level = Place { level, index: 0 }..=Place { level, index: u64::MAX };
            let hashes: Vec<(Place, Option<NodeHash>)> =
                self.changed.range(of_level).map(|(at, node)| (*at, node.hash())).collect();
            for (at, hash) in hashes {
                self.set_node(nodes, at, hash)?;
            }
        }
        let root = Root {
            level: top,
            hash: self.changed.get(&Place { level: top, index: 0 }).map_or(root.hash, Node::hash),
        };
        Ok(Changes { nodes: self.changed.into_iter().collect(), root })
    }
}

impl Update {
    /// Whether what was the whole tree changes itself, or has a place under something that was given a hash as a whole.
    fn is_replaced(&self, root: Root, top: u8) -> bool {
        let mut above =
            (root.level + 1..=top).filter_map(|level| self.changed.get(&Place { level, index: 0 }));
        self.changed.contains_key(&top_of(root)) || above.any(|node| node.child(0).is_some())
    }
}

/// The level at which one node spans everything from ordinal 0 to the end of what `at` spans.
fn level_over(at: Place) -> u8 {
    let mut over = at;
    while over.index > 0 && over.level < LEVELS_MAX {
        over = over.parent();
    }
    over.level
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::{any, proptest};

    /// Nodes in memory, and the root over them.
    #[derive(Debug, Default)]
    struct Memory {
        nodes: BTreeMap<Place, Node>,
        root: Root,
    }

    impl Nodes for BTreeMap<Place, Node> {
        type Error = std::convert::Infallible;

        fn node(&mut self, at: Place) -> Result<Node, Self::Error> {
            Ok(self.get(&at).cloned().unwrap_or_default())
        }
    }

    impl Memory {
        fn set(&mut self, leaves: &[(u64, Option<NodeHash>)]) {
            let mut update = Update::default();
            for (ordinal, hash) in leaves {
                let Ok(()) = update.set(&mut self.nodes, *ordinal, *hash);
            }
            let Ok(Changes { nodes, root }) = update.finish(&mut self.nodes, self.root);
            self.nodes.extend(nodes);
            self.root = root;
        }

        /// Forgets the rows of nodes that lie wholly below the floor.
        fn trim(&mut self, floor: u64) {
            self.nodes.retain(|at, _| !at.is_below(floor));
        }
    }

    fn leaf(ordinal: u64) -> NodeHash {
        crate::hash::over([(0, NodeHash(u128::from(ordinal).to_be_bytes()))].into_iter())
    }

    fn all(ordinals: impl IntoIterator<Item = u64>) -> Vec<(u64, Option<NodeHash>)> {
        ordinals.into_iter().map(|ordinal| (ordinal, Some(leaf(ordinal)))).collect()
    }

    proptest! {
        #[test]
        fn the_order_in_which_segments_come_does_not_matter(
            mut ordinals in proptest::collection::vec(0_u64..70_000, 1..60), seed in any::<u64>(), batch in 1_usize..9,
        ) {
            let mut sorted = Memory::default();
            ordinals.sort_unstable();
            sorted.set(&all(ordinals.iter().copied()));
            fastrand::Rng::with_seed(seed).shuffle(&mut ordinals);
            let mut shuffled = Memory::default();
            ordinals.chunks(batch).for_each(|some| shuffled.set(&all(some.iter().copied())));
            assert_eq!(sorted.root.hash, shuffled.root.hash);
        }

        #[test]
        fn what_is_taken_out_leaves_no_trace(
            kept in proptest::collection::btree_set(0_u64..5_000, 0..40), gone in proptest::collection::btree_set(0_u64..5_000, 1..40),
        ) {
            let gone: Vec<u64> = gone.difference(&kept).copied().collect();
            let mut plain = Memory::default();
            plain.set(&all(kept.iter().copied()));
            let mut other = Memory::default();
            other.set(&all(kept.iter().copied().chain(gone.iter().copied())));
            other.set(&gone.iter().map(|ordinal| (*ordinal, None)).collect::<Vec<_>>());
            assert_eq!(plain.root.hash, other.root.hash);
        }

        #[test]
        fn trimming_at_the_floor_does_not_change_the_root(count in 1_u64..700, floor in 0_u64..700, more in 0_u64..300) {
            let mut whole = Memory::default();
            whole.set(&all(0..count));
            let mut trimmed = Memory::default();
            trimmed.set(&all(0..count));
            trimmed.trim(floor.min(count));
            for ordinal in count..count + more {
                whole.set(&all([ordinal]));
                trimmed.set(&all([ordinal]));
                trimmed.trim(floor.min(count));
            }
            assert_eq!(whole.root, trimmed.root);
        }

        #[test]
        fn any_other_leaf_is_another_root(count in 1_u64..600, at in any::<u64>()) {
            let at = at % count;
            let mut one = Memory::default();
            one.set(&all(0..count));
            let mut other = Memory::default();
            other.set(&all(0..count));
            other.set(&[(at, Some(leaf(u64::MAX)))]);
            assert_ne!(one.root.hash, other.root.hash);
            other.set(&[(at, None)]);
            assert_ne!(one.root.hash, other.root.hash);
        }

        #[test]
        fn a_node_reads_back(slots in any::<u16>()) {
            let mut node = Node::default();
            for slot in (0..16).filter(|slot| slots & (1 << slot) != 0) {
                node.set(slot, Some(leaf(slot.into())));
            }
            assert_eq!(Node::from_bytes(&node.to_bytes()), Some(node));
        }
    }

    #[test]
    fn a_subtree_that_is_known_by_its_hash_alone_counts_as_its_leaves_do() {
        let mut whole = Memory::default();
        whole.set(&all(0..40));
        let mut adopted = Memory::default();
        adopted.set(&all(16..40));
        assert_ne!(whole.root.hash, adopted.root.hash);
        let first = Place { level: 1, index: 0 };
        let mut update = Update::default();
        let hash = whole.nodes.get(&first).and_then(Node::hash);
        let Ok(()) = update.set_node(&mut adopted.nodes, first, hash);
        let Ok(changes) = update.finish(&mut adopted.nodes, adopted.root);
        assert_eq!(changes.root.hash, whole.root.hash);
    }

    #[test]
    fn a_hash_that_is_taken_over_stands_for_the_whole_tree_that_was_there() {
        let mut whole = Memory::default();
        whole.set(&all(0..300));
        for known in [0, 1, 16] {
            let mut other = Memory::default();
            other.set(&all(0..known));
            other.trim(256);
            let first = Place { level: 2, index: 0 };
            let mut update = Update::default();
            let Ok(()) =
                update.set_node(&mut other.nodes, first, whole.nodes.get(&first).and_then(Node::hash));
            let Ok(Changes { nodes, root }) = update.finish(&mut other.nodes, other.root);
            other.nodes.extend(nodes);
            other.root = root;
            other.set(&all(256..300));
            assert_eq!(whole.root.hash, other.root.hash, "{known} were known");
        }
    }

    #[test]
    fn the_largest_ordinal_has_a_place() {
        let mut memory = Memory::default();
        memory.set(&all([0, u64::MAX]));
        assert_eq!(memory.root.level, LEVELS_MAX);
        memory.set(&[(u64::MAX, None)]);
        assert_eq!(memory.root.hash, Some(leaf(0)));
    }
}
