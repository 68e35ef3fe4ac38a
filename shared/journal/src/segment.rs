//! Sealed segments: a row that names and dates one, and its body beside it.
//!
//! Promise: no segment is handed out before its hash was verified against its bytes and its place.
//! Absent: when a segment is sealed ([`crate::append`], [`crate::seal`]) and when it goes ([`crate::trim`]).

use bytes::Bytes;
use millrace_model::hash::RecordChecker;
use millrace_model::{Encoding, JournalId, Record, SegmentHash, SegmentName, Seq, SeqRange, Wall, block};
use rusqlite::{Connection, OptionalExtension, Row};

use crate::error::{Fault, is_corrupt};
use crate::row::JournalRow;
use crate::schema::{signed, unsigned};
use crate::{codec, digest};

const COLUMNS: &str =
    "first_seq, count, ordinal, class, min_wall, max_wall, encoding, size, body, hash, checksum";

/// Longest time between the first and the last record of a segment of each class, in µs: about a minute, an hour, three
/// days; whatever is longer has no bound. A time query looks only at segments whose class can reach into its range.
pub(crate) const CLASS_SPANS: [i64; 4] = [1 << 26, 1 << 32, 1 << 38, i64::MAX];

/// One sealed segment, without its body.
#[derive(Clone, Debug)]
pub(crate) struct SegmentRow {
    pub(crate) name: SegmentName,
    /// Its records; the same as the name says.
    pub(crate) range: SeqRange,
    pub(crate) class: i64,
    pub(crate) min_wall: Wall,
    pub(crate) max_wall: Wall,
    pub(crate) encoding: Encoding,
    /// Stored bytes of its body.
    pub(crate) size: u64,
    pub(crate) body: i64,
    checksum: i64,
}

/// A segment about to be stored.
pub(crate) struct NewSegment<'a> {
    pub(crate) name: SegmentName,
    pub(crate) range: SeqRange,
    pub(crate) walls: (Wall, Wall),
    pub(crate) encoding: Encoding,
    pub(crate) body: &'a [u8],
}

/// Earliest and latest arrival among `records`.
pub(crate) fn walls<'a>(records: impl IntoIterator<Item = &'a Record>) -> (Wall, Wall) {
    let mut bounds: Option<(Wall, Wall)> = None;
    for record in records {
        let (low, high) = bounds.unwrap_or((record.wall, record.wall));
        bounds = Some((low.min(record.wall), high.max(record.wall)));
    }
    bounds.unwrap_or_default()
}

fn class_of((low, high): (Wall, Wall)) -> i64 {
    let span = high.0.saturating_sub(low.0);
    let place = CLASS_SPANS.iter().position(|bound| span <= *bound);
    i64::try_from(place.unwrap_or(CLASS_SPANS.len() - 1)).unwrap_or(0)
}

impl SegmentRow {
    fn expected_checksum(&self, journal: &JournalId) -> i64 {
        let mut bytes = b"segment".to_vec();
        let numbers = [
            i64::from(self.name.count),
            signed(self.name.ordinal),
            self.class,
            self.min_wall.0,
            self.max_wall.0,
            codec::code(self.encoding),
            signed(self.size),
            self.body,
        ];
        numbers.iter().for_each(|number| bytes.extend_from_slice(&number.to_be_bytes()));
        bytes.extend_from_slice(&self.name.hash.0);
        bytes.extend_from_slice(&self.name.first.to_be_bytes());
        RecordChecker::new(journal).check(0, &bytes).0.cast_signed()
    }

    fn read(journal: &JournalId, row: &Row<'_>) -> Result<Self, Fault> {
        let first = unsigned(row.get(0)?);
        let damaged = |range: SeqRange| Fault::Damaged {
            journal: *journal,
            range,
            what: "the checksum of a segment's row does not fit".to_owned(),
        };
        let somewhere = SeqRange::only(first);
        let count = u32::try_from(row.get::<_, i64>(1)?).map_err(|_| damaged(somewhere))?;
        let name =
            SegmentName { ordinal: unsigned(row.get(2)?), first, count, hash: SegmentHash(row.get(9)?) };
        let range = name.range().ok_or_else(|| damaged(somewhere))?;
        let found = Self {
            name,
            range,
            class: row.get(3)?,
            min_wall: Wall(row.get(4)?),
            max_wall: Wall(row.get(5)?),
            encoding: codec::from_code(row.get(6)?).ok_or_else(|| damaged(somewhere))?,
            size: unsigned(row.get(7)?),
            body: row.get(8)?,
            checksum: row.get(10)?,
        };
        if found.expected_checksum(journal) == found.checksum { Ok(found) } else { Err(damaged(somewhere)) }
    }

    /// Its body as stored, unverified.
    pub(crate) fn body(&self, conn: &Connection) -> Result<Option<Bytes>, Fault> {
        let mut statement = conn.prepare_cached("SELECT bytes FROM body WHERE id = ?")?;
        Ok(statement.query_row([self.body], |row| row.get::<_, Vec<u8>>(0)).optional()?.map(Bytes::from))
    }

    /// Its body as stored and the block in it, both verified.
    pub(crate) fn open(&self, conn: &Connection, journal: &JournalId) -> Result<(Bytes, Bytes), Fault> {
        let damaged = |what: String| Fault::Damaged { journal: *journal, range: self.range, what };
        let body = self
            .body(conn)
            .map_err(|fault| fault.located(*journal, self.range))?
            .ok_or_else(|| damaged("the body of a segment is gone".to_owned()))?;
        let block = codec::expand(self.encoding, &body).map_err(|error| damaged(error.to_string()))?;
        if SegmentHash::of(journal, self.name.ordinal, self.name.first, &block) != self.name.hash {
            return Err(damaged("the hash of a segment does not fit its body".to_owned()));
        }
        Ok((body, block))
    }

