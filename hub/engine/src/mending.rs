//! Mending: what damage took from this store is fetched again, from another hub or from the device itself.
//!
//! ```text
//!  damage is moved aside ─▶ lose() ─▶ every hub: Lacks           nobody counts it as here any more
//!                              │
//!                              ▼ mend(): one batch of a journal at a time, from one source
//!             a hub that holds it: Lacks, bring ─┐   the device: Wanted ─┐
//!                              ▲                 └── ordinary runs ──────┴─▶ reception ─▶ mended()
//!                              └──── it has not got it: denied(), the next is asked
//! ```
//!
//! What was lost is known from the store alone: everything that ever came counts as acked there, so what is acked, above the floor and not
//! present, went. A hub that starts again goes on where it was.
//!
//! Promise: a record is asked of one source at a time, so none travels twice. What nobody has any more is declared as lost, with an
//! alarm, and only when every replica and the device said that they have not got it. Live records go first: what is fetched travels as
//! backlog does.
//! Absent: finding damage (reads and the scrub do), and moving it aside (the store); who is asked, and for what
//! ([`asking`]); when it is over ([`ending`]).

mod asking;
mod ending;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_model::{DeviceId, JournalId, Moment, NodeId, Partition, RangeSet, SeqRange, Wall};
use millrace_wire::PeerFrame;
use millrace_wire::peer::Lacks;

use asking::{Denial, Errand, PATIENCE};

use crate::owing::FRAME_RANGES_MAX;
use crate::{Alarm, Command, Engine};

/// Ranges of one journal that are fetched because others have them: as many as one frame between hubs tells. What damage takes from this
/// store has no other limit than the store.
pub(crate) const MISSED_RANGES_MAX: usize = FRAME_RANGES_MAX;

/// How often it is looked whether a source has come up.
const LOOK: Duration = Duration::from_secs(5);

/// Who is asked for records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Source {
    /// Another hub.
    Hub(NodeId),
    /// The device that wrote them.
    Device,
}

impl std::fmt::Display for Source {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Hub(node) => write!(out, "hub {node}"),
            Self::Device => out.write_str("the device"),
        }
    }
}

/// What is being fetched.
#[derive(Debug, Default)]
pub struct Mending {
    work: BTreeMap<JournalId, Work>,
    /// Who had or brought nothing, and until when nobody asks again.
    denied: BTreeMap<(JournalId, Source), Denial>,
    look_at: Option<Moment>,
    /// Whose turn it was last: journals are asked for one after the other, so that none that cannot be had is in another's way.
    turn: Option<JournalId>,
    /// What is being declared as lost, by the number of the change.
    declaring: BTreeMap<u64, (JournalId, RangeSet)>,
}

/// One journal that has lost records.
#[derive(Debug)]
struct Work {
    began: Moment,
    lost: u64,
    fetched: u64,
    declared: u64,
    bytes: u64,
    sources: BTreeSet<Source>,
    errand: Option<Errand>,
    overdue: bool,
}

/// What is being fetched of one journal, for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Mend {
    /// Which journal.
    pub journal: JournalId,
    /// When it was noticed.
    pub at: Wall,
    /// Records that were lost.
    pub lost: u64,
    /// Records that came again.
    pub fetched: u64,
    /// Records that nobody has any more.
    pub declared: u64,
    /// Bytes of the runs that brought them.
    pub bytes: u64,
    /// Records that are still lacking.
    pub left: u64,
    /// How long it has taken.
    pub took: Duration,
    /// Who is asked now.
    pub asked: Option<Source>,
    /// Who brought them.
    pub sources: Vec<Source>,
}

impl Mending {
    /// There may be something to ask for now, or somebody to ask.
    pub(crate) fn hurry(&mut self) {
        if !self.work.is_empty() {
            self.look_at = Some(Moment(0));
        }
    }

    /// Whether something of a journal is being fetched.
    pub(crate) fn fetches(&self, journal: JournalId) -> bool {
        self.work.contains_key(&journal)
    }

