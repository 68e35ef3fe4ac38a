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
//! Absent: finding damage (reads and the scrub do), and moving it aside (the store); when it is over ([`ending`]).

mod ending;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use millrace_model::{DeviceId, JournalId, Moment, NodeId, Partition, RangeSet, SeqRange, Wall};
use millrace_wire::peer::Lacks;
use millrace_wire::{Frame, PeerFrame, Records};

use crate::owing::FRAME_RANGES_MAX;
use crate::{Alarm, Command, Engine, LinkId};

/// Journals that are being fetched at once; the others wait.
const ERRANDS_MAX: usize = 8;

/// A source that brings nothing for so long is left for the next.
const PATIENCE: Duration = Duration::from_secs(30);

/// After this a source that had nothing is asked again: it may have got it meanwhile.
const DENIED_FOR: Duration = Duration::from_secs(300);

/// How often it is looked whether a source has come up.
const LOOK: Duration = Duration::from_secs(5);

/// Records of one batch, at least: a segment.
const BATCH_RECORDS_MIN: u64 = millrace_model::limits::SEGMENT_RECORDS_MAX as u64;

/// Ranges of one batch.
const BATCH_RANGES_MAX: usize = 256;

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

/// Why a source is not asked now.
#[derive(Clone, Debug, Default)]
struct Denial {
    until: Moment,
    /// What it said itself that it has not got.
    said: RangeSet,
    /// It brought nothing for too long. It may well have what it was asked for.
    tired: bool,
}

/// What was asked of one source.
#[derive(Debug)]
struct Errand {
    from: Source,
    ranges: RangeSet,
    until: Moment,
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

    /// What of `ranges` a source has not said to lack.
    fn without_denied(&self, journal: JournalId, from: Source, mut ranges: RangeSet) -> RangeSet {
        if let Some(denial) = self.denied.get(&(journal, from)) {
            ranges.subtract(&denial.said);
        }
        ranges
    }