    /// Its records, verified.
    pub(crate) fn records(&self, conn: &Connection, journal: &JournalId) -> Result<Vec<Record>, Fault> {
        let (_, block) = self.open(conn, journal)?;
        let damaged = |what: String| Fault::Damaged { journal: *journal, range: self.range, what };
        let records = block::decode(&block).map_err(|error| damaged(error.to_string()))?;
        if records.len() != self.name.count as usize {
            return Err(damaged("a segment has another number of records than its name says".to_owned()));
        }
        Ok(records)
    }
}

/// Whether the pages of a segment's body can be read, whatever stands in them.
pub(crate) fn body_is_readable(conn: &Connection, row: &JournalRow, first: Seq) -> Result<bool, Fault> {
    let sql =
        "SELECT bytes FROM body WHERE id = (SELECT body FROM segment WHERE journal = ? AND first_seq = ?)";
    let mut statement = conn.prepare_cached(sql)?;
    let read = statement.query_row((row.id, signed(first)), |found| found.get::<_, Vec<u8>>(0)).optional();
    match read {
        Ok(_) => Ok(true),
        Err(error) if is_corrupt(&error) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Stores a segment and counts its bytes; the caller keeps the sets.
pub(crate) fn insert(conn: &Connection, row: &mut JournalRow, new: &NewSegment<'_>) -> Result<(), Fault> {
    let body = conn.prepare_cached("INSERT INTO body (bytes) VALUES (?)")?.insert([new.body])?;
    let mut segment = SegmentRow {
        name: new.name,
        range: new.range,
        class: class_of(new.walls),
        min_wall: new.walls.0,
        max_wall: new.walls.1,
        encoding: new.encoding,
        size: new.body.len() as u64,
        body,
        checksum: 0,
    };
    segment.checksum = segment.expected_checksum(&row.journal);
    let sql = format!("INSERT INTO segment (journal, {COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)");
    conn.prepare_cached(&sql)?.execute((
        row.id,
        signed(segment.name.first),
        segment.name.count,
        signed(segment.name.ordinal),
        segment.class,
        segment.min_wall.0,
        segment.max_wall.0,
        codec::code(segment.encoding),
        signed(segment.size),
        segment.body,
        &segment.name.hash.0[..],
        segment.checksum,
    ))?;
    if segment.range.first() <= row.floor {
        digest::pass(row, segment.name.ordinal);
    }
    row.pending.put(&segment.name);
    row.sealed_bytes += segment.size;
    row.classes |= 1 << segment.class;
    row.next_ordinal = row.next_ordinal.max(segment.name.ordinal + 1);
    row.tail_first = row.tail_first.max(segment.range.last() + 1);
    Ok(())
}

/// Deletes a segment and counts its bytes off; the caller keeps the sets, and the digest: trimming changes nothing in it.
pub(crate) fn delete(conn: &Connection, row: &mut JournalRow, segment: &SegmentRow) -> Result<(), Fault> {
    conn.prepare_cached("DELETE FROM body WHERE id = ?")?.execute([segment.body])?;
    conn.prepare_cached("DELETE FROM segment WHERE journal = ? AND first_seq = ?")?
        .execute((row.id, signed(segment.name.first)))?;
    row.sealed_bytes = row.sealed_bytes.saturating_sub(segment.size);
    Ok(())
}

/// The first segment that ends at `from` or later.
pub(crate) fn next(conn: &Connection, row: &JournalRow, from: Seq) -> Result<Option<SegmentRow>, Fault> {
    if let Some(before) = neighbour(conn, row, from, false)?
        && before.range.last() >= from
    {
        return Ok(Some(before));
    }
    neighbour(conn, row, from.saturating_add(1), true)
}

/// The segment that begins nearest to `seq`: at or after it, or else at or before it.
pub(crate) fn neighbour(
    conn: &Connection,
    row: &JournalRow,
    seq: Seq,
    after: bool,
) -> Result<Option<SegmentRow>, Fault> {
    let sql = if after {
        format!(
            "SELECT {COLUMNS} FROM segment WHERE journal = ? AND first_seq >= ? ORDER BY first_seq LIMIT 1"
        )
    } else {
        format!(
            "SELECT {COLUMNS} FROM segment WHERE journal = ? AND first_seq <= ? ORDER BY first_seq DESC LIMIT 1"
        )
    };
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query((row.id, signed(seq)))?;
    rows.next()?.map(|found| SegmentRow::read(&row.journal, found)).transpose()
}

/// Calls `each` for all segments of a journal, in order; those whose rows do not verify, too.
pub(crate) fn each(
    conn: &Connection,
    row: &JournalRow,
    mut each: impl FnMut(Result<SegmentRow, Fault>) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let sql = format!("SELECT {COLUMNS} FROM segment WHERE journal = ? ORDER BY first_seq");
    let mut statement = conn.prepare_cached(&sql)?;
    let mut rows = statement.query([row.id])?;
    while let Some(found) = rows.next()? {
        match SegmentRow::read(&row.journal, found) {
            Err(Fault::Sql(error)) if !is_corrupt(&error) => return Err(error.into()),
            found => each(found)?,
        }
    }
    Ok(())
}

/// The segment that begins at `first`.
pub(crate) fn at(conn: &Connection, row: &JournalRow, first: Seq) -> Result<Option<SegmentRow>, Fault> {
    Ok(neighbour(conn, row, first, false)?.filter(|found| found.name.first == first))
}