    /// Somebody is back: it may have got what it had not, or be reached by a better road.
    pub(crate) fn returned(&mut self, from: Source, device: Option<DeviceId>) {
        let theirs = |journal: &JournalId| device.is_none_or(|device| device == journal.device);
        self.denied.retain(|(journal, denied), _| *denied != from || !theirs(journal));
        self.hurry();
    }
}

impl Engine {
    /// What an earlier process lost is fetched now.
    pub(crate) fn recall_losses(&mut self, now: Moment) {
        let lost: Vec<JournalId> =
            self.shelves.iter().filter(|(_, shelf)| !shelf.lost.is_empty()).map(|(id, _)| *id).collect();
        lost.into_iter().for_each(|journal| self.take_up(journal, now));
    }

    /// Records were found damaged and moved aside: they are not here any more.
    pub(crate) fn lose(&mut self, journal: JournalId, ranges: &RangeSet, now: Moment) {
        let Some(shelf) = self.shelves.get_mut(&journal) else { return };
        let lost = shelf.lose(ranges);
        if lost.is_empty() {
            return;
        }
        self.commands.push_back(Command::Alarm(Alarm::Damaged { journal, ranges: lost.clone() }));
        self.announce(journal, &lost);
        self.take_up(journal, now);
    }

    /// Another hub has records that are not here, or a device has what was declared as lost: they are fetched as what damage took. A
    /// journal that the quota of its device has no room for stays away.
    pub(crate) fn miss(&mut self, journal: JournalId, ranges: &RangeSet, now: Moment) {
        let room = self.journals_of(journal.device).count() < self.config.device_journals_max;
        if ranges.is_empty() || !room && !self.shelves.contains_key(&journal) {
            return;
        }
        let shelf = self.shelves.entry(journal).or_default();
        let missed = shelf.miss(ranges, MISSED_RANGES_MAX);
        if missed.is_empty() {
            return;
        }
        self.announce(journal, &missed);
        self.take_up(journal, now);
    }

    /// Nobody is to count these as here.
    fn announce(&mut self, journal: JournalId, ranges: &RangeSet) {
        for guest in self.greeted_guests() {
            for lacks in lacking(journal, ranges) {
                self.answer(guest, PeerFrame::Lacks(lacks));
            }
        }
    }

    fn take_up(&mut self, journal: JournalId, now: Moment) {
        let left = self.shelves.get(&journal).map_or(0, |shelf| shelf.lost.count());
        let work = self.mending.work.entry(journal).or_insert_with(|| Work::begun(now));
        work.lost = left.saturating_add(work.fetched);
        self.mending.look_at = Some(now);
    }

    /// What this hub lost, for another that is being greeted: it is not counted as here, and no reason to doubt the rest.
    pub(crate) fn losses(&self) -> Vec<Lacks> {
        let lost = self.shelves.iter().filter(|(_, shelf)| !shelf.lost.is_empty());
        lost.flat_map(|(journal, shelf)| lacking(*journal, &shelf.lost)).collect()
    }

    /// When to look again.
    pub(crate) fn mending_due(&self) -> Option<Moment> {
        self.mending.look_at.filter(|_| !self.is_stopping())
    }

    /// Asks for what is lacking, as far as anybody has it.
    pub(crate) fn mend(&mut self, now: Moment) {
        if self.mending.work.is_empty() || self.is_stopping() {
            self.mending.look_at = None;
            return;
        }
        self.mending.denied.retain(|_, denial| denial.until > now);
        let journals: Vec<JournalId> = self.mending.work.keys().copied().collect();
        for journal in journals {
            self.finish_if_mended(journal, now);
            self.give_up_errand(journal, now);
            self.warn_if_overdue(journal, now);
        }
        let mut room = self.mending.room();
        for journal in self.mending.in_turn() {
            if room.is_none() {
                break;
            }
            if !self.ask(journal, &mut room, now) {
                self.declare_if_hopeless(journal, now);
            }
        }
        self.mending.look_at = (!self.mending.work.is_empty()).then_some(now + LOOK);
    }

