//! Following changes from a revision on.
//!
//! A watch is a place in the window that all watches share: it holds no changes of its own, so a thousand slow watchers cost
//! no memory. One that falls behind the window is told where to begin again.
//!
//! Promise: every change in the range, once, in order, whole revisions at a time; or [`Compacted`], never a silent hole.
//! Absent: waiting (`control/watching.rs`).

use super::history::Change;
use super::range::KeyRange;
use super::store::Store;

/// Changes in one answer, beyond which it is closed after the revision at hand.
const BATCH_CHANGES: usize = 512;

/// A place in the window.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Watch {
    range: KeyRange,
    next: u64,
}

/// Changes, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WatchBatch {
    /// The changes; none when nothing in the range changed up to `through`.
    pub changes: Vec<Change>,
    /// Everything up to this revision was seen: resume behind it.
    pub through: u64,
}

/// The watch fell behind the window: it was too slow, or resumed too late. Read the present state and go on from its
/// revision.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "changes before revision {oldest} are compacted: read the present state and resume behind its revision"
)]
pub struct Compacted {
    /// The oldest revision whose changes are still known.
    pub oldest: u64,
}

impl Watch {
    /// Follows `range` from `revision` on.
    #[must_use]
    pub const fn from(range: KeyRange, revision: u64) -> Self {
        Self { range, next: revision }
    }

    /// The revision from which it goes on.
    #[must_use]
    pub const fn next_revision(&self) -> u64 {
        self.next
    }

    /// What happened since the last call; `None` when there is nothing new.
    ///
    /// # Errors
    /// [`Compacted`]; it stays so.
    pub fn poll(&mut self, store: &Store) -> Result<Option<WatchBatch>, Compacted> {
        if self.next <= store.meta.compacted {
            return Err(Compacted { oldest: store.meta.compacted + 1 });
        }
        if self.next > store.meta.revision {
            return Ok(None);
        }
        let mut changes: Vec<Change> = Vec::new();
        let mut through = store.meta.revision;
        for event in store.history.since_in(self.next, &self.range) {
            let revision = event.slot.value.mod_revision;
            let last = changes.last().map(|change| change.current.mod_revision);
            if changes.len() >= BATCH_CHANGES && last.is_some_and(|last| last < revision) {
                through = revision - 1;
                break;
            }
            changes.push(event.change());
        }
        self.next = through + 1;
        Ok(Some(WatchBatch { changes, through }))
    }
}
