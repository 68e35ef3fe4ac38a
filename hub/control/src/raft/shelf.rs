//! Where the newest snapshot lies: its file and what is known of it, under one lock.
//!
//! Promise: whoever opens it gets the file that its meta speaks of; an older one never takes the place of a newer one. What
//! lies here is flushed, and so is the state that it came from or went into: only then may the log be purged up to it.
//! Absent: building, receiving and installing (`machine`).

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use millrace_journal::decisions::{SnapshotSummary, inspect_snapshot};
use openraft::SnapshotMeta;

use crate::codec::CodecError;
use crate::raft::log::LogStore;
use crate::raft::member::{Member, NodeId};
use crate::raft::position::Position;

/// File of the newest snapshot, beside the state.
pub(crate) const SNAPSHOT: &str = "control.snapshot";

/// What openraft knows of a snapshot.
pub(crate) type Meta = SnapshotMeta<NodeId, Member>;

/// A snapshot that was verified.
#[derive(Clone, Debug)]
pub(crate) struct Verified {
    pub(crate) meta: Meta,
    pub(crate) position: Position,
    pub(crate) summary: SnapshotSummary,
}

impl Verified {
    pub(crate) fn of(summary: SnapshotSummary) -> Result<Self, CodecError> {
        let position = Position::decode(summary.position.clone())?;
        let meta = SnapshotMeta {
            last_log_id: position.applied,
            last_membership: position.membership.clone(),
            snapshot_id: format!("{}-{}", position.index().unwrap_or_default(), summary.chain),
        };
        Ok(Self { meta, position, summary })
    }

    /// The snapshot that lies in `directory`; `None` when there is none, or it is damaged.
    pub(crate) fn find(directory: &Path) -> Option<Self> {
        let path = directory.join(SNAPSHOT);
        if !path.exists() {
            return None;
        }
        let found = inspect_snapshot(&path).map_err(|error| error.to_string());
        let found = found.and_then(|summary| Self::of(summary).map_err(|error| error.to_string()));
        found
            .inspect_err(|error| tracing::warn!(%error, "the snapshot of the control state is not used"))
            .ok()
    }
}

/// The place of the newest snapshot.
pub(crate) struct Shelf {
    directory: PathBuf,
    log: LogStore,
    newest: Mutex<Newest>,
}

struct Newest {
    meta: Option<Meta>,
    /// Whether there was one that is not to be used any more. openraft still counts on it.
    lost: bool,
}

impl Shelf {
    /// A shelf in `directory`, where the snapshot that `meta` speaks of lies.
    pub(crate) fn new(directory: &Path, log: LogStore, meta: Option<Meta>) -> Arc<Self> {
        if let Some(id) = meta.as_ref().and_then(|meta| meta.last_log_id) {
            log.covers(id.index);
        }
        let newest = Mutex::new(Newest { meta, lost: false });
        Arc::new(Self { directory: directory.to_owned(), log, newest })
    }

    /// The path of a file beside the newest.
    pub(crate) fn beside(&self, suffix: &str) -> PathBuf {
        self.directory.join(format!("{SNAPSHOT}.{suffix}"))
    }

    /// Gives the flushed file `from` its place, unless a newer one lies there.
    pub(crate) async fn put(self: &Arc<Self>, from: PathBuf, meta: Meta) -> io::Result<()> {
        self.at(move |shelf, newest| shelf.replace(newest, &from, meta)).await
    }

    /// The newest, opened; `None` when there is none, or it is lost.
    pub(crate) async fn open(self: &Arc<Self>) -> io::Result<Option<(Meta, File)>> {
        self.at(|shelf, newest| {
            let Some(meta) = newest.meta.clone() else { return Ok(None) };
            match File::open(shelf.directory.join(SNAPSHOT)) {
                Ok(file) => Ok(Some((meta, file))),
                Err(error) => {
                    tracing::warn!(%error, "the snapshot of the control state is gone, another is built");
                    *newest = Newest { meta: None, lost: true };
                    Ok(None)
                }
            }
        })
        .await
    }

    /// The one with this id is not used any more.
    pub(crate) fn discard(&self, id: &str) {
        let mut newest = self.newest();
        if newest.meta.as_ref().is_some_and(|meta| meta.snapshot_id == id) {
            *newest = Newest { meta: None, lost: true };
        }
    }

    /// Whether another one must be built, because openraft counts on one that is not used any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.newest().lost
    }

    fn newest(&self) -> MutexGuard<'_, Newest> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn replace(&self, newest: &mut Newest, from: &Path, meta: Meta) -> io::Result<()> {
        let is_newest = newest.meta.as_ref().is_none_or(|newest| newest.last_log_id <= meta.last_log_id);
        if !is_newest {
            return Ok(());
        }
        std::fs::rename(from, self.directory.join(SNAPSHOT))?;
        let covered = meta.last_log_id;
        *newest = Newest { meta: Some(meta), lost: false };
        File::open(&self.directory)?.sync_all()?;
        if let Some(id) = covered {
            self.log.covers(id.index);
        }
        Ok(())
    }

    /// Works under the lock, on a thread that may wait for the disk.
    async fn at<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self, &mut Newest) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let shelf = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&shelf, &mut shelf.newest()));
        done.await.map_err(io::Error::other)?
    }
}
