//! A copy of a store that is in use: every page as it stood at one moment.
//!
//! The copy is made by SQLite's online backup over a connection that holds one read transaction, so that commits
//! meanwhile neither enter it nor begin it anew. Until it is done the write-ahead log cannot be cut: a store that takes
//! many commits meanwhile needs room for them.
//!
//! Promise: the copy is flushed before this returns, and its hash is over the bytes that were read back from the disk.
//! Absent: what else a backup holds, and verifying the records in it (`verify` of the copy does).

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::Backup;
use rusqlite::{Connection, OpenFlags};

use crate::reader::Reader;

/// Pages of one step: a megabyte or so, after which progress is told.
const STEP_PAGES: i32 = 256;

/// Pause between two tries when the source is locked, which a reader beside a writer rarely sees.
const LOCKED_PAUSE: Duration = Duration::from_millis(20);

/// Bytes hashed at once.
const HASH_BYTES: usize = 1 << 20;

/// A copy that was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Copied {
    /// Its size.
    pub bytes: u64,
    /// The BLAKE3 hash of its bytes.
    pub hash: [u8; 32],
}

/// Why there is no copy. Nothing at its place counts.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Something stands there already.
    #[error("{} exists already: name another place", path.display())]
    Exists {
        /// Where.
        path: PathBuf,
    },
    /// SQLite refused.
    #[error("the store could not be copied: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The operating system refused.
    #[error("the copy of the store could not be kept: {0}")]
    Io(#[from] std::io::Error),
}

impl Reader {
    /// Copies the store to `target`, which must not exist, and flushes it. `progress` hears how many pages are left, of how many.
    ///
    /// # Errors
    /// [`BackupError`]; what was written by then is removed.
    pub fn back_up(&self, target: &Path, progress: impl FnMut(u64, u64)) -> Result<Copied, BackupError> {
        if target.exists() {
            return Err(BackupError::Exists { path: target.to_owned() });
        }
        let copied = self.copy(target, progress).and_then(|()| kept(target));
        if copied.is_err() {
            // What is left of it is of no use; that it could not be removed changes nothing.
            let _ = std::fs::remove_file(target);
        }
        copied
    }

    fn copy(&self, target: &Path, mut progress: impl FnMut(u64, u64)) -> Result<(), BackupError> {
        let moment = self.connection().unchecked_transaction()?;
        // Only a read begins it.
        moment.query_row("SELECT count(*) FROM sqlite_schema", [], |_| Ok(()))?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut copy = Connection::open_with_flags(target, flags)?;
        let backup = Backup::new(&moment, &mut copy)?;
        loop {
            let step = backup.step(STEP_PAGES)?;
            let pages = backup.progress();
            progress(
                crate::schema::unsigned(pages.remaining.into()),
                crate::schema::unsigned(pages.pagecount.into()),
            );
            match step {
                rusqlite::backup::StepResult::Done => break,
                rusqlite::backup::StepResult::More => {}
                _ => std::thread::sleep(LOCKED_PAUSE),
            }
        }
        drop(backup);
        drop(copy);
        moment.finish()?;
        Ok(())
    }
}

/// Flushes the file and its name, and hashes what the disk has.
fn kept(target: &Path) -> Result<Copied, BackupError> {
    File::open(target)?.sync_all()?;
    if let Some(directory) = target.parent() {
        File::open(directory)?.sync_all()?;
    }
    hash_file(target).map_err(BackupError::from)
}

/// The size and BLAKE3 hash of a file.
///
/// # Errors
/// When it cannot be read.
pub fn hash_file(path: &Path) -> std::io::Result<Copied> {
    let (mut file, mut hasher) = (File::open(path)?, blake3::Hasher::new());
    let (mut buffer, mut bytes) = (vec![0; HASH_BYTES], 0_u64);
    loop {
        let read = file.read(&mut buffer)?;
        if read == 0 {
            return Ok(Copied { bytes, hash: *hasher.finalize().as_bytes() });
        }
        bytes += read as u64;
        hasher.update(buffer.get(..read).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests {
    use millrace_model::store::Change;

    use super::*;
    use crate::{Options, Store};

    fn remember(store: &mut Store, number: u64) {
        let change = Change::Remember { name: "number", value: number.to_be_bytes().to_vec() };
        store.commit(number, &[change]).unwrap();
    }

    #[test]
    fn a_copy_is_of_one_moment_and_opens_as_a_store() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(&dir.path().join("journal.db"), &Options::hub()).unwrap();
        remember(&mut store, 1);
        let reader = store.reader().unwrap();
        let target = dir.path().join("copy.db");
        let mut told = 0;
        let copied = reader
            .back_up(&target, |_, _| {
                // Commits go on beside it.
                told += 1;
                remember(&mut store, 1 + told);
            })
            .unwrap();
        assert!(told > 0 && copied.bytes > 0);
        assert_eq!(hash_file(&target).unwrap(), copied);
        let copy = Store::open(&target, &Options::hub()).unwrap();
        assert_eq!(copy.recall("number").unwrap(), Some(1_u64.to_be_bytes().to_vec()));
        assert_eq!(copy.opened().lost_commits, 0);
        assert_eq!(store.recall("number").unwrap(), Some((1 + told).to_be_bytes().to_vec()));
    }

    #[test]
    fn nothing_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("journal.db"), &Options::hub()).unwrap();
        let target = dir.path().join("copy.db");
        std::fs::write(&target, "mine").unwrap();
        let refused = store.reader().unwrap().back_up(&target, |_, _| {});
        assert!(matches!(refused, Err(BackupError::Exists { .. })));
        assert_eq!(std::fs::read(&target).unwrap(), b"mine");
    }
}
