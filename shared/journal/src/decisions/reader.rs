//! Reading the log beside its writer.
//!
//! Promise: every entry that is returned continues the chain of the one before it. Absent: waiting; what is not flushed
//! yet is not seen.

use std::path::Path;

use bytes::Bytes;
use rusqlite::{Connection, params};

use super::chain::Chain;
use super::entry::LogEntry;
use super::error::{LogError, LogOpenError};
use super::verify::chain_before;
use crate::options::Options;
use crate::schema::{signed, unsigned};

/// A connection of its own to a log.
#[derive(Debug)]
pub struct LogReader {
    conn: Connection,
}

impl LogReader {
    /// Opens the log at `path`, which a [`super::DecisionLog`] has open.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, LogOpenError> {
        let options = Options { page_cache_bytes: 1 << 20, ..Options::hub() };
        Ok(Self { conn: crate::connection::reader(path, &options)? })
    }

    /// As [`super::DecisionLog::read`].
    ///
    /// # Errors
    /// When an entry is not what was written, or nothing can be read.
    pub fn read(&self, first: u64, last: u64, byte_limit: usize) -> Result<Vec<LogEntry>, LogError> {
        read(&self.conn, first, last, byte_limit)
    }
}

pub(crate) fn read(
    conn: &Connection,
    first: u64,
    last: u64,
    byte_limit: usize,
) -> Result<Vec<LogEntry>, LogError> {
    let damaged = |index: u64, what: &dyn ToString| LogError::Damaged { index, what: what.to_string() };
    let sql = |error: rusqlite::Error| damaged(first, &error);
    // One read transaction, so that a purge in between cannot part the chain from its entry.
    let tx = conn.unchecked_transaction().map_err(sql)?;
    let mut asked = tx
        .prepare_cached(
            "SELECT place, term, chain, payload FROM entry WHERE place BETWEEN ?1 AND ?2 ORDER BY place",
        )
        .map_err(sql)?;
    let mut rows = asked.query(params![signed(first), signed(last)]).map_err(sql)?;
    let mut entries: Vec<LogEntry> = Vec::new();
    let (mut bytes, mut before) = (0, None);
    while let Some(row) = rows.next().map_err(sql)? {
        let index = unsigned(row.get(0).map_err(sql)?);
        let term = unsigned(row.get(1).map_err(sql)?);
        let noted: Vec<u8> = row.get(2).map_err(sql)?;
        let payload: Vec<u8> = row.get(3).map_err(sql)?;
        if let Some(last) = entries.last()
            && last.index + 1 != index
        {
            return Err(damaged(last.index + 1, &"it is missing"));
        }
        let chain = match before {
            Some(chain) => chain,
            None => chain_before(&tx, index)
                .map_err(|what| damaged(index, &what))?
                .ok_or_else(|| damaged(index, &"the one before it is missing"))?,
        };
        let chain = chain.after(index, term, &payload);
        if Some(chain) != Chain::from_slice(&noted) {
            return Err(damaged(index, &"it is not the one that was written"));
        }
        before = Some(chain);
        bytes += payload.len();
        if bytes > byte_limit && !entries.is_empty() {
            break;
        }
        entries.push(LogEntry { index, term, payload: Bytes::from(payload) });
    }
    Ok(entries)
}
