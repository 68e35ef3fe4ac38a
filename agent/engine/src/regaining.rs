//! Regaining: what damage took of the journals that this device writes comes back from a hub that has it.
//!
//! The device knows what it lost of what was acknowledged, as soon as it meets the damage; what else a hub has of it that is not here, it hears
//! when copies are compared. Either way it is fetched when there is room and a road for it.
//! A hub may have sealed what another one brought back as rows: it says the name, which is the one that was given here once.
//!
//! Promise: what comes back counts as acknowledged, and is kept for a grace period anew. What was let go at the floor does not come back.
//! Absent: fetching, and when it may be done ([`crate::fetching`]); older incarnations ([`crate::restoring`]).

use std::collections::BTreeMap;

use millrace_model::limits::RANGES_MAX;
use millrace_model::store::Change;
use millrace_model::{JournalId, RangeSet, SeqRange};
use millrace_wire::{Records, Seal};

use crate::committing::Purpose;
use crate::shelf::Shelf;
use crate::{Alarm, Engine};

/// Names of segments that wait for the store. The next comparison says the others again.
const NAMING_MAX: usize = 64;

/// What is to come back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Regaining {
    /// By journal, of those that are written now; at most [`RANGES_MAX`] ranges of each. What is more than that the next comparison finds.
    lost: BTreeMap<JournalId, RangeSet>,
    /// Records that came back since the process began, and how many of them people were told of.
    records: u64,
    told: u64,
    /// Names of segments that the store has not looked at.
    naming: usize,
}

impl Regaining {
    /// The hub of the next session may have other records, and damage is not forgotten: see [`Engine::regain_own`].
    pub(crate) fn session_ended(&mut self) {
        self.lost.clear();
    }

    /// Whether anything waits to be fetched.
    pub(crate) fn waits(&self) -> bool {
        !self.lost.is_empty()
    }

    /// How many records wait to be fetched.
    pub(crate) fn left(&self) -> u64 {
        self.lost.values().map(RangeSet::count).fold(0, u64::saturating_add)
    }

    /// Records that came back since the process began.
    pub(crate) const fn records(&self) -> u64 {
        self.records
    }

    /// Records are back.
    pub(crate) const fn add(&mut self, records: u64) {
        self.records = self.records.saturating_add(records);
    }

    /// What is fetched next: the urgent lane first.
    pub(crate) fn next(&self) -> Option<(JournalId, RangeSet)> {
        let first = self.lost.iter().min_by_key(|(journal, _)| (journal.lane, **journal));
        first.map(|(journal, ranges)| (*journal, ranges.clone()))
    }

    fn want(&mut self, journal: JournalId, ranges: &RangeSet) {
        if ranges.is_empty() {
            return;
        }
        let lost = self.lost.entry(journal).or_default();
        for range in ranges.iter().take(RANGES_MAX.saturating_sub(lost.range_count())) {
            lost.insert(range);
        }
        if lost.is_empty() {
            self.lost.remove(&journal);
        }
    }

    fn give_up(&mut self, journal: JournalId, ranges: &RangeSet) {
        if let Some(lost) = self.lost.get_mut(&journal) {
            lost.subtract(ranges);
            if lost.is_empty() {
                self.lost.remove(&journal);
            }
        }
    }

    /// A run came.
    pub(crate) fn came(&mut self, journal: JournalId, range: SeqRange) {
        self.give_up(journal, &range.into());
    }

    /// The hub has brought what it can; `absent` it has not got. If nothing moved, the next session or comparison tries again.
    pub(crate) fn fetched(&mut self, journal: JournalId, absent: &RangeSet, moved: bool) {
        self.give_up(journal, absent);
        if !moved {
            self.lost.remove(&journal);
        }
    }
}

impl Engine {
    /// The hub has records that are not here.
    pub(crate) fn regain(&mut self, offered: &Records) {
        let journal = offered.journal.of(self.config.device);
        self.regain_of(journal, |_| offered.ranges.clone());
    }

    /// The hub's copy of a journal is a part of what was written here: what is known to be lost may come back.
    pub(crate) fn regain_own(&mut self, journal: JournalId) {
        self.regain_of(journal, Shelf::vouched_and_gone);
    }

    /// Wants of a journal that is written now what may come back: not what was let go, is here, or did not verify.
    fn regain_of(&mut self, journal: JournalId, ranges: impl FnOnce(&Shelf) -> RangeSet) {
        if journal.incarnation != self.incarnation || self.recovery.is_breaking() {
            return;
        }
        let Some(shelf) = self.shelves.get(&journal) else { return };
        let Some(kept) = SeqRange::new(shelf.floor, shelf.head) else { return };
        let lost = ranges(shelf).within(kept).difference(&shelf.present);
        let lost = self.fetching.fit(journal, &lost);
        self.regaining.want(journal, &lost);
    }

    /// The hub has a segment where rows are here.
    pub(crate) fn named_again(&mut self, seal: &Seal) {
        let (journal, segment) = (seal.journal.of(self.config.device), seal.segment);
        let here = |shelf: &Shelf| segment.range().is_some_and(|range| shelf.present.covers(range));
        let fits = journal.incarnation == self.incarnation && self.shelves.get(&journal).is_some_and(here);
        if fits && self.regaining.naming < NAMING_MAX {
            self.regaining.naming += 1;
            self.committing.add(Purpose::Seal, Change::Seal { journal, segment });
        }
    }

    /// The store has looked at a name.
    pub(crate) const fn named(&mut self) {
        self.regaining.naming = self.regaining.naming.saturating_sub(1);
    }

    /// Says how many records are back, once for all that came together.
    pub(crate) fn tell_of_regained(&mut self) {
        let Regaining { records, told, .. } = self.regaining;
        if records > told && !self.regaining.waits() && !self.is_fetching() {
            self.regaining.told = records;
            self.alarm(Alarm::Regained { records: records - told });
        }
    }
}
