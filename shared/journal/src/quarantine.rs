//! Quarantine: what does not verify is moved aside, and what is missing is counted.
//!
//! Promise: after it, everything that a journal claims to have can be read, and its digest speaks of that alone. At the author, a loss that no hub has is an
//! open gap; at a replica, the journal lacks the records and repair can fetch them again. What was moved aside stays for people until the
//! very records are here again or were let go, within [`crate::Options::quarantine_bytes`]; then its bytes go, and of what was let go the note, too.
//! Absent: looking for damage ([`crate::verify`]).

use millrace_model::notice::GapReason;
use millrace_model::{JournalId, RangeSet, Seq, SeqRange, Wall};
use rusqlite::Connection;

use crate::error::{CommitError, Fault, is_corrupt};
use crate::row::JournalRow;
use crate::schema::{signed, unsigned};
use crate::store::Store;
use crate::work::Work;
use crate::{gaps, segment, tail};
use millrace_model::hash::RecordChecker;
use millrace_model::limits::SEGMENT_RECORDS_MAX;
use millrace_model::store::{Change, Quarantined};

/// What a journal claims, compared with the rows that are there.
#[derive(Default)]
pub(crate) struct Compared {
    /// Claimed and not there.
    pub(crate) missing: RangeSet,
    /// There and not claimed, or there twice: first sequence numbers of segments, and tail rows.
    pub(crate) extra_segments: Vec<Seq>,
    pub(crate) extra_rows: RangeSet,
    tail_rows: u64,
    tail_bytes: u64,
}

impl Compared {
    pub(crate) fn fits(&self) -> bool {
        self.missing.is_empty() && self.extra_segments.is_empty() && self.extra_rows.is_empty()
    }
}

/// Compares a journal's claims within `range` with the rows that are there, without reading bodies.
pub(crate) fn compare(conn: &Connection, row: &JournalRow, range: SeqRange) -> Result<Compared, Fault> {
    let mut found = Compared { missing: row.present.within(range), ..Compared::default() };
    let reach = range.first().saturating_sub(SEGMENT_RECORDS_MAX as u64);
    let sql = "SELECT first_seq, count FROM segment WHERE journal = ? AND first_seq BETWEEN ? AND ? ORDER BY first_seq";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query((row.id, signed(reach), signed(range.last())))?;
    let mut sealed = RangeSet::new();
    while let Some(segment) = rows.next()? {
        let first = unsigned(segment.get(0)?);
        let Some(held) = SeqRange::starting(first, unsigned(segment.get(1)?)) else {
            found.extra_segments.push(first);
            continue;
        };
        // A retired journal's segments may hold records that have moved on; of a restored one nothing ever moves.
        let moved_on = row.retired && !row.is_restored();
        if held.intersection(range).is_some() && !row.present.covers(held) && !moved_on {
            found.extra_segments.push(first);
        }
        found.missing.remove(held);
        sealed.insert(held);
    }
    let sql = "SELECT seq, length(bytes) FROM tail WHERE journal = ? AND seq BETWEEN ? AND ? ORDER BY seq";
    let mut statement = conn.prepare_cached(sql)?;
    let mut rows = statement.query((row.id, signed(range.first()), signed(range.last())))?;
    while let Some(tail_row) = rows.next()? {
        let seq = SeqRange::only(unsigned(tail_row.get(0)?));
        if row.present.covers(seq) && !sealed.covers(seq) {
            found.missing.remove(seq);
        } else {
            found.extra_rows.insert(seq);
        }
        found.tail_rows += 1;
        found.tail_bytes += tail::cost(unsigned(tail_row.get(1)?));
    }
    Ok(found)
}

