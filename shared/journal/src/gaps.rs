//! Open gaps: losses that are counted and not yet declared.
//!
//! Promise: a loss is written in the same transaction as what lost it, and leaves this table only as a gap record.
//! Absent: which losses are allowed (the engine's retention).

use millrace_model::notice::{Gap, GapReason};
use millrace_model::store::Outcome;
use millrace_model::{Incarnation, Lane, Record, Seq, SeqRange, Wall};
use rusqlite::{Connection, OptionalExtension};

use crate::append;
use crate::error::Fault;
use crate::row::JournalRow;
use crate::schema::{signed, unsigned};
use crate::work::Work;

/// Separate ranges that one journal keeps open per reason. A loss beyond that is merged into the last one when nothing in between
/// still waits for a hub: what a gap names is never sent. (A gap may name what a hub has; that stays there.) So there are never
/// more than this and the holes among what waits.
const OPEN_GAPS_MAX: i64 = 64;

const REASONS: [(GapReason, i64); 6] = [
    (GapReason::DropOldest, 0),
    (GapReason::DropNewest, 1),
    (GapReason::Thin, 2),
    (GapReason::Oversize, 3),
    (GapReason::Damaged, 4),
    (GapReason::Topic, 5),
];

/// In place of a reason: an unknown number of records is lost to damage after the one before `first_seq`.
const UNKNOWN: i64 = 6;

fn code(reason: GapReason) -> i64 {
    REASONS.iter().find(|(known, _)| *known == reason).map_or(-1, |(_, code)| *code)
}

fn from_code(code: i64) -> Option<GapReason> {
    REASONS.iter().find(|(_, known)| *known == code).map(|(reason, _)| *reason)
}

/// Records were refused on arrival.
pub(crate) fn reject(
    work: &mut Work<'_>,
    lane: Lane,
    count: u64,
    reason: GapReason,
    walls: (Wall, Wall),
) -> Result<Outcome, Fault> {
    let journal = work.current(lane)?;
    if count == 0 {
        return Err(Fault::Invalid("a rejection of nothing".into()));
    }
    work.change(&journal, |work, row| {
        row.ingested += count;
        row.rejected += count;
        open(work.conn, row, reason, None, count, walls)
    })?;
    Ok(Outcome::Done)
}

/// Adds a loss of `count` records to the open gaps of a journal; `range` when they had numbers.
pub(crate) fn open(
    conn: &Connection,
    row: &JournalRow,
    reason: GapReason,
    range: Option<SeqRange>,
    count: u64,
    (from, to): (Wall, Wall),
) -> Result<(), Fault> {
    let code = code(reason);
    let (first, last) = range.map_or((0, 0), |range| (signed(range.first()), signed(range.last())));
    // One without numbers stands under 0; one with numbers grows when the next one touches it.
    let key = match range {
        None => 0,
        Some(range) => open_before(conn, row, code, range.first())?.map_or(first, signed),
    };
    let sql = "INSERT INTO gap (journal, reason, first_seq, last_seq, count, from_wall, to_wall) \
               VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT (journal, reason, first_seq) DO UPDATE SET \
               last_seq = max(last_seq, ?4), count = count + ?5, from_wall = min(from_wall, ?6), \
               to_wall = max(to_wall, ?7)";
    conn.prepare_cached(sql)?.execute((row.id, code, key, last, signed(count), from.0, to.0))?;
    Ok(())
}

/// Notes that an unknown number of records after `after` is lost to damage; `wall` is the last arrival that is known.
pub(crate) fn open_unknown(conn: &Connection, id: i64, after: Seq, wall: Wall) -> Result<(), Fault> {
    let next = signed(after.saturating_add(1));
    let sql = "INSERT INTO gap (journal, reason, first_seq, last_seq, count, from_wall, to_wall) \
               VALUES (?1, ?2, ?3, ?3, 0, ?4, ?4) ON CONFLICT (journal, reason, first_seq) DO NOTHING";
    conn.prepare_cached(sql)?.execute((id, UNKNOWN, next, wall.0))?;
    Ok(())
}

/// Whether such a loss is open in a journal that is still written to: then a start that found it did not come as far as a
/// new incarnation.
pub(crate) fn any_unknown(conn: &Connection) -> Result<bool, Fault> {
    let sql =
        "SELECT 1 FROM gap JOIN journal ON journal.id = gap.journal WHERE reason = ? AND retired = 0 LIMIT 1";
    Ok(conn.prepare_cached(sql)?.exists([UNKNOWN])?)
}

/// The open gap that a loss beginning at `first` is merged into, if there is one.
fn open_before(conn: &Connection, row: &JournalRow, code: i64, first: Seq) -> Result<Option<Seq>, Fault> {
    let before: Option<(i64, i64)> = conn
        .prepare_cached(
            "SELECT first_seq, last_seq FROM gap WHERE journal = ? AND reason = ? AND first_seq BETWEEN 1 AND ? \
             ORDER BY first_seq DESC LIMIT 1",
        )?
        .query_row((row.id, code, signed(first)), |found| Ok((found.get(0)?, found.get(1)?)))
        .optional()?;
    let Some((key, end)) = before.map(|(key, end)| (unsigned(key), unsigned(end))) else { return Ok(None) };
    let Some(between) = SeqRange::new(end.saturating_add(1), first.saturating_sub(1)) else {
        return Ok(Some(key));
    };
    if row.unacked_in(between) > 0 {
        return Ok(None);
    }
    let open: i64 = conn
        .prepare_cached("SELECT count(*) FROM gap WHERE journal = ? AND reason = ?")?
        .query_row((row.id, code), |found| found.get(0))?;
    Ok((open >= OPEN_GAPS_MAX).then_some(key))
}

