//! How the two files of the decisions are opened: locked, inspected, set up.
//!
//! Promise: one process per file; the log flushes every commit (`synchronous=FULL`), the state leaves that to its
//! checkpoints (`NORMAL`), because the log can replay what a power cut takes from it.
//! Absent: what stands in the tables.

use std::path::Path;

use rusqlite::Connection;

use crate::disk::Files;
use crate::error::OpenError;
use crate::options::Options;

/// How a log is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogOptions {
    /// The write-ahead log is carried over into the database when it grows past this. Until then each flush overwrites
    /// blocks that the file already has, which spares the file system a commit of its own.
    pub wal_limit_bytes: u64,
    /// Memory for SQLite's page cache.
    pub page_cache_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self { wal_limit_bytes: 8 << 20, page_cache_bytes: 4 << 20 }
    }
}

/// How a state is opened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateOptions {
    /// Keys and values together never take more than this: from there on deletes are taken and puts are not.
    pub budget_bytes: u64,
    /// As in [`LogOptions`].
    pub wal_limit_bytes: u64,
    /// Memory for SQLite's page cache.
    pub page_cache_bytes: u64,
}

impl Default for StateOptions {
    /// Room for 512 MiB: more than what `hub/control` lets in, so that the replicas' own limit is met first.
    fn default() -> Self {
        Self { budget_bytes: 512 << 20, wal_limit_bytes: 16 << 20, page_cache_bytes: 16 << 20 }
    }
}

/// A file with its lock, connection, and what its write-ahead log lost.
pub(crate) struct Opened {
    pub(crate) files: Files,
    pub(crate) conn: Connection,
    pub(crate) lost_commits: u64,
    pub(crate) created: bool,
}

/// Which of the two files.
pub(crate) struct Kind {
    pub(crate) application_id: u32,
    pub(crate) schema: &'static str,
}

/// The only version there is.
const VERSION: u32 = 1;

pub(crate) fn open(path: &Path, kind: &Kind, wal_limit: u64, page_cache: u64) -> Result<Opened, OpenError> {
    let options = Options { wal_limit_bytes: wal_limit, page_cache_bytes: page_cache, ..Options::hub() };
    let files = Files::lock(path, 0)?;
    let (lost_commits, mut conn) = crate::opening::connect(path, &options)?;
    let id: u32 =
        conn.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))?.cast_unsigned();
    let version: u32 =
        conn.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0))?.cast_unsigned();
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let created = version == 0 && tables == 0;
    if !created && id != kind.application_id {
        return Err(OpenError::Foreign { found: id });
    }
    if version > VERSION {
        return Err(OpenError::TooNew { found: version, known: VERSION });
    }
    if created {
        let tx = conn.transaction()?;
        tx.execute_batch(kind.schema)?;
        tx.pragma_update(None, "application_id", kind.application_id)?;
        tx.pragma_update(None, "user_version", VERSION)?;
        tx.commit()?;
        files.flush_directory()?;
    }
    Ok(Opened { files, conn, lost_commits, created })
}

/// Carries the write-ahead log over when it has grown past `limit`.
pub(crate) fn carry_over(files: &Files, conn: &Connection, limit: u64) -> Result<(), rusqlite::Error> {
    if files.log_bytes() > limit { checkpoint(conn).map(|_whole| ()) } else { Ok(()) }
}

/// Carries over as much as readers allow, and flushes the database; whether that was everything.
pub(crate) fn checkpoint(conn: &Connection) -> Result<bool, rusqlite::Error> {
    let sql = "PRAGMA wal_checkpoint(PASSIVE)";
    let (busy, frames, carried): (i64, i64, i64) =
        conn.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
    Ok(busy == 0 && frames == carried)
}
