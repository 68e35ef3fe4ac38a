//! What can go wrong in a store, whose fault it is, and what it did to the store's state.
//!
//! Absent: refusals of single runs; those are outcomes, not errors ([`millrace_model::store::Outcome`]).

use std::path::PathBuf;

use millrace_model::store::Refusal;
use millrace_model::{DeviceId, JournalId, SeqRange};

/// Why a store did not open. Nothing was changed, migrations included.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The SQLite library is one whose write-ahead log can corrupt.
    #[error("SQLite {found} can corrupt its write-ahead log: build against 3.51.3 or newer")]
    OldSqlite {
        /// The version of the library that is linked.
        found: String,
    },
    /// Another process writes here.
    #[error("{} is in use by another process: stop that one first, or give this one its own directory", path.display())]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// The file is a database of something else.
    #[error("this is not a Millrace journal (application id {found:#x}): name another file")]
    Foreign {
        /// The application id that stands in it.
        found: u32,
    },
    /// An older program wrote here, and whoever only reads migrates nothing.
    #[error("the journal has schema version {found}: start its daemon once, it migrates")]
    TooOld {
        /// The version that stands in the file.
        found: u32,
    },
    /// A newer program wrote here.
    #[error(
        "the journal has schema version {found}, this program knows up to {known}: install the newer program again"
    )]
    TooNew {
        /// The version that stands in the file.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// The store belongs to another device.
    #[error(
        "the journal belongs to device {found}, not to {asked}: enrol again, or name another data directory"
    )]
    OtherDevice {
        /// Whose it is.
        found: DeviceId,
        /// Who wanted to write.
        asked: DeviceId,
    },
    /// An agent's store was opened as a hub's, or the other way round.
    #[error("the journal was made by {found}, this is {asked}: name another data directory")]
    WrongRole {
        /// Who made it.
        found: &'static str,
        /// Who opens it.
        asked: &'static str,
    },
    /// Something that everything depends on is damaged. Whoever opens it knows what helps.
    #[error("the database is damaged: {what}")]
    Damaged {
        /// What, in words.
        what: String,
    },
    /// The counts do not add up.
    #[error(
        "the ledger of {journal} does not balance: {what}; move the data directory aside and report this as a bug"
    )]
    Ledger {
        /// Whose.
        journal: JournalId,
        /// The figures.
        what: String,
    },
    /// The disk is full.
    #[error("no space left to open the journal: make room on the disk")]
    Full,
    /// Files could not be made, locked or read.
    #[error("cannot use {}: {source}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite failed in some other way.
    #[error("cannot open the journal: {0}")]
    Sqlite(#[from] rusqlite::Error),
}

/// Why a commit was not made. Nothing of it was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CommitError {
    /// It cannot be made now; the store is as it was and goes on.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// Reading or writing failed so that nobody can say what is on disk. Every later call fails too: end the process,
    /// the next start verifies.
    #[error("the store is poisoned: {0}; restart the process, it verifies at its start")]
    Poisoned(String),
    /// It was asked wrongly; the caller has a bug. The store is as it was.
    #[error("the commit makes no sense: {0}")]
    Invalid(String),
}

/// Why nothing was read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// What is stored is not what was stored. [`crate::Store::quarantine`] takes it out of the way.
    #[error("{journal} {range} is damaged: {what}")]
    Damaged {
        /// Which journal.
        journal: JournalId,
        /// Which records.
        range: SeqRange,
        /// What does not fit.
        what: String,
    },
    /// The cursor is not one that a query returned.
    #[error("`{0}` is not a cursor: pass on the one that the page before returned, or none")]
    Cursor(String),
    /// The question is larger than an answer may be, or asks for what there cannot be. Whoever asked has a bug, or is hostile.
    #[error("the question makes no sense: {0}")]
    Question(&'static str),
    /// An in-memory store has no second connection: read through the store itself.
    #[error("an in-memory store has no separate reader: read through the store")]
    InMemory,
    /// The store is poisoned.
    #[error("the store is poisoned: {0}")]
    Poisoned(String),
    /// SQLite failed in some other way.
    #[error("cannot read the journal: {0}")]
    Failed(String),
}

/// What stopped a change, inside the crate.
#[derive(Debug)]
pub(crate) enum Fault {
    Sql(rusqlite::Error),
    Invalid(String),
    Damaged { journal: JournalId, range: SeqRange, what: String },
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Fault> for ReadError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Sql(error) => Self::Failed(error.to_string()),
            Fault::Invalid(what) => Self::Failed(what),
            Fault::Damaged { journal, range, what } => Self::Damaged { journal, range, what },
        }
    }
}

impl Fault {
    /// Gives damage that SQLite itself noticed the place that was being read.
    pub(crate) fn located(self, journal: JournalId, range: SeqRange) -> Self {
        match self {
            Self::Sql(error) if is_corrupt(&error) => {
                Self::Damaged { journal, range, what: format!("a page of the database: {error}") }
            }
            other => other,
        }
    }
}

/// Whether SQLite noticed damage in a page, or a column holds what its type forbids.
pub(crate) fn is_corrupt(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    matches!(error.sqlite_error_code(), Some(DatabaseCorrupt | NotADatabase))
        || matches!(
            error,
            rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
        )
}

/// Whether this says that there is no room: an ordinary event. Growing the shared memory file beside the log fails
/// with a code of its own.
pub(crate) fn is_full(error: &rusqlite::Error) -> bool {
    matches!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::DiskFull))
        || matches!(error.sqlite_error(), Some(e) if e.extended_code == rusqlite::ffi::SQLITE_IOERR_SHMSIZE)
}
