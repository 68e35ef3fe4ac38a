//! The state machine as openraft wants it: the store in memory, written down by the scribe, moved as snapshots.
//!
//! Promise: entries are applied once each, in order. A snapshot is complete and flushed, and the state on disk with it,
//! before the log is purged up to it. Absent: who waits for what was applied (`control`).

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use millrace_journal::decisions::{SnapshotSummary, inspect_snapshot};
use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, SnapshotMeta, StorageIOError};
use tokio::sync::watch;

use crate::codec::CodecError;
use crate::kv::{Command, Store, Write, coding};
use crate::raft::consensus::{Batch, Consensus, Entry, LogId, Outcomes, StorageError, StoredMembership};
use crate::raft::log::LogStore;
use crate::raft::member::{Member, NodeId};
use crate::raft::position::Position;
use crate::raft::scribe::Scribe;
use crate::raft::snapshot::SnapshotFile;

/// File of the newest snapshot, beside the state.
pub(crate) const SNAPSHOT: &str = "control.snapshot";

/// How far the log was applied, and the revision that it led to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Progress {
    pub(crate) index: Option<u64>,
    pub(crate) revision: u64,
}

/// The state, shared by the consensus and its readers.
pub(crate) struct Shared {
    store: RwLock<Store>,
    progress: watch::Sender<Progress>,
}

impl Shared {
    pub(crate) fn new(store: Store, index: Option<u64>) -> Arc<Self> {
        let progress = Progress { index, revision: store.revision() };
        Arc::new(Self { store: RwLock::new(store), progress: watch::Sender::new(progress) })
    }