/// Whether any loss waits to be declared.
pub(crate) fn any(conn: &Connection) -> Result<bool, rusqlite::Error> {
    conn.prepare_cached("SELECT 1 FROM gap LIMIT 1")?.exists([])
}

/// Turns the open gaps into gap records of the urgent lane.
pub(crate) fn declare(work: &mut Work<'_>, wall: Wall, mono: u64) -> Result<Outcome, Fault> {
    let journal = work.current(Lane::Urgent)?;
    let mut records: Vec<Record> = Vec::new();
    for mut gap in all(work.conn)? {
        if gap.after.is_some() {
            // Whatever is lost came before this moment.
            gap.to = gap.to.max(wall);
        }
        let record =
            gap.to_record(wall, mono).ok_or_else(|| Fault::Invalid("a gap that cannot be written".into()))?;
        records.push(record);
    }
    work.conn.prepare_cached("DELETE FROM gap")?.execute([])?;
    let range = append::append_to(work, &journal, &records)?.map(|(range, _)| range);
    Ok(Outcome::Declared { journal, range })
}

fn all(conn: &Connection) -> Result<Vec<Gap>, Fault> {
    let sql = "SELECT incarnation, lane, reason, first_seq, last_seq, count, from_wall, to_wall \
               FROM gap JOIN journal ON journal.id = gap.journal ORDER BY gap.journal, reason, first_seq";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query([])?;
    let mut gaps = Vec::new();
    while let Some(row) = rows.next()? {
        let lane = u8::try_from(row.get::<_, i64>(1)?).ok().and_then(Lane::from_code);
        let code: i64 = row.get(2)?;
        let unknown = code == UNKNOWN;
        let reason = if unknown { Some(GapReason::Damaged) } else { from_code(code) };
        let (Some(lane), Some(reason)) = (lane, reason) else {
            return Err(Fault::Invalid("an open gap has no lane or no reason".into()));
        };
        let (first, last): (Seq, Seq) = (unsigned(row.get(3)?), unsigned(row.get(4)?));
        gaps.push(Gap {
            incarnation: Incarnation::new(row.get::<_, i64>(0)?.cast_unsigned()),
            lane,
            range: (first > 0 && !unknown).then_some((first, last)),
            after: unknown.then(|| first.saturating_sub(1)),
            count: unsigned(row.get(5)?),
            reason,
            from: Wall(row.get(6)?),
            to: Wall(row.get(7)?),
        });
    }
    Ok(gaps)
}

/// A loss of records of `row`'s journal that were stored: counted as evicted and opened as gaps, range by range.
pub(crate) fn evict(
    work: &Work<'_>,
    row: &mut JournalRow,
    lost: &millrace_model::RangeSet,
    reason: GapReason,
    walls: (Wall, Wall),
) -> Result<u64, Fault> {
    let unacked = lost.difference(&row.acked);
    for range in unacked.iter() {
        open(work.conn, row, reason, Some(range), range.count(), walls)?;
    }
    row.evicted += unacked.count();
    Ok(unacked.count())
}

/// Records that had been counted off as damaged are here again: what was not declared yet is no gap any more. One that several losses were merged
/// into stands: it does not say which of its numbers were lost.
pub(crate) fn retract(
    conn: &Connection,
    row: &JournalRow,
    recovered: &millrace_model::RangeSet,
) -> Result<(), Fault> {
    let damaged = code(GapReason::Damaged);
    for range in recovered.iter() {
        let sql = "SELECT first_seq, last_seq, from_wall, to_wall FROM gap WHERE journal = ?1 AND reason = ?2 \
                   AND first_seq BETWEEN 1 AND ?4 AND last_seq >= ?3 AND count = last_seq - first_seq + 1";
        let mut statement = conn.prepare_cached(sql)?;
        let key = (row.id, damaged, signed(range.first()), signed(range.last()));
        let open_gaps = statement.query_map(key, |found| {
            let (first, last): (i64, i64) = (found.get(0)?, found.get(1)?);
            Ok((unsigned(first), unsigned(last), (Wall(found.get(2)?), Wall(found.get(3)?))))
        })?;
        for (first, last, walls) in open_gaps.collect::<Result<Vec<_>, _>>()? {
            conn.prepare_cached("DELETE FROM gap WHERE journal = ? AND reason = ? AND first_seq = ?")?
                .execute((row.id, damaged, signed(first)))?;
            let left = SeqRange::new(first, last).map(millrace_model::RangeSet::from).unwrap_or_default();
            for part in left.difference(recovered).iter() {
                open(conn, row, GapReason::Damaged, Some(part), part.count(), walls)?;
            }
        }
    }
    Ok(())
}

/// Gap records among those that are evicted: what they declare has not been heard of, so it is open again.
pub(crate) fn reopen(
    work: &Work<'_>,
    row: &JournalRow,
    lost: &millrace_model::RangeSet,
) -> Result<(), Fault> {
    // Gaps are declared in the urgent lane alone.
    if row.journal.lane != Lane::Urgent {
        return Ok(());
    }
    for range in lost.iter() {
        crate::load::each(work.conn, row, range, |_, record| {
            let Some(gap) = Gap::from_record(&record) else { return Ok(true) };
            let device = row.journal.device;
            let journal = millrace_model::JournalId { device, incarnation: gap.incarnation, lane: gap.lane };
            let known = work.row(&journal).filter(|_| journal != row.journal);
            let of = known.unwrap_or(row);
            if let Some(after) = gap.after {
                open_unknown(work.conn, of.id, after, gap.from)?;
                return Ok(true);
            }
            let range = gap.range.and_then(|(first, last)| SeqRange::new(first, last));
            open(work.conn, of, gap.reason, range, gap.count, (gap.from, gap.to))?;
            Ok(true)
        })?;
    }
    Ok(())
}
