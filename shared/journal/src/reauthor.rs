//! A new life for a data directory that was rolled back or cloned: old journals retire, and what of them never reached
//! a hub is written again under the new incarnation.
//!
//! Promise: no sequence number is used twice, no record is lost, and the device's ledger stays what it was.
//! Absent: how rollback and clones are noticed (the engines compare at Hello).

use millrace_model::limits::SEGMENT_RECORDS_MAX;
use millrace_model::store::Outcome;
use millrace_model::{Incarnation, JournalId, Lane, RangeSet, Record, SeqRange};

use crate::error::Fault;
use crate::row::JournalRow;
use crate::work::{Work, Writing};
use crate::{append, digest, load, memory, segment, tail};

pub(crate) fn reincarnate(
    work: &mut Work<'_>,
    incarnation: Incarnation,
    open: &Record,
) -> Result<Outcome, Fault> {
    let device = work.current(Lane::Urgent)?.device;
    let taken =
        Lane::ALL.iter().any(|lane| work.row(&JournalId { device, incarnation, lane: *lane }).is_some());
    if taken {
        return Err(Fault::Invalid(format!("incarnation {incarnation} was used before")));
    }
    for lane in Lane::ALL {
        let old = work.current(lane)?;
        work.change(&old, |_, row| {
            row.retired = true;
            Ok(())
        })?;
    }
    let writing = Writing { device, incarnation };
    memory::save_writing(work.conn, writing)?;
    work.writing = Some(writing);
    for lane in Lane::ALL {
        work.create(JournalId { device, incarnation, lane }, true)?;
    }
    append::append(work, Lane::Urgent, std::slice::from_ref(open))
}

pub(crate) fn reauthor(
    work: &mut Work<'_>,
    journal: &JournalId,
    range: SeqRange,
    equal: &RangeSet,
) -> Result<Outcome, Fault> {
    if range.count() > SEGMENT_RECORDS_MAX as u64 {
        return Err(Fault::Invalid(format!("{range} is more than {SEGMENT_RECORDS_MAX} records")));
    }
    if !work.row(journal).is_some_and(|row| row.own && row.retired) {
        return Err(Fault::Invalid(format!("{journal} has not retired")));
    }
    let moved = work.change(journal, |work, row| {
        let here = row.present.within(range);
        let found_equal = row.acknowledge(&here.intersection(equal));
        let moving = here.difference(&row.acked);
        let records = read_all(work, row, &moving)?;
        row.ingested = row.ingested.saturating_sub(moving.count());
        row.present.subtract(&moving);
        let acked = row.acked.clone();
        clear(work, row, range, &acked)?;
        Ok((records, found_equal))
    })?;
    let (records, equal) = moved.unwrap_or_default();
    let target = work.current(journal.lane)?;
    let appended = append::append_to(work, &target, &records)?.map(|(range, _)| (target, range));
    Ok(Outcome::Reauthored { appended, equal })
}

fn read_all(work: &Work<'_>, row: &JournalRow, set: &RangeSet) -> Result<Vec<Record>, Fault> {
    let mut records = Vec::new();
    for range in set.iter() {
        load::each(work.conn, row, range, |_, record| {
            records.push(record);
            Ok(true)
        })?;
    }
    Ok(records)
}

/// Removes what nobody needs any more: rows that moved or are acked, and segments without a record that still waits.
fn clear(work: &Work<'_>, row: &mut JournalRow, range: SeqRange, acked: &RangeSet) -> Result<(), Fault> {
    let (mut from, mut rows) = (range.first(), RangeSet::from(range));
    while let Some(segment) = segment::next(work.conn, row, from)?.filter(|s| s.range.first() <= range.last())
    {
        rows.remove(segment.range);
        if row.present.within(segment.range).difference(acked).is_empty() {
            // When all of it is acked the hubs have the very same, and it is trimmed if it stands at the floor. What moved stands elsewhere,
            // under other numbers: then the digest speaks of the segment no more.
            let trims = acked.covers(segment.range) && row.present.first() == Some(segment.range.first());
            if !trims {
                row.pending.take(segment.name.ordinal);
            }
            segment::delete(work.conn, row, &segment)?;
            row.present.remove(segment.range);
        }
        from = segment.range.last() + 1;
    }
    for range in rows.iter() {
        tail::delete(work.conn, row, range)?;
        row.present.remove(range);
    }
    let kept = row.present.first().unwrap_or(row.head + 1);
    if kept > row.floor {
        row.floor = kept;
        digest::raise_floor(work.conn, row)?;
    }
    Ok(())
}
