//! The digest of each journal: the tree over its segments and the sum over its tail rows, kept beside them.
//!
//! Whatever stores or takes out a segment notes its leaf in the journal's [`Pending`]; when the commit is written, all of that moves up to
//! the root at once, so that a commit of many segments writes each node once.
//!
//! Promise: in the same transaction as the rows. The root speaks of every segment that is here or was let go at the floor, so it does
//! not depend on how long this store keeps its segments; nodes wholly below the floor have no rows. A node that cannot be trusted is
//! reckoned anew from the rows of the segments.
//! Absent: how a tree is reckoned (`millrace-merkle`); what others are told of it ([`crate::told`]).

mod kept;
mod rebuild;

use millrace_merkle::question::NODES_MAX;
use millrace_merkle::tree::Changes;
use millrace_merkle::{LEVELS_MAX, Nodes, Place, Update};
use millrace_model::{JournalId, NodeHash, SegmentName, Seq};
use rusqlite::Connection;

pub(crate) use kept::Kept;
pub(crate) use rebuild::{rebuild, rebuild_all};

use crate::append::SEQ_MAX;
use crate::error::{CommitError, Fault};
use crate::row::JournalRow;
use crate::segment;
use crate::store::Store;

/// What a commit changes in the digest of one journal, until it is written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pending {
    leaves: Vec<(u64, Option<NodeHash>)>,
    /// Places, their hashes, and whether what stands there gives way.
    adopted: Vec<(Place, NodeHash, bool)>,
    /// The floor has passed segments.
    trimmed: bool,
    /// Damage took something, nobody knows what.
    doubtful: bool,
}

impl Pending {
    /// A segment is here.
    pub(crate) fn put(&mut self, name: &SegmentName) {
        self.leaves.push((name.ordinal, Some(NodeHash::of_segment(&name.hash))));
    }

    /// A segment is gone, and not because it was let go at the floor.
    pub(crate) fn take(&mut self, ordinal: u64) {
        self.leaves.push((ordinal, None));
    }

    /// Everything is to be reckoned anew from what is here.
    pub(crate) const fn doubt(&mut self) {
        self.doubtful = true;
    }

    const fn is_empty(&self) -> bool {
        self.leaves.is_empty() && self.adopted.is_empty() && !self.trimmed && !self.doubtful
    }
}

/// Moves the digest's floor up behind the floor of the journal: segments with smaller ordinals lie below it, for certain.
pub(crate) fn raise_floor(conn: &Connection, row: &mut JournalRow) -> Result<(), Fault> {
    let first = if row.floor >= row.tail_first {
        row.next_ordinal
    } else {
        // A hole between the floor and the first segment may belong to as many segments as it has numbers.
        segment::next(conn, row, row.floor)?.map_or(row.first_ordinal, |next| {
            let hole: Seq = next.range.first().saturating_sub(row.floor);
            next.name.ordinal.saturating_sub(hole)
        })
    };
    pass(row, first);
    Ok(())
}

/// Notes that all segments with ordinals below `first` lie below the floor.
pub(crate) fn pass(row: &mut JournalRow, first: u64) {
    if first > row.first_ordinal {
        row.first_ordinal = first;
        row.pending.trimmed = true;
    }
}

/// Notes hashes that a peer has for places below the floor; which of them are taken is decided when the commit is written. A hash that stands
/// there may give way: when damage took a segment and the floor passed it before it came again, what is remembered here is wrong.
pub(crate) fn adopt(row: &mut JournalRow, nodes: &[(u8, u64, NodeHash)], replaces: bool) {
    let places =
        nodes.iter().map(|(level, index, hash)| (Place { level: *level, index: *index }, *hash, replaces));
    // An author named every segment of its own: of one that it did not nobody else knows anything.
    let named = |at: &Place| !row.own || at.is_below(row.next_ordinal);
    let possible = |at: &Place| at.level < LEVELS_MAX && !at.is_nowhere() && named(at);
    row.pending.adopted.extend(places.filter(|(at, ..)| possible(at)).take(NODES_MAX));
}

/// Writes what is pending, and sets the root. The caller saves the row.
pub(crate) fn write(conn: &Connection, row: &mut JournalRow) -> Result<(), Fault> {
    let pending = std::mem::take(&mut row.pending);
    if pending.is_empty() {
        return Ok(());
    }
    let mut doubtful = pending.doubtful;
    let first_ordinal = row.first_ordinal;
    if !doubtful {
        match apply(conn, row, &pending) {
            Err(Fault::Damaged { journal, what, .. }) => {
                tracing::warn!(%journal, what, "the digest is damaged: it is reckoned anew");
                doubtful = true;
            }
            done => done?,
        }
    }
    if doubtful {
        rebuild(conn, row)?.write(conn, row)?;
    } else if pending.trimmed || row.first_ordinal > first_ordinal {
        Kept::of(conn, row).trim(row.first_ordinal)?;
    }
    Ok(())
}

