//! The decision state: ordered rows, and the position in the log that they stand at.
//!
//! Promise: rows and position change together. A power cut may take back the newest changes ([`DecisionState::apply`] does
//! not flush), never some of them: the log replays what came after [`DecisionState::applied`]. Therefore a log may be purged
//! only up to a position that a [`DecisionState::checkpoint`] has flushed.
//! Absent: what rows mean; who decides what is too much (the replicas do, before they ask).

use std::fs::File;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rusqlite::{Connection, Transaction, TransactionBehavior, params};

use super::chain::{Chain, check};
use super::database::{self, Kind, StateOptions};
use super::error::{SnapshotError, StateError, StateOpenError};
use super::log::{note, save_note};
use super::snapshot::{ROW_BYTES_MAX, SnapshotSummary, read_snapshot};
use super::{StateReader, content};
use crate::disk::Files;
use crate::error::is_full;

const KIND: Kind = Kind {
    // "MRds"
    application_id: 0x4d52_6473,
    schema: "
        CREATE TABLE content (
            key   BLOB    PRIMARY KEY,
            value BLOB    NOT NULL,
            seal  INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
        CREATE TABLE note (
            name TEXT    PRIMARY KEY,
            body BLOB    NOT NULL,
            seal INTEGER NOT NULL
        ) STRICT, WITHOUT ROWID;
    ",
};

/// The note that holds the position.
pub(crate) const APPLIED: &str = "applied";

/// One row set or removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct StateWrite {
    /// Which row.
    pub key: Bytes,
    /// What it holds from now on; `None` removes it.
    pub value: Option<Bytes>,
}

/// The state. One process has it open.
#[derive(Debug)]
pub struct DecisionState {
    conn: Connection,
    files: Files,
    options: StateOptions,
    path: PathBuf,
    applied: Option<Bytes>,
    bytes: u64,
    poisoned: Option<String>,
}

impl DecisionState {
    /// Opens the state at `path`, making an empty one when there is none.
    ///
    /// # Errors
    /// When it is damaged (only what is read now is checked: the position; rows are, when they are read), in use, foreign,
    /// or unreadable.
    pub fn open(path: &Path, options: &StateOptions) -> Result<Self, StateOpenError> {
        let opened = database::open(path, &KIND, options.wal_limit_bytes, options.page_cache_bytes)?;
        let conn = opened.conn;
        conn.pragma_update(None, "synchronous", "NORMAL").map_err(crate::error::OpenError::from)?;
        let applied = note(&conn, APPLIED).map_err(|what| StateOpenError::Damaged { what })?.map(Bytes::from);
        let bytes = content::bytes(&conn).map_err(crate::error::OpenError::from)?;
        Ok(Self {
            conn,
            files: opened.files,
            options: options.clone(),
            path: path.to_owned(),
            applied,
            bytes,
            poisoned: None,
        })
    }

    /// The position that the rows stand at; `None` while nothing was applied.
    #[must_use]
    pub fn applied(&self) -> Option<Bytes> {
        self.applied.clone()
    }

    /// Bytes of all keys and values.
    #[must_use]
    pub const fn stored_bytes(&self) -> u64 {
        self.bytes
    }