    /// Records came in: which of them were lost before.
    pub(crate) fn mended(
        &mut self,
        journal: JournalId,
        stored: &RangeSet,
        (from, bytes): (Source, u64),
        now: Moment,
    ) {
        let Some(work) = self.mending.work.get_mut(&journal) else { return };
        work.fetched = work.fetched.saturating_add(stored.count());
        work.bytes = work.bytes.saturating_add(bytes);
        work.sources.insert(from);
        let Some(errand) = &mut work.errand else { return };
        errand.ranges.subtract(stored);
        errand.until = now + PATIENCE;
        if errand.ranges.is_empty() {
            work.errand = None;
            self.mending.hurry();
        }
    }

    /// Partitions of which something is being fetched: what is here of them is not everything.
    #[must_use]
    pub fn hurt(&self) -> BTreeSet<Partition> {
        self.mending.work.keys().map(|journal| Partition::of(&journal.device)).collect()
    }

    /// What is being fetched.
    #[must_use]
    pub fn mending(&self, now: Moment) -> Vec<Mend> {
        let told = self.mending.work.iter().map(|(journal, work)| {
            let left = self.shelves.get(journal).map_or(0, |shelf| shelf.lost.count());
            work.told(*journal, left, (now, self.wall(now)))
        });
        told.collect()
    }
}

/// These are lacking, in as many frames as they need.
fn lacking(journal: JournalId, ranges: &RangeSet) -> Vec<Lacks> {
    let ranges: Vec<SeqRange> = ranges.iter().collect();
    let frames = ranges.chunks(FRAME_RANGES_MAX);
    frames.map(|part| Lacks { journal, ranges: part.iter().copied().collect(), bring: false }).collect()
}

impl Work {
    const fn begun(began: Moment) -> Self {
        Self {
            began,
            lost: 0,
            fetched: 0,
            declared: 0,
            bytes: 0,
            sources: BTreeSet::new(),
            errand: None,
            overdue: false,
        }
    }

    /// What a start finds lost begins before the engine has heard of the wall clock: the wall is reckoned back from now.
    fn told(&self, journal: JournalId, left: u64, (now, wall): (Moment, Wall)) -> Mend {
        let took = now.since(self.began);
        let took_us = i64::try_from(took.as_micros()).unwrap_or(i64::MAX);
        Mend {
            journal,
            at: Wall(wall.0.saturating_sub(took_us)),
            lost: self.lost,
            fetched: self.fetched,
            declared: self.declared,
            bytes: self.bytes,
            left,
            took,
            asked: self.errand.as_ref().map(|errand| errand.from),
            sources: self.sources.iter().copied().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use millrace_model::{Incarnation, Lane};

    use super::*;

    /// A journal of the device with this number.
    pub(super) fn journal(device: u8) -> JournalId {
        let device = DeviceId::from_bytes([device; 16]);
        JournalId { device, incarnation: Incarnation::new(1), lane: Lane::Normal }
    }

    #[test]
    fn whoever_comes_back_is_asked_again() {
        let (mine, other, hub) = (journal(1), journal(2), Source::Hub(NodeId(2)));
        let all = [(mine, Source::Device), (mine, hub), (other, Source::Device), (other, hub)];
        let denial = || Denial { until: Moment(9), ..Denial::default() };
        let mut mending = Mending { denied: all.map(|one| (one, denial())).into(), ..Mending::default() };
        mending.returned(Source::Device, Some(mine.device));
        assert_eq!(mending.denied.into_keys().collect::<BTreeSet<_>>(), [all[1], all[2], all[3]].into());
        mending.denied = all.map(|one| (one, denial())).into();
        mending.returned(hub, None);
        assert_eq!(mending.denied.into_keys().collect::<BTreeSet<_>>(), [all[0], all[2]].into());
    }

    #[test]
    fn what_is_scattered_is_told_in_as_many_frames_as_it_takes() {
        let journal = journal(7);
        let all: RangeSet = (1..=10_000).map(|at| SeqRange::only(at * 2)).collect();
        let frames = lacking(journal, &all);
        assert_eq!(frames.len(), 3);
        let mut told = RangeSet::new();
        for lacks in frames {
            told.extend(&lacks.ranges);
            PeerFrame::Lacks(lacks).encode().unwrap();
        }
        assert_eq!(told, all);
    }
}
