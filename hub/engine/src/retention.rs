//! Retention: which records go because they were kept for long enough, or because the store's budget is used up.
//!
//! Age is counted from the arrival here, by this hub's clock: a device's own clock may be years off in either direction, and
//! would have its records dropped at once or never. Arrivals are not stored with the records; instead the engine notes now and
//! then how far each journal had come without a hole ([`Arrival`]), so a record goes a little late and never early.
//!
//! Promise: a journal is dropped from its floor on, and never past a hole: what an agent may still have is not declared
//! as held. What was dropped stays held by the floor, so it is not asked for again. One step is one small commit, and
//! commits of agents come between steps. The newest record of a journal stays: by it a clone is noticed.
//! Absent: deleting (the store), the calendar (the daemon sends [`crate::Event::Retain`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use millrace_model::store::Change;
use millrace_model::{DeviceId, JournalId, Moment, Seq, SeqRange, Wall};

use crate::{Alarm, Command, Engine};

/// Records that one step drops at most: eight full segments, some ten milliseconds of a slow disk.
const STEP_RECORDS: u64 = 8_192;

/// Arrivals that are remembered of one journal. When there are more, those melt together that lie closest for their age.
const ARRIVALS_MAX: usize = 48;

/// Arrivals are noted so many times in the shortest span that is configured: records go late by at most this part of it.
const NOTES_PER_SPAN: u32 = 16;

/// Evicting begins at this part of the budget, in hundredths, so that agents are not turned away meanwhile.
const HIGH_PERCENT: u64 = 97;

/// Evicting ends at this part, so that not every record evicts one.
const LOW_PERCENT: u64 = 94;

/// What happens when the store's budget is used up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum WhenFull {
    /// Agents are told to go elsewhere, and keep their records.
    #[default]
    Refuse,
    /// The records that came first go, whosever they are.
    DropOldest {
        /// Never those that came less than this ago.
        keep_at_least: Duration,
    },
}

/// By `at` a journal had come so far without a hole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Arrival {
    /// This hub's wall clock.
    pub at: Wall,
    /// The last record that had come.
    pub through: Seq,
}

/// What retention remembers from one process to the next. When it is lost, records only stay longer.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Memory {
    /// Of each journal, oldest first.
    pub arrivals: BTreeMap<JournalId, Vec<Arrival>>,
    /// Records that went because of their age.
    pub aged: u64,
    /// Records that went because the budget was used up.
    pub evicted: u64,
}

/// How retention stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Retained {
    /// Records that went because of their age.
    pub aged: u64,
    /// Records that went because the budget was used up.
    pub evicted: u64,
    /// Whether records go now because the budget is used up.
    pub evicting: bool,
}

/// Part of a journal that is to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cut {
    at: Wall,
    journal: JournalId,
    through: Seq,
    evicts: bool,
}

/// What is to go, and what is remembered.
#[derive(Debug, Default)]
pub(crate) struct Retention {
    memory: Memory,
    changed: bool,
    noted_at: Option<Wall>,
    cuts: VecDeque<Cut>,
    under_way: Option<Cut>,
    /// Evict until the store takes less than this.
    evict_below: Option<u64>,
    /// Nothing more may be evicted until time has passed.
    exhausted: bool,
}

impl Retention {
    /// Whether a step is due, as far as can be said without looking at the journals.
    pub(crate) fn has_cuts(&self) -> bool {
        !self.cuts.is_empty() || self.evict_below.is_some()
    }

    fn note(&mut self, journal: JournalId, arrival: Arrival, floor: Seq) {
        let noted = self.memory.arrivals.entry(journal).or_default();
        noted.retain(|before| before.through >= floor);
        if arrival.through >= floor && noted.last().is_none_or(|last| last.through < arrival.through) {
            noted.push(arrival);
        }
        if noted.len() > ARRIVALS_MAX {
            melt(noted);
        }
        if noted.is_empty() {
            self.memory.arrivals.remove(&journal);
        }
    }

    /// Everything that came at least `span` before `now`, in the order of its coming.
    fn older_than(&self, span: Duration, now: Wall, evicts: bool) -> Vec<Cut> {
        let old = |arrival: &&Arrival| arrival.at.plus(span) <= now;
        let mut cuts: Vec<Cut> = Vec::new();
        for (journal, arrivals) in &self.memory.arrivals {
            let here = arrivals.iter().filter(old);
            cuts.extend(here.map(|a| Cut { at: a.at, journal: *journal, through: a.through, evicts }));
        }
        cuts.sort_unstable_by_key(|cut| (cut.at, cut.journal, cut.through));
        cuts
    }
}

