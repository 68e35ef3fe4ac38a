//! The state machine as openraft wants it: the store in memory, written down by the scribe, moved as snapshots.
//!
//! Promise: entries are applied once each, in order. A snapshot is complete and flushed, and the state on disk with it,
//! before the log is purged up to it. Rows and the position that they stand at come from one snapshot, whatever is built
//! beside. Absent: who waits for what was applied (`control`).

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use bytes::Bytes;
use openraft::storage::RaftStateMachine;
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, Snapshot, StorageIOError};
use tokio::sync::{Mutex, watch};

use crate::codec::CodecError;
use crate::kv::{Command, Store, Write, coding};
use crate::raft::consensus::{Batch, Consensus, Entry, LogId, Outcomes, StorageError, StoredMembership};
use crate::raft::log::LogStore;
use crate::raft::position::Position;
use crate::raft::scribe::Scribe;
use crate::raft::shelf::{Meta, Shelf, Verified};
use crate::raft::snapshot::SnapshotFile;

/// What the name of a snapshot that is being built ends with.
const BUILDING: &str = "building";

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
    shelf: Arc<Shelf>,
    building: Arc<Mutex<()>>,
    received: AtomicU64,
}

/// Builds snapshots while entries are applied.
pub(crate) struct Builder {
    scribe: Scribe,
    shelf: Arc<Shelf>,
    /// They share a file to write into.
    building: Arc<Mutex<()>>,
}

impl Machine {
    pub(crate) fn new(
        shared: Arc<Shared>,
        log: LogStore,
        scribe: Scribe,
        position: Position,
        shelf: Arc<Shelf>,
    ) -> Self {
        let (building, received) = (Arc::default(), AtomicU64::new(0));
        Self { shared, log, scribe, position, shelf, building, received }
    }

    /// Takes over a snapshot that was received, rows and position, and then keeps it. In this order: a state that is ahead of
    /// the file is whole, and the log is not purged before both are there ([`LogStore::covers`]).
    async fn take_over(&mut self, meta: &Meta, snapshot: SnapshotFile) -> Result<(), String> {
        let received = snapshot.received().await.map_err(|error| error.to_string())?;
        let (path, Verified { meta: own, summary, .. }) = received;
        if own.last_log_id != meta.last_log_id {
            return Err("the snapshot is of another position than it was announced".to_owned());
        }
        let position = Position {
            applied: meta.last_log_id,
            membership: meta.last_membership.clone(),
            installed: meta.last_log_id,
        };
        let store = self.scribe.install(&path, summary, position.encode()).await?;
        *self.shared.store.write().unwrap_or_else(PoisonError::into_inner) = store;
        self.position = position;
        self.shelf.put(path, own).await.map_err(|error| error.to_string())?;
        self.announce();
        Ok(())
    }

    fn announce(&self) {
        let progress = Progress { index: self.position.index(), revision: self.shared.store().revision() };
        self.shared.progress.send_replace(progress);
    }
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
        let (shelf, building) = (Arc::clone(&self.shelf), Arc::clone(&self.building));
        Builder { scribe: self.scribe.clone(), shelf, building }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFile>, StorageError> {
        // Each under a name of its own: an older transfer may still hold its file.
        let number = self.received.fetch_add(1, Ordering::Relaxed);
        let path = self.shelf.beside(&format!("received-{}", number % 2));
        SnapshotFile::incoming(&path).await.map(Box::new).map_err(snapshot_error)
    }

    async fn install_snapshot(
        &mut self,
        meta: &Meta,
        snapshot: Box<SnapshotFile>,
    ) -> Result<(), StorageError> {
        let taken_over = self.take_over(meta, *snapshot).await;
        taken_over.map_err(|why| {
            // What waits for it in the log would wait for ever.
            self.log.fail(&why);
            snapshot_error(why)
        })
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<Consensus>>, StorageError> {
        match self.shelf.open().await.map_err(snapshot_error)? {
            Some((meta, file)) => {
                let snapshot = Box::new(SnapshotFile::outgoing(file, Arc::clone(&self.shelf)));
                Ok(Some(Snapshot { meta, snapshot }))
            }
            None if self.shelf.is_lost() => {
                self.get_snapshot_builder().await.build_snapshot().await.map(Some)
            }
            None => Ok(None),
        }
    }
}

impl Builder {
    /// Writes the state as it stands now beside the newest snapshot.
    async fn export(&self) -> Result<Meta, StorageError> {
        let reader = self.scribe.checkpoint().await.map_err(snapshot_error)?;
        let to = self.shelf.beside(BUILDING);
        let exported = tokio::task::spawn_blocking(move || reader.export(std::fs::File::create(&to)?)).await;
        let summary = exported.map_err(snapshot_error)?.map_err(snapshot_error)?;
        let summary = summary.ok_or_else(|| snapshot_error("nothing was applied yet"))?;
        Ok(Verified::of(summary).map_err(snapshot_error)?.meta)
    }
}

impl RaftSnapshotBuilder<Consensus> for Builder {
    async fn build_snapshot(&mut self) -> Result<Snapshot<Consensus>, StorageError> {
        let _alone = self.building.lock().await;
        let meta = self.export().await?;
        // One that was installed meanwhile may be newer: it stays, and is what was built.
        self.shelf.put(self.shelf.beside(BUILDING), meta).await.map_err(snapshot_error)?;
        let newest = self.shelf.open().await.map_err(snapshot_error)?;
        let (meta, file) = newest.ok_or_else(|| snapshot_error("it was lost at once"))?;
        Ok(Snapshot { meta, snapshot: Box::new(SnapshotFile::outgoing(file, Arc::clone(&self.shelf))) })
    }
}

/// A position as it stands in a state, when there is one.
pub(crate) fn decode_position(bytes: Option<Bytes>) -> Result<Position, CodecError> {
    bytes.map_or_else(|| Ok(Position::default()), Position::decode)
}

#[cfg(test)]
mod tests;
