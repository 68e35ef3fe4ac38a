//! Answers about one journal to a peer that compares it with its own.
//!
//! Promise: each answer is of one moment, within the limits of [`millrace_merkle::question`], and verified: a node whose hash is not
//! the one that its parent knows counts as damage, and so does a row whose check does not fit.
//! Absent: what is asked next, and what is done about a difference (the engines).

use millrace_merkle::question::{CHECKS_MAX, NAMES_MAX, NARROW, NODE_BYTES_MAX, NODES_MAX, WIDE};
use millrace_merkle::{ARITY, About, LEVELS_MAX, Node, Nodes, Outline, Place, Slots, Told, spans};
use millrace_model::hash::RecordChecker;
use millrace_model::{NodeHash, RangeSet, RecordCheck, SegmentName, Seq, SeqRange};
use rusqlite::Connection;

use crate::digest::Kept;
use crate::error::{Fault, ReadError};
use crate::row::JournalRow;
use crate::segment::{self, SegmentRow};
use crate::tail;

/// Segments that are walked over on the way to the next name that is asked for; one further away is looked for.
const STRIDE: u64 = 16;

/// Whether a question can be answered at all.
pub(crate) fn check(about: &About) -> Result<(), ReadError> {
    let ascending = |numbers: &[u64]| numbers.windows(2).all(|pair| matches!(pair, [a, b] if a < b));
    let wrong = match about {
        About::Outline { .. } | About::Checks { .. } => None,
        About::Names { ordinals } if ordinals.len() > NAMES_MAX => Some("too many names"),
        About::Names { ordinals } => (!ascending(ordinals)).then_some("ordinals that do not ascend"),
        About::Nodes { level, indexes, depth, width } => {
            let bytes = indexes.len() * ARITY.pow(u32::from(*depth).min(2)) * usize::from(*width);
            if *level == 0 || *level > LEVELS_MAX {
                Some("nodes of a level that there is not")
            } else if !(*depth == 1 || (*depth == 2 && *level >= 2)) {
                Some("a depth that there is not")
            } else if *width != NARROW && *width != WIDE {
                Some("hashes of an odd width")
            } else if indexes.len() > NODES_MAX || bytes > NODE_BYTES_MAX {
                Some("too many nodes")
            } else {
                (!ascending(indexes)).then_some("indexes that do not ascend")
            }
        }
    };
    wrong.map_or(Ok(()), |why| Err(ReadError::Question(why)))
}

pub(crate) fn tell(conn: &Connection, row: &JournalRow, about: &About) -> Result<Told, Fault> {
    match about {
        About::Outline { from } => Ok(Told::Outline(outline(row, *from))),
        About::Nodes { level, indexes, depth, width } => {
            let mut tree = Tree { kept: Kept::of(conn, row), row, parent: None };
            let slots = indexes.iter().map(|index| {
                let at = Place { level: *level, index: *index };
                tree.slots(at, *depth, usize::from(*width))
            });
            Ok(Told::Nodes(slots.collect::<Result<_, _>>()?))
        }
        About::Names { ordinals } => Ok(Told::Names(names(conn, row, ordinals)?)),
        About::Checks { ranges } => Ok(Told::Checks(checks(conn, row, ranges)?)),
    }
}

fn outline(row: &JournalRow, from: Seq) -> Outline {
    let (present, more) = spans::encode(&row.present, from);
    Outline {
        floor: row.floor,
        head: row.head,
        first_ordinal: row.first_ordinal,
        summary: row.summary(),
        present,
        more,
    }
}

/// The tree as others see it: above the root stand nodes with nothing but the root in them.
struct Tree<'a> {
    kept: Kept<'a>,
    row: &'a JournalRow,
    /// The node that was read last to verify another one by.
    parent: Option<(Place, Node)>,
}

