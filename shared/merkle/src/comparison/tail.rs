//! The checks of tail rows: asked for when the sums over them differ.

use std::cmp::Ordering;

use millrace_model::{RecordCheck, Seq, SeqRange};

use super::difference::Difference;
use super::outlines::Outlines;
use crate::contradiction::{Contradiction, Fault, both};
use crate::question::{About, CHECKS_MAX, Told};

/// How far the rows were looked at.
#[derive(Debug)]
pub(super) struct Tail {
    from: Seq,
    /// Rows that only one holder has, although both have the record.
    alone: u64,
}

impl Tail {
    pub(super) const fn new(floor: Seq) -> Self {
        Self { from: floor, alone: 0 }
    }

    pub(super) fn question(&self) -> About {
        About::Checks { ranges: SeqRange::new(self.from, Seq::MAX).into_iter().collect() }
    }

    /// Takes a page of each. Returns whether there is another one to be asked for.
    pub(super) fn take(
        &mut self,
        told: (&Told, &Told),
        outlines: &Outlines,
        difference: &mut Difference,
    ) -> Result<bool, Contradiction> {
        let (mine, theirs) = both(told.0, told.1, |told| read(told, self.from))?;
        // Behind the last row of a full page there may be more.
        let full =
            |rows: &[(Seq, RecordCheck)]| rows.last().filter(|_| rows.len() == CHECKS_MAX).map(|last| last.0);
        let end = full(mine).into_iter().chain(full(theirs)).min().unwrap_or(Seq::MAX);
        let until = |rows: &[(Seq, RecordCheck)]| rows.partition_point(|(seq, _)| *seq <= end);
        let mut mine = mine.iter().take(until(mine)).peekable();
        let mut theirs = theirs.iter().take(until(theirs)).peekable();
        loop {
            let order = match (mine.peek(), theirs.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(one), Some(other)) => one.0.cmp(&other.0),
            };
            let one = if order.is_le() { mine.next() } else { None };
            let other = if order.is_ge() { theirs.next() } else { None };
            match (one, other) {
                (Some((seq, one)), Some((_, other))) if one != other => {
                    difference.rows.insert(SeqRange::only(*seq));
                }
                (Some((seq, _)), None) if outlines.theirs.present.contains(*seq) => self.alone += 1,
                (None, Some((seq, _))) if outlines.mine.present.contains(*seq) => self.alone += 1,
                _ => {}
            }
        }
        self.from = end.saturating_add(1);
        Ok(end < Seq::MAX)
    }

    /// Rows that only one holder has count when nothing else was found: otherwise a segment is sealed at one of both alone.
    pub(super) fn finish(&self, difference: &mut Difference) {
        if difference.is_empty() {
            difference.unsettled += self.alone;
        }
    }
}

fn read(told: &Told, from: Seq) -> Result<&[(Seq, RecordCheck)], Fault> {
    let Told::Checks(rows) = told else { return Err(Fault::Misplaced) };
    if rows.len() > CHECKS_MAX {
        return Err(Fault::TooMany { what: "checks", limit: CHECKS_MAX, found: rows.len() });
    }
    let in_order = rows.is_sorted_by(|one, next| one.0 < next.0);
    if !in_order || rows.first().is_some_and(|(seq, _)| *seq < from) {
        return Err(Fault::Order("checks"));
    }
    Ok(rows)
}
