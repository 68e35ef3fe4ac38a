//! Files that hold keys: written whole or not at all, readable by their owner alone.
//!
//! Promise: after [`write`] returns, the file survives power loss; before, the old one does. Every error names
//! the file and what to do.
//! Absent: what is in the files.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Longest key or certificate file that is read. Ours have about 3 KiB.
const FILE_BYTES_MAX: u64 = 256 << 10;

/// Permission bits of group and others.
const OTHERS: u32 = 0o077;
/// Permission to write, of group and others.
const OTHERS_WRITE: u32 = 0o022;

/// Why a key file could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It is not there.
    #[error("{} does not exist: enrol this machine, or correct the configured directory", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Something is there that must not be overwritten.
    #[error("{} exists already and is not overwritten: choose another directory, or move it away", path.display())]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Others may read a private key.
    #[error("{} can be read by others (mode {mode:03o}): run `chmod 600 {}`", path.display(), path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Others may replace the files of a directory.
    #[error("{} can be written by others (mode {mode:03o}): run `chmod 700 {}`", path.display(), path.display())]
    OpenDirectory {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is too long to be what it should be.
    #[error("{} is longer than {FILE_BYTES_MAX} bytes and cannot be a key or certificate", path.display())]
    TooLong {
        /// The file.
        path: PathBuf,
    },
    /// The disk or the operating system refused.
    #[error("could not {action} {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

fn refused(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> VaultError {
    let path = path.to_owned();
    move |source| VaultError::Io { action, path, source }
}

fn mode(file: &File, path: &Path) -> Result<u32, VaultError> {
    Ok(file.metadata().map_err(refused("look at", path))?.permissions().mode() & 0o777)
}

/// Makes `directory` for its owner alone; one that stands there must not be writable by others.
pub(crate) fn prepare(directory: &Path) -> Result<(), VaultError> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(refused("make the directory", directory))?;
    check_directory(directory)
}

fn check_directory(directory: &Path) -> Result<(), VaultError> {
    let opened = match File::open(directory) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            return Err(VaultError::Missing { path: directory.to_owned() });
        }
        opened => opened.map_err(refused("open the directory", directory))?,
    };
    match mode(&opened, directory)? {
        mode if mode & OTHERS_WRITE != 0 => {
            Err(VaultError::OpenDirectory { path: directory.to_owned(), mode })
        }
        _ => Ok(()),
    }
}

/// An error when `name` stands in `directory` already.
pub(crate) fn refuse_existing(directory: &Path, name: &str) -> Result<(), VaultError> {
    let path = directory.join(name);
    if fs::symlink_metadata(&path).is_ok() { Err(VaultError::Exists { path }) } else { Ok(()) }
}

/// Writes `name` with mode 0600: beside it first, flushed, then put into place, then the directory flushed.
pub(crate) fn write(directory: &Path, name: &str, content: &[u8]) -> Result<(), VaultError> {
    let path = directory.join(name);
    let beside = directory.join(format!(".{name}.new"));
    // What an earlier crash left is removed, so that the new file is made with its mode and not over a link.
    discard(&beside)?;
    let opened = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&beside);
    let mut file = opened.map_err(refused("make", &beside))?;
    file.write_all(content).map_err(refused("write", &beside))?;
    file.sync_all().map_err(refused("flush", &beside))?;
    fs::rename(&beside, &path).map_err(refused("put into place", &path))?;
    flush(directory)
}

/// Removes `name`, if it is there.
pub(crate) fn remove(directory: &Path, name: &str) -> Result<(), VaultError> {
    discard(&directory.join(name))?;
    flush(directory)
}

fn discard(path: &Path) -> Result<(), VaultError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(refused("remove", path)(e)),
        _ => Ok(()),
    }
}

fn flush(directory: &Path) -> Result<(), VaultError> {
    let flushed = File::open(directory).and_then(|directory| directory.sync_all());
    flushed.map_err(refused("flush the directory", directory))
}

/// Reads a text file that everyone may see.
pub(crate) fn read(directory: &Path, name: &str) -> Result<String, VaultError> {
    let path = directory.join(name);
    text(open(&path)?, path)
}

/// Reads a text file that only its owner may see, in a directory that only its owner may change.
pub(crate) fn read_private(directory: &Path, name: &str) -> Result<String, VaultError> {
    check_directory(directory)?;
    let path = directory.join(name);
    let file = open(&path)?;
    match mode(&file, &path)? {
        mode if mode & OTHERS != 0 => Err(VaultError::Open { path, mode }),
        _ => text(file, path),
    }
}

fn open(path: &Path) -> Result<File, VaultError> {
    File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => VaultError::Missing { path: path.to_owned() },
        _ => refused("open", path)(e),
    })
}

fn text(file: File, path: PathBuf) -> Result<String, VaultError> {
    let mut text = String::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text).map_err(refused("read", &path))?;
    if read as u64 > FILE_BYTES_MAX { Err(VaultError::TooLong { path }) } else { Ok(text) }
}
