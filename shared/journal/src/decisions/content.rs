//! Reading the rows of a state, each against its seal.
//!
//! Promise: a [`StateReader`] sees one moment of the state per call, however long the call takes, and does not stop the
//! writer. Absent: writing.

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension, params};

use super::chain::{Chain, check};
use super::error::{SnapshotError, StateError, StateOpenError};
use super::log::note;
use super::snapshot::{SnapshotSummary, SnapshotWriter};
use super::state::APPLIED;
use crate::options::Options;

/// A connection of its own to a state.
#[derive(Debug)]
pub struct StateReader {
    conn: Connection,
    path: PathBuf,
}

impl StateReader {
    pub(crate) fn open(path: &Path) -> Result<Self, StateOpenError> {
        let options = Options { page_cache_bytes: 1 << 20, ..Options::hub() };
        let conn = crate::connection::reader(path, &options)?;
        Ok(Self { conn, path: path.to_owned() })
    }

    /// The state that it reads.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes everything, as it stands now, as a snapshot into `file`, which is flushed. `None` while nothing was applied.
    ///
    /// # Errors
    /// [`SnapshotError::File`] when it cannot be written, [`SnapshotError::State`] when a row is damaged.
    pub fn export(&self, file: File) -> Result<Option<SnapshotSummary>, SnapshotError> {
        let sql = |error: rusqlite::Error| SnapshotError::from(damaged(&error));
        let tx = self.conn.unchecked_transaction().map_err(sql)?;
        let Some(position) = note(&tx, APPLIED).map_err(StateError::Damaged)? else { return Ok(None) };
        let mut writer = SnapshotWriter::begin(file, &position)?;
        let mut failed = Ok(());
        each(&tx, |key, value| {
            failed = writer.row(key, value);
            failed.is_ok()
        })?;
        failed?;
        Ok(Some(writer.finish()?))
    }
}

fn damaged(error: &rusqlite::Error) -> StateError {
    StateError::Damaged(error.to_string())
}

/// Calls `visit` with every row, in order, until it returns `false`.
fn each(conn: &Connection, mut visit: impl FnMut(&[u8], &[u8]) -> bool) -> Result<(), StateError> {
    let sql = |error: rusqlite::Error| damaged(&error);
    let mut asked = conn.prepare_cached("SELECT key, value, seal FROM content ORDER BY key").map_err(sql)?;
    let mut rows = asked.query([]).map_err(sql)?;
    while let Some(row) = rows.next().map_err(sql)? {
        let (key, value) = row_of(row)?;
        if !visit(key, value) {
            break;
        }
    }
    Ok(())
}

fn row_of<'row>(row: &'row rusqlite::Row<'_>) -> Result<(&'row [u8], &'row [u8]), StateError> {
    let sql = |error: rusqlite::Error| damaged(&error);
    let blob = |at: usize| row.get_ref(at).and_then(|value| Ok(value.as_blob()?)).map_err(sql);
    let (key, value) = (blob(0)?, blob(1)?);
    let seal: i64 = row.get(2).map_err(sql)?;
    if seal != check(&[key, value]) {
        return Err(StateError::Damaged(format!("the row {} is not what was written", key.escape_ascii())));
    }
    Ok((key, value))
}

/// See [`super::DecisionState::range`].
pub(crate) fn range(
    conn: &Connection,
    after: Option<&[u8]>,
    limit_rows: usize,
    limit_bytes: usize,
) -> Result<Vec<(Bytes, Bytes)>, StateError> {
    let sql = |error: rusqlite::Error| damaged(&error);
    let mut asked = conn
        .prepare_cached(
            "SELECT key, value, seal FROM content WHERE ?1 IS NULL OR key > ?1 ORDER BY key LIMIT ?2",
        )
        .map_err(sql)?;
    let limit = i64::try_from(limit_rows).unwrap_or(i64::MAX);
    let mut rows = asked.query(params![after, limit]).map_err(sql)?;
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(row) = rows.next().map_err(sql)? {
        let (key, value) = row_of(row)?;
        bytes += key.len() + value.len();
        if bytes > limit_bytes && !found.is_empty() {
            break;
        }
        found.push((Bytes::copy_from_slice(key), Bytes::copy_from_slice(value)));
    }
    Ok(found)
}

/// See [`super::DecisionState::checksum`].
pub(crate) fn checksum(conn: &Connection) -> Result<Chain, StateError> {
    let mut chain = Chain::GENESIS;
    each(conn, |key, value| {
        chain = chain.and(key).and(value);
        true
    })?;
    Ok(chain)
}

/// Bytes of all keys and values.
pub(crate) fn bytes(conn: &Connection) -> Result<u64, rusqlite::Error> {
    let sum: Option<Option<i64>> = conn
        .query_row("SELECT sum(length(key) + length(value)) FROM content", [], |row| row.get(0))
        .optional()?;
    Ok(crate::schema::unsigned(sum.flatten().unwrap_or(0)))
}
