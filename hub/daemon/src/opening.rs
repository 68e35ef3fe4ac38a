//! Opening the store at start: what was found is told, and the process takes its fences.
//!
//! Promise: no two processes over one store ever give out the same fence: the epoch is flushed before the first session.

use std::path::Path;

use millrace_journal::{CommitError, OpenError, Options, ReadError, Store};
use millrace_model::store::Change;
use millrace_model::{Fence, Incarnation};

/// The name under which the epoch is remembered.
const EPOCH: &str = "fence-epoch";

/// The name under which the store's life is remembered.
pub(crate) const LIFE: &str = "store-incarnation";

/// Fences of one process: so many sessions it will never open.
const FENCES_PER_EPOCH_BITS: u32 = 32;

/// Room behind the configured budget before the database refuses by itself: commits that were under way when the budget
/// was reached.
const BEHIND_BUDGET_BYTES: u64 = 64 << 20;

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not open.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// It does not take the first commit.
    #[error("the store does not take a commit: {0}")]
    Commit(#[from] CommitError),
    /// What was remembered is not an epoch.
    #[error("the store remembers {0} bytes as its epoch or life instead of 8: restore it from a backup")]
    Epoch(usize),
}

/// How a hub opens its store.
#[must_use]
pub fn options(budget_bytes: u64) -> Options {
    let mut options = Options::hub();
    options.size_limit_bytes = Some(budget_bytes.saturating_add(BEHIND_BUDGET_BYTES));
    options
}

/// Opens the store at `path`, or makes it, and says in the log what was found.
///
/// # Errors
/// When it does not open.
pub fn open(path: &Path, options: &Options) -> Result<Store, StoreError> {
    let store = Store::open(path, options)?;
    let report = store.opened();
    if report.lost_commits > 0 {
        tracing::error!(
            commits = report.lost_commits,
            "flushed commits are lost: agents that still have these records send them again at their next session; \
             check this machine's disk and memory"
        );
    }
    for (journal, ranges) in &report.missing {
        tracing::error!(%journal, records = ranges.count(), "records that were stored are not there");
    }
    if !report.reserved {
        tracing::warn!("the disk has no room for the reserve: make room");
    }
    Ok(store)
}

/// Begins another life of the store: it is a copy, and must not be taken for what it was copied from.
///
/// # Errors
/// When the store cannot remember it.
pub fn begin_life(store: &mut Store, fresh: Incarnation) -> Result<(), StoreError> {
    let value = fresh.bits().to_be_bytes().to_vec();
    store.commit(0, &[Change::Remember { name: LIFE, value }])?;
    Ok(())
}

/// Which life of the store it is: `fresh`, when it has just begun.
///
/// # Errors
/// When the store cannot remember it.
pub fn incarnation(store: &mut Store, fresh: Incarnation) -> Result<Incarnation, StoreError> {
    if let Some(bytes) = store.recall(LIFE)? {
        let found = bytes.len();
        let bits = bytes.try_into().map_err(|_| StoreError::Epoch(found))?;
        return Ok(Incarnation::new(u64::from_be_bytes(bits)));
    }
    store.commit(0, &[Change::Remember { name: LIFE, value: fresh.bits().to_be_bytes().to_vec() }])?;
    Ok(fresh)
}

/// Begins a new epoch and returns the fence after which this process's own begin.
///
/// # Errors
/// When the store cannot remember it.
pub fn begin_epoch(store: &mut Store) -> Result<Fence, StoreError> {
    let epoch = match store.recall(EPOCH)? {
        None => 0,
        Some(bytes) => {
            let found = bytes.len();
            u64::from_be_bytes(bytes.try_into().map_err(|_| StoreError::Epoch(found))?)
        }
    };
    let epoch = epoch.saturating_add(1);
    store.commit(0, &[Change::Remember { name: EPOCH, value: epoch.to_be_bytes().to_vec() }])?;
    Ok(epoch << FENCES_PER_EPOCH_BITS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_start_has_fences_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let fences: Vec<Fence> =
            (0..3).map(|_| begin_epoch(&mut open(&path, &options(1 << 30)).unwrap()).unwrap()).collect();
        assert_eq!(fences, [1 << 32, 2 << 32, 3 << 32]);
    }
}
