//! A file of lines, one for each change, appended.
//!
//! ```text
//! {"check":"0123456789abcdef","entry":{…}}⏎      check: 8 bytes of BLAKE3 over the bytes of `entry`
//! ```
//!
//! Promise: a line is written whole or not at all. Half a line that a power cut left at the end is dropped; any other line
//! that does not fit its check is named. Lines are not flushed one by one: nobody depends on them.
//! Absent: what the entries mean.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::RegistryError;
use super::entry::Entry;

/// Largest file that is read: 100,000 devices take about 60 MiB.
const FILE_BYTES_MAX: u64 = 1 << 30;

const HEAD: &str = "{\"check\":\"";
const MIDDLE: &str = "\",\"entry\":";

/// The open file.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: File,
    /// Locked for as long as the log is open; the log itself is replaced when it is compacted.
    _lock: File,
    lines: usize,
    bytes: u64,
    /// Half a line could not be taken back: nobody can say what is on disk.
    broken: bool,
}

impl Log {
    /// Opens the file at `path`, or makes it, and reads what stands in it.
    pub(crate) fn open(path: &Path) -> Result<(Self, Vec<Entry>), RegistryError> {
        let lock = lock(path)?;
        let mut file = open(path)?;
        let text = text_of(&file, path)?;
        let (entries, whole) = entries_of(&text, path)?;
        if whole < text.len() {
            tracing::warn!(path = %path.display(), "the file ends in half a line, which is dropped");
            let cut = file.set_len(whole as u64).and_then(|()| file.sync_all());
            cut.map_err(|source| RegistryError::io("cut", path, source))?;
        }
        file.seek(SeekFrom::End(0)).map_err(|source| RegistryError::io("read", path, source))?;
        let (lines, bytes) = (entries.len(), whole as u64);
        Ok((Self { path: path.to_owned(), file, _lock: lock, lines, bytes, broken: false }, entries))
    }

    /// Lines in the file.
    pub(crate) const fn lines(&self) -> usize {
        self.lines
    }

    /// Adds an entry that nobody depends on, without flushing it.
    pub(crate) fn note(&mut self, entry: &Entry) -> Result<(), RegistryError> {
        self.write(entry)
    }

    /// Writes a whole line or, when the disk is full, none.
    fn write(&mut self, entry: &Entry) -> Result<(), RegistryError> {
        if self.broken {
            return Err(RegistryError::Broken { path: self.path.clone() });
        }
        let line = line_of(entry)?;
        if let Err(source) = self.file.write_all(&line) {
            self.broken = self.file.set_len(self.bytes).is_err();
            return Err(RegistryError::io("write", &self.path, source));
        }
        self.lines += 1;
        self.bytes += line.len() as u64;
        Ok(())
    }

    /// Replaces the file by one with exactly these entries, in one step.
    pub(crate) fn rewrite(&mut self, entries: &[Entry]) -> Result<(), RegistryError> {
        let mut content = Vec::new();
        for entry in entries {
            content.extend_from_slice(&line_of(entry)?);
        }
        let failed = |source| RegistryError::io("replace", &self.path, source);
        millrace_host::files::replace(&self.path, &content).map_err(failed)?;
        self.file = open(&self.path)?;
        self.file.seek(SeekFrom::End(0)).map_err(|source| RegistryError::io("read", &self.path, source))?;
        (self.lines, self.bytes) = (entries.len(), content.len() as u64);
        Ok(())
    }
}

/// What stands in the file at `path`, which nobody writes any more.
pub(crate) fn read(path: &Path) -> Result<Vec<Entry>, RegistryError> {
    let file = File::open(path).map_err(|source| RegistryError::io("open", path, source))?;
    Ok(entries_of(&text_of(&file, path)?, path)?.0)
}

fn text_of(file: &File, path: &Path) -> Result<Vec<u8>, RegistryError> {
    let mut text = Vec::new();
    let read = file.take(FILE_BYTES_MAX + 1).read_to_end(&mut text);
    let read = read.map_err(|source| RegistryError::io("read", path, source))?;
    if read as u64 > FILE_BYTES_MAX {
        return Err(RegistryError::TooLong { path: path.to_owned() });
    }
    Ok(text)
}

