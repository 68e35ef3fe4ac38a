//! What is declared as lost: by its author, and by the hubs when nobody has it any more.
//!
//! Promise: it is never more than a journal's ranges may be, and never something that is here.
//! Absent: gap records of an author ([`crate::gaps`]).

use millrace_model::limits::RANGES_MAX;
use millrace_model::notice::{Gap, UNNUMBERED_MAX};
use millrace_model::store::Outcome;
use millrace_model::{DeviceId, JournalId, RangeSet, SeqRange};

use crate::append::SEQ_MAX;
use crate::error::Fault;
use crate::row::JournalRow;
use crate::work::Work;

/// Counts what the author rejected before it had a number, in the journal that says so: that one is here in any case.
pub(crate) fn count_unnumbered(row: &mut JournalRow, gaps: &[Gap]) {
    let room = UNNUMBERED_MAX.saturating_sub(row.rejected);
    let lost = gaps.iter().map(Gap::unnumbered).fold(0, u64::saturating_add).min(room);
    row.rejected += lost;
    row.ingested += lost;
}

/// Notes what the author says it lost, in its own journals only.
pub(crate) fn note(work: &mut Work<'_>, device: DeviceId, gaps: &[Gap]) -> Result<(), Fault> {
    for gap in gaps {
        let Some((first, last)) = gap.range else { continue };
        let Some(range) = SeqRange::new(first.max(1), last.min(SEQ_MAX)) else { continue };
        let journal = JournalId { device, incarnation: gap.incarnation, lane: gap.lane };
        if work.create(journal, false)? {
            work.change(&journal, |_, row| {
                // A device may lose what it had sent before it hears of the ack.
                let lost = RangeSet::from(range).difference(&row.present);
                lost.iter().for_each(|range| add(row, range));
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// Adds to what is declared as lost, as long as there is room for it.
fn add(row: &mut JournalRow, range: SeqRange) {
    let mut declared = row.declared.clone();
    declared.insert(range);
    if declared.range_count() <= RANGES_MAX {
        row.declared = declared;
    }
}

/// Notes what no replica has any more.
pub(crate) fn lose(work: &mut Work<'_>, journal: &JournalId, ranges: &RangeSet) -> Result<Outcome, Fault> {
    work.change(journal, |_, row| {
        let awaited = SeqRange::new(row.floor, SEQ_MAX).filter(|_| !row.own);
        let lost = awaited.map_or_else(RangeSet::new, |range| ranges.within(range));
        lost.difference(&row.present).iter().for_each(|range| add(row, range));
        Ok(())
    })?;
    Ok(Outcome::Done)
}
