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

use millrace_model::store::{Change, Outcome};
use millrace_model::{DeviceId, JournalId, Moment, Seq, SeqRange, Wall};

use crate::shelf::Shelf;
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

/// Arrivals are noted no more often than this while the store has room: a short span must not cost every commit a walk
/// over all journals.
const NOTE_PAUSE: Duration = Duration::from_secs(60);

/// Pause before a full store that had nothing to give looks again. What came meanwhile is old enough when the span is zero.
const REST: Duration = Duration::from_secs(2);

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
    /// Nothing more may be evicted until then.
    pub(crate) rest_until: Option<Moment>,
    /// The last eviction since the daemon's look ended with the store still full: people were told.
    pressed: bool,
    /// Devices that never come back, as the daemon last said.
    gone: BTreeSet<DeviceId>,
}

impl Retention {
    /// Whether a device never comes back.
    pub(crate) fn is_gone(&self, device: &DeviceId) -> bool {
        self.gone.contains(device)
    }

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

    /// Everything here that came at least `span` before `now`, in the order of its coming.
    fn older_than(
        &self,
        shelves: &BTreeMap<JournalId, Shelf>,
        span: Duration,
        now: Wall,
        evicts: bool,
    ) -> Vec<Cut> {
        let old = |arrival: &&Arrival| arrival.at.plus(span) <= now;
        let mut cuts: Vec<Cut> = Vec::new();
        for (journal, arrivals) in &self.memory.arrivals {
            let Some(shelf) = shelves.get(journal) else { continue };
            let here = arrivals.iter().filter(|arrival| shelf.may_drop(arrival.through)).filter(old);
            cuts.extend(here.map(|a| Cut { at: a.at, journal: *journal, through: a.through, evicts }));
        }
        cuts.sort_unstable_by_key(|cut| (cut.at, cut.journal, cut.through));
        cuts
    }

    /// Nothing more is to be had now: the time of the next look is when the first of what is left is old enough.
    fn rest(&mut self, shelves: &BTreeMap<JournalId, Shelf>, least: Duration, wall: Wall, now: Moment) {
        let noted = self.memory.arrivals.iter();
        let here = noted.flat_map(|(journal, arrivals)| {
            let shelf = shelves.get(journal);
            arrivals.iter().filter(move |a| shelf.is_some_and(|shelf| shelf.may_drop(a.through)))
        });
        let due = here.map(|arrival| arrival.at.plus(least)).filter(|at| *at > wall).min();
        let wait =
            due.and_then(|at| u64::try_from(at.0.saturating_sub(wall.0)).ok()).map(Duration::from_micros);
        self.rest_until = Some(now + wait.unwrap_or(REST).max(REST));
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
        (self.retention.rest_until, self.retention.pressed) = (None, false);
        self.retention.gone.clone_from(gone);
        self.note_when_due(Duration::ZERO, wall);
        if let Some(keep) = self.config.keep {
            let evictions = self.retention.cuts.iter().filter(|cut| cut.evicts).copied().collect::<Vec<_>>();
            self.retention.cuts = self.retention.older_than(&self.shelves, keep, wall, false).into();
            self.retention.cuts.extend(evictions);
        }
        self.relieve(now);
    }

    /// Notes what has come, when that was last done long enough ago: a part of the shortest span, and `pause` at least.
    fn note_when_due(&mut self, pause: Duration, wall: Wall) {
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
        let due = |last: Wall| last.plus((span / NOTES_PER_SPAN).max(pause)) <= wall;
        // A clock that was set back notes anew.
        if self.retention.noted_at.is_some_and(|last| !due(last) && last <= wall) {
            return;
        }
        self.note_now(wall);
    }

    fn note_now(&mut self, wall: Wall) {
        self.retention.noted_at = Some(wall);
        self.retention.changed = true;
        for (journal, shelf) in &self.shelves {
            let gone = self.retention.gone.contains(&journal.device);
            let whole = if gone { shelf.head } else { shelf.frontier() };
            let through = whole.min(shelf.head.saturating_sub(1));
            self.retention.note(*journal, Arrival { at: wall, through }, shelf.floor);
        }
    }

    /// Begins to evict when the store is nearly full, if it may. Until then it is noted what comes, so that the order of
    /// its coming is known.
    pub(crate) fn relieve(&mut self, now: Moment) {
        if !matches!(self.config.when_full, WhenFull::DropOldest { .. }) {
            return;
        }
        self.note_when_due(NOTE_PAUSE, self.wall(now));
        if self.is_nearly_full() {
            self.evict(self.percent_of_budget(LOW_PERCENT), now);
        }
    }

    /// When a store that is nearly full and had nothing to give looks again.
    pub(crate) fn eviction_due(&self) -> Option<Moment> {
        let waits = matches!(self.config.when_full, WhenFull::DropOldest { .. })
            && self.retention.evict_below.is_none()
            && !self.is_stopping();
        self.retention.rest_until.filter(|_| waits && self.is_nearly_full())
    }

    fn is_nearly_full(&self) -> bool {
        self.usage().used_bytes >= self.percent_of_budget(HIGH_PERCENT)
    }

    const fn percent_of_budget(&self, percent: u64) -> u64 {
        (self.config.disk_budget_bytes / 100).saturating_mul(percent)
    }

    /// The disk is full, below the budget: what is in use says how much there is.
    pub(crate) fn relieve_disk(&mut self, now: Moment) {
        let used = self.usage().used_bytes / 100;
        self.evict(used.saturating_mul(LOW_PERCENT), now);
    }

