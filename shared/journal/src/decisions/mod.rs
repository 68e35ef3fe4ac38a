//! Decisions: the log that a consensus is made of, and the state that it leads to. Bytes in, bytes out.
//!
//! Promise: what [`log::DecisionLog`] attests was flushed and is chained to its predecessor; a log in which something is
//! missing, exchanged or damaged does not open. [`state::DecisionState`] names the position that it stands at.
//! Absent: Raft, keys and values, time. `hub/control` knows what the bytes mean.
//!
//! | room | what stands there |
//! |---|---|
//! | `chain`, `entry` | the hash that binds an entry to all before it; entries, heads and what is asked of the log |
//! | `database` | how the two files are opened |
//! | `log`, `commit`, `verify` | the log, one flush of it, and what is checked when it opens |
//! | `writer`, `reader` | the thread that groups flushes; reading beside it |
//! | `state`, `content` | the rows that the decisions lead to; reading them |
//! | `snapshot` | all rows of a state as a file |

mod chain;
mod commit;
mod content;
mod database;
mod entry;
mod error;
mod log;
mod reader;
mod snapshot;
mod state;
mod verify;
mod writer;

pub use chain::Chain;
pub use content::StateReader;
pub use database::{LogOptions, StateOptions};
pub use entry::{ENTRY_BYTES_MAX, LogEntry, LogHead, LogStep};
pub use error::{LogError, LogOpenError, SnapshotError, StateError, StateOpenError};
pub use log::DecisionLog;
pub use reader::LogReader;
pub use snapshot::{ROW_BYTES_MAX, SnapshotSummary, SnapshotWriter, inspect_snapshot, inspect_snapshot_file};
pub use state::{DecisionState, StateWrite};
pub use writer::{LogHandle, LogReply, LogWriter};