fn apply(conn: &Connection, row: &mut JournalRow, pending: &Pending) -> Result<(), Fault> {
    let mut kept = Kept::of(conn, row);
    if !pending.leaves.is_empty() {
        let mut update = Update::default();
        for (ordinal, hash) in &pending.leaves {
            update.set(&mut kept, *ordinal, *hash)?;
        }
        let changes = update.finish(&mut kept, row.root)?;
        store(&kept, row, &changes)?;
    }
    let mut update = Update::default();
    for (at, hash, replaces) in &pending.adopted {
        if passes_floor(&mut kept, conn, row, *at)? {
            row.first_ordinal = at.index.saturating_add(1);
            row.next_ordinal = row.next_ordinal.max(row.first_ordinal);
            update.set_node(&mut kept, *at, Some(*hash))?;
        } else if is_let_go(row, *at) && (*replaces || is_vacant(&mut kept, row, *at)?) {
            update.set_node(&mut kept, *at, Some(*hash))?;
        }
    }
    if !update.is_empty() {
        let changes = update.finish(&mut kept, row.root)?;
        store(&kept, row, &changes)?;
    }
    Ok(())
}

fn store(kept: &Kept<'_>, row: &mut JournalRow, changes: &Changes) -> Result<(), Fault> {
    for (at, node) in changes.nodes.iter().filter(|(at, _)| !at.is_below(row.first_ordinal)) {
        kept.write(*at, node)?;
    }
    row.root = changes.root;
    Ok(())
}

/// Whether a place lies wholly below the floor and directly under what is kept: its hash is all that there is of it, or could be.
const fn is_let_go(row: &JournalRow, at: Place) -> bool {
    let floor = row.first_ordinal;
    at.is_below(floor) && (at.level >= row.root.level || !at.parent().is_below(floor))
}

/// Whether this is the leaf of a segment that was let go here before anybody named it: its records stood here as rows until the floor passed them,
/// so nothing here says how far its ordinals go. Whoever offers the leaf has seen that its records lie below the floor. With it the floor of
/// the digest moves on; never past a segment that is here.
fn passes_floor(kept: &mut Kept<'_>, conn: &Connection, row: &JournalRow, at: Place) -> Result<bool, Fault> {
    if at.level > 0 || at.index < row.first_ordinal || at.index > SEQ_MAX {
        return Ok(false);
    }
    if kept.node(at.parent())?.child(at.slot()).is_some() {
        return Ok(false);
    }
    let next = segment::next(conn, row, row.floor)?;
    Ok(row.floor > 1 && next.is_none_or(|next| at.index < next.name.ordinal))
}

/// Whether nothing stands in a place that is remembered.
fn is_vacant(kept: &mut Kept<'_>, row: &JournalRow, at: Place) -> Result<bool, Fault> {
    if at.level >= row.root.level {
        return Ok(at.index > 0 || row.root.hash.is_none());
    }
    Ok(kept.node(at.parent())?.child(at.slot()).is_none())
}

/// Whether the top of the tree is there and hashes to the root: as much of the digest as is looked at when a store is opened.
pub(crate) fn is_topped(conn: &Connection, row: &JournalRow) -> Result<bool, Fault> {
    let top = Place { level: row.root.level, index: 0 };
    if row.root.level == 0 || top.is_below(row.first_ordinal) {
        return Ok(true);
    }
    match Kept::of(conn, row).node(top) {
        Ok(node) => Ok(node.hash() == row.root.hash),
        Err(Fault::Damaged { .. }) => Ok(false),
        Err(other) => Err(other),
    }
}

impl Store {
    /// Reckons the digest of a journal anew from its segments and tail rows, in a commit of its own; returns whether it was wrong.
    /// What only a wrong node knew of segments below the floor is lost: a peer may still have it (`Change::Adopt`).
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn rebuild_digest(&mut self, journal: &JournalId) -> Result<bool, CommitError> {
        let wrong = self.transact(|work| {
            work.change(journal, |work, row| {
                let rebuilt = rebuild(work.conn, row)?;
                let wrong = !rebuilt.is_stored(work.conn, row)?;
                if wrong {
                    rebuilt.write(work.conn, row)?;
                }
                Ok(wrong)
            })
        })?;
        Ok(wrong.unwrap_or(false))
    }
}
