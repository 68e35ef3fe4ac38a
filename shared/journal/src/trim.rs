//! Dropping at the floor: what is acked goes, what is not goes only for a reason, and is counted.
//!
//! Promise: floors only grow; a segment goes as a whole or stays; what goes unacknowledged becomes an open gap in the
//! same transaction. Absent: what goes first, and when (the engine's retention).

use millrace_model::notice::GapReason;
use millrace_model::store::Outcome;
use millrace_model::{JournalId, RangeSet, Seq, SeqRange};

use crate::error::Fault;
use crate::row::JournalRow;
use crate::work::Work;
use crate::{digest, gaps, quarantine, segment, tail};

/// What one drop did so far.
#[derive(Default)]
struct Dropped {
    trimmed: u64,
    evicted: u64,
}

pub(crate) fn drop_through(
    work: &mut Work<'_>,
    journal: &JournalId,
    through: Seq,
    evict: Option<GapReason>,
) -> Result<Outcome, Fault> {
    let done = work.change(journal, |work, row| {
        let mut dropped = Dropped::default();
        let through = through.min(row.head);
        drop_units(work, row, through, evict, &mut dropped)?;
        let kept = row.present.iter().next().map_or(Seq::MAX, SeqRange::first);
        row.floor = row.floor.max(kept.min(through.saturating_add(1)));
        digest::raise_floor(work.conn, row)?;
        forget_below_floor(row);
        quarantine::forget_below_floor(work.conn, row)?;
        Ok((row.floor, dropped))
    })?;
    let (floor, Dropped { trimmed, evicted }) = done.unwrap_or((1, Dropped::default()));
    Ok(Outcome::Dropped { journal: *journal, floor, trimmed, evicted })
}

/// Drops segments and rows in the order of their numbers, until one has to stay.
fn drop_units(
    work: &Work<'_>,
    row: &mut JournalRow,
    through: Seq,
    evict: Option<GapReason>,
    dropped: &mut Dropped,
) -> Result<(), Fault> {
    loop {
        let oldest = row.present.iter().next().map(SeqRange::first);
        let Some(first) = oldest.filter(|first| *first <= through) else { return Ok(()) };
        let next = segment::next(work.conn, row, first)?;
        let before_segment = next.as_ref().map_or(Seq::MAX, |next| next.range.first() - 1);
        if let Some(segment) = next.filter(|next| next.range.first() <= first) {
            let here = row.present.within(segment.range);
            let unacked = if row.own { row.unacked(&here) } else { 0 };
            if segment.range.last() > through || (unacked > 0 && evict.is_none()) {
                return Ok(());
            }
            if let (Some(reason), true) = (evict, unacked > 0) {
                gaps::reopen(work, row, &here.difference(&row.acked))?;
                // No hub got all of it.
                row.pending.take(segment.name.ordinal);
                dropped.evicted +=
                    gaps::evict(work, row, &here, reason, (segment.min_wall, segment.max_wall))?;
            }
            dropped.trimmed += here.count() - unacked;
            segment::delete(work.conn, row, &segment)?;
            digest::pass(row, segment.name.ordinal + 1);
            row.present.remove(segment.range);
        } else {
            let Some(rows) = SeqRange::new(first, through.min(before_segment)) else { return Ok(()) };
            if !drop_rows(work, row, rows, evict, dropped)? {
                return Ok(());
            }
        }
    }
}

/// Drops tail rows; `false` when one had to stay.
fn drop_rows(
    work: &Work<'_>,
    row: &mut JournalRow,
    range: SeqRange,
    evict: Option<GapReason>,
    dropped: &mut Dropped,
) -> Result<bool, Fault> {
    let mut here = row.present.within(range);
    let unacked = if row.own { here.difference(&row.acked) } else { RangeSet::new() };
    let mut all = true;
    if evict.is_none()
        && let Some(kept) = unacked.iter().next()
    {
        all = false;
        match SeqRange::new(range.first(), kept.first() - 1) {
            Some(free) => here = here.within(free),
            None => return Ok(false),
        }
    }
    let evicting = unacked.intersection(&here);
    if let (Some(reason), false) = (evict, evicting.is_empty()) {
        gaps::reopen(work, row, &evicting)?;
        let walls = row.tail_walls.unwrap_or_default();
        dropped.evicted += gaps::evict(work, row, &evicting, reason, walls)?;
    }
    dropped.trimmed += here.count() - evicting.count();
    for part in here.iter() {
        tail::delete(work.conn, row, part)?;
        row.present.remove(part);
    }
    Ok(all)
}

/// Ranges of acks and declared losses kept per journal. Below the floor they decide nothing any more, so there they go first.
const SETTLED_RANGES_MAX: usize = 1_024;

fn forget_below_floor(row: &mut JournalRow) {
    let Some(below) = SeqRange::new(1, row.floor.saturating_sub(1)) else { return };
    for set in [&mut row.acked, &mut row.declared] {
        while set.range_count() > SETTLED_RANGES_MAX {
            let Some(oldest) = set.iter().next().filter(|oldest| oldest.last() <= below.last()) else {
                break;
            };
            set.remove(oldest);
        }
    }
}
