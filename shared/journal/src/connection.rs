//! Connections to SQLite, set up once and the same everywhere.
//!
//! Promise: nothing is committed before it is flushed (`synchronous=FULL`), nothing is mapped into memory, and an
//! SQLite whose write-ahead log can corrupt is refused. Absent: what is asked over them.

use std::path::Path;

use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};

use crate::error::OpenError;
use crate::options::Options;

/// First SQLite release without the WAL-reset bug.
const SQLITE_OLDEST: i32 = 3_051_003;

/// Prepared statements kept per connection: a few more than this crate has.
const STATEMENTS: usize = 64;

pub(crate) fn writer(path: &Path, options: &Options) -> Result<Connection, OpenError> {
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    common(&conn, options)?;
    let mode: String = conn.pragma_update_and_check(None, "journal_mode", "WAL", |row| row.get(0))?;
    if mode != "wal" {
        return Err(OpenError::Damaged {
            what: format!("the database refuses WAL mode and stays in {mode}"),
        });
    }
    conn.pragma_update(None, "synchronous", "FULL")?;
    // The store carries the log over itself, so that it sees when that fails.
    conn.pragma_update(None, "wal_autocheckpoint", 0)?;
    conn.pragma_update(None, "journal_size_limit", crate::schema::signed(options.wal_limit_bytes))?;
    limit_size(&conn, options)?;
    Ok(conn)
}

pub(crate) fn reader(path: &Path, options: &Options) -> Result<Connection, OpenError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    common(&conn, options)?;
    Ok(conn)
}

pub(crate) fn memory(options: &Options) -> Result<Connection, OpenError> {
    let conn = Connection::open_in_memory()?;
    common(&conn, options)?;
    limit_size(&conn, options)?;
    Ok(conn)
}

/// The most pages that SQLite allows a database to have.
const PAGES_MAX: i64 = 4_294_967_294;

/// Sets the second wall behind the engine's budget. A restored image needs it again.
pub(crate) fn limit_size(conn: &Connection, options: &Options) -> Result<(), OpenError> {
    let page: i64 = conn.pragma_query_value(None, "page_size", |row| row.get(0))?;
    let pages =
        options.size_limit_bytes.map_or(PAGES_MAX, |bytes| crate::schema::signed(bytes) / page.max(512));
    Ok(limit_pages(conn, pages.max(1))?)
}

/// Lets the database have at most so many pages (never fewer than it has).
pub(crate) fn limit_pages(conn: &Connection, pages: i64) -> Result<(), rusqlite::Error> {
    conn.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()))
}

fn common(conn: &Connection, options: &Options) -> Result<(), OpenError> {
    if rusqlite::version_number() < SQLITE_OLDEST {
        return Err(OpenError::OldSqlite { found: rusqlite::version().to_owned() });
    }
    conn.busy_timeout(options.busy_timeout)?;
    conn.set_prepared_statement_cache_capacity(STATEMENTS);
    // No row here is larger than a segment; SQLite's own limit is a billion bytes.
    conn.set_limit(Limit::SQLITE_LIMIT_LENGTH, 8 << 20)?;
    conn.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    conn.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(())).or_else(no_rows)?;
    conn.pragma_update(None, "cache_size", -(crate::schema::signed(options.page_cache_bytes >> 10).max(64)))?;
    conn.pragma_update(None, "temp_store", "MEMORY")?;
    conn.pragma_update(None, "trusted_schema", false)?;
    conn.pragma_update(None, "cell_size_check", true)?;
    Ok(())
}

/// An in-memory database answers some settings with nothing.
fn no_rows(error: rusqlite::Error) -> Result<(), rusqlite::Error> {
    if error == rusqlite::Error::QueryReturnedNoRows { Ok(()) } else { Err(error) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_writer_flushes_fully_and_maps_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let conn = writer(&dir.path().join("journal.db"), &Options::hub()).unwrap();
        let asked = |name| conn.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(asked("synchronous"), 2);
        assert_eq!(asked("mmap_size"), 0);
        assert_eq!(asked("wal_autocheckpoint"), 0);
        assert_eq!(asked("cell_size_check"), 1);
        assert_eq!(asked("trusted_schema"), 0);
    }
}
