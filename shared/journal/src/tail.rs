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

/// What a tail row takes on disk, about, as SQL over its `bytes`; [`cost`] says the same.
///
/// Key, check and page take 48 bytes. A row of more than about 970 bytes does not stand in its page as a whole: SQLite leaves
/// some 490 bytes there and puts the rest into pages of its own, of 4,092 bytes each (SQLite database file format, section 1.6,
/// index b-trees). So the tail counts what it takes, and large records are sealed early.
pub(crate) const COST: &str = "CASE WHEN length(bytes) <= 970 THEN length(bytes) + 48 \
     ELSE 538 + 4096 * ((length(bytes) - 490 + 4091) / 4092) END";

/// What a row of so many bytes takes on disk, about. Never less than [`Record::weight`].
pub(crate) const fn cost(bytes: u64) -> u64 {
    if bytes <= 970 { bytes + 48 } else { 538 + 4_096 * (bytes - 490).div_ceil(4_092) }
}

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
    row.tail_bytes += cost(bytes.len() as u64);
    row.tail_sum = row.tail_sum.wrapping_add(check.0);
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

/// What is said of a row that is not sound.
pub(crate) const UNSOUND: &str = "the check of a tail row does not fit its bytes";

/// Whether the bytes of a row are those of its check, without a look at what they say.
pub(crate) fn is_sound(checker: &RecordChecker, raw: &RawRow) -> bool {
    checker.check(raw.seq, &raw.bytes) == raw.check
}

/// Verifies a row.
pub(crate) fn verify(
    journal: &JournalId,
    checker: &RecordChecker,
    raw: &RawRow,
) -> Result<TailRecord, Fault> {
    let damaged = |what: String| Fault::Damaged { journal: *journal, range: SeqRange::only(raw.seq), what };
    if !is_sound(checker, raw) {
        return Err(damaged(UNSOUND.to_owned()));
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
    let sql = format!(
        "SELECT count(*), coalesce(sum({COST}), 0), {SUM} FROM tail WHERE journal = ? AND seq BETWEEN ? AND ?"
    );
    let (rows, bytes, sum): (i64, i64, u64) = conn
        .prepare_cached(&sql)?
        .query_row(key, |row| Ok((row.get(0)?, row.get(1)?, joined(row.get(2)?, row.get(3)?))))?;
    if rows > 0 {
        conn.prepare_cached("DELETE FROM tail WHERE journal = ? AND seq BETWEEN ? AND ?")?.execute(key)?;
        row.shrink_tail(unsigned(rows), unsigned(bytes), sum);
    }
    Ok(unsigned(rows))
}

/// What the rows in `range` take on disk, about.
pub(crate) fn bytes(conn: &Connection, row: &JournalRow, range: SeqRange) -> Result<u64, Fault> {
    let sql = format!("SELECT coalesce(sum({COST}), 0) FROM tail WHERE journal = ? AND seq BETWEEN ? AND ?");
    let key = (row.id, signed(range.first()), signed(range.last()));
    Ok(conn.prepare_cached(&sql)?.query_row(key, |found| found.get(0)).map(unsigned)?)
}

/// The sum of checks as SQL, in halves, because SQLite refuses a sum that overflows; [`joined`] puts them together.
const SUM: &str = "coalesce(sum(checksum >> 32), 0), coalesce(sum(checksum & 4294967295), 0)";

/// The sum modulo 2⁶⁴ whose halves are these.
const fn joined(high: i64, low: i64) -> u64 {
    high.cast_unsigned().wrapping_shl(32).wrapping_add(low.cast_unsigned())
}

/// The sum of the checks of all rows of a journal, modulo 2⁶⁴, as they are stored.
pub(crate) fn sum(conn: &Connection, row: &JournalRow) -> Result<u64, Fault> {
    let sql = format!("SELECT {SUM} FROM tail WHERE journal = ?");
    let halves = |found: &rusqlite::Row<'_>| Ok(joined(found.get(0)?, found.get(1)?));
    Ok(conn.prepare_cached(&sql)?.query_row([row.id], halves)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sql_and_program_reckon_the_same_cost_and_never_too_little() {
        let conn = Connection::open_in_memory().unwrap();
        let sql = format!("SELECT {COST} FROM (SELECT zeroblob(?) AS bytes)");
        for bytes in [0_u64, 1, 200, 970, 971, 1_002, 4_582, 4_583, 8_674, 8_675, 500_000] {
            let by_sql: i64 = conn.query_row(&sql, [signed(bytes)], |row| row.get(0)).unwrap();
            assert_eq!(unsigned(by_sql), cost(bytes), "{bytes}");
            assert!(cost(bytes) >= bytes + 48, "{bytes}");
        }
    }
}
