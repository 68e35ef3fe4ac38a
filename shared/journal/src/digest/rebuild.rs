//! A digest reckoned anew from the rows of the segments and of the tail.
//!
//! Promise: what lies below the floor has no rows any more; its hashes are taken from the nodes that are kept, as far as these verify.
//! Absent: reading bodies.

use std::collections::BTreeMap;
use std::convert::Infallible;

use millrace_merkle::{Node, Nodes, Place, Update};
use millrace_model::NodeHash;
use millrace_model::digest::Root;
use rusqlite::Connection;

use crate::digest::{Kept, Pending, raise_floor};
use crate::error::{Fault, is_corrupt};
use crate::row::JournalRow;
use crate::{segment, tail};

/// What the digest of a journal must be.
#[derive(Debug, Default)]
pub(crate) struct Rebuilt {
    nodes: BTreeMap<Place, Node>,
    root: Root,
    tail: u64,
    /// Rows of segments that are damaged, so that nobody knows their leaves.
    pub(crate) unreadable: u64,
}

/// Begins without nodes.
struct Nothing;

impl Nodes for Nothing {
    type Error = Infallible;

    fn node(&mut self, _: Place) -> Result<Node, Infallible> {
        Ok(Node::default())
    }
}

pub(crate) fn rebuild(conn: &Connection, row: &JournalRow) -> Result<Rebuilt, Fault> {
    let mut update = Update::default();
    let mut rebuilt = Rebuilt { tail: tail::sum(conn, row)?, ..Rebuilt::default() };
    let top = Place { level: row.root.level, index: 0 };
    // When everything that the tree ever had lies below the floor, the root is all that is left of it.
    let rests = row.root.level > 0 && top.is_below(row.first_ordinal);
    let root = Root { level: row.root.level, hash: row.root.hash.filter(|_| rests) };
    if !rests {
        for (at, hash) in below_floor(conn, row)? {
            let Ok(()) = update.set_node(&mut Nothing, at, Some(hash));
        }
    }
    let read = segment::each(conn, row, |found| {
        match found {
            Ok(found) if found.name.ordinal >= row.first_ordinal => {
                let hash = NodeHash::of_segment(&found.name.hash);
                let Ok(()) = update.set(&mut Nothing, found.name.ordinal, Some(hash));
            }
            Ok(_) => {}
            Err(_) => rebuilt.unreadable += 1,
        }
        Ok(())
    });
    match read {
        Err(Fault::Sql(error)) if is_corrupt(&error) => rebuilt.unreadable += 1,
        read => read?,
    }
    let Ok(changes) = update.finish(&mut Nothing, root);
    let kept = |(at, node): &(Place, Node)| node.hash().is_some() && !at.is_below(row.first_ordinal);
    rebuilt.nodes = changes.nodes.into_iter().filter(kept).collect();
    rebuilt.root = changes.root;
    Ok(rebuilt)
}

/// The hashes of what lies wholly below the floor, each for as much as possible: they stand in the nodes that the floor goes through.
fn below_floor(conn: &Connection, row: &JournalRow) -> Result<Vec<(Place, NodeHash)>, Fault> {
    let mut found = Vec::new();
    let Some(last) = row.first_ordinal.checked_sub(1) else { return Ok(found) };
    let mut kept = Kept::of(conn, row);
    let mut at = Place::leaf(last);
    while at.level < row.root.level {
        at = at.parent();
        if at.is_below(row.first_ordinal) {
            continue;
        }
        let node = match kept.node(at) {
            Ok(node) => node,
            Err(Fault::Damaged { journal, what, .. }) => {
                tracing::warn!(%journal, what, "what it knew of segments below the floor is lost");
                continue;
            }
            Err(other) => return Err(other),
        };
        let children = node.children().filter_map(|(slot, hash)| Some((at.child(slot)?, hash)));
        found.extend(children.filter(|(child, _)| child.is_below(row.first_ordinal)));
    }
    Ok(found)
}

/// Reckons the digests of all journals and writes them, with their rows: how a store of an older version gets them.
pub(crate) fn rebuild_all(conn: &Connection, rows: Vec<JournalRow>) -> Result<(), Fault> {
    for mut row in rows {
        match raise_floor(conn, &mut row) {
            // Whoever meets the damage puts it aside; until then the floor of the digest stays where it is.
            Err(Fault::Damaged { .. }) => {}
            raised => raised?,
        }
        row.pending = Pending::default();
        rebuild(conn, &row)?.write(conn, &mut row)?;
        row.save(conn)?;
    }
    Ok(())
}

impl Rebuilt {
    /// Whether this is what is stored.
    pub(crate) fn is_stored(&self, conn: &Connection, row: &JournalRow) -> Result<bool, Fault> {
        if (self.root, self.tail) != (row.root, row.tail_sum) {
            return Ok(false);
        }
        let (mut same, mut fits) = (0, true);
        let read = Kept::of(conn, row).each(|found| {
            fits = found.is_some_and(|(at, node)| self.nodes.get(&at) == Some(&node));
            same += usize::from(fits);
            fits
        });
        match read {
            Err(Fault::Sql(error)) if is_corrupt(&error) => Ok(false),
            read => read.map(|()| fits && same == self.nodes.len()),
        }
    }

    /// Puts this in the place of what is stored. The caller saves the row.
    pub(crate) fn write(self, conn: &Connection, row: &mut JournalRow) -> Result<(), Fault> {
        let kept = Kept::of(conn, row);
        kept.clear()?;
        for (at, node) in &self.nodes {
            kept.write(*at, node)?;
        }
        (row.root, row.tail_sum) = (self.root, self.tail);
        Ok(())
    }
}