    /// The store, as far as it was applied here.
    pub(crate) fn store(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn progress(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }
}

/// The state machine.
pub(crate) struct Machine {
    shared: Arc<Shared>,
    log: LogStore,
    scribe: Scribe,
    position: Position,
    directory: PathBuf,
    newest: Arc<Mutex<Option<SnapshotMeta<NodeId, Member>>>>,
    received: AtomicU64,
}

/// Builds snapshots while entries are applied.
pub(crate) struct Builder {
    scribe: Scribe,
    directory: PathBuf,
    newest: Arc<Mutex<Option<SnapshotMeta<NodeId, Member>>>>,
}

impl Machine {
    pub(crate) fn new(
        shared: Arc<Shared>,
        log: LogStore,
        scribe: Scribe,
        position: Position,
        directory: &Path,
        newest: Option<SnapshotMeta<NodeId, Member>>,
    ) -> Self {
        Self {
            shared,
            log,
            scribe,
            position,
            directory: directory.to_owned(),
            newest: Arc::new(Mutex::new(newest)),
            received: AtomicU64::new(0),
        }
    }
}

/// The newest snapshot in `directory`, verified; `None` when there is none, or it is damaged (then another is built).
pub(crate) fn find_snapshot(directory: &Path) -> Option<(SnapshotMeta<NodeId, Member>, Position)> {
    let path = directory.join(SNAPSHOT);
    if !path.exists() {
        return None;
    }
    let found = inspect_snapshot(&path).map_err(|error| error.to_string());
    let found = found.and_then(|summary| meta(&summary).map_err(|error| error.to_string()));
    found.inspect_err(|error| tracing::warn!(%error, "the snapshot of the control state is not used")).ok()
}

fn meta(summary: &SnapshotSummary) -> Result<(SnapshotMeta<NodeId, Member>, Position), CodecError> {
    let position = Position::decode(summary.position.clone())?;
    let meta = SnapshotMeta {
        last_log_id: position.applied,
        last_membership: position.membership.clone(),
        snapshot_id: format!("{}-{}", position.index().unwrap_or_default(), summary.chain),
    };
    Ok((meta, position))
}

fn write_error(error: impl std::fmt::Display) -> StorageError {
    StorageIOError::write_state_machine(&io::Error::other(error.to_string())).into()
}

fn snapshot_error(error: impl std::fmt::Display) -> StorageError {
    StorageIOError::write_snapshot(None, &io::Error::other(error.to_string())).into()
}

pub(crate) fn commands(batch: &Batch) -> Result<Vec<Command>, CodecError> {
    coding::split_batch(batch.0.clone())?.into_iter().map(coding::decode_command).collect()
}

impl RaftStateMachine<Consensus> for Machine {
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        Ok((self.position.applied, self.position.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcomes>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        let mut all: Vec<Write> = Vec::new();
        for entry in entries {
            let id = entry.log_id;
            // A leader's own entries may be committed while its disk still writes them.
            self.log.flushed_through(id.index).await.map_err(write_error)?;
            self.position.applied = Some(id);
            answers.push(match entry.payload {
                EntryPayload::Blank => Outcomes::default(),
                EntryPayload::Membership(membership) => {
                    self.position.membership = StoredMembership::new(Some(id), membership);
                    Outcomes::default()
                }
                EntryPayload::Normal(batch) => {
                    // Every node reads the same bytes; one that does not understand them must not go on without them.
                    let commands = commands(&batch).map_err(|error| StorageIOError::apply(id, &error))?;
                    let mut store = self.shared.store.write().unwrap_or_else(PoisonError::into_inner);
                    let (outcomes, writes) = store.apply(&commands);
                    all.extend(writes);
                    Outcomes(outcomes)
                }
            });
        }
        self.scribe.apply(all, self.position.encode()).await.map_err(write_error)?;
        self.announce();
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        let newest = Arc::clone(&self.newest);
        Builder { scribe: self.scribe.clone(), directory: self.directory.clone(), newest }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFile>, StorageError> {
        // Each under a name of its own: an older transfer may still hold its file.
        let number = self.received.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(format!("{SNAPSHOT}.received-{}", number % 2));
        SnapshotFile::create(&path).await.map(Box::new).map_err(snapshot_error)
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta<NodeId, Member>,
        mut snapshot: Box<SnapshotFile>,
    ) -> Result<(), StorageError> {
        snapshot.flush().await.map_err(snapshot_error)?;
        let path = self.directory.join(SNAPSHOT);
        // First the file, then the state: a state that is older than the log's purge can be filled again from the file.
        if snapshot.path() != path {
            let received = snapshot.path().to_owned();
            let found = tokio::task::spawn_blocking(move || inspect_snapshot(&received)).await;
            let found = found.map_err(snapshot_error)?.map_err(snapshot_error)?;
            if Position::decode(found.position).map_err(snapshot_error)?.applied != meta.last_log_id {
                return Err(snapshot_error("the snapshot is of another position than it was announced"));
            }
            rename(snapshot.path(), &path).map_err(snapshot_error)?;
        }
        let position = Position {
            applied: meta.last_log_id,
            membership: meta.last_membership.clone(),
            installed: meta.last_log_id,
        };
        let store = self.scribe.install(&path, position.encode()).await.map_err(snapshot_error)?;
        *self.shared.store.write().unwrap_or_else(PoisonError::into_inner) = store;
        self.position = position;
        *self.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(meta.clone());
        self.announce();
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Consensus>>, StorageError> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(meta) = newest else { return Ok(None) };
        let snapshot = SnapshotFile::open(&self.directory.join(SNAPSHOT)).await.map_err(snapshot_error)?;
        Ok(Some(Snapshot { meta, snapshot: Box::new(snapshot) }))
    }
}

impl Machine {
    fn announce(&self) {
        let progress = Progress { index: self.position.index(), revision: self.shared.store().revision() };
        self.shared.progress.send_replace(progress);
    }
}

impl RaftSnapshotBuilder<Consensus> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Consensus>, StorageError> {
        let reader = self.scribe.checkpoint().await.map_err(snapshot_error)?;
        let path = self.directory.join(SNAPSHOT);
        let building = self.directory.join(format!("{SNAPSHOT}.building"));
        let to = building.clone();
        let exported = tokio::task::spawn_blocking(move || {
            let file = std::fs::File::create(&to)?;
            reader.export(file)
        });
        let summary = exported.await.map_err(snapshot_error)?.map_err(snapshot_error)?;
        let summary = summary.ok_or_else(|| snapshot_error("nothing was applied yet"))?;
        let (meta, _) = meta(&summary).map_err(snapshot_error)?;
        let snapshot = {
            let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
            // One that was installed meanwhile may be newer: it stays.
            if newest.as_ref().is_none_or(|newest| newest.last_log_id <= meta.last_log_id) {
                rename(&building, &path).map_err(snapshot_error)?;
                *newest = Some(meta.clone());
            }
            newest.clone().unwrap_or(meta)
        };
        let file = SnapshotFile::open(&path).await.map_err(snapshot_error)?;
        Ok(Snapshot { meta: snapshot, snapshot: Box::new(file) })
    }
}

/// Gives a flushed file its name, for good.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    std::fs::rename(from, to)?;
    match to.parent() {
        Some(directory) => std::fs::File::open(directory)?.sync_all(),
        None => Ok(()),
    }
}

/// A position as it stands in a state, when there is one.
pub(crate) fn decode_position(bytes: Option<Bytes>) -> Result<Position, CodecError> {
    bytes.map_or_else(|| Ok(Position::default()), Position::decode)
}