/// Melts the two neighbours that lie closest together for their age into the later one: those records count as younger.
fn melt(noted: &mut Vec<Arrival>) {
    let Some(newest) = noted.last().map(|last| last.at.0) else { return };
    let closeness = |pair: &[Arrival]| match pair {
        [a, b] => {
            let age = i128::from(newest.saturating_sub(a.at.0)).max(1);
            i128::from(b.at.0.saturating_sub(a.at.0)) * 1_000_000 / age
        }
        _ => i128::MAX,
    };
    let closest = noted.windows(2).enumerate().min_by_key(|(_, pair)| closeness(pair)).map(|(at, _)| at);
    if let Some(at) = closest {
        noted.remove(at);
    }
}

impl Engine {
    /// Takes over what an earlier process remembered. What the store does not have is forgotten: an older copy of the
    /// store may have come back, and what fills it again is not as old as what was there. `gone` is as in
    /// [`crate::Event::Retain`].
    pub fn recall(&mut self, memory: Memory, gone: &BTreeSet<DeviceId>) {
        let Memory { arrivals, aged, evicted } = memory;
        (self.retention.memory.aged, self.retention.memory.evicted) = (aged, evicted);
        for (journal, noted) in arrivals {
            let Some(shelf) = self.shelves.get(&journal) else { continue };
            let here = if gone.contains(&journal.device) { shelf.head } else { shelf.frontier() };
            let noted = noted.into_iter().map(|a| Arrival { at: a.at, through: a.through.min(here) });
            for arrival in noted {
                self.retention.note(journal, arrival, shelf.floor);
            }
        }
        self.retention.noted_at =
            self.retention.memory.arrivals.values().flatten().map(|arrival| arrival.at).max();
    }

    /// What the next process should know, when that has changed since the last call.
    pub fn remembered(&mut self) -> Option<Memory> {
        std::mem::take(&mut self.retention.changed).then(|| self.retention.memory.clone())
    }

    /// How retention stands.
    #[must_use]
    pub const fn retained(&self) -> Retained {
        let Memory { aged, evicted, .. } = self.retention.memory;
        Retained { aged, evicted, evicting: self.retention.evict_below.is_some() }
    }

    /// It is time to look what has become old. `gone` are devices that never come back: nobody will fill their holes.
    pub(crate) fn retain(&mut self, gone: &BTreeSet<DeviceId>, now: Moment) {
        let wall = self.wall(now);
        self.retention.exhausted = false;
        self.note_arrivals(gone, wall);
        if let Some(keep) = self.config.keep {
            let evictions = self.retention.cuts.iter().filter(|cut| cut.evicts).copied().collect::<Vec<_>>();
            self.retention.cuts = self.retention.older_than(keep, wall, false).into();
            self.retention.cuts.extend(evictions);
        }
        self.relieve(now);
    }

    fn note_arrivals(&mut self, gone: &BTreeSet<DeviceId>, wall: Wall) {
        let least = match self.config.when_full {
            WhenFull::DropOldest { keep_at_least } => Some(keep_at_least),
            WhenFull::Refuse => None,
        };
        let Some(span) = self.config.keep.into_iter().chain(least).min() else {
            // Whoever turns retention on later begins to count then.
            self.retention.changed |= !self.retention.memory.arrivals.is_empty();
            self.retention.memory.arrivals.clear();
            return;
        };
        let due = |last: Wall| last.plus(span / NOTES_PER_SPAN) <= wall;
        // A clock that was set back notes anew.
        if self.retention.noted_at.is_some_and(|last| !due(last) && last <= wall) {
            return;
        }
        self.retention.noted_at = Some(wall);
        self.retention.changed = true;
        for (journal, shelf) in &self.shelves {
            let whole = if gone.contains(&journal.device) { shelf.head } else { shelf.frontier() };
            let through = whole.min(shelf.head.saturating_sub(1));
            self.retention.note(*journal, Arrival { at: wall, through }, shelf.floor);
        }
    }