    fn evict(&mut self, below: u64, now: Moment) {
        let WhenFull::DropOldest { keep_at_least } = self.config.when_full else { return };
        let rests = self.retention.rest_until.is_some_and(|until| now < until);
        if rests || self.retention.evict_below.is_some() {
            return;
        }
        let wall = self.wall(now);
        let mut oldest = self.retention.older_than(&self.shelves, keep_at_least, wall, true);
        if oldest.is_empty() {
            // Nothing that is noted is old enough: what came since counts from now on.
            self.note_now(wall);
            oldest = self.retention.older_than(&self.shelves, keep_at_least, wall, true);
        }
        if oldest.is_empty() {
            self.retention.rest(&self.shelves, keep_at_least, wall, now);
            return;
        }
        self.retention.rest_until = None;
        self.retention.cuts.extend(oldest);
        self.retention.evict_below = Some(below);
        if !self.retention.pressed {
            self.commands.push_back(Command::Alarm(Alarm::Evicting));
        }
    }

    /// The next step, if any: a commit of its own.
    pub(crate) fn next_step(&mut self, now: Moment) -> Option<Change> {
        let used = self.usage().used_bytes;
        while let Some(cut) = self.retention.cuts.front().copied() {
            let shelf = self.shelves.get(&cut.journal).filter(|shelf| shelf.may_drop(cut.through));
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
        if let Some(below) = self.retention.evict_below.take() {
            self.retention.pressed = used >= below;
            if let (true, WhenFull::DropOldest { keep_at_least }) = (used >= below, self.config.when_full) {
                self.retention.rest(&self.shelves, keep_at_least, self.wall(now), now);
            }
        }
        None
    }

    /// A step was flushed. One that was answered with anything but a drop is not tried again now.
    pub(crate) fn stepped(&mut self, outcomes: &[Outcome]) {
        let dropped = outcomes.iter().find_map(|outcome| match outcome {
            Outcome::Dropped { journal, floor, trimmed, .. } => Some((*journal, *floor, *trimmed)),
            _ => None,
        });
        match (dropped, self.retention.under_way) {
            (Some((journal, floor, count)), Some(cut)) if journal == cut.journal => {
                self.dropped(journal, floor, count);
            }
            (_, Some(cut)) => {
                self.retention.under_way = None;
                if self.retention.cuts.front() == Some(&cut) {
                    self.retention.cuts.pop_front();
                }
            }
            (_, None) => {}
        }
    }

    fn dropped(&mut self, journal: JournalId, floor: Seq, count: u64) {
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
        if floor <= shelf.floor && count == 0 {
            shelf.stuck = shelf.stuck.max(cut.through);
        }
        shelf.dropped = shelf.dropped.saturating_add(count);
        shelf.floor = shelf.floor.max(floor);
        if let Some(below) = SeqRange::new(1, shelf.floor.saturating_sub(1)) {
            shelf.present.remove(below);
        }
    }

    /// A step was refused: not even dropping finds room. The next look tries again.
    pub(crate) fn step_refused(&mut self, now: Moment) -> bool {
        let was = self.retention.under_way.take().is_some();
        if was {
            self.retention.cuts.clear();
            self.retention.evict_below = None;
            self.retention.rest_until = Some(now + REST);
        }
        was
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An engine that has just asked for a step of retention.
    fn stepping() -> (Engine, u64) {
        let journal = JournalId {
            device: DeviceId::from_bytes([1; 16]),
            incarnation: millrace_model::Incarnation::new(1),
            lane: millrace_model::Lane::Normal,
        };
        let shelf =
            Shelf { present: SeqRange::new(1, 9).unwrap().into(), floor: 1, head: 9, ..Shelf::default() };
        let mut config = crate::Config::new(millrace_model::HubId::default(), "hub", "north");
        config.keep = Some(Duration::from_secs(1));
        let mut engine = Engine::new(config, &[], millrace_model::store::Usage::default(), Moment(0));
        engine.shelves.insert(journal, shelf);
        let arrivals = [(journal, vec![Arrival { at: Wall(0), through: 5 }])].into();
        engine.recall(Memory { arrivals, ..Memory::default() }, &BTreeSet::new());
        engine.handle_event(crate::Event::Clock { wall: Wall(2_000_000) }, Moment(0));
        engine.handle_event(crate::Event::Retain { gone: BTreeSet::new() }, Moment(0));
        let Some(Command::Commit { commit, .. }) = engine.poll_command() else { panic!("a step is due") };
        (engine, commit)
    }

    fn committed(commit: u64, outcomes: Vec<Outcome>) -> crate::Event {
        let durable = millrace_model::Durable::attest(commit);
        crate::Event::Committed { durable, outcomes, usage: millrace_model::store::Usage::default() }
    }

    #[test]
    fn a_step_that_is_answered_with_something_else_is_not_asked_for_again_at_once() {
        let (mut engine, commit) = stepping();
        engine.handle_event(committed(commit, vec![Outcome::Done]), Moment(0));
        assert_eq!(engine.poll_command(), None);
        assert_eq!(engine.retained().aged, 0);
    }

    #[test]
    fn a_step_counts_wherever_its_answer_stands() {
        let (mut engine, commit) = stepping();
        let journal = *engine.shelves.keys().next().unwrap();
        let aside = millrace_model::store::Quarantined {
            journal,
            ranges: millrace_model::RangeSet::new(),
            evicted: 0,
        };
        let dropped = Outcome::Dropped { journal, floor: 6, trimmed: 5, evicted: 0 };
        engine.handle_event(committed(commit, vec![Outcome::Quarantined(aside), dropped]), Moment(0));
        assert_eq!(engine.poll_command(), None);
        assert_eq!((engine.retained().aged, engine.shelves[&journal].floor), (5, 6));
    }

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
