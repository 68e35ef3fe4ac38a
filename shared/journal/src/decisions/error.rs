//! What can go wrong with decisions, and what to do then.
//!
//! Promise: damage of a log is an error of its own: who meets it must not vote with that log again.

use crate::error::OpenError;

/// Why a log did not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum LogOpenError {
    /// The log is not the one that was flushed. A node that votes with it can undo what the cluster decided.
    #[error("the decision log is damaged: {what}; this node must not vote with it")]
    Damaged {
        /// What does not fit, in words.
        what: String,
    },
    /// The file could not be opened at all.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Why a log did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogError {
    /// The disk is full. Nothing of the group was written; the log goes on.
    #[error("no space left for the decision log: make room on the disk")]
    Full,
    /// It was asked wrongly; the caller has a bug. The log is as it was.
    #[error("the decision log cannot do this: {0}")]
    Invalid(String),
    /// Nobody can say what is on disk. Every later call fails too: end the process, the next start verifies.
    #[error("the decision log is poisoned: {0}; restart the process, it verifies at its start")]
    Poisoned(String),
    /// What was read is not what was written.
    #[error("the decision log is damaged at {index}: {what}")]
    Damaged {
        /// Which entry.
        index: u64,
        /// What does not fit.
        what: String,
    },
    /// The writer's queue is full, or its thread has ended.
    #[error("the decision log takes nothing more: {0}")]
    Busy(&'static str),
}

/// Why a state did not open. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StateOpenError {
    /// A row is not what was written.
    #[error("the decision state is damaged: {what}; move its file aside: it is filled again from the others")]
    Damaged {
        /// What does not fit.
        what: String,
    },
    /// The file could not be opened at all.
    #[error(transparent)]
    Open(#[from] OpenError),
}

/// Why a state did not do what was asked. Nothing of it was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StateError {
    /// Larger than the budget: deletes are taken, puts are not.
    #[error("the decision state would hold {would_bytes} bytes of {budget_bytes}: delete something first")]
    Budget {
        /// What it would hold.
        would_bytes: u64,
        /// What it may hold.
        budget_bytes: u64,
    },
    /// The disk is full.
    #[error("no space left for the decision state: make room on the disk")]
    Full,
    /// A row is larger than a row may be; the caller has a bug.
    #[error("a row of {bytes} bytes is larger than {ROW_BYTES_MAX}", ROW_BYTES_MAX = super::ROW_BYTES_MAX)]
    TooLarge {
        /// Bytes of key and value.
        bytes: usize,
    },
    /// What was read is not what was written.
    #[error("the decision state is damaged: {0}; move its file aside: it is filled again from the others")]
    Damaged(String),
    /// Nobody can say what is on disk: end the process.
    #[error("the decision state is poisoned: {0}; restart the process, it replays the log")]
    Poisoned(String),
}

/// Why a snapshot was not written or read.
#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    /// It is not what was exported.
    #[error("the snapshot is damaged: {0}; fetch it again")]
    Damaged(String),
    /// A newer program wrote it.
    #[error(
        "the snapshot has version {found}, this program knows {known}: install the newer program here too"
    )]
    TooNew {
        /// The version that stands in it.
        found: u8,
        /// The newest that this program knows.
        known: u8,
    },
    /// The file could not be read or written.
    #[error("cannot use the snapshot: {0}")]
    File(#[from] std::io::Error),
    /// The state refused.
    #[error(transparent)]
    State(#[from] StateError),
}
