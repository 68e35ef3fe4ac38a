//! The write-ahead log as it lies on disk: does it hold commits that SQLite is about to drop?
//!
//! SQLite stops reading its log at the first frame that does not verify. After a power cut that is right: the last commit
//! was never flushed. But a flipped bit in the middle silently drops commits that were flushed. Frames of the present log
//! carry the salts of its header, so commits behind a bad frame can be counted. A commit begins only after the
//! one before it was flushed: two commit frames or more at or behind the bad frame mean that flushed data is lost.
//! Format: SQLite "WAL-mode file format".
//!
//! Absent: damage in the very last commit, which looks like a power cut; a log that is gone altogether. The hubs know those
//! heads.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::Path;

const HEADER: usize = 32;
const FRAME_HEADER: usize = 24;

struct Checksum {
    big_endian: bool,
    state: (u32, u32),
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let four = bytes.get(at..at + 4).and_then(|four| <[u8; 4]>::try_from(four).ok()).unwrap_or_default();
    if big_endian { u32::from_be_bytes(four) } else { u32::from_le_bytes(four) }
}

impl Checksum {
    fn add(&mut self, bytes: &[u8]) {
        let (mut one, mut two) = self.state;
        for at in (0..bytes.len()).step_by(8) {
            one = one.wrapping_add(word(bytes, at, self.big_endian)).wrapping_add(two);
            two = two.wrapping_add(word(bytes, at + 4, self.big_endian)).wrapping_add(one);
        }
        self.state = (one, two);
    }

    fn fits(&self, bytes: &[u8], at: usize) -> bool {
        self.state == (word(bytes, at, true), word(bytes, at + 4, true))
    }
}

/// Reads exactly `buffer`; `false` at the end of the file.
fn fill(from: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match from.read_exact(buffer) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// How many flushed commits SQLite would drop when it opens the log at `path`.
pub(crate) fn lost_commits(path: &Path) -> io::Result<u64> {
    let mut log = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(error),
    };
    let mut header = [0; HEADER];
    if !fill(&mut log, &mut header)? {
        return Ok(0);
    }
    let magic = word(&header, 0, true);
    let mut checksum = Checksum { big_endian: magic & 1 == 1, state: (0, 0) };
    checksum.add(header.get(..24).unwrap_or_default());
    let mut intact = magic & !1 == 0x377f_0682 && checksum.fits(&header, 24);
    let page = page_bytes(&header);
    let mut salts = header.get(16..24).unwrap_or_default().to_vec();
    let mut frame = vec![0; FRAME_HEADER + page];
    let mut behind = 0;
    let mut first = true;
    while fill(&mut log, &mut frame)? {
        let salts_here = frame.get(8..16).unwrap_or_default();
        // A header that does not verify cannot say which log this is; its first frame can.
        if first && !intact {
            salts = salts_here.to_vec();
        }
        first = false;
        let is_commit = word(&frame, 4, true) != 0;
        if intact {
            checksum.add(frame.get(..8).unwrap_or_default());
            checksum.add(frame.get(FRAME_HEADER..).unwrap_or_default());
            intact = salts_here == salts && checksum.fits(&frame, 16);
        }
        if !intact && is_commit && salts_here == salts {
            behind += 1;
        }
    }
    // One commit behind the break may be a torn write that was never acknowledged.
    Ok(if behind >= 2 { behind } else { 0 })
}

/// Writes the log over itself and flushes it.
///
/// After a failed flush the kernel may show bytes that never reached the disk and never will, because it holds them for
/// clean. A process that starts then would trust commits that the next power cut takes away, together with all that were
/// built on them. Writing the same bytes again makes them dirty, so this flush means something; whoever reads the log
/// meanwhile sees no change.
pub(crate) fn flush(path: &Path) -> io::Result<()> {
    let mut log = match File::options().read(true).write(true).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut chunk = vec![0; 64 << 10];
    let mut at = 0;
    loop {
        log.seek(SeekFrom::Start(at))?;
        let length = log.read(&mut chunk)?;
        if length == 0 {
            break;
        }
        log.seek(SeekFrom::Start(at))?;
        log.write_all(chunk.get(..length).unwrap_or_default())?;
        at += length as u64;
    }
    log.sync_all()
}

/// The page size that the header states; a nonsensical one (damage) becomes the size that every journal has.
fn page_bytes(header: &[u8]) -> usize {
    let stated = word(header, 8, true) as usize;
    if (512..=65_536).contains(&stated) && stated.is_power_of_two() { stated } else { 4_096 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::Connection;

    /// A log of ten commits, as it lies there while the database is open.
    fn log() -> (tempfile::TempDir, Vec<u8>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.db");
        let conn = Connection::open(&path).unwrap();
        conn.execute_batch("PRAGMA journal_mode=WAL; CREATE TABLE t (x BLOB)").unwrap();
        for _ in 0..9 {
            conn.execute("INSERT INTO t VALUES (zeroblob(100))", []).unwrap();
        }
        let bytes = std::fs::read(dir.path().join("a.db-wal")).unwrap();
        (dir, bytes)
    }

    fn lost(bytes: &[u8]) -> u64 {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        std::fs::write(&path, bytes).unwrap();
        lost_commits(&path).unwrap()
    }

    #[test]
    fn an_intact_log_has_lost_nothing_and_neither_has_a_cut_one() {
        let (_dir, bytes) = log();
        assert_eq!(lost(&bytes), 0);
        for cut in (0..bytes.len()).step_by(997) {
            assert_eq!(lost(&bytes[..cut]), 0, "cut at {cut}");
        }
        assert_eq!(lost_commits(Path::new("/nonexistent/log")).unwrap(), 0);
    }

    #[test]
    fn a_flipped_bit_in_the_middle_tells_how_many_commits_are_lost() {
        let (_dir, bytes) = log();
        let frames = (bytes.len() - HEADER) / (FRAME_HEADER + 4_096);
        for at in [0, 8, 20, HEADER + 5, HEADER + 9, HEADER + 20, HEADER + 100] {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(lost(&bad) >= 8, "byte {at} of {frames} frames: {}", lost(&bad));
        }
    }

    #[test]
    fn flushing_the_log_changes_nothing_in_it() {
        let (dir, bytes) = log();
        let path = dir.path().join("copy");
        std::fs::write(&path, bytes.repeat(3)).unwrap();
        flush(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes.repeat(3));
        flush(Path::new("/nonexistent/log")).unwrap();
    }

    #[test]
    fn a_torn_last_commit_is_a_power_cut() {
        let (_dir, mut bytes) = log();
        let last = bytes.len() - 10;
        bytes[last] ^= 1;
        assert_eq!(lost(&bytes), 0);
    }
}
