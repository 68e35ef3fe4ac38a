//! What a holder answers. It keeps nothing between two questions.
//!
//! Promise: a question that is over the limits of [`question`](crate::question) is refused with words; nobody reads more for a question
//! than its limits say, but for the journals of one partition, which are walked through and not kept.
//! Absent: names, checks and outlines: the store knows them without this crate; [`fits`] says whether it should answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_model::digest::{Root, Summary};
use millrace_model::limits::RANGES_MAX;
use millrace_model::{JournalId, Partition};

use crate::node::{ARITY, LEVELS_MAX, Node, Place};
use crate::question::{
    About, Answer, BUCKETS_FROM, JOURNALS_MAX, NAMES_MAX, NARROW, NODE_BYTES_MAX, NODES_MAX, Question, Slots,
    Told, WIDE,
};
use crate::sums::{BUCKETS, Sums, bucket, entry, short};
use crate::tree::Nodes;

#[cfg(test)]
mod tests;

/// Why a question is refused: the fault of whoever asks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unfit {
    /// Nodes stand at levels 1 to 16.
    #[error("there are no nodes at level {0}")]
    Level(u8),
    /// One or two levels below, and not below the leaves.
    #[error("level {level} cannot be told {depth} levels deep")]
    Depth {
        /// Of the nodes.
        level: u8,
        /// What was asked for.
        depth: u8,
    },
    /// Only two widths are known.
    #[error("hashes are told {NARROW} or {WIDE} bytes wide, not {0}")]
    Width(u8),
    /// A level has only so many nodes.
    #[error("level {level} has no node {index}")]
    Index {
        /// Which level.
        level: u8,
        /// Which of it.
        index: u64,
    },
    /// A list that must ascend does not.
    #[error("what is asked for does not ascend")]
    Order,
    /// Over a limit of the question.
    #[error("{found} {what} are asked for; {limit} is the limit")]
    TooMany {
        /// What is too much.
        what: &'static str,
        /// The limit.
        limit: usize,
        /// How much it is.
        found: usize,
    },
    /// It is no question of this kind.
    #[error("the question is not one that is answered here")]
    Misdirected,
}

/// Why there is no answer.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unanswered<E> {
    /// The question is refused.
    #[error("refused: {0}")]
    Unfit(#[from] Unfit),
    /// What would be needed cannot be read.
    #[error("not readable: {0}")]
    Unreadable(E),
}

/// Whether a question about one journal keeps within the limits.
///
/// # Errors
/// When it does not.
pub fn fits(about: &About) -> Result<(), Unfit> {
    match about {
        About::Outline { .. } => Ok(()),
        About::Nodes { level, indexes, depth, width } => fits_nodes(*level, indexes, *depth, *width),
        About::Names { ordinals } => {
            at_most("names", NAMES_MAX, ordinals.len())?;
            ascending(ordinals)
        }
        About::Checks { ranges } => at_most("ranges", RANGES_MAX, ranges.range_count()),
    }
}

fn fits_nodes(level: u8, indexes: &[u64], depth: u8, width: u8) -> Result<(), Unfit> {
    if level == 0 || level > LEVELS_MAX {
        return Err(Unfit::Level(level));
    }
    if depth == 0 || depth > 2 || depth > level {
        return Err(Unfit::Depth { level, depth });
    }
    if width != NARROW && width != WIDE {
        return Err(Unfit::Width(width));
    }
    at_most("nodes", nodes_max(depth, width), indexes.len())?;
    ascending(indexes)?;
    match indexes.iter().find(|index| Place { level, index: **index }.is_nowhere()) {
        Some(index) => Err(Unfit::Index { level, index: *index }),
        None => Ok(()),
    }
}

/// How many nodes may be asked for so deep and so wide: an answer has at most [`NODE_BYTES_MAX`] bytes of hashes.
#[must_use]
pub fn nodes_max(depth: u8, width: u8) -> usize {
    let each = ARITY.saturating_pow(depth.into()).saturating_mul(width.into());
    NODE_BYTES_MAX.checked_div(each).unwrap_or_default().min(NODES_MAX)
}

fn at_most(what: &'static str, limit: usize, found: usize) -> Result<(), Unfit> {
    if found > limit { Err(Unfit::TooMany { what, limit, found }) } else { Ok(()) }
}

fn ascending(numbers: &[u64]) -> Result<(), Unfit> {
    if numbers.is_sorted_by(|one, next| one < next) { Ok(()) } else { Err(Unfit::Order) }
}

