//! Reading beside the writer, over a connection of its own.
//!
//! Promise: never writes, never waits for the writer, and sees only what was committed: each call sees one moment.
//! Absent: what to do about damage; the writer puts it into quarantine.

use std::path::Path;

use millrace_merkle::{About, Told};
use millrace_model::{JournalId, Record, RecordCheck, Run, Seq, SeqRange};
use rusqlite::Connection;

use crate::error::{Fault, OpenError, ReadError};
use crate::options::Options;
use crate::query::{Page, Query};
use crate::row::JournalRow;
use crate::store::CHECKS_MAX;
use crate::verify::{Progress, Report};
use crate::{connection, load, memory, migrations, opening, query, told, verify};

/// A read-only connection to a store. May move to another thread.
pub struct Reader {
    conn: Connection,
    pub(crate) level: i32,
}

impl Reader {
    /// Opens the store at `path` for reading, while a daemon writes to it or not.
    ///
    /// # Errors
    /// When there is none, or its schema is not the one that this program knows.
    pub fn open(path: &Path, options: &Options) -> Result<Self, OpenError> {
        let conn = connection::reader(path, options).map_err(opening::explain_open)?;
        let version = migrations::version(&conn).map_err(opening::explain_open)?;
        if version < migrations::SCHEMA_VERSION {
            return Err(OpenError::TooOld { found: version });
        }
        Ok(Self { conn, level: options.compression_level })
    }

    pub(crate) const fn connection(&self) -> &Connection {
        &self.conn
    }

    /// Runs `body` at one moment of the store.
    pub(crate) fn at_one_moment<T>(
        &self,
        body: impl FnOnce(&Connection) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let moment = self.conn.unchecked_transaction().map_err(Fault::from)?;
        let found = body(&moment)?;
        moment.finish().map_err(Fault::from)?;
        Ok(found)
    }

    /// As [`crate::Store::load`].
    ///
    /// # Errors
    /// [`ReadError::Damaged`] when something does not verify; the writer's `quarantine` takes it out of the way.
    pub fn load(
        &self,
        journal: &JournalId,
        range: SeqRange,
        bytes_max: usize,
    ) -> Result<Vec<Run>, ReadError> {
        self.at_one_moment(|conn| {
            let Some(row) = JournalRow::load(conn, journal)? else { return Ok(Vec::new()) };
            Ok(load::load(conn, &row, range, bytes_max, self.level)?)
        })
    }

    /// Shows `visit` the records that are here in `range`, oldest first, until it says that it has enough (`false`).
    ///
    /// # Errors
    /// As [`Reader::load`]. What was shown before was right.
    pub fn each(
        &self,
        journal: &JournalId,
        range: SeqRange,
        mut visit: impl FnMut(Seq, &Record) -> bool,
    ) -> Result<(), ReadError> {
        self.at_one_moment(|conn| {
            let Some(row) = JournalRow::load(conn, journal)? else { return Ok(()) };
            Ok(load::each(conn, &row, range, |seq, record| Ok(visit(seq, &record)))?)
        })
    }

    /// As [`crate::Store::checks`].
    ///
    /// # Errors
    /// As [`Reader::load`].
    pub fn checks(&self, journal: &JournalId, range: SeqRange) -> Result<Vec<(Seq, RecordCheck)>, ReadError> {
        self.at_one_moment(|conn| {
            let Some(row) = JournalRow::load(conn, journal)? else { return Ok(Vec::new()) };
            Ok(load::checks(conn, &row, range, CHECKS_MAX)?)
        })
    }

    /// As [`crate::Store::tell`].
    ///
    /// # Errors
    /// As [`Reader::load`], and [`ReadError::Question`].
    pub fn tell(&self, journal: &JournalId, about: &About) -> Result<Told, ReadError> {
        told::check(about)?;
        self.at_one_moment(|conn| {
            let Some(row) = JournalRow::load(conn, journal)? else { return Ok(Told::Unknown) };
            Ok(told::tell(conn, &row, about)?)
        })
    }

    /// What is known of every journal, in the order of their ids.
    ///
    /// # Errors
    /// When SQLite fails, or a journal's row is damaged.
    pub fn journals(&self) -> Result<Vec<millrace_model::store::JournalState>, ReadError> {
        self.at_one_moment(|conn| {
            let mut rows = JournalRow::load_all(conn, None)?;
            rows.sort_by_key(|row| row.journal);
            Ok(rows.iter().map(JournalRow::state).collect())
        })
    }

    /// What was remembered under `name`.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn recall(&self, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
        memory::recall(&self.conn, name)
    }

    /// One page of records by device, lane, topic and time. Damaged records are left out and named in it.
    ///
    /// # Errors
    /// When SQLite fails in a way that is not damage of records, or a journal's row is damaged.
    pub fn query(&self, query: &Query) -> Result<Page, ReadError> {
        self.at_one_moment(|conn| {
            let mut rows = Vec::new();
            match &query.devices {
                None => rows = JournalRow::load_all(conn, None)?,
                Some(devices) => {
                    for device in devices {
                        rows.extend(JournalRow::load_all(conn, Some(device))?);
                    }
                }
            }
            query::run(conn, query, rows)
        })
    }

    /// Reads everything against its checks and hashes, step by step. Never writes.
    ///
    /// # Errors
    /// When SQLite fails in a way that is not damage.
    pub fn verify(&self, progress: impl FnMut(Progress)) -> Result<Report, ReadError> {
        verify::run(&self.conn, progress)
    }
}
