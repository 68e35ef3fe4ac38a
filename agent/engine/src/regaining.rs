//! Regaining: what damage took of the journals that this device writes comes back from a hub that has it.
//!
//! The device knows what it lost of what was acknowledged, as soon as it meets the damage; what else a hub has of it that is not here, it hears
//! when copies are compared. Either way it is fetched when there is room and a road for it.
//! A hub may have sealed what another one brought back as rows: it says the name, which is the one that was given here once.
//!
//! Promise: what comes back counts as acknowledged, and is kept for a grace period anew. What was let go at the floor does not come back.
//! Absent: fetching, and when it may be done ([`crate::fetching`]); older incarnations ([`crate::restoring`]).

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::limits::RANGES_MAX;
use millrace_model::store::Change;
use millrace_model::{JournalId, RangeSet, SeqRange};
use millrace_wire::{Hashes, Records, Seal};

use crate::committing::Purpose;
use crate::shelf::Shelf;
use crate::status::RegainStatus;
use crate::{Alarm, Engine};

/// Names of segments that wait for the store. The next comparison says the others again.
const NAMING_MAX: usize = 64;

/// What is to come back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Regaining {
    /// By journal, of those that are written now or came back; at most [`RANGES_MAX`] ranges of each. What is more than that the next comparison finds.
    lost: BTreeMap<JournalId, RangeSet>,
    /// Of these the hub of this session could bring nothing just now, or the disk was full: they are left alone until there is something new.
    resting: BTreeSet<JournalId>,
    /// Records that came back since the process began, and how many of them people were told of.
    records: u64,
    told: u64,
    /// Names of segments that the store has not looked at.
    naming: usize,
}

impl Regaining {
    pub(crate) fn session_ended(&mut self) {
        self.resting.clear();
    }

    /// Whether anything is to be fetched.
    pub(crate) fn waits(&self) -> bool {
        self.lost.keys().any(|journal| !self.resting.contains(journal))
    }

    /// How many records are to come, those that came and are not stored among them.
    fn left(&self) -> u64 {
        self.lost.values().map(RangeSet::count).fold(0, u64::saturating_add)
    }

    /// Records are back.
    pub(crate) const fn add(&mut self, records: u64) {
        self.records = self.records.saturating_add(records);
    }

    fn want(&mut self, journal: JournalId, ranges: &RangeSet) {
        if ranges.is_empty() {
            return;
        }
        self.resting.remove(&journal);
        let lost = self.lost.entry(journal).or_default();
        for range in ranges.iter().take(RANGES_MAX.saturating_sub(lost.range_count())) {
            lost.insert(range);
        }
        if lost.is_empty() {
            self.lost.remove(&journal);
        }
    }

    /// These are not to come any more: they are here, were let go, or nobody has them.
    pub(crate) fn give_up(&mut self, journal: JournalId, ranges: &RangeSet) {
        if let Some(lost) = self.lost.get_mut(&journal) {
            lost.subtract(ranges);
            if lost.is_empty() {
                self.lost.remove(&journal);
            }
        }
    }

    /// A new incarnation has begun: what was lost of the one before is dealt with as what was rolled back.
    pub(crate) fn reincarnated(&mut self) {
        self.lost.clear();
    }

    /// The hub has brought what it can; `absent` it has not got. If nothing moved, the next session or comparison tries again.
    pub(crate) fn fetched(&mut self, journal: JournalId, absent: &RangeSet, moved: bool) {
        self.give_up(journal, absent);
        if !moved {
            self.resting.insert(journal);
        }
    }
}

impl Engine {
    /// What is fetched next: the urgent lane first. Only of what this session's hub has as a part of what was written here.
    pub(crate) fn next_lost(&self) -> Option<(JournalId, RangeSet)> {
        let Regaining { lost, resting, .. } = &self.regaining;
        let asked = lost.iter().filter(|(journal, _)| !resting.contains(*journal));
        let proven = asked.filter(|(journal, _)| {
            self.shelves
                .get(*journal)
                .is_some_and(|shelf| shelf.restored || (shelf.verified && !shelf.retired))
        });
        let first = proven.min_by_key(|(journal, _)| (journal.lane, **journal));
        first.map(|(journal, ranges)| (*journal, ranges.clone()))
    }

    /// The hub has records that are not here.
    pub(crate) fn regain(&mut self, offered: &Records) {
        let journal = offered.journal.of(self.config.device);
        self.regain_of(journal, |_| offered.ranges.clone());
    }

    /// What is known to be lost may come back.
    pub(crate) fn regain_own(&mut self, journal: JournalId) {
        self.regain_of(journal, Shelf::vouched_and_gone);
    }

    /// The hub's copy of a journal is a part of what was written here: so is what it holds and is not here.
    pub(crate) fn regain_held(&mut self, journal: JournalId, held: &RangeSet) {
        self.regain_of(journal, |shelf| {
            let mut lost = shelf.vouched_and_gone();
            lost.extend(held);
            lost
        });
    }

    /// A session has begun: of what came back from the hubs damage may have taken something again.
    pub(crate) fn regain_history(&mut self) {
        let restored = self.shelves.values().filter(|shelf| shelf.restored).map(|shelf| shelf.journal);
        restored.collect::<Vec<_>>().into_iter().for_each(|journal| self.regain_own(journal));
    }

    /// The disk is full: what came is not stored, and nothing more is asked for in this session.
    pub(crate) fn regain_refused(&mut self) {
        self.fetching.drop_lost();
        self.regaining.resting.extend(self.regaining.lost.keys().copied());
        self.regaining.naming = 0;
    }

    /// Wants of a journal what may come back: not what was let go, is here, or did not verify; and nothing of one that was written here and
    /// has retired.
    fn regain_of(&mut self, journal: JournalId, ranges: impl FnOnce(&Shelf) -> RangeSet) {
        let Some(shelf) = self.shelves.get(&journal) else { return };
        if !(shelf.restored || journal.incarnation == self.incarnation) || self.recovery.is_breaking() {
            return;
        }
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

    /// The hub knows hashes of what was let go here that damage took before. One commit of them is under way at a time: the next comparison says
    /// the others again.
    pub(crate) fn adopt(&mut self, told: &Hashes) {
        let journal = told.journal.of(self.config.device);
        let current = journal.incarnation == self.incarnation && self.shelves.contains_key(&journal);
        if current && !self.committing.has(Purpose::Adopt) {
            let nodes = told.hashes.iter().map(|at| (at.level, at.index, at.hash)).collect();
            self.committing.add(Purpose::Adopt, Change::Adopt { journal, nodes, replaces: true });
        }
    }

    /// The store has looked at a name.
    pub(crate) const fn named(&mut self) {
        self.regaining.naming = self.regaining.naming.saturating_sub(1);
    }

    /// How far it has come, for people.
    pub(crate) fn regain_status(&self) -> RegainStatus {
        let (records, left_records) = (self.regaining.records, self.regaining.left());
        let held_up = self.holds_up_fetching().or_else(|| {
            let none_brings = !self.regaining.waits() && !self.is_fetching();
            none_brings.then_some(
                "this hub could not bring it, or the disk had no room; the next session tries again",
            )
        });
        let (state, held_up) = match (left_records, held_up) {
            (0, _) => (if records > 0 { "done" } else { "none" }, None),
            (_, None) => ("running", None),
            (_, Some(why)) => ("waiting", Some(why)),
        };
        RegainStatus { state, held_up, records, left_records }
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