/// Answers [`About::Nodes`] from the nodes of a tree and its root. A node above the root has the root as its first child. Where the rows
/// of nodes were let go with what lies below the floor, the answer is empty.
///
/// # Errors
/// When the question is not fit, or a node cannot be read.
pub fn nodes<N: Nodes>(about: &About, nodes: &mut N, root: Root) -> Result<Told, Unanswered<N::Error>> {
    fits(about)?;
    let About::Nodes { level, indexes, depth, width } = about else { return Err(Unfit::Misdirected.into()) };
    let mut read = |at: Place| match at.level > root.level {
        true => Ok(above(at, root)),
        false => nodes.node(at).map_err(Unanswered::Unreadable),
    };
    let mut told = Vec::with_capacity(indexes.len());
    for index in indexes {
        let at = Place { level: *level, index: *index };
        let node = read(at)?;
        if *depth == 1 {
            told.push(slots(&[node], *width));
            continue;
        }
        let mut below = vec![Node::default(); ARITY];
        for (slot, _) in node.children() {
            if let (Some(place), Some(child)) = (below.get_mut(usize::from(slot)), at.child(slot)) {
                *place = read(child)?;
            }
        }
        told.push(slots(&below, *width));
    }
    Ok(Told::Nodes(told))
}

/// A node above the root: all there is of the tree lies under its first child.
fn above(at: Place, root: Root) -> Node {
    let mut node = Node::default();
    if at.index == 0 {
        node.set(0, root.hash);
    }
    node
}

fn slots(nodes: &[Node], width: u8) -> Slots {
    let (mut taken, mut hashes) = (Vec::with_capacity(nodes.len() * 2), Vec::new());
    for node in nodes {
        let bits = node.children().fold(0_u16, |bits, (slot, _)| bits | 1 << slot);
        taken.extend_from_slice(&bits.to_le_bytes());
        for (_, hash) in node.children() {
            hashes.extend_from_slice(hash.0.get(..usize::from(width)).unwrap_or(&hash.0));
        }
    }
    Slots { taken: taken.into(), hashes: hashes.into() }
}

/// Answers a question about many journals. `journals` gives those of one partition, in any order; at most one call is made.
///
/// # Errors
/// When the question is about one journal, or the journals cannot be read.
pub fn survey<E, I>(
    question: &Question,
    sums: &Sums,
    journals: impl FnOnce(Partition) -> Result<I, E>,
) -> Result<Answer, Unanswered<E>>
where
    I: Iterator<Item = Result<(JournalId, Summary), E>>,
{
    match question {
        Question::Root(partitions) => Ok(Answer::Root(sums.root(partitions))),
        Question::Partitions(partitions) => {
            Ok(Answer::Partitions(bytes_of(partitions.iter().map(|partition| sums.of(partition)))))
        }
        Question::Journals { partition, bucket, after } => {
            let journals = journals(*partition).map_err(Unanswered::Unreadable)?;
            list(journals, *bucket, *after).map_err(Unanswered::Unreadable)
        }
        Question::Journal { .. } => Err(Unfit::Misdirected.into()),
    }
}

fn bytes_of(sums: impl Iterator<Item = u128>) -> Bytes {
    sums.flat_map(|sum| short(sum).to_be_bytes()).collect()
}

/// The first journals that were asked for, kept in order while all are walked through; or buckets, when there are too many to begin with.
fn list<E>(
    journals: impl Iterator<Item = Result<(JournalId, Summary), E>>,
    asked: Option<u8>,
    after: Option<JournalId>,
) -> Result<Answer, E> {
    let mut first = BTreeMap::new();
    let (mut count, mut buckets) = (0, [0_u128; BUCKETS]);
    for journal in journals {
        let (journal, summary) = journal?;
        let entry = entry(&journal, &summary);
        let bucket = bucket(&journal);
        if entry == 0
            || asked.is_some_and(|asked| asked != bucket)
            || after.is_some_and(|after| journal <= after)
        {
            continue;
        }
        count += 1;
        if let Some(sum) = buckets.get_mut(usize::from(bucket)) {
            *sum = sum.wrapping_add(entry);
        }
        first.insert(journal, short(entry));
        if first.len() > JOURNALS_MAX {
            first.pop_last();
        }
    }
    if count >= BUCKETS_FROM && asked.is_none() && after.is_none() {
        return Ok(Answer::Buckets(bytes_of(buckets.into_iter())));
    }
    Ok(Answer::Journals { more: count > first.len(), journals: first.into_iter().collect() })
}
