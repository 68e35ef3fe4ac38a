//! Tail rows: one record each, in canonical bytes, with a check that binds them to their place.
//!
//! Promise: no row is handed out before its check was verified. Absent: when rows become segments.

use bytes::Bytes;
use millrace_model::hash::RecordChecker;
use millrace_model::{JournalId, Record, RecordCheck, Seq, SeqRange, canon};
use rusqlite::Connection;

use crate::error::Fault;
use crate::row::JournalRow;
use crate::schema::{signed, unsigned};

/// One row as it stands in the table.
pub(crate) struct RawRow {
    pub(crate) seq: Seq,
    pub(crate) check: RecordCheck,
    pub(crate) bytes: Bytes,
}

/// A record from the tail, verified.
pub(crate) struct TailRecord {
    pub(crate) seq: Seq,
    pub(crate) check: RecordCheck,
    pub(crate) record: Record,
}

/// What a tail row costs beside its bytes, about: key, check, page overhead. Added to canonical bytes it is also
/// never less than [`Record::weight`].
pub(crate) const ROW_OVERHEAD: u64 = 48;

/// Appends one row and counts it.
pub(crate) fn insert(
    conn: &Connection,
    row: &mut JournalRow,
    seq: Seq,
    record: &Record,
    check: RecordCheck,
    bytes: &[u8],
) -> Result<(), Fault> {
    let mut statement =
        conn.prepare_cached("INSERT INTO tail (journal, seq, checksum, bytes) VALUES (?, ?, ?, ?)")?;
    statement.execute((row.id, signed(seq), check.0.cast_signed(), bytes))?;
    row.tail_rows += 1;
    row.tail_bytes += bytes.len() as u64 + ROW_OVERHEAD;
    row.widen_tail(record.wall);
    Ok(())
}

/// Calls `each` for the rows in `range`, in order, unverified, until it says `false`.
pub(crate) fn scan(
    conn: &Connection,
    id: i64,
    range: SeqRange,
    newest_first: bool,
    mut each: impl FnMut(RawRow) -> Result<bool, Fault>,
) -> Result<(), Fault> {
    let sql = if newest_first {
        "SELECT seq, checksum, bytes FROM tail WHERE journal = ? AND seq BETWEEN ? AND ? ORDER BY seq DESC"
    } else {
        "SELECT seq, checksum, bytes FROM tail WHERE journal = ? AND seq BETWEEN ? AND ? ORDER BY seq"
    };
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query((id, signed(range.first()), signed(range.last())))?;
    while let Some(row) = rows.next()? {
        let raw = RawRow {
            seq: unsigned(row.get(0)?),
            check: RecordCheck(row.get::<_, i64>(1)?.cast_unsigned()),
            bytes: Bytes::from(row.get::<_, Vec<u8>>(2)?),
        };
        if !each(raw)? {
            break;
        }
    }
    Ok(())
}

/// Verifies a row.
pub(crate) fn verify(
    journal: &JournalId,
    checker: &RecordChecker,
    raw: &RawRow,
) -> Result<TailRecord, Fault> {
    let damaged = |what: String| Fault::Damaged { journal: *journal, range: SeqRange::only(raw.seq), what };
    if checker.check(raw.seq, &raw.bytes) != raw.check {
        return Err(damaged("the check of a tail row does not fit its bytes".to_owned()));
    }
    let record = canon::decode(&raw.bytes).map_err(|error| damaged(format!("a tail row: {error}")))?;
    Ok(TailRecord { seq: raw.seq, check: raw.check, record })
}

/// The verified records of the tail in `range`, at most `limit`.
pub(crate) fn read(
    conn: &Connection,
    row: &JournalRow,
    range: SeqRange,
    limit: usize,
) -> Result<Vec<TailRecord>, Fault> {
    let checker = RecordChecker::new(&row.journal);
    let mut found = Vec::new();
    scan(conn, row.id, range, false, |raw| {
        found.push(verify(&row.journal, &checker, &raw)?);
        Ok(found.len() < limit)
    })
    .map_err(|fault| fault.located(row.journal, range))?;
    Ok(found)
}

/// Deletes the rows in `range` and counts them off.
pub(crate) fn delete(conn: &Connection, row: &mut JournalRow, range: SeqRange) -> Result<u64, Fault> {
    let key = (row.id, signed(range.first()), signed(range.last()));
    let (rows, bytes): (i64, i64) = conn
        .prepare_cached(
            "SELECT count(*), coalesce(sum(length(bytes)), 0) FROM tail WHERE journal = ? AND seq BETWEEN ? AND ?",
        )?
        .query_row(key, |row| Ok((row.get(0)?, row.get(1)?)))?;
    if rows > 0 {
        conn.prepare_cached("DELETE FROM tail WHERE journal = ? AND seq BETWEEN ? AND ?")?.execute(key)?;
        row.shrink_tail(unsigned(rows), unsigned(bytes) + unsigned(rows) * ROW_OVERHEAD);
    }
    Ok(unsigned(rows))
}
