//! One commit in the making: an open transaction, and the journals that it has changed so far.
//!
//! Promise: nothing outside is changed before the transaction is flushed. A commit that fails is dropped with its
//! changed journals, and the store is as it was. Absent: what each change does; one room each.

use std::collections::BTreeMap;

use millrace_model::store::{Change, Outcome};
use millrace_model::{DeviceId, Incarnation, JournalId, Lane, NodeHash};
use rusqlite::Connection;

use crate::codec::Encoder;
use crate::error::Fault;
use crate::row::JournalRow;
use crate::{append, declared, digest, gaps, memory, reauthor, receive, seal, trim};

/// All journals of a store.
pub(crate) type Journals = BTreeMap<JournalId, JournalRow>;

/// Journals that one device may have at a replica: three lanes of some 340 incarnations. A device that wants more is
/// broken or hostile; its runs are refused.
pub const DEVICE_JOURNALS_MAX: usize = 1_024;

/// Who appends here, now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Writing {
    pub(crate) device: DeviceId,
    pub(crate) incarnation: Incarnation,
}

pub(crate) struct Work<'a> {
    pub(crate) conn: &'a Connection,
    pub(crate) journals: &'a Journals,
    pub(crate) touched: Journals,
    pub(crate) writing: Option<Writing>,
    pub(crate) encoder: &'a mut Encoder,
    pub(crate) burst_records: usize,
}

impl Work<'_> {
    /// Carries out one change.
    pub(crate) fn apply(&mut self, change: &Change) -> Result<Outcome, Fault> {
        match change {
            Change::Append { lane, records } => append::append(self, *lane, records),
            Change::Reject { lane, count, reason, from, to } => {
                gaps::reject(self, *lane, *count, *reason, (*from, *to))
            }
            Change::Receive(run) => receive::receive(self, run),
            Change::Restore(run) => receive::restore(self, run),
            Change::Seal { journal, segment } => seal::seal(self, journal, segment),
            Change::Acknowledge { journal, ranges } => self.acknowledge(journal, ranges),
            Change::Reclaim { journal, ranges } => self.reclaim(journal, ranges),
            Change::Drop { journal, through, evict } => trim::drop_through(self, journal, *through, *evict),
            Change::DeclareGaps { wall, mono } => gaps::declare(self, *wall, *mono),
            Change::Reincarnate { incarnation, open } => reauthor::reincarnate(self, *incarnation, open),
            Change::Reauthor { journal, range, equal } => reauthor::reauthor(self, journal, *range, equal),
            Change::Adopt { journal, nodes, replaces } => self.adopt(journal, nodes, *replaces),
            Change::DeclareLost { journal, ranges } => declared::lose(self, journal, ranges),
            Change::Remember { name, value } => memory::remember(self.conn, name, value),
        }
    }

    fn adopt(
        &mut self,
        journal: &JournalId,
        nodes: &[(u8, u64, NodeHash)],
        replaces: bool,
    ) -> Result<Outcome, Fault> {
        self.change(journal, |_, row| {
            digest::adopt(row, nodes, replaces);
            Ok(())
        })?;
        Ok(Outcome::Done)
    }

    fn reclaim(&mut self, journal: &JournalId, ranges: &millrace_model::RangeSet) -> Result<Outcome, Fault> {
        self.change(journal, |_, row| {
            if row.own {
                row.reclaim(ranges);
            }
            Ok(())
        })?;
        Ok(Outcome::Done)
    }

    pub(crate) fn acknowledge(
        &mut self,
        journal: &JournalId,
        ranges: &millrace_model::RangeSet,
    ) -> Result<Outcome, Fault> {
        self.change(journal, |_, row| {
            // At a replica everything that is stored counts as acked already.
            if row.own {
                let here = row.present.intersection(ranges);
                row.acknowledge(&here);
            }
            Ok(())
        })?;
        Ok(Outcome::Done)
    }

    /// What is known about a journal at this point of the commit.
    pub(crate) fn row(&self, journal: &JournalId) -> Option<&JournalRow> {
        self.touched.get(journal).or_else(|| self.journals.get(journal))
    }

    /// Changes a journal, if there is such a one; `change` works on a copy that counts when it succeeds.
    pub(crate) fn change<T>(
        &mut self,
        journal: &JournalId,
        change: impl FnOnce(&mut Self, &mut JournalRow) -> Result<T, Fault>,
    ) -> Result<Option<T>, Fault> {
        let taken = match self.touched.remove(journal) {
            Some(row) => Some(row),
            None => self.journals.get(journal).cloned(),
        };
        let Some(mut row) = taken else { return Ok(None) };
        let result = change(self, &mut row);
        self.touched.insert(*journal, row);
        result.map(Some)
    }

    /// The current journal of a lane, where this store appends.
    pub(crate) fn current(&self, lane: Lane) -> Result<JournalId, Fault> {
        let writing =
            self.writing.ok_or_else(|| Fault::Invalid("a store without an author appends nothing".into()))?;
        Ok(JournalId { device: writing.device, incarnation: writing.incarnation, lane })
    }

    /// Makes a journal that is not there yet. `false` when its device has too many.
    pub(crate) fn create(&mut self, journal: JournalId, own: bool) -> Result<bool, Fault> {
        if self.row(&journal).is_some() {
            return Ok(true);
        }
        let of_device = |id: &&JournalId| id.device == journal.device;
        let known = self.journals.keys().filter(of_device).count();
        let added =
            self.touched.keys().filter(of_device).filter(|id| !self.journals.contains_key(id)).count();
        if !own && known + added >= DEVICE_JOURNALS_MAX {
            return Ok(false);
        }
        let id: i64 = self
            .conn
            .prepare_cached("SELECT coalesce(max(id), 0) + 1 FROM journal")?
            .query_row([], |row| row.get(0))?;
        let row = JournalRow::new(id, journal, own);
        row.save(self.conn)?;
        self.touched.insert(journal, row);
        Ok(true)
    }

    /// Writes the journals that were changed, and their digests.
    pub(crate) fn save(&mut self) -> Result<(), Fault> {
        for row in self.touched.values_mut() {
            digest::write(self.conn, row)?;
            row.save(self.conn)?;
        }
        Ok(())
    }
}
