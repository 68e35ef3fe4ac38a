//! Sealing at a replica: records that it holds as rows become the segment that their author named. At the author, so do rows that came back
//! into the place of a segment that damage took.
//!
//! Promise: a segment is stored only when the records hash to the author's name for it. Absent: where the author cuts
//! ([`crate::append`]).

use millrace_model::store::Outcome;
use millrace_model::{JournalId, Record, SegmentHash, SegmentName, SeqRange, block};

use crate::append::SEQ_MAX;
use crate::error::Fault;
use crate::row::JournalRow;
use crate::segment::{self, NewSegment};
use crate::work::Work;
use crate::{load, tail};
use millrace_model::limits::SEGMENT_RECORDS_MAX;

pub(crate) fn seal(work: &mut Work<'_>, journal: &JournalId, name: &SegmentName) -> Result<Outcome, Fault> {
    let sealed = work.change(journal, |work, row| {
        let Some(range) = well_formed(name) else { return Ok(false) };
        if segment::at(work.conn, row, name.first)?.is_some_and(|found| found.name == *name) {
            return Ok(true);
        }
        if !row.present.covers(range) || misfit(work, row, name, range)?.is_some() {
            return Ok(false);
        }
        // A row that is noted and gone is damage.
        let mut records: Vec<Record> = Vec::new();
        load::rows(work.conn, row, range, |found| {
            records.push(found.record);
            Ok(true)
        })?;
        store_named(work, row, name, range, &records)
    })?;
    Ok(Outcome::Sealed { journal: *journal, sealed: sealed.unwrap_or(false) })
}

/// The records that a name stands for, if it can be anybody's name.
pub(crate) fn well_formed(name: &SegmentName) -> Option<SeqRange> {
    let fits = name.count as usize <= SEGMENT_RECORDS_MAX && name.first > 0 && name.ordinal <= SEQ_MAX;
    name.range().filter(|range| fits && range.last() <= SEQ_MAX)
}

/// Why a segment cannot stand where its name says: it overlaps another one, their order contradicts their ordinals, or its author, which this
/// store is, cannot have given the name.
pub(crate) fn misfit(
    work: &Work<'_>,
    row: &JournalRow,
    name: &SegmentName,
    range: SeqRange,
) -> Result<Option<String>, Fault> {
    // What damage took of an author's own journal has a name from before; the next one, and what is not sealed yet, are nobody else's to name.
    if row.own && (name.ordinal >= row.next_ordinal || range.last() >= row.tail_first) {
        return Ok(Some(format!("no segment {} of {range} was ever sealed here", name.ordinal)));
    }
    if name.ordinal < row.first_ordinal {
        return Ok(Some(format!("segments before {} lie below the floor", row.first_ordinal)));
    }
    if let Some(before) = segment::neighbour(work.conn, row, range.first(), false)? {
        if before.range.last() >= range.first() {
            return Ok(Some(format!("{range} overlaps segment {} of {}", before.name.ordinal, before.range)));
        }
        if before.name.ordinal >= name.ordinal {
            return Ok(Some(format!("segment {} stands before it at {}", before.name.ordinal, before.range)));
        }
    }
    if let Some(after) = segment::neighbour(work.conn, row, range.first(), true)? {
        if after.range.first() <= range.last() {
            return Ok(Some(format!("{range} overlaps segment {} of {}", after.name.ordinal, after.range)));
        }
        if after.name.ordinal <= name.ordinal {
            return Ok(Some(format!("segment {} stands behind it at {}", after.name.ordinal, after.range)));
        }
    }
    Ok(None)
}

/// Stores `records` under the author's name when they hash to it; their rows go. Nothing happens otherwise.
pub(crate) fn store_named(
    work: &mut Work<'_>,
    row: &mut JournalRow,
    name: &SegmentName,
    range: SeqRange,
    records: &[Record],
) -> Result<bool, Fault> {
    let block = block::encode(records);
    if SegmentHash::of(&row.journal, name.ordinal, name.first, &block) != name.hash {
        return Ok(false);
    }
    let (encoding, body) = work.encoder.encode(block);
    let new = NewSegment { name: *name, range, walls: segment::walls(records), encoding, body: &body };
    segment::insert(work.conn, row, &new)?;
    tail::delete(work.conn, row, range)?;
    Ok(true)
}
