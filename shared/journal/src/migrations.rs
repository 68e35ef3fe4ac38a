//! From every older schema version to the newest, one step after the other.
//!
//! Promise: each step is one transaction together with the version number, so a crash leaves the step before or the
//! step after. A newer version than ours is refused and left alone. Absent: steps back.

use rusqlite::{Connection, TransactionBehavior};

use crate::digest;
use crate::error::{Fault, OpenError};
use crate::opening::explain_fault;
use crate::row::JournalRow;
use crate::schema::{APPLICATION_ID, VERSION_1, VERSION_2};

/// One step: tables are changed first, then what stands in them.
struct Step {
    tables: &'static str,
    contents: fn(&Connection) -> Result<(), Fault>,
}

/// The steps: the one at index `n` leads from version `n` to `n + 1`. Only ever append.
const STEPS: &[Step] = &[
    Step { tables: VERSION_1, contents: |_| Ok(()) },
    Step {
        tables: VERSION_2,
        contents: |conn| digest::rebuild_all(conn, JournalRow::load_all_of_version_1(conn)?),
    },
];

/// The newest schema version that this program knows.
#[allow(clippy::cast_possible_truncation, reason = "a handful of steps")]
pub const SCHEMA_VERSION: u32 = STEPS.len() as u32;

/// Where a database stands.
pub(crate) fn version(conn: &Connection) -> Result<u32, OpenError> {
    let id: u32 =
        conn.pragma_query_value(None, "application_id", |row| row.get::<_, i32>(0))?.cast_unsigned();
    let version: u32 =
        conn.pragma_query_value(None, "user_version", |row| row.get::<_, i32>(0))?.cast_unsigned();
    let tables: i64 = conn.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if id != APPLICATION_ID && (tables > 0 || version > 0) {
        return Err(OpenError::Foreign { found: id });
    }
    if version > SCHEMA_VERSION {
        return Err(OpenError::TooNew { found: version, known: SCHEMA_VERSION });
    }
    Ok(version)
}

/// Brings a database to the newest version; returns the version that it had (0: it was empty).
pub(crate) fn migrate(conn: &mut Connection) -> Result<u32, OpenError> {
    let found = version(conn)?;
    for (from, step) in (0_u32..).zip(STEPS).skip(found as usize) {
        let tx = conn.transaction_with_behavior(TransactionBehavior::Immediate)?;
        tx.execute_batch(step.tables)?;
        (step.contents)(&tx).map_err(explain_fault)?;
        tx.pragma_update(None, "application_id", APPLICATION_ID)?;
        tx.pragma_update(None, "user_version", from + 1)?;
        tx.commit()?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_database_gets_the_newest_version_and_keeps_it() {
        let mut conn = Connection::open_in_memory().unwrap();
        assert_eq!(migrate(&mut conn).unwrap(), 0);
        assert_eq!(migrate(&mut conn).unwrap(), SCHEMA_VERSION);
    }

    #[test]
    fn a_newer_version_is_refused_with_the_fix() {
        let mut conn = Connection::open_in_memory().unwrap();
        migrate(&mut conn).unwrap();
        conn.pragma_update(None, "user_version", 99).unwrap();
        let error = migrate(&mut conn).unwrap_err();
        assert!(matches!(error, OpenError::TooNew { found: 99, known: SCHEMA_VERSION }));
        assert!(error.to_string().contains("install the newer program"), "{error}");
    }

    #[test]
    fn a_database_of_something_else_is_left_alone() {
        let mut conn = Connection::open_in_memory().unwrap();
        conn.execute_batch("CREATE TABLE notes (text TEXT)").unwrap();
        assert!(matches!(migrate(&mut conn), Err(OpenError::Foreign { found: 0 })));
    }
}
