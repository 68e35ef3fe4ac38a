//! Small values that must survive a restart: what the daemons remember, and who writes here.
//!
//! Promise: each carries a checksum. Absent: what they mean.

use millrace_model::hash::RecordChecker;
use millrace_model::store::Outcome;
use millrace_model::{DeviceId, Incarnation, JournalId, Lane};
use rusqlite::{Connection, OptionalExtension};

use crate::error::{Fault, OpenError, ReadError};
use crate::work::Writing;

/// Bytes of one remembered value. More would belong into a table of its own.
pub const REMEMBERED_BYTES_MAX: usize = 64 << 10;

/// Values are no journal's, so their checksums are bound to one that cannot be.
const NOBODY: JournalId =
    JournalId { device: DeviceId::from_bytes([0; 16]), incarnation: Incarnation::new(0), lane: Lane::Urgent };

fn checksum(name: &str, value: &[u8]) -> i64 {
    let bytes = [&(name.len() as u64).to_be_bytes()[..], name.as_bytes(), value].concat();
    RecordChecker::new(&NOBODY).check(0, &bytes).0.cast_signed()
}

pub(crate) fn remember(conn: &Connection, name: &str, value: &[u8]) -> Result<Outcome, Fault> {
    if value.len() > REMEMBERED_BYTES_MAX {
        return Err(Fault::Invalid(format!("{} bytes are too many to remember as {name}", value.len())));
    }
    conn.prepare_cached("INSERT OR REPLACE INTO remembered (name, value, checksum) VALUES (?, ?, ?)")?
        .execute((name, value, checksum(name, value)))?;
    Ok(Outcome::Done)
}

pub(crate) fn recall(conn: &Connection, name: &str) -> Result<Option<Vec<u8>>, ReadError> {
    let failed = |error: rusqlite::Error| ReadError::Failed(error.to_string());
    let found: Option<(Vec<u8>, i64)> = conn
        .prepare_cached("SELECT value, checksum FROM remembered WHERE name = ?")
        .and_then(|mut statement| {
            statement.query_row([name], |row| Ok((row.get(0)?, row.get(1)?))).optional()
        })
        .map_err(failed)?;
    match found {
        None => Ok(None),
        Some((value, check)) if checksum(name, &value) == check => Ok(Some(value)),
        Some(_) => Err(ReadError::Failed(format!("what was remembered as {name} is damaged"))),
    }
}

/// Notes who writes here. At a hub nobody does, which is noted too.
pub(crate) fn save_role(conn: &Connection, writing: Option<Writing>) -> Result<(), Fault> {
    let role: &[u8] = if writing.is_some() { b"author" } else { b"replica" };
    conn.execute("INSERT OR REPLACE INTO meta (name, value) VALUES ('role', ?)", [role])?;
    writing.map_or(Ok(()), |writing| save_writing(conn, writing))
}

pub(crate) fn save_writing(conn: &Connection, writing: Writing) -> Result<(), Fault> {
    let mut value = writing.device.as_bytes().to_vec();
    value.extend_from_slice(&writing.incarnation.bits().to_be_bytes());
    value.extend_from_slice(&checksum("writing", &value).to_be_bytes());
    conn.prepare_cached("INSERT OR REPLACE INTO meta (name, value) VALUES ('writing', ?)")?
        .execute([value])?;
    Ok(())
}

/// Who writes here: `None` when that was never noted, `Some(None)` when nobody does.
pub(crate) fn role(conn: &Connection) -> Result<Option<Option<Writing>>, OpenError> {
    let asked = |name: &str| -> Result<Option<Vec<u8>>, rusqlite::Error> {
        conn.query_row("SELECT value FROM meta WHERE name = ?", [name], |row| row.get(0)).optional()
    };
    let damaged = || OpenError::Damaged { what: "who writes to this journal cannot be read".into() };
    match asked("role")?.as_deref() {
        None => Ok(None),
        Some(b"replica") => Ok(Some(None)),
        Some(b"author") => {
            let value = asked("writing")?.ok_or_else(damaged)?;
            let (device, rest) = value.split_first_chunk::<16>().ok_or_else(damaged)?;
            let (incarnation, check) = rest.split_first_chunk::<8>().ok_or_else(damaged)?;
            let signed = value.get(..24).ok_or_else(damaged)?;
            if check != checksum("writing", signed).to_be_bytes() {
                return Err(damaged());
            }
            let incarnation = Incarnation::new(u64::from_be_bytes(*incarnation));
            Ok(Some(Some(Writing { device: DeviceId::from_bytes(*device), incarnation })))
        }
        Some(_) => Err(damaged()),
    }
}
