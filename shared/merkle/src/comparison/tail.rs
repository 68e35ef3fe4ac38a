//! The checks of tail rows: asked for when the sums over them differ.

use millrace_model::{RecordCheck, Seq, SeqRange};

use super::difference::Difference;
use super::outlines::Outlines;
use crate::contradiction::{Contradiction, Fault, both};
use crate::pairs::{self, pairs};
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
        let cut = |rows: &[(Seq, RecordCheck)]| rows.len() == CHECKS_MAX;
        let end = pairs::end((mine, cut(mine)), (theirs, cut(theirs)));
        for (seq, mine, theirs) in pairs(mine, theirs, end) {
            match (mine, theirs) {
                (Some(mine), Some(theirs)) if mine != theirs => difference.rows.insert(SeqRange::only(seq)),
                (Some(_), None) if outlines.theirs.present.contains(seq) => self.alone += 1,
                (None, Some(_)) if outlines.mine.present.contains(seq) => self.alone += 1,
                _ => {}
            }
        }
        let next = end.and_then(|end| end.checked_add(1));
        self.from = next.unwrap_or(self.from);
        Ok(next.is_some())
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
