//! Nodes of a digest as rows of a table, in the order of the last segment that each spans.
//!
//! In this order the nodes above the newest segments stand next to each other, at the end of their journal: a commit that seals touches
//! one page or two, however deep the tree is. And what lies wholly below the floor is a single range.
//!
//! Promise: each row carries a checksum that is bound to its journal and place. Absent: what the nodes mean together.

use millrace_merkle::{Node, Nodes, Place};
use millrace_model::hash::RecordChecker;
use millrace_model::{JournalId, SeqRange};
use rusqlite::{Connection, OptionalExtension};

use crate::append::SEQ_MAX;
use crate::error::{Fault, is_corrupt};
use crate::row::JournalRow;
use crate::schema::signed;

/// The nodes of one journal.
pub(crate) struct Kept<'a> {
    conn: &'a Connection,
    id: i64,
    journal: JournalId,
    checker: RecordChecker,
}

/// Bits of an ordinal that one level takes.
const LEVEL_BITS: u32 = 4;

/// The last ordinal that a place spans, as it stands in the table. Above 2⁶³ − 1 there are none.
fn last(at: Place) -> i64 {
    signed(at.span().1)
}

impl<'a> Kept<'a> {
    pub(crate) fn of(conn: &'a Connection, row: &JournalRow) -> Self {
        Self { conn, id: row.id, journal: row.journal, checker: RecordChecker::new(&row.journal) }
    }

    fn checksum(&self, at: Place, children: &[u8]) -> i64 {
        let bytes = [b"digest", &[at.level][..], &at.index.to_be_bytes(), children].concat();
        self.checker.check(0, &bytes).0.cast_signed()
    }

    /// Writes a node; one without children goes.
    pub(crate) fn write(&self, at: Place, node: &Node) -> Result<(), Fault> {
        if node.hash().is_none() {
            let sql = "DELETE FROM digest WHERE journal = ? AND last = ? AND level = ?";
            self.conn.prepare_cached(sql)?.execute((self.id, last(at), at.level))?;
            return Ok(());
        }
        let children = node.to_bytes();
        let sql = "INSERT INTO digest (journal, last, level, children, checksum) VALUES (?1, ?2, ?3, ?4, ?5) \
                   ON CONFLICT (journal, last, level) DO UPDATE SET children = ?4, checksum = ?5";
        let checksum = self.checksum(at, &children);
        self.conn.prepare_cached(sql)?.execute((self.id, last(at), at.level, children, checksum))?;
        Ok(())
    }

    /// Forgets the nodes that lie wholly below the segment with this ordinal.
    pub(crate) fn trim(&self, ordinal: u64) -> Result<(), Fault> {
        let sql = "DELETE FROM digest WHERE journal = ? AND last < ?";
        self.conn.prepare_cached(sql)?.execute((self.id, signed(ordinal)))?;
        Ok(())
    }

    /// Forgets all of them.
    pub(crate) fn clear(&self) -> Result<(), Fault> {
        self.conn.prepare_cached("DELETE FROM digest WHERE journal = ?")?.execute([self.id])?;
        Ok(())
    }

    /// Calls `each` with every node, until it says `false`; `None` for a row that is damaged.
    pub(crate) fn each(&self, mut each: impl FnMut(Option<(Place, Node)>) -> bool) -> Result<(), Fault> {
        let sql = "SELECT last, level, children, checksum FROM digest WHERE journal = ?";
        let mut statement = self.conn.prepare_cached(sql)?;
        let mut rows = statement.query([self.id])?;
        while let Some(row) = rows.next()? {
            let (end, level): (i64, i64) = (row.get(0)?, row.get(1)?);
            let bits = u32::try_from(level).unwrap_or(u32::MAX).saturating_mul(LEVEL_BITS);
            let index = u64::try_from(end).ok().map(|end| end.checked_shr(bits).unwrap_or(0));
            let found = match (u8::try_from(level), index) {
                (Ok(level), Some(index)) => {
                    let at = Place { level, index };
                    self.read(at, &row.get::<_, Vec<u8>>(2)?, row.get(3)?).map(|node| (at, node))
                }
                _ => None,
            };
            if !each(found) {
                break;
            }
        }
        Ok(())
    }

    fn read(&self, at: Place, children: &[u8], checksum: i64) -> Option<Node> {
        if self.checksum(at, children) == checksum { Node::from_bytes(children) } else { None }
    }

    /// The damage of a node.
    pub(crate) fn damaged(&self, at: Place) -> Fault {
        let range = SeqRange::new(1, SEQ_MAX).unwrap_or(SeqRange::only(1));
        Fault::Damaged { journal: self.journal, range, what: format!("node {at:?} of the digest") }
    }
}

impl Nodes for Kept<'_> {
    type Error = Fault;

    fn node(&mut self, at: Place) -> Result<Node, Fault> {
        let sql = "SELECT children, checksum FROM digest WHERE journal = ? AND last = ? AND level = ?";
        let found: Result<Option<(Vec<u8>, i64)>, _> = self
            .conn
            .prepare_cached(sql)?
            .query_row((self.id, last(at), at.level), |row| Ok((row.get(0)?, row.get(1)?)))
            .optional();
        match found {
            Ok(None) => Ok(Node::default()),
            Ok(Some((children, checksum))) => {
                self.read(at, &children, checksum).ok_or_else(|| self.damaged(at))
            }
            Err(error) if is_corrupt(&error) => Err(self.damaged(at)),
            Err(error) => Err(error.into()),
        }
    }
}