impl Tree<'_> {
    fn slots(&mut self, at: Place, depth: u8, width: usize) -> Result<Slots, Fault> {
        let node = self.node(at)?;
        let mut children: Vec<(usize, NodeHash)> = Vec::new();
        for (slot, hash) in node.children() {
            let place = usize::from(slot);
            match at.child(slot) {
                Some(child) if depth > 1 => {
                    let below = self.node(child)?;
                    children.extend(below.children().map(|(s, hash)| (place * ARITY + usize::from(s), hash)));
                }
                _ => children.push((place, hash)),
            }
        }
        let mut taken = vec![0_u8; if depth > 1 { ARITY * ARITY / 8 } else { ARITY / 8 }];
        let mut hashes = Vec::with_capacity(children.len() * width);
        for (place, hash) in children {
            if let Some(bits) = taken.get_mut(place / 8) {
                *bits |= 1 << (place % 8);
            }
            hashes.extend(hash.0.iter().take(width));
        }
        Ok(Slots { taken: taken.into(), hashes: hashes.into() })
    }

    /// The node at a place; empty where everything lies below the floor.
    fn node(&mut self, at: Place) -> Result<Node, Fault> {
        let root = self.row.root;
        if at.level > root.level {
            let mut over = Node::default();
            if at.index == 0 {
                over.set(0, root.hash);
            }
            return Ok(over);
        }
        if (at.level == root.level && at.index > 0) || at.is_below(self.row.first_ordinal) {
            return Ok(Node::default());
        }
        let node = self.kept.node(at)?;
        let known = if at.level == root.level { root.hash } else { self.over(at)?.child(at.slot()) };
        if node.hash() == known { Ok(node) } else { Err(self.kept.damaged(at)) }
    }

    /// The node above a place.
    fn over(&mut self, at: Place) -> Result<&Node, Fault> {
        let place = at.parent();
        let read = match self.parent.take() {
            Some((known, node)) if known == place => node,
            _ => self.kept.node(place)?,
        };
        Ok(&self.parent.insert((place, read)).1)
    }
}

/// The names of the segments with these ordinals. Ordinals grow with numbers, so a segment is found by halving what lies between.
fn names(conn: &Connection, row: &JournalRow, ordinals: &[u64]) -> Result<Vec<SegmentName>, Fault> {
    let mut found: Vec<SegmentName> = Vec::new();
    let mut next = segment::neighbour(conn, row, 0, true)?;
    for ordinal in ordinals {
        let mut steps = 0;
        while let Some(here) = next.as_ref().filter(|here| here.name.ordinal < *ordinal) {
            let distance = *ordinal - here.name.ordinal;
            let after = here.range.last().saturating_add(1);
            next = if distance > STRIDE || steps > STRIDE {
                at_or_after(conn, row, *ordinal, after)?
            } else {
                segment::neighbour(conn, row, after, true)?
            };
            steps += 1;
        }
        match &next {
            None => break,
            Some(here) if here.name.ordinal == *ordinal => found.push(here.name),
            Some(_) => {}
        }
    }
    Ok(found)
}

/// The first segment with at least this ordinal, among those that begin at `low` or later.
fn at_or_after(
    conn: &Connection,
    row: &JournalRow,
    ordinal: u64,
    mut low: Seq,
) -> Result<Option<SegmentRow>, Fault> {
    let mut high = row.tail_first;
    while low < high {
        let middle = low + (high - low) / 2;
        match segment::neighbour(conn, row, middle, false)?.filter(|before| before.range.last() >= low) {
            Some(before) if before.name.ordinal >= ordinal => {
                if before.name.ordinal == ordinal {
                    return Ok(Some(before));
                }
                high = before.name.first;
            }
            Some(before) => low = before.range.last().max(middle).saturating_add(1),
            None => low = middle.saturating_add(1),
        }
    }
    segment::neighbour(conn, row, low, true)
}

/// The checks of the tail rows in these ranges, verified.
fn checks(conn: &Connection, row: &JournalRow, ranges: &RangeSet) -> Result<Vec<(Seq, RecordCheck)>, Fault> {
    let checker = RecordChecker::new(&row.journal);
    let mut found = Vec::new();
    for range in ranges.iter() {
        let here = |fault: Fault| fault.located(row.journal, range);
        tail::scan(conn, row.id, range, false, |raw| {
            if !tail::is_sound(&checker, &raw) {
                let (journal, range) = (row.journal, SeqRange::only(raw.seq));
                return Err(Fault::Damaged { journal, range, what: tail::UNSOUND.to_owned() });
            }
            found.push((raw.seq, raw.check));
            Ok(found.len() < CHECKS_MAX)
        })
        .map_err(here)?;
        if found.len() >= CHECKS_MAX {
            break;
        }
    }
    Ok(found)
}
