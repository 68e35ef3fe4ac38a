//! A node from its directory: log, state and snapshot are looked at together before the node may take part.
//!
//! Promise: a log that was damaged, cut off or exchanged is found here, and the node does not start: it can not vote. What
//! can be filled again (a state that lags behind the purged log) is filled from the snapshot.
//! Absent: mending a log. A node that lost one joins again under a new id.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use millrace_journal::decisions::{
    DecisionLog, DecisionState, LogHandle, LogOpenError, LogOptions, LogReader, LogWriter, SnapshotError,
    StateOpenError, StateOptions,
};

use crate::codec::CodecError;
use crate::raft::consensus::log_id;
use crate::raft::log::LogStore;
use crate::raft::machine::{Machine, Shared, decode_position};
use crate::raft::member::NodeId;
use crate::raft::position::Position;
use crate::raft::scribe::{Scribe, load};
use crate::raft::shelf::{SNAPSHOT, Shelf, Verified};
use crate::raft::tail::Tail;

/// File of the log.
pub const LOG: &str = "control-log.db";
/// File of the state.
pub(crate) const STATE: &str = "control-state.db";
/// Snapshots that were being built or received.
const LEFT_OVER: [&str; 3] = ["building", "received-0", "received-1"];
/// Steps that may wait for the log's thread; openraft waits for each append, so few ever do.
const LOG_QUEUE: usize = 1_024;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log cannot be opened, or is damaged.
    #[error(transparent)]
    Log(#[from] LogOpenError),
    /// The state cannot be opened.
    #[error(transparent)]
    State(#[from] StateOpenError),
    /// Log and state do not fit together: a part of the log is gone. A node that votes with it can undo what was decided.
    #[error("the decision log does not fit the state: {what}; this node must not vote with it")]
    Shortened {
        /// What does not fit.
        what: String,
    },
    /// The state lags behind the log and no snapshot fills the gap.
    #[error("the decision state lags behind the purged log and no snapshot fills the gap")]
    Behind,
    /// The directory belongs to another incarnation of this node than the cluster committed.
    #[error(
        "the cluster knows node {id} by incarnation {committed:016x}, this directory has {found:016x}: a wiped or \
         restored hub joins again under a new id"
    )]
    OtherIncarnation {
        /// Which node.
        id: NodeId,
        /// What the cluster committed.
        committed: u64,
        /// What the directory says.
        found: u64,
    },
    /// What stands in the files was written by a newer program, or is damaged.
    #[error("the control files cannot be read: {0}")]
    Format(#[from] CodecError),
    /// The snapshot could not be taken over.
    #[error(transparent)]
    Snapshot(#[from] SnapshotError),
    /// Files or threads failed.
    #[error("cannot open the control files: {0}")]
    Io(#[from] io::Error),
    /// The consensus did not start, or the options contradict each other.
    #[error("the consensus does not start: {0}")]
    Consensus(String),
}

/// Threads that end when the node is closed.
pub(crate) struct Threads {
    pub(crate) log: Option<LogWriter>,
    pub(crate) state: Option<JoinHandle<DecisionState>>,
}

/// What a node is made of.
pub(crate) struct Parts {
    pub(crate) log: LogStore,
    pub(crate) machine: Machine,
    pub(crate) shared: Arc<Shared>,
    pub(crate) scribe: Scribe,
    pub(crate) threads: Threads,
}

/// Opens what lies in `directory`. With `inline`, nothing has a thread of its own (for simulated time).
pub(crate) fn open(directory: &Path, me: (NodeId, u64), inline: bool) -> Result<Parts, OpenError> {
    // All of it is read, which takes a while for a large log: the runtime's other tasks go on meanwhile, where they can.
    let threads = tokio::runtime::Handle::try_current().map(|runtime| runtime.runtime_flavor());
    if matches!(threads, Ok(tokio::runtime::RuntimeFlavor::MultiThread)) {
        tokio::task::block_in_place(|| read(directory, me, inline))
    } else {
        read(directory, me, inline)
    }
}

fn read(directory: &Path, me: (NodeId, u64), inline: bool) -> Result<Parts, OpenError> {
    std::fs::create_dir_all(directory)?;
    for left_over in LEFT_OVER {
        // What was on its way when the last process ended.
        let _ = std::fs::remove_file(directory.join(format!("{SNAPSHOT}.{left_over}")));
    }
    let log = DecisionLog::open(&directory.join(LOG), &LogOptions::default())?;
    let mut state = DecisionState::open(&directory.join(STATE), &StateOptions::default())?;
    let mut position = decode_position(state.applied())?;
    let snapshot = Verified::find(directory);
    if position.index() < log.purged().map(|purged| purged.index) {
        position = refill(&log, &mut state, directory, snapshot.as_ref())?;
    }
    compare(&log, &position)?;
    let (id, found) = me;
    if let Some(member) = position.membership.membership().get_node(&id)
        && member.incarnation != found
    {
        return Err(OpenError::OtherIncarnation { id, committed: member.incarnation, found });
    }
    let snapshot = snapshot.filter(|snapshot| fits(&snapshot.position, &log, &position));
    let store = load(&state).map_err(|what| StateOpenError::Damaged { what })?;
    let shared = Shared::new(store, position.index());
    let reader = LogReader::open(log.path())?;
    // What the store needs to know of the log is read before a thread takes the log over.
    let known = Tail::of(&log)?;
    let (handle, scribe, threads) = if inline {
        let handle = LogHandle::inline(Arc::new(Mutex::new(log)));
        (handle, Scribe::inline(Arc::new(Mutex::new(state))), Threads { log: None, state: None })
    } else {
        let writer = LogWriter::start(log, LOG_QUEUE)?;
        let (scribe, thread) = Scribe::start(state)?;
        (writer.handle(), scribe, Threads { log: Some(writer), state: Some(thread) })
    };
    let log = LogStore::new(id, known, reader, handle);
    if let Some(installed) = position.installed {
        // The state was flushed with it; a process that ended then has not purged the log yet.
        log.covers(installed.index);
    }
    let shelf = Shelf::new(directory, log.clone(), snapshot.map(|snapshot| snapshot.meta));
    let machine = Machine::new(Arc::clone(&shared), log.clone(), scribe.clone(), position, shelf);
    Ok(Parts { log, machine, shared, scribe, threads })
}

/// Fills a state that lost more than the log still has.
pub(crate) fn refill(
    log: &DecisionLog,
    state: &mut DecisionState,
    directory: &Path,
    snapshot: Option<&Verified>,
) -> Result<Position, OpenError> {
    let purged = log.purged().map(|purged| purged.index);
    let snapshot = snapshot.filter(|snapshot| snapshot.position.index() >= purged);
    let snapshot = snapshot.ok_or(OpenError::Behind)?;
    let position = Position { installed: None, ..snapshot.position.clone() };
    state.replace_all(&directory.join(SNAPSHOT), &snapshot.summary, &position.encode())?;
    tracing::warn!(index = position.index(), "the decision state was filled from the snapshot");
    Ok(position)
}

/// Whether the snapshot that was found fits log and state; one that does not is not used.
///
/// An older one than the log's purge, or than the snapshot that was installed last (up to which the log is purged next), can
/// not bring up another node: entries are missing behind it. A newer one than the state would be taken for what this node
/// already has, and the leader's would never be installed: a process that ended before its state was replaced leaves such a one,
/// or somebody who put an older state back.
fn fits(snapshot: &Position, log: &DecisionLog, state: &Position) -> bool {
    let purged = log.purged().map(|purged| purged.index);
    let fits = snapshot.index() >= purged
        && snapshot.applied >= state.installed
        && snapshot.applied <= state.applied;
    if !fits {
        let (found, applied) = (snapshot.index(), state.index());
        tracing::warn!(found, applied, purged, "the snapshot fits neither log nor state and is not used");
    }
    fits
}

/// The state was applied from the log: the log must reach as far, with the same entry there, unless a snapshot brought it.
fn compare(log: &DecisionLog, position: &Position) -> Result<(), OpenError> {
    let Some(applied) = position.applied else { return Ok(()) };
    let shortened = |what: String| Err(OpenError::Shortened { what });
    let head = log.head();
    if head.is_none_or(|head| head.index < applied.index) {
        if position.installed == Some(applied) {
            return Ok(());
        }
        let end =
            head.map_or_else(|| "is empty".to_owned(), |head| format!("ends with entry {}", head.index));
        return shortened(format!("the log {end}, but entry {} was applied", applied.index));
    }
    let purged = log.purged().filter(|purged| purged.index >= applied.index);
    let found = match purged {
        Some(purged) if purged.index > applied.index => return Ok(()),
        Some(purged) => Some(log_id(purged.term, purged.index)),
        None => {
            let read = log.read(applied.index, applied.index, 0);
            let read = read.map_err(|error| OpenError::Shortened { what: error.to_string() })?;
            read.first().map(|entry| log_id(entry.term, entry.index))
        }
    };
    if found != Some(applied) && position.installed != Some(applied) {
        let term = applied.leader_id.term;
        return shortened(format!("entry {} of term {term} was applied, the log has another", applied.index));
    }
    Ok(())
}
