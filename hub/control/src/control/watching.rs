//! Watches that wait.
//!
//! Promise: as [`crate::kv::Watch`]: every change once, in order, or [`Compacted`] with the revision to begin again from. A
//! watcher that does not read holds up nobody and costs no memory. Absent: linearizability; a watch sees what this node has
//! applied, a moment after the leader.

use std::sync::Arc;

use tokio::sync::watch;

use crate::kv::{Compacted, KeyRange, Watch, WatchBatch};
use crate::raft::machine::{Progress, Shared};

/// Follows keys.
pub struct Watcher {
    shared: Arc<Shared>,
    progress: watch::Receiver<Progress>,
    watch: Watch,
}

impl Watcher {
    pub(crate) fn new(shared: Arc<Shared>, range: KeyRange, revision: u64) -> Self {
        let progress = shared.progress();
        let revision = if revision == 0 { shared.store().revision() + 1 } else { revision };
        Self { shared, progress, watch: Watch::from(range, revision) }
    }

    /// The next changes; waits for them.
    ///
    /// # Errors
    /// [`Compacted`]: the watch is over. Read the present state and watch again from behind its revision.
    pub async fn next(&mut self) -> Result<WatchBatch, Compacted> {
        loop {
            self.progress.borrow_and_update();
            let batch = self.watch.poll(&self.shared.store())?;
            if let Some(batch) = batch.filter(|batch| !batch.changes.is_empty()) {
                return Ok(batch);
            }
            // The sender lives in what this watcher shares, so it is never gone.
            let _ = self.progress.changed().await;
        }
    }

    /// As [`Watcher::next`], but also when the store has moved on and nothing in the range changed: the batch is empty then.
    ///
    /// # Errors
    /// [`Compacted`], as there.
    pub async fn advance(&mut self) -> Result<WatchBatch, Compacted> {
        loop {
            self.progress.borrow_and_update();
            if let Some(batch) = self.watch.poll(&self.shared.store())? {
                return Ok(batch);
            }
            // The sender lives in what this watcher shares, so it is never gone.
            let _ = self.progress.changed().await;
        }
    }

    /// The revision from which it goes on.
    #[must_use]
    pub const fn next_revision(&self) -> u64 {
        self.watch.next_revision()
    }
}