/// Makes a journal claim exactly what is there: extra rows go into quarantine, what is missing is counted as lost.
/// Returns what is missing.
pub(crate) fn reconcile(
    work: &mut Work<'_>,
    journal: &JournalId,
    range: SeqRange,
    walls: Option<(Wall, Wall)>,
) -> Result<Quarantined, Fault> {
    let lost = work.change(journal, |work, row| {
        let found = compare(work.conn, row, range)?;
        for first in &found.extra_segments {
            move_segment(work.conn, row, *first, "a segment that the journal does not know", true)?;
        }
        for part in found.extra_rows.iter() {
            for seq in part.first()..=part.last() {
                move_row(work.conn, row, seq, "a tail row that the journal does not know")?;
            }
        }
        let found = compare(work.conn, row, range)?;
        let evicted = if found.missing.is_empty() { 0 } else { lose(work, row, &found.missing, walls)? };
        recount(work.conn, row)?;
        // The row that named a segment may be what is damaged, so nobody can say which leaf it was.
        row.pending.doubt();
        Ok((found.missing, evicted))
    })?;
    let (ranges, evicted) = lost.unwrap_or_default();
    Ok(Quarantined { journal: *journal, ranges, evicted })
}

/// Counts off what is missing; returns how many of it were evicted by that.
fn lose(
    work: &Work<'_>,
    row: &mut JournalRow,
    missing: &RangeSet,
    walls: Option<(Wall, Wall)>,
) -> Result<u64, Fault> {
    tracing::error!(
        journal = %row.journal,
        records = missing.count(),
        missing = %missing.brief(),
        "stored records are gone"
    );
    let mut evicted = 0;
    if row.own {
        let walls = walls.or(row.tail_walls).unwrap_or_default();
        evicted = gaps::evict(work, row, missing, GapReason::Damaged, walls)?;
    }
    row.present.subtract(missing);
    Ok(evicted)
}

fn recount(conn: &Connection, row: &mut JournalRow) -> Result<(), Fault> {
    let sql = format!("SELECT count(*), coalesce(sum({}), 0) FROM tail WHERE journal = ?", tail::COST);
    let (rows, bytes): (i64, i64) =
        conn.prepare_cached(&sql)?.query_row([row.id], |found| Ok((found.get(0)?, found.get(1)?)))?;
    row.tail_rows = unsigned(rows);
    row.tail_bytes = unsigned(bytes);
    if rows == 0 {
        row.tail_walls = None;
    }
    Ok(())
}

/// The records are here again: of what was moved aside of them, the note stays, and the bytes go.
pub(crate) fn settle(conn: &Connection, row: &JournalRow, stored: &RangeSet) -> Result<(), Fault> {
    let (Some(first), Some(last)) = (stored.first(), stored.last()) else { return Ok(()) };
    let reach = first.saturating_sub(SEGMENT_RECORDS_MAX as u64);
    let aside: Vec<(i64, Option<SeqRange>)> = {
        let sql =
            "SELECT id, first_seq, count FROM quarantine WHERE journal = ? AND first_seq BETWEEN ? AND ?";
        let mut statement = conn.prepare_cached(sql)?;
        let found = statement.query_map((row.id, signed(reach), signed(last)), |found| {
            let range = SeqRange::starting(unsigned(found.get(1)?), unsigned(found.get(2)?));
            Ok((found.get(0)?, range))
        })?;
        found.collect::<Result<_, _>>()?
    };
    for (id, range) in aside {
        if range.is_some_and(|range| row.present.covers(range)) {
            blank(conn, id)?;
        }
    }
    Ok(())
}

/// Lets the bytes of one entry go; the entry itself stays.
fn blank(conn: &Connection, id: i64) -> Result<(), Fault> {
    conn.prepare_cached("UPDATE quarantine SET bytes = x'' WHERE id = ?")?.execute([id])?;
    Ok(())
}

/// Nobody asks any more for what lies below the floor.
pub(crate) fn forget_below_floor(conn: &Connection, row: &JournalRow) -> Result<(), Fault> {
    if conn.prepare_cached("SELECT 1 FROM quarantine LIMIT 1")?.exists([])? {
        conn.prepare_cached("DELETE FROM quarantine WHERE journal = ? AND first_seq + count <= ?")?
            .execute((row.id, signed(row.floor)))?;
    }
    Ok(())
}