/// The entries of all whole lines, and how many bytes those take.
fn entries_of(text: &[u8], path: &Path) -> Result<(Vec<Entry>, usize), RegistryError> {
    let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let lines = text.get(..whole).unwrap_or_default().split_inclusive(|byte| *byte == b'\n');
    let damaged = |line: usize| RegistryError::Damaged { path: path.to_owned(), line };
    let entries = (1..).zip(lines).map(|(number, line)| parse(line).ok_or_else(|| damaged(number)));
    Ok((entries.collect::<Result<_, _>>()?, whole))
}

fn open(path: &Path) -> Result<File, RegistryError> {
    let opened = OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path);
    opened.map_err(|source| RegistryError::io("open", path, source))
}

fn lock(path: &Path) -> Result<File, RegistryError> {
    let beside = path.with_extension("lock");
    let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&beside);
    let file = opened.map_err(|source| RegistryError::io("open", &beside, source))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(RegistryError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(RegistryError::io("lock", &beside, source)),
    }
}

/// Whether another process has the log at `path` open now. A lock that cannot be asked for is nobody's.
pub(crate) fn is_held(path: &Path) -> bool {
    let lock = File::open(path.with_extension("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

fn check_of(entry: &[u8]) -> String {
    blake3::hash(entry).to_hex().chars().take(16).collect()
}

fn line_of(entry: &Entry) -> Result<Vec<u8>, RegistryError> {
    let entry = serde_json::to_string(entry).map_err(|error| RegistryError::Entry(error.to_string()))?;
    Ok(format!("{HEAD}{}{MIDDLE}{entry}}}\n", check_of(entry.as_bytes())).into_bytes())
}

fn parse(line: &[u8]) -> Option<Entry> {
    let text = std::str::from_utf8(line).ok()?;
    let (check, rest) = text.strip_prefix(HEAD)?.split_once(MIDDLE)?;
    let entry = rest.strip_suffix("}\n")?;
    (check == check_of(entry.as_bytes())).then(|| serde_json::from_str(entry).ok()).flatten()
}

impl RegistryError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use millrace_model::{DeviceId, Wall};

    use super::*;

    fn entry(number: u8) -> Entry {
        let device = DeviceId::from_bytes([number; 16]);
        Entry::Revoked { device, at: Wall(number.into()), reason: "sold".into() }
    }

    #[test]
    fn entries_read_back_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry.jsonl");
        let (mut log, found) = Log::open(&path).unwrap();
        assert_eq!(found, []);
        (1..=3).for_each(|number| log.note(&entry(number)).unwrap());
        drop(log);
        let (mut log, found) = Log::open(&path).unwrap();
        assert_eq!(found, [entry(1), entry(2), entry(3)]);
        log.rewrite(&[entry(9)]).unwrap();
        log.note(&entry(10)).unwrap();
        drop(log);
        assert_eq!(Log::open(&path).unwrap().1, [entry(9), entry(10)]);
    }

    #[test]
    fn half_a_line_at_the_end_is_dropped_and_a_damaged_line_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry.jsonl");
        let mut log = Log::open(&path).unwrap().0;
        (1..=3).for_each(|number| log.note(&entry(number)).unwrap());
        drop(log);
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 5]).unwrap();
        let (mut log, found) = Log::open(&path).unwrap();
        assert_eq!(found, [entry(1), entry(2)]);
        log.note(&entry(4)).unwrap();
        drop(log);
        assert_eq!(Log::open(&path).unwrap().1, [entry(1), entry(2), entry(4)]);

        let mut damaged = whole.clone();
        let second = whole.iter().position(|byte| *byte == b'\n').unwrap() + 40;
        damaged[second] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let error = Log::open(&path).unwrap_err();
        assert!(matches!(error, RegistryError::Damaged { line: 2, .. }), "{error}");
    }

    #[test]
    fn two_processes_do_not_write_one_registry() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("registry.jsonl");
        let open = Log::open(&path).unwrap();
        assert!(matches!(Log::open(&path), Err(RegistryError::Locked { .. })));
        assert!(is_held(&path));
        drop(open);
        assert!(Log::open(&path).is_ok());
    }
}
