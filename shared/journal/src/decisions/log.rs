//! The decision log: dense entries, each chained to its predecessor, a vote, and how far it is purged and committed.
//!
//! Promise: [`DecisionLog::open`] gives only a log that is whole ([`super::verify`]). What [`DecisionLog::commit`] attests
//! was flushed. After a failure nobody can explain it does nothing more.
//! Absent: threads ([`super::writer`]), meaning.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension};

use super::chain::check;
use super::database::{self, Kind, LogOptions};
use super::entry::{LogEntry, LogHead};
use super::error::{LogError, LogOpenError};
use super::{reader, verify};
use crate::disk::Files;

const KIND: Kind = Kind {
    // "MRdl"
    application_id: 0x4d52_646c,
    schema: "
        CREATE TABLE entry (
            place   INTEGER PRIMARY KEY,
            term    INTEGER NOT NULL,
            chain   BLOB    NOT NULL,
            payload BLOB    NOT NULL
        ) STRICT;
        CREATE TABLE note (
            name TEXT    PRIMARY KEY,
            body BLOB    NOT NULL,
            seal INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
    ",
};

/// What a log knows of itself; taken over only when it is flushed.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct Position {
    pub(crate) head: Option<LogHead>,
    pub(crate) purged: Option<LogHead>,
    pub(crate) vote: Option<Bytes>,
    pub(crate) committed: Option<Bytes>,
    /// Bytes of all payloads.
    pub(crate) bytes: u64,
}

/// The log. One process has it open.
#[derive(Debug)]
pub struct DecisionLog {
    pub(crate) conn: Connection,
    pub(crate) files: Files,
    pub(crate) options: LogOptions,
    pub(crate) position: Position,
    pub(crate) groups: u64,
    pub(crate) poisoned: Option<String>,
    path: PathBuf,
    created: bool,
}

impl DecisionLog {
    /// Opens the log at `path`, making an empty one when there is none, and reads all of it.
    ///
    /// # Errors
    /// [`LogOpenError::Damaged`]: never vote with it. [`LogOpenError::Open`]: it is in use, foreign, or unreadable.
    pub fn open(path: &Path, options: &LogOptions) -> Result<Self, LogOpenError> {
        let opened = database::open(path, &KIND, options.wal_limit_bytes, options.page_cache_bytes)?;
        if opened.lost_commits > 0 {
            let what =
                format!("{} flushed commits in its write-ahead log cannot be read", opened.lost_commits);
            return Err(LogOpenError::Damaged { what });
        }
        let position = verify::position(&opened.conn)?;
        Ok(Self {
            conn: opened.conn,
            files: opened.files,
            options: options.clone(),
            position,
            groups: 0,
            poisoned: None,
            path: path.to_owned(),
            created: opened.created,
        })
    }

    /// Whether this opening made it.
    #[must_use]
    pub const fn is_new(&self) -> bool {
        self.created
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The last entry: its own head, or what it was purged up to when nothing is left.
    #[must_use]
    pub fn head(&self) -> Option<LogHead> {
        self.position.head
    }

    /// Up to where it was purged.
    #[must_use]
    pub fn purged(&self) -> Option<LogHead> {
        self.position.purged
    }

    /// The vote that was remembered last.
    #[must_use]
    pub fn vote(&self) -> Option<Bytes> {
        self.position.vote.clone()
    }

    /// How far it was known to be committed. Not flushed on its own, so it may be older than what was asked last.
    #[must_use]
    pub fn committed(&self) -> Option<Bytes> {
        self.position.committed.clone()
    }

    /// Bytes of all payloads that are stored.
    #[must_use]
    pub fn stored_bytes(&self) -> u64 {
        self.position.bytes
    }

    /// Why it does nothing more.
    #[must_use]
    pub fn poisoned(&self) -> Option<&str> {
        self.poisoned.as_deref()
    }

    /// Reads entries from `first` on, up to and including `last`, until `byte_limit` is passed; at least one, when there is
    /// one.
    ///
    /// # Errors
    /// When the log is poisoned, or an entry is not what was written.
    pub fn read(&self, first: u64, last: u64, byte_limit: usize) -> Result<Vec<LogEntry>, LogError> {
        if let Some(why) = &self.poisoned {
            return Err(LogError::Poisoned(why.clone()));
        }
        reader::read(&self.conn, first, last, byte_limit)
    }
}

pub(crate) fn note(conn: &Connection, name: &str) -> Result<Option<Vec<u8>>, String> {
    let mut asked = conn
        .prepare_cached("SELECT body, seal FROM note WHERE name = ?1")
        .map_err(|error| error.to_string())?;
    let found: Option<(Vec<u8>, i64)> = asked
        .query_row([name], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()
        .map_err(|error| error.to_string())?;
    let Some((body, seal)) = found else { return Ok(None) };
    if seal != check(&[name.as_bytes(), &body]) {
        return Err(format!("what is noted as its {name} does not verify"));
    }
    Ok(Some(body))
}

pub(crate) fn save_note(conn: &Connection, name: &str, body: &[u8]) -> Result<(), rusqlite::Error> {
    let seal = check(&[name.as_bytes(), body]);
    conn.prepare_cached("INSERT OR REPLACE INTO note (name, body, seal) VALUES (?1, ?2, ?3)")?
        .execute(rusqlite::params![name, body, seal])?;
    Ok(())
}