/// Lets the oldest bytes go until no more than `bytes_max` stand aside.
fn bound(conn: &Connection, bytes_max: u64) -> Result<(), Fault> {
    let sql = "SELECT id, length(bytes) FROM quarantine WHERE length(bytes) > 0 ORDER BY id DESC";
    let mut kept = 0_u64;
    let surplus: Vec<i64> = {
        let mut statement = conn.prepare_cached(sql)?;
        let sizes = statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
        let sizes = sizes.collect::<Result<Vec<_>, _>>()?.into_iter();
        let over = sizes.filter(|(_, size)| {
            kept = kept.saturating_add(unsigned(*size));
            kept > bytes_max
        });
        over.map(|(id, _)| id).collect()
    };
    for id in surplus {
        blank(conn, id)?;
    }
    Ok(())
}

const QUARANTINE: &str = "INSERT INTO quarantine (journal, first_seq, count, what, name, bytes) ";

/// Runs a statement; a page that cannot be read does not stop the rest.
fn lenient(conn: &Connection, sql: &str, params: impl rusqlite::Params) -> Result<(), Fault> {
    match conn.execute(sql, params) {
        Err(error) if !is_corrupt(&error) => Err(Fault::Sql(error)),
        _ => Ok(()),
    }
}

/// Moves a segment aside. A body that cannot be read stays where it is, named by nothing: pages that SQLite finds damaged while it
/// writes would take the whole transaction with them.
fn move_segment(
    conn: &Connection,
    row: &mut JournalRow,
    first: Seq,
    what: &str,
    readable: bool,
) -> Result<(), Fault> {
    let key = (row.id, signed(first), what);
    let bytes = if readable { "coalesce((SELECT bytes FROM body WHERE id = body), x'')" } else { "x''" };
    let copy = format!(
        "{QUARANTINE}SELECT journal, first_seq, count, ?3, hash, {bytes} \
         FROM segment WHERE journal = ?1 AND first_seq = ?2"
    );
    lenient(conn, &copy, key)?;
    if readable {
        let of_body =
            "DELETE FROM body WHERE id = (SELECT body FROM segment WHERE journal = ?1 AND first_seq = ?2)";
        lenient(conn, of_body, (row.id, signed(first)))?;
    }
    let size: i64 = conn
        .query_row(
            "SELECT size FROM segment WHERE journal = ? AND first_seq = ?",
            (row.id, signed(first)),
            |found| found.get(0),
        )
        .unwrap_or(0);
    conn.execute("DELETE FROM segment WHERE journal = ? AND first_seq = ?", (row.id, signed(first)))?;
    row.sealed_bytes = row.sealed_bytes.saturating_sub(unsigned(size));
    Ok(())
}

fn move_row(conn: &Connection, row: &JournalRow, seq: Seq, what: &str) -> Result<(), Fault> {
    let copy = format!(
        "{QUARANTINE}SELECT journal, seq, 1, ?3, x'', bytes FROM tail WHERE journal = ?1 AND seq = ?2"
    );
    lenient(conn, &copy, (row.id, signed(seq), what))?;
    conn.execute("DELETE FROM tail WHERE journal = ? AND seq = ?", (row.id, signed(seq)))?;
    Ok(())
}

/// What does not verify, found by reading alone: no transaction is open that damaged pages could spoil.
#[derive(Default)]
struct Unsound {
    segments: Vec<UnsoundSegment>,
    rows: Vec<(Seq, String)>,
    /// The walls of the segments, where they are known.
    walls: Option<(Wall, Wall)>,
}

struct UnsoundSegment {
    first: Seq,
    what: String,
    /// Whether its body can be read and moved.
    readable: bool,
}