    /// What of `ranges` a source can be asked for now.
    fn askable(&self, journal: JournalId, from: Source, ranges: RangeSet) -> RangeSet {
        match self.denied.get(&(journal, from)) {
            Some(denial) if denial.tired => RangeSet::new(),
            _ => self.without_denied(journal, from, ranges),
        }
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

    /// Others have records that are not here, and were not known to be lost: they are fetched as those are.
    pub(crate) fn miss(&mut self, journal: JournalId, ranges: &RangeSet, now: Moment) {
        let shelf = self.shelves.entry(journal).or_default();
        let missed = shelf.miss(ranges);
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
        let fresh = || Work {
            began: now,
            lost: 0,
            fetched: 0,
            declared: 0,
            bytes: 0,
            sources: BTreeSet::new(),
            errand: None,
            overdue: false,
        };
        let work = self.mending.work.entry(journal).or_insert_with(fresh);
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
        let mut running = self.mending.work.values().filter(|work| work.errand.is_some()).count();
        let idle: Vec<JournalId> =
            self.mending.work.iter().filter(|(_, work)| work.errand.is_none()).map(|(id, _)| *id).collect();
        for journal in idle {
            if running >= ERRANDS_MAX {
                break;
            }
            if self.ask(journal, now) {
                running += 1;
            } else {
                self.declare_if_hopeless(journal, now);
            }
        }
        self.mending.look_at = (!self.mending.work.is_empty()).then_some(now + LOOK);
    }

    /// Asks the best source for a batch. `false` when nobody has anything now.
    fn ask(&mut self, journal: JournalId, now: Moment) -> bool {
        let Some(lost) = self.shelves.get(&journal).map(|shelf| shelf.lost.clone()) else { return false };
        let asked = self.ask_hub(journal, &lost).or_else(|| self.ask_device(journal, &lost));
        let Some((from, ranges)) = asked else { return false };
        if let Some(work) = self.mending.work.get_mut(&journal) {
            work.errand = Some(Errand { from, ranges, until: now + PATIENCE });
        }
        true
    }

    fn ask_hub(&mut self, journal: JournalId, lost: &RangeSet) -> Option<(Source, RangeSet)> {
        let (guest, node, has) = self.guests.iter().find_map(|(id, guest)| {
            let has = self.replication.holds_of(guest.node, journal, lost);
            let has = self.mending.askable(journal, Source::Hub(guest.node), has);
            (guest.greeted && !has.is_empty()).then_some((*id, guest.node, has))
        })?;
        let ranges = self.batch(journal, &has);
        let lacks = Lacks { journal, ranges: ranges.clone(), bring: true };
        self.answer(guest, PeerFrame::Lacks(lacks));
        Some((Source::Hub(node), ranges))
    }

    fn ask_device(&mut self, journal: JournalId, lost: &RangeSet) -> Option<(Source, RangeSet)> {
        let may_have = self.mending.askable(journal, Source::Device, lost.clone());
        let link = self.writer_of(journal).filter(|_| !may_have.is_empty())?;
        let ranges = self.batch(journal, &may_have);
        self.send(link, Frame::Wanted(Records { journal: journal.into(), ranges: ranges.clone() }));
        Some((Source::Device, ranges))
    }

    /// The session that writes a journal now.
    pub(crate) fn writer_of(&self, journal: JournalId) -> Option<LinkId> {
        let links = self.links_of(journal.device);
        links.into_iter().find(|id| self.links.get(id).is_some_and(|link| link.writes(journal.incarnation)))
    }

    /// As much of `ranges` as one batch takes, oldest first.
    fn batch(&self, journal: JournalId, ranges: &RangeSet) -> RangeSet {
        let shelf = self.shelves.get(&journal);
        let record = shelf.map_or(1, |shelf| shelf.stored_bytes / shelf.present.count().max(1)).max(1);
        let mut room = (self.config.repair_batch_bytes / record).max(BATCH_RECORDS_MIN);
        let mut batch = RangeSet::new();
        for range in ranges.iter().take(BATCH_RANGES_MAX) {
            let Some(part) = SeqRange::starting(range.first(), range.count().min(room)) else { break };
            batch.insert(part);
            room -= part.count();
            if room == 0 {
                break;
            }
        }
        batch
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

    /// A source has not got some of what it was asked for.
    pub(crate) fn denied(&mut self, journal: JournalId, from: Source, ranges: &RangeSet, now: Moment) {
        let Some(work) = self.mending.work.get_mut(&journal) else { return };
        let Some(errand) = work.errand.as_mut().filter(|errand| errand.from == from) else { return };
        errand.ranges.subtract(ranges);
        if errand.ranges.is_empty() {
            work.errand = None;
        }
        let denial = self.mending.denied.entry((journal, from)).or_default();
        denial.until = now + DENIED_FOR;
        denial.said.extend(ranges);
        self.mending.hurry();
    }

    /// Whatever was asked of a source that is gone is asked of the next.
    pub(crate) fn forsaken(&mut self, from: Source, device: Option<DeviceId>) {
        let mut any = false;
        for (journal, work) in &mut self.mending.work {
            let theirs = device.is_none_or(|device| device == journal.device);
            if theirs && work.errand.as_ref().is_some_and(|errand| errand.from == from) {
                work.errand = None;
                any = true;
            }
        }
        if any {
            self.mending.hurry();
        }
    }

    fn give_up_errand(&mut self, journal: JournalId, now: Moment) {
        let Some(work) = self.mending.work.get_mut(&journal) else { return };
        let Some(errand) = work.errand.take_if(|errand| errand.until <= now) else { return };
        let denial = self.mending.denied.entry((journal, errand.from)).or_default();
        (denial.until, denial.tired) = (now + DENIED_FOR, true);
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

    #[test]
    fn whoever_comes_back_is_asked_again() {
        let journal = |device| JournalId {
            device: DeviceId::from_bytes([device; 16]),
            incarnation: Incarnation::new(1),
            lane: Lane::Normal,
        };
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
        let journal = JournalId {
            device: DeviceId::from_bytes([7; 16]),
            incarnation: Incarnation::new(1),
            lane: Lane::Normal,
        };
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

    #[test]
    fn whoever_lacks_a_part_is_asked_for_the_rest_and_whoever_is_slow_has_denied_nothing() {
        let range = |first, last| RangeSet::from(SeqRange::new(first, last).unwrap());
        let journal = JournalId {
            device: DeviceId::from_bytes([1; 16]),
            incarnation: Incarnation::new(1),
            lane: Lane::Normal,
        };
        let at = (journal, Source::Device);
        let mut mending = Mending::default();
        mending.denied.entry(at).or_default().said = range(1, 100);
        assert_eq!(mending.askable(journal, Source::Device, range(1, 300)), range(101, 300));
        mending.denied.entry(at).or_default().tired = true;
        assert_eq!(mending.askable(journal, Source::Device, range(1, 300)), RangeSet::new());
        assert_eq!(mending.without_denied(journal, Source::Device, range(1, 300)), range(101, 300));
    }
}
