//! Appending: the author's records get their numbers, and are sealed as soon as that is worth it.
//!
//! Promise: numbers are dense from 1. A burst is written once, compressed, as segments; full segments never pass
//! through tail rows. Absent: what is accepted at all (the engine's intake).

use millrace_model::hash::RecordChecker;
use millrace_model::limits::{PAYLOAD_BYTES_MAX, SEGMENT_BYTES_MAX, SEGMENT_RECORDS_MAX};
use millrace_model::store::Outcome;
use millrace_model::{
    JournalId, Lane, Record, RecordCheck, SegmentHash, SegmentName, Seq, SeqRange, block, canon,
};

use crate::error::Fault;
use crate::row::JournalRow;
use crate::segment::{self, NewSegment};
use crate::tail;
use crate::work::Work;

/// Numbers that SQLite can hold; at a million records a second they last for 290,000 years.
pub(crate) const SEQ_MAX: Seq = i64::MAX as u64 - 1;

pub(crate) fn append(work: &mut Work<'_>, lane: Lane, records: &[Record]) -> Result<Outcome, Fault> {
    let journal = work.current(lane)?;
    let appended = append_to(work, &journal, records)?;
    let Some((range, sealed)) = appended else {
        return Err(Fault::Invalid("an append without records".into()));
    };
    Ok(Outcome::Appended { journal, range, sealed })
}

/// Appends `records` to `journal`, counted as ingested; `None` when there are none.
pub(crate) fn append_to(
    work: &mut Work<'_>,
    journal: &JournalId,
    records: &[Record],
) -> Result<Option<(SeqRange, Vec<SegmentName>)>, Fault> {
    if let Some(large) = records.iter().find(|record| record.payload.len() > PAYLOAD_BYTES_MAX) {
        return Err(Fault::Invalid(format!("a payload of {} bytes on {}", large.payload.len(), large.topic)));
    }
    let done = work.change(journal, |work, row| {
        if row.retired || !row.own {
            return Err(Fault::Invalid(format!("{journal} takes no records")));
        }
        let first = row.head + 1;
        let Some(range) = SeqRange::starting(first, records.len() as u64).filter(|r| r.last() <= SEQ_MAX)
        else {
            return if records.is_empty() {
                Ok(None)
            } else {
                Err(Fault::Invalid(format!("{journal} is full")))
            };
        };
        let sealed = place(work, row, range, records)?;
        row.head = range.last();
        row.present.insert(range);
        row.ingested += range.count();
        Ok(Some((range, sealed)))
    })?;
    done.ok_or_else(|| Fault::Invalid(format!("{journal} is not here")))
}

/// Writes the records as rows, or seals them together with the tail.
fn place(
    work: &mut Work<'_>,
    row: &mut JournalRow,
    range: SeqRange,
    records: &[Record],
) -> Result<Vec<SegmentName>, Fault> {
    let burst = records.len() >= work.burst_records;
    let weight: usize = records.iter().map(Record::weight).sum();
    let (waiting, waiting_bytes) = unsealed(work, row)?;
    let rows = waiting + records.len() as u64;
    let full =
        rows >= SEGMENT_RECORDS_MAX as u64 || waiting_bytes + weight as u64 >= SEGMENT_BYTES_MAX as u64;
    if !burst && !full {
        insert_rows(work, row, range.first(), records)?;
        return Ok(Vec::new());
    }
    let old = match SeqRange::new(row.tail_first, row.head) {
        Some(tail) => tail::read(work.conn, row, tail, usize::MAX)?,
        None => Vec::new(),
    };
    let mut pool: Vec<(Seq, &Record)> = old.iter().map(|row| (row.seq, &row.record)).collect();
    pool.extend((range.first()..).zip(records));

    let (mut sealed, mut kept) = (Vec::new(), false);
    let mut rest = pool.as_slice();
    while !rest.is_empty() {
        let cut = cut(rest);
        let (group, after) = rest.split_at(cut.min(rest.len()));
        kept = after.is_empty()
            && group.len() < SEGMENT_RECORDS_MAX
            && !(burst && group.len() >= work.burst_records)
            && tail_cost(group) < SEGMENT_BYTES_MAX as u64;
        if kept {
            keep_rows(work, row, range.first(), group)?;
        } else {
            sealed.extend(seal_group(work, row, group)?);
        }
        rest = after;
    }
    if let Some(last) = records.last()
        && !kept
    {
        row.head_check = RecordChecker::new(&row.journal).check(range.last(), &canon::encode(last));
    }
    Ok(sealed)
}