    /// Begins to evict when the store is nearly full, if it may.
    pub(crate) fn relieve(&mut self, now: Moment) {
        let (used, budget) = (self.usage().used_bytes, self.config.disk_budget_bytes / 100);
        if used >= budget.saturating_mul(HIGH_PERCENT) {
            self.evict(budget.saturating_mul(LOW_PERCENT), now);
        }
    }

    /// The disk is full, below the budget: what is in use says how much there is.
    pub(crate) fn relieve_disk(&mut self, now: Moment) {
        let used = self.usage().used_bytes / 100;
        self.evict(used.saturating_mul(LOW_PERCENT), now);
    }

    fn evict(&mut self, below: u64, now: Moment) {
        let WhenFull::DropOldest { keep_at_least } = self.config.when_full else { return };
        if self.retention.evict_below.is_some() || self.retention.exhausted {
            return;
        }
        let oldest = self.retention.older_than(keep_at_least, self.wall(now), true);
        self.retention.exhausted = oldest.is_empty();
        if !oldest.is_empty() {
            self.retention.cuts.extend(oldest);
            self.retention.evict_below = Some(below);
            self.commands.push_back(Command::Alarm(Alarm::Evicting));
        }
    }

    /// The next step, if any: a commit of its own.
    pub(crate) fn next_step(&mut self) -> Option<Change> {
        let used = self.usage().used_bytes;
        while let Some(cut) = self.retention.cuts.front().copied() {
            let shelf = self.shelves.get(&cut.journal).filter(|shelf| shelf.floor <= cut.through);
            let enough = cut.evicts && self.retention.evict_below.is_none_or(|below| used < below);
            let Some(shelf) = shelf.filter(|_| !enough) else {
                self.retention.cuts.pop_front();
                continue;
            };
            let from = shelf.present.first().unwrap_or(cut.through).max(shelf.floor);
            let through = cut.through.min(from.saturating_add(STEP_RECORDS - 1));
            self.retention.under_way = Some(cut);
            return Some(Change::Drop { journal: cut.journal, through, evict: None });
        }
        self.retention.exhausted |= self.retention.evict_below.take().is_some_and(|below| used >= below);
        None
    }

    /// A step was flushed.
    pub(crate) fn dropped(&mut self, journal: JournalId, floor: Seq, count: u64) {
        let Some(cut) = self.retention.under_way.take() else { return };
        let memory = &mut self.retention.memory;
        let total = if cut.evicts { &mut memory.evicted } else { &mut memory.aged };
        *total = total.saturating_add(count);
        self.retention.changed |= count > 0;
        let Some(shelf) = self.shelves.get_mut(&journal) else { return };
        // What is left of a cut is a part of a segment, which goes with the rest of it.
        if (floor <= shelf.floor || floor > cut.through) && self.retention.cuts.front() == Some(&cut) {
            self.retention.cuts.pop_front();
        }
        shelf.dropped = shelf.dropped.saturating_add(count);
        shelf.floor = shelf.floor.max(floor);
        if let Some(below) = SeqRange::new(1, shelf.floor.saturating_sub(1)) {
            shelf.present.remove(below);
        }
    }

    /// A step was refused: not even dropping finds room. The next look tries again.
    pub(crate) fn step_refused(&mut self) -> bool {
        let was = self.retention.under_way.take().is_some();
        if was {
            self.retention.cuts.clear();
            self.retention.evict_below = None;
            self.retention.exhausted = true;
        }
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_stay_few_and_fine_where_they_are_young() {
        let mut retention = Retention::default();
        let journal = JournalId {
            device: DeviceId::from_bytes([1; 16]),
            incarnation: millrace_model::Incarnation::new(1),
            lane: millrace_model::Lane::Normal,
        };
        let day = 86_400_000_000;
        for number in 1..=2_000_i64 {
            let arrival = Arrival { at: Wall(number * day), through: number.unsigned_abs() * 10 };
            retention.note(journal, arrival, 1);
        }
        let noted = &retention.memory.arrivals[&journal];
        assert_eq!(noted.len(), ARRIVALS_MAX);
        for pair in noted.windows(2) {
            let (gap, age) = (pair[1].at.0 - pair[0].at.0, 2_000 * day - pair[0].at.0);
            assert!(gap <= day.max(age / 3), "{} days at the age of {}", gap / day, age / day);
        }
        retention.note(journal, Arrival { at: Wall(2_001 * day), through: 20_000 }, 19_995);
        assert_eq!(retention.memory.arrivals[&journal].len(), 1, "what is below the floor is forgotten");
    }
}
