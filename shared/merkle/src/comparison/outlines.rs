//! The outlines of both holders, page by page.

use millrace_model::digest::Summary;
use millrace_model::limits::SEGMENT_RECORDS_MAX;
use millrace_model::{RangeSet, Seq, SeqRange};

use crate::contradiction::{Contradiction, Fault, Holder};
use crate::node::LEVELS_MAX;
use crate::question::{About, Outline, PAGES_MAX, SPANS_MAX, Told};
use crate::spans;

/// What one holder said so far. Of a journal that it does not know it has nothing.
#[derive(Debug, Default)]
pub(super) struct Side {
    pub(super) is_known: bool,
    pub(super) floor: Seq,
    pub(super) head: Seq,
    pub(super) first_ordinal: u64,
    pub(super) summary: Summary,
    pub(super) present: RangeSet,
    /// The last number that was told, when there is more behind it.
    cut_at: Option<Seq>,
}

impl Side {
    fn take(&mut self, from: Seq, told: Told) -> Result<(), Fault> {
        let outline = match told {
            Told::Outline(outline) => outline,
            Told::Unknown => return Ok(()),
            _ => return Err(Fault::Misplaced),
        };
        let Outline { floor, head, first_ordinal, summary, present, more } = outline;
        if summary.root.level > LEVELS_MAX {
            return Err(Fault::Level(summary.root.level));
        }
        let present = spans::decode(&present, from)?;
        if more && (present.range_count() < SPANS_MAX || present.last() == Some(Seq::MAX)) {
            return Err(Fault::Pages);
        }
        self.cut_at = present.last().filter(|_| more);
        if let Some(last) = present.last().filter(|last| *last > head) {
            return Err(Fault::Head { last, head });
        }
        // A holder may change between two pages: its floors only grow, and what it says last of its digest holds.
        self.is_known = true;
        self.floor = self.floor.max(floor);
        self.head = self.head.max(head);
        self.first_ordinal = self.first_ordinal.max(first_ordinal);
        self.summary = summary;
        self.present.extend(&present);
        Ok(())
    }
}

/// Both.
#[derive(Debug)]
pub(super) struct Outlines {
    pub(super) mine: Side,
    pub(super) theirs: Side,
    from: Seq,
    pages: usize,
}

impl Outlines {
    pub(super) fn new() -> Self {
        Self { mine: Side::default(), theirs: Side::default(), from: 1, pages: 0 }
    }

    pub(super) const fn question(&self) -> About {
        About::Outline { from: self.from }
    }

    /// Takes a page of each. Returns whether there is another one to be asked for.
    pub(super) fn take(&mut self, mine: Told, theirs: Told) -> Result<bool, Contradiction> {
        self.mine.take(self.from, mine).map_err(|fault| fault.of(Holder::Mine))?;
        self.theirs.take(self.from, theirs).map_err(|fault| fault.of(Holder::Theirs))?;
        self.pages += 1;
        let cut_at = [(Holder::Mine, self.mine.cut_at), (Holder::Theirs, self.theirs.cut_at)];
        let next = cut_at.into_iter().filter_map(|(who, at)| Some((at?, who))).min_by_key(|(at, _)| *at);
        let Some((at, who)) = next else { return Ok(false) };
        if self.pages >= PAGES_MAX {
            return Err(Fault::Pages.of(who));
        }
        self.from = at.saturating_add(1);
        Ok(true)
    }

    /// The higher of both floors.
    pub(super) fn floor(&self) -> Seq {
        self.mine.floor.max(self.theirs.floor).max(1)
    }

    /// What is not here and what they lack, of what nobody let go of.
    pub(super) fn missing(&self) -> (RangeSet, RangeSet) {
        let Some(kept) = SeqRange::new(self.floor(), Seq::MAX) else { return Default::default() };
        let (mine, theirs) = (self.mine.present.within(kept), self.theirs.present.within(kept));
        (theirs.difference(&mine), mine.difference(&theirs))
    }

    /// How many leaves their trees have, about: at least so many, and few more when most segments are full.
    pub(super) fn leaves(&self) -> u64 {
        self.mine.head.max(self.theirs.head) / SEGMENT_RECORDS_MAX as u64
    }
}
