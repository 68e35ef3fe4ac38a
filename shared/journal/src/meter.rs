//! How much was written: pages that went into the write-ahead log and from there into the database.
//!
//! Absent: what the file system and the flash below add to it.

use rusqlite::Connection;

use crate::schema::unsigned;

/// Bytes that SQLite writes beside each page in the log.
const FRAME_HEADER: u64 = 24;

/// Counts since the store was opened.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    pub(crate) page_bytes: u64,
    pub(crate) written_bytes: u64,
    /// Frames in the log after the last commit.
    pub(crate) log_frames: u64,
    /// Of these, how many have been carried over into the database.
    carried: u64,
}

/// What `PRAGMA wal_checkpoint` answers.
pub(crate) struct Checkpoint {
    pub(crate) frames: u64,
    pub(crate) carried: u64,
}

/// Asks for a checkpoint of `kind` (`NOOP` only looks). `None` when another connection is at it.
pub(crate) fn checkpoint(conn: &Connection, kind: &str) -> Result<Option<Checkpoint>, rusqlite::Error> {
    let sql = match kind {
        "PASSIVE" => "PRAGMA wal_checkpoint(PASSIVE)",
        "TRUNCATE" => "PRAGMA wal_checkpoint(TRUNCATE)",
        _ => "PRAGMA wal_checkpoint(NOOP)",
    };
    conn.prepare_cached(sql)?.query_row([], |row| {
        let (frames, carried): (i64, i64) = (row.get(1)?, row.get(2)?);
        let known = frames >= 0 && carried >= 0;
        Ok(known.then(|| Checkpoint { frames: unsigned(frames), carried: unsigned(carried) }))
    })
}

fn asked(conn: &Connection, sql: &str) -> u64 {
    let found = conn.prepare_cached(sql).and_then(|mut found| found.query_row([], |row| row.get(0)));
    found.map_or(0, unsigned)
}

/// Pages that the database has.
pub(crate) fn pages(conn: &Connection) -> u64 {
    asked(conn, "PRAGMA page_count")
}

/// Pages of the database that are free to be used again.
pub(crate) fn free_pages(conn: &Connection) -> u64 {
    asked(conn, "PRAGMA freelist_count")
}

/// Pages that hold something.
pub(crate) fn used_pages(conn: &Connection) -> u64 {
    pages(conn).saturating_sub(free_pages(conn))
}

impl Meter {
    /// Counts what a commit added to the log, which begins anew when everything in it was carried over.
    pub(crate) fn note(&mut self, found: Option<&Checkpoint>) {
        let Some(found) = found else { return };
        let added =
            if found.frames >= self.log_frames { found.frames - self.log_frames } else { found.frames };
        let carried =
            if found.carried >= self.carried { found.carried - self.carried } else { found.carried };
        self.written_bytes += added * (self.page_bytes + FRAME_HEADER) + carried * self.page_bytes;
        (self.log_frames, self.carried) = (found.frames, found.carried);
    }
}
