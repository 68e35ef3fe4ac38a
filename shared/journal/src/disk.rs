//! The files around the database: the lock, the reserve, the log, and how much they take.
//!
//! Promise: one writer per database, by a lock that the kernel gives back when the process dies. The reserve is disk
//! space held back, so that a full disk can still be relieved. Absent: the budget (the engines decide that).

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::OpenError;

/// The files of one database.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) database: PathBuf,
    reserve_bytes: u64,
    reserved: bool,
    /// Commits to let pass before the reserve is tried again: on a full disk every try costs writes.
    patience: u32,
    /// Held for as long as the store is open.
    _lock: File,
}

const PATIENCE: u32 = 256;

/// `database` with `suffix` behind its name, as SQLite names its own.
pub(crate) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

impl Files {
    /// Locks the database for this process.
    pub(crate) fn lock(database: &Path, reserve_bytes: u64) -> Result<Self, OpenError> {
        let path = beside(database, "-lock");
        let file = |source| OpenError::File { path: path.clone(), source };
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(file)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(OpenError::Locked { path: database.to_owned() }),
            Err(TryLockError::Error(source)) => return Err(file(source)),
        }
        Ok(Self { database: database.to_owned(), reserve_bytes, reserved: false, patience: 0, _lock: lock })
    }

    /// Makes the names of new files survive a power cut.
    pub(crate) fn flush_directory(&self) -> Result<(), OpenError> {
        let directory = self.database.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let file = |source| OpenError::File { path: directory.to_owned(), source };
        File::open(directory).and_then(|opened| opened.sync_all()).map_err(file)
    }

    /// Bytes of the write-ahead log on disk.
    pub(crate) fn log_bytes(&self) -> u64 {
        std::fs::metadata(beside(&self.database, "-wal")).map_or(0, |found| found.len())
    }

    /// Whether the reserve is in place (or none was asked for).
    pub(crate) const fn is_reserved(&self) -> bool {
        self.reserved || self.reserve_bytes == 0
    }

    /// Holds the reserve back; `false` when there is no room for it now.
    pub(crate) fn restore_reserve(&mut self) -> bool {
        if self.is_reserved() {
            return true;
        }
        if self.patience > 0 {
            self.patience -= 1;
            return false;
        }
        self.restore_now()
    }

    /// As [`Files::restore_reserve`], however short ago it failed.
    pub(crate) fn restore_now(&mut self) -> bool {
        if self.is_reserved() {
            return true;
        }
        let path = beside(&self.database, "-reserve");
        let held = std::fs::metadata(&path).is_ok_and(|found| found.len() == self.reserve_bytes);
        self.reserved = held || fill(&path, self.reserve_bytes).is_ok();
        if !self.reserved {
            self.patience = PATIENCE;
            let _ = std::fs::remove_file(&path);
        }
        self.reserved
    }

    /// Whether there is room for as much as the reserve again, found out by taking it for a moment.
    pub(crate) fn has_room(&self) -> bool {
        let path = beside(&self.database, "-probe");
        let room = fill(&path, self.reserve_bytes).is_ok();
        let _ = std::fs::remove_file(&path);
        room
    }

    /// Gives the reserve back to the disk; `false` when there is none.
    pub(crate) fn release_reserve(&mut self) -> bool {
        let gone = std::fs::remove_file(beside(&self.database, "-reserve")).is_ok();
        (self.reserved, self.patience) = (false, PATIENCE);
        gone
    }
}

/// Writes bytes that are not zero: a file system that compresses or leaves out zeros would reserve nothing.
fn fill(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = std::io::BufWriter::new(File::create(path)?);
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..bytes / 8 {
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        file.write_all(&noise.to_le_bytes())?;
    }
    let file = file.into_inner()?;
    file.set_len(bytes)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_turned_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("journal.db");
        let first = Files::lock(&path, 0).unwrap();
        assert!(matches!(Files::lock(&path, 0), Err(OpenError::Locked { .. })));
        drop(first);
        Files::lock(&path, 0).unwrap();
    }

    #[test]
    fn the_reserve_takes_real_room_and_gives_it_back() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = Files::lock(&dir.path().join("journal.db"), 4_096).unwrap();
        assert!(files.restore_reserve());
        let reserve = dir.path().join("journal.db-reserve");
        assert_eq!(std::fs::read(&reserve).unwrap().len(), 4_096);
        assert!(files.release_reserve());
        assert!(!reserve.exists() && !files.is_reserved());
        assert!(!files.release_reserve());
    }
}