    /// A connection of its own, for reading on another thread.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn reader(&self) -> Result<StateReader, StateOpenError> {
        StateReader::open(&self.path)
    }

    /// Sets and removes rows, in order, and the position with them. Not flushed: see the head of this file.
    ///
    /// # Errors
    /// [`StateError::Budget`] and [`StateError::TooLarge`]: nothing was applied; deletes alone are always taken.
    /// [`StateError::Full`]: nothing was applied. [`StateError::Poisoned`]: end the process.
    pub fn apply(&mut self, writes: &[StateWrite], applied: &[u8]) -> Result<(), StateError> {
        self.is_sound()?;
        let budget = self.options.budget_bytes;
        let before = self.bytes;
        let changed = (|| {
            let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let bytes = write(&tx, before, writes)?;
            if bytes > budget && bytes > before {
                return Err(Fault::State(StateError::Budget { would_bytes: bytes, budget_bytes: budget }));
            }
            save_note(&tx, APPLIED, applied)?;
            tx.commit()?;
            database::carry_over(&self.files, &self.conn, self.options.wal_limit_bytes)?;
            Ok(bytes)
        })();
        self.bytes = changed.map_err(|fault| self.explain(fault))?;
        self.applied = Some(Bytes::copy_from_slice(applied));
        Ok(())
    }

    /// Flushes everything that was applied. Only then may the log be purged up to there.
    ///
    /// # Errors
    /// [`StateError::Full`], [`StateError::Poisoned`].
    pub fn checkpoint(&mut self) -> Result<(), StateError> {
        self.is_sound()?;
        let whole = database::checkpoint(&self.conn).map_err(|error| self.explain(Fault::Sql(error)))?;
        if whole {
            return Ok(());
        }
        // Somebody reads, so a part stays in the log beside the database: that is flushed too.
        crate::wal::flush(&crate::disk::beside(&self.path, "-wal"))
            .map_err(|error| self.poison(error.to_string()))
    }

    /// Rows in the order of their keys: those behind `after` (from the start when `None`), at most `limit_rows`, until
    /// `limit_bytes` is passed; at least one, when there is one.
    ///
    /// # Errors
    /// [`StateError::Damaged`] when a row is not what was written.
    pub fn range(
        &self,
        after: Option<&[u8]>,
        limit_rows: usize,
        limit_bytes: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StateError> {
        self.is_sound()?;
        content::range(&self.conn, after, limit_rows, limit_bytes)
    }

    /// Hash over all rows: equal at two replicas that stand at the same position.
    ///
    /// # Errors
    /// As [`DecisionState::range`].
    pub fn checksum(&self) -> Result<Chain, StateError> {
        self.is_sound()?;
        content::checksum(&self.conn)
    }

    /// Replaces everything by the snapshot at `path`, or changes nothing. It must be the one that `expected` tells of
    /// ([`super::inspect_snapshot`]), its position included: another one is refused, however whole it is. The state stands at
    /// `position` afterwards, which may say more than the snapshot's own.
    ///
    /// # Errors
    /// [`SnapshotError::Damaged`] when it is not what was expected; the others as their names say.
    pub fn replace_all(
        &mut self,
        path: &Path,
        expected: &SnapshotSummary,
        position: &[u8],
    ) -> Result<(), SnapshotError> {
        self.is_sound()?;
        if expected.bytes > self.options.budget_bytes {
            return Err(StateError::Budget {
                would_bytes: expected.bytes,
                budget_bytes: self.options.budget_bytes,
            }
            .into());
        }
        let file = File::open(path)?;
        match self.take_over(file, expected, position) {
            Ok(()) => {
                self.bytes = expected.bytes;
                self.applied = Some(Bytes::copy_from_slice(position));
                self.checkpoint()?;
                Ok(())
            }
            Err(Fault::State(StateError::Damaged(what))) => Err(SnapshotError::Damaged(what)),
            Err(fault) => Err(self.explain(fault).into()),
        }
    }

    fn take_over(&mut self, file: File, expected: &SnapshotSummary, position: &[u8]) -> Result<(), Fault> {
        let tx = self.conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute("DELETE FROM content", [])?;
        let mut failed = None;
        {
            let mut insert = tx.prepare_cached(INSERT)?;
            let found = read_snapshot(file, |key, value| {
                insert.execute(params![key, value, check(&[key, value])]).map(|_| ()).map_err(|error| {
                    let what = error.to_string();
                    failed = Some(error);
                    SnapshotError::Damaged(what)
                })
            });
            match (failed, found) {
                (Some(error), _) => return Err(Fault::Sql(error)),
                (None, Ok(found)) if found == *expected => {}
                (None, Ok(_)) => return Err(changed("it is another one than was looked at before")),
                (None, Err(error)) => return Err(changed(&error.to_string())),
            }
        }
        save_note(&tx, APPLIED, position)?;
        tx.commit()?;
        Ok(())
    }

    fn is_sound(&self) -> Result<(), StateError> {
        self.poisoned.as_ref().map_or(Ok(()), |why| Err(StateError::Poisoned(why.clone())))
    }

    fn explain(&mut self, fault: Fault) -> StateError {
        match fault {
            Fault::State(error) => error,
            Fault::Sql(error) if is_full(&error) => StateError::Full,
            Fault::Sql(error) => self.poison(error.to_string()),
        }
    }

    fn poison(&mut self, why: String) -> StateError {
        tracing::error!(why, "the decision state is poisoned: this process must end");
        StateError::Poisoned(self.poisoned.get_or_insert(why).clone())
    }
}

const INSERT: &str = "INSERT OR REPLACE INTO content (key, value, seal) VALUES (?1, ?2, ?3)";

enum Fault {
    Sql(rusqlite::Error),
    State(StateError),
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

fn changed(what: &str) -> Fault {
    Fault::State(StateError::Damaged(what.to_owned()))
}

/// Makes the writes; returns what is stored afterwards.
fn write(tx: &Transaction<'_>, mut bytes: u64, writes: &[StateWrite]) -> Result<u64, Fault> {
    let mut size = tx.prepare_cached("SELECT length(value) FROM content WHERE key = ?1")?;
    let mut insert = tx.prepare_cached(INSERT)?;
    let mut delete = tx.prepare_cached("DELETE FROM content WHERE key = ?1")?;
    for StateWrite { key, value } in writes {
        let mut found = size.query([key.as_ref()])?;
        if let Some(row) = found.next()? {
            let value: i64 = row.get(0)?;
            bytes = bytes.saturating_sub(key.len() as u64 + crate::schema::unsigned(value));
        }
        drop(found);
        let Some(value) = value else {
            delete.execute([key.as_ref()])?;
            continue;
        };
        let row = key.len() + value.len();
        if row > ROW_BYTES_MAX {
            return Err(Fault::State(StateError::TooLarge { bytes: row }));
        }
        insert.execute(params![key.as_ref(), value.as_ref(), check(&[key, value])])?;
        bytes += row as u64;
    }
    Ok(bytes)
}
