//! What the engine knows of one journal of one device.

use millrace_model::digest::Summary;
use millrace_model::store::JournalState;
use millrace_model::{RangeSet, Seq, SeqRange};

/// One journal, as far as reception needs it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Shelf {
    /// What is here, flushed.
    pub present: RangeSet,
    /// What its author declared as lost.
    pub declared: RangeSet,
    /// What other hubs let go before it came here: it is waited for no more. Known to this process alone, so others are not told of it.
    pub passed: RangeSet,
    /// What was here once and went by damage: it is fetched again.
    pub lost: RangeSet,
    /// Records that its gap records declare as lost before they had a number.
    pub unnumbered: u64,
    /// First record that is kept.
    pub floor: Seq,
    /// Last record held; 0 when there is none.
    pub head: Seq,
    /// Its digest, as the store last said.
    pub digest: Summary,
    /// Bytes that the store has for it: as the store last said, and the bodies that came since.
    pub stored_bytes: u64,
    /// Records that were here and were dropped.
    pub dropped: u64,
    /// Dropping through this record moved nothing: it stands inside a segment, which goes whole or stays.
    pub(crate) stuck: Seq,
}

impl Shelf {
    /// What the store says of a journal at start.
    #[must_use]
    pub fn new(state: &JournalState) -> Self {
        let mut lost = state.acked.difference(&state.present).difference(&state.declared);
        if let Some(below) = SeqRange::new(1, state.floor.saturating_sub(1)) {
            lost.remove(below);
        }
        Self {
            lost,
            present: state.present.clone(),
            declared: state.declared.clone(),
            passed: RangeSet::new(),
            unnumbered: state.ledger.rejected,
            floor: state.floor,
            head: state.head,
            digest: state.summary,
            stored_bytes: state.stored_bytes,
            // Everything that ever came counts as acked. What damage took is above the floor, and missing.
            dropped: state
                .ledger
                .acked
                .saturating_sub(state.present.count())
                .min(state.floor.saturating_sub(1)),
            stuck: 0,
        }
    }

    /// Records were stored.
    pub fn stored(&mut self, ranges: &RangeSet, bytes: u64) {
        self.present.extend(ranges);
        self.lost.subtract(ranges);
        // Whoever declared them was mistaken: they are asked for again should damage take them.
        self.declared.subtract(ranges);
        self.head = self.head.max(ranges.last().unwrap_or(0));
        self.stored_bytes = self.stored_bytes.saturating_add(bytes);
    }

    /// Records are not here any more: returns those that were.
    pub fn lose(&mut self, ranges: &RangeSet) -> RangeSet {
        let lost = self.present.intersection(ranges);
        self.present.subtract(&lost);
        self.lost.extend(&lost);
        lost
    }

    /// Records are elsewhere and not here: returns those that were not known to be lost, or let go. What was declared as lost is among
    /// them, since somebody has it all the same. The oldest `ranges_max` ranges at most: what is more the next comparison finds.
    pub fn miss(&mut self, ranges: &RangeSet, ranges_max: usize) -> RangeSet {
        let mut missed = ranges.difference(&self.had_or_passed()).difference(&self.lost);
        if let Some(none) = SeqRange::new(0, 0) {
            missed.remove(none);
        }
        let room = ranges_max.saturating_sub(self.lost.range_count());
        let missed: RangeSet = missed.iter().take(room).collect();
        self.lost.extend(&missed);
        missed
    }

    /// Whether dropping through this record may move anything.
    pub(crate) const fn may_drop(&self, through: Seq) -> bool {
        self.floor <= through && self.stuck < through
    }

    /// The last record up to which nothing is missing.
    #[must_use]
    pub fn frontier(&self) -> Seq {
        self.held().frontier(1)
    }

    /// How many records are missing below the head and not declared.
    #[must_use]
    pub fn missing(&self) -> u64 {
        SeqRange::new(1, self.head).map_or(0, |all| all.count() - self.held().within(all).count())
    }

    /// What is not waited for: here, trimmed here, or declared lost.
    #[must_use]
    pub fn held(&self) -> RangeSet {
        let mut held = self.had_or_passed();
        held.extend(&self.declared);
        held
    }

    /// What is here, was here and let go, or was let go by others.
    #[must_use]
    pub fn had_or_passed(&self) -> RangeSet {
        let mut had = self.had();
        had.extend(&self.passed);
        had
    }

    /// Whether this hub knows all these numbers: it has them, had them, or waits for them.
    #[must_use]
    pub fn knows(&self, range: SeqRange) -> bool {
        let mut known = self.held();
        known.extend(&self.lost);
        known.covers(range)
    }

    /// What this disk has, or had and let go: what other hubs are told. What the author declared as lost is not among it, and neither
    /// is what others let go: a hub that has it all the same is to bring it here.
    #[must_use]
    pub fn had(&self) -> RangeSet {
        let mut had = self.present.clone();
        if let Some(below) = self.let_go() {
            had.insert(below);
        }
        had
    }

    /// What this disk let go for its age: the beginning.
    #[must_use]
    pub fn let_go(&self) -> Option<SeqRange> {
        SeqRange::new(1, self.floor.checked_sub(1)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(pairs: &[(Seq, Seq)]) -> RangeSet {
        pairs.iter().filter_map(|(first, last)| SeqRange::new(*first, *last)).collect()
    }

    #[test]
    fn what_was_declared_as_lost_is_missed_when_somebody_has_it_and_lost_no_more_when_it_comes() {
        let mut shelf = Shelf {
            present: ranges(&[(3, 5), (9, 9)]),
            declared: ranges(&[(6, 7)]),
            passed: ranges(&[(8, 8)]),
            floor: 3,
            head: 9,
            ..Shelf::default()
        };
        assert_eq!(
            shelf.miss(&ranges(&[(0, 12)]), 10),
            ranges(&[(6, 7), (10, 12)]),
            "nothing trimmed, nothing let go"
        );
        shelf.stored(&ranges(&[(6, 6)]), 1);
        assert_eq!(
            (shelf.declared.clone(), shelf.lost.clone()),
            (ranges(&[(7, 7)]), ranges(&[(7, 7), (10, 12)]))
        );
        assert!(shelf.knows(SeqRange::new(1, 12).unwrap()) && !shelf.knows(SeqRange::only(13)));
    }

    #[test]
    fn no_more_is_missed_than_there_is_room_for() {
        let mut shelf = Shelf { floor: 1, ..Shelf::default() };
        let claimed: RangeSet = (1..=100).map(|at| SeqRange::only(at * 2)).collect();
        assert_eq!(shelf.miss(&claimed, 8).range_count(), 8);
        assert_eq!(shelf.miss(&claimed, 8), RangeSet::new());
    }
}