/// How many rows the next segment may take, and how much they take. Rows that came back into the place of segments that damage took stand before
/// them, and stay rows: the hubs never had them sealed.
fn unsealed(work: &Work<'_>, row: &JournalRow) -> Result<(u64, u64), Fault> {
    let Some(tail) = SeqRange::new(row.tail_first, row.head) else { return Ok((0, 0)) };
    let waiting = row.present.within(tail).count();
    if waiting == row.tail_rows {
        return Ok((waiting, row.tail_bytes));
    }
    Ok((waiting, tail::bytes(work.conn, row, tail)?))
}

/// How many of `pool` make the next segment: consecutive, and within the limits. The weight of a record is never less
/// than what it adds to a block, so neither is the sum.
fn cut(pool: &[(Seq, &Record)]) -> usize {
    let (mut weight, mut expected) = (0, None);
    for (place, (seq, record)) in pool.iter().enumerate() {
        weight += record.weight();
        let gap = expected.is_some_and(|expected| expected != *seq);
        if gap || place == SEGMENT_RECORDS_MAX || (weight > SEGMENT_BYTES_MAX && place > 0) {
            return place;
        }
        expected = Some(seq + 1);
    }
    pool.len()
}

/// About what these records take as rows.
fn tail_cost(group: &[(Seq, &Record)]) -> u64 {
    group.iter().map(|(_, record)| tail::cost(record.weight() as u64)).sum()
}

/// Seals consecutive records of the pool; their rows, if they have any, go.
fn seal_group(
    work: &mut Work<'_>,
    row: &mut JournalRow,
    group: &[(Seq, &Record)],
) -> Result<Option<SegmentName>, Fault> {
    let Some((first, _)) = group.first() else { return Ok(None) };
    let records: Vec<Record> = group.iter().map(|(_, record)| (*record).clone()).collect();
    let block = block::encode(&records);
    let name = SegmentName {
        ordinal: row.next_ordinal,
        first: *first,
        count: u32::try_from(group.len()).unwrap_or(u32::MAX),
        hash: SegmentHash::of(&row.journal, row.next_ordinal, *first, &block),
    };
    let Some(range) = name.range() else { return Ok(None) };
    let (encoding, body) = work.encoder.encode(block);
    let new = NewSegment { name, range, walls: segment::walls(&records), encoding, body: &body };
    segment::insert(work.conn, row, &new)?;
    if row.tail_rows > 0 {
        tail::delete(work.conn, row, range)?;
    }
    Ok(Some(name))
}

/// Leaves the end of the pool in the tail: rows that are there stay, new ones are added.
fn keep_rows(
    work: &Work<'_>,
    row: &mut JournalRow,
    first_new: Seq,
    group: &[(Seq, &Record)],
) -> Result<(), Fault> {
    let new = group.iter().position(|(seq, _)| *seq >= first_new).unwrap_or(group.len());
    let (old, new) = group.split_at(new);
    if row.tail_rows == old.len() as u64 {
        row.tail_walls = None;
    }
    old.iter().for_each(|(_, record)| row.widen_tail(record.wall));
    let Some((first, _)) = new.first() else { return Ok(()) };
    insert_rows(work, row, *first, new.iter().map(|(_, record)| *record))
}

fn insert_rows<'r>(
    work: &Work<'_>,
    row: &mut JournalRow,
    first: Seq,
    records: impl IntoIterator<Item = &'r Record>,
) -> Result<(), Fault> {
    let checker = RecordChecker::new(&row.journal);
    let mut bytes = Vec::new();
    let mut last = RecordCheck(0);
    for (seq, record) in (first..).zip(records) {
        bytes.clear();
        canon::encode_into(record, &mut bytes);
        last = checker.check(seq, &bytes);
        tail::insert(work.conn, row, seq, record, last, &bytes)?;
    }
    row.head_check = last;
    Ok(())
}