impl Unsound {
    fn find(conn: &Connection, row: &JournalRow, range: SeqRange) -> Result<Self, Fault> {
        let mut found = Self::default();
        let reach = range.first().saturating_sub(SEGMENT_RECORDS_MAX as u64);
        let firsts: Vec<i64> = {
            let sql = "SELECT first_seq FROM segment WHERE journal = ? AND first_seq BETWEEN ? AND ?";
            let mut statement = conn.prepare_cached(sql)?;
            let rows =
                statement.query_map((row.id, signed(reach), signed(range.last())), |found| found.get(0))?;
            rows.collect::<Result<_, _>>()?
        };
        for first in firsts.into_iter().map(unsigned) {
            let held = segment::at(conn, row, first);
            let known =
                held.as_ref().ok().and_then(|held| held.as_ref()).map(|held| (held.min_wall, held.max_wall));
            let verified = held.and_then(|held| match held {
                Some(held) => held.records(conn, &row.journal).map(|_| ()),
                None => Ok(()),
            });
            let Some(what) = damage(verified)? else { continue };
            let readable = segment::body_is_readable(conn, row, first)?;
            found.segments.push(UnsoundSegment { first, what, readable });
            if let Some((low, high)) = known {
                let (from, to) = found.walls.unwrap_or((low, high));
                found.walls = Some((from.min(low), to.max(high)));
            }
        }
        let checker = RecordChecker::new(&row.journal);
        tail::scan(conn, row.id, range, false, |raw| {
            let seq = raw.seq;
            if let Some(what) = damage(tail::verify(&row.journal, &checker, &raw).map(|_| ()))? {
                found.rows.push((seq, what));
            }
            Ok(true)
        })?;
        Ok(found)
    }

    /// Moves all of it into quarantine.
    fn isolate(&self, conn: &Connection, row: &mut JournalRow) -> Result<(), Fault> {
        for UnsoundSegment { first, what, readable } in &self.segments {
            move_segment(conn, row, *first, what, *readable)?;
        }
        for (seq, what) in &self.rows {
            move_row(conn, row, *seq, what)?;
        }
        Ok(())
    }
}

/// What is damaged, if that is what went wrong.
fn damage(verified: Result<(), Fault>) -> Result<Option<String>, Fault> {
    match verified {
        Ok(()) => Ok(None),
        Err(Fault::Damaged { what, .. }) => Ok(Some(what)),
        Err(Fault::Sql(error)) if is_corrupt(&error) => Ok(Some(error.to_string())),
        Err(other) => Err(other),
    }
}

impl Store {
    /// Verifies what is stored of `range` and moves whatever does not verify into quarantine, in a commit of its own.
    /// Returns the records that are not here any more; at the author, those that no hub has become an open gap.
    ///
    /// # Errors
    /// As [`Store::commit`].
    pub fn quarantine(&mut self, journal: &JournalId, range: SeqRange) -> Result<Quarantined, CommitError> {
        self.put_aside(journal, range, &[])
    }

    /// As [`Store::quarantine`], for a commit of `changes` that met the damage: what it brings acks of is not lost. They are
    /// true whether or not the commit is made in the end.
    pub(crate) fn put_aside(
        &mut self,
        journal: &JournalId,
        range: SeqRange,
        changes: &[Change],
    ) -> Result<Quarantined, CommitError> {
        let found = self.journals.get(journal).map(|row| Unsound::find(&self.conn, row, range));
        let found = found.transpose().map(Option::unwrap_or_default);
        let bytes_max = self.options.quarantine_bytes;
        self.transact(|work| {
            let found = found?;
            for change in changes {
                if let Change::Acknowledge { journal, ranges } = change {
                    work.acknowledge(journal, ranges)?;
                }
            }
            work.change(journal, |work, row| found.isolate(work.conn, row))?;
            bound(work.conn, bytes_max)?;
            // A bad segment may reach beyond the range that was asked for, by less than a segment on either side.
            let reach = SEGMENT_RECORDS_MAX as u64;
            let wide = SeqRange::new(
                range.first().saturating_sub(reach).max(1),
                range.last().saturating_add(reach).min(crate::append::SEQ_MAX),
            );
            reconcile(work, journal, wide.unwrap_or(range), found.walls)
        })
    }

    /// How many things stand in quarantine.
    ///
    /// # Errors
    /// When SQLite fails.
    pub fn quarantined(&self) -> Result<u64, crate::ReadError> {
        self.healthy()?;
        let sql = "SELECT count(*) FROM quarantine";
        Ok(self.conn.query_row(sql, [], |row| row.get(0)).map(unsigned).map_err(Fault::from)?)
    }
}
