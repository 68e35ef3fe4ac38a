//! Asking: who is asked for what is lacking, how much at a time, and who is left alone for a while.

use std::time::Duration;

use millrace_model::{DeviceId, JournalId, Moment, RangeSet, SeqRange};
use millrace_wire::peer::Lacks;
use millrace_wire::{Frame, PeerFrame, Records};

use super::{Mending, Source};
use crate::link::Stage;
use crate::{Engine, LinkId};

/// Journals that are being fetched from other hubs at once; the others wait for their turn.
const HUB_ERRANDS_MAX: usize = 8;

/// The same from devices: one that brings nothing keeps its place for a while, and there are many.
const DEVICE_ERRANDS_MAX: usize = 64;

/// A source that brings nothing for so long is left for the next.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// After this a source that had nothing is asked again: it may have got it meanwhile.
const DENIED_FOR: Duration = Duration::from_secs(300);

/// Records of one batch, at least: a segment.
const BATCH_RECORDS_MIN: u64 = millrace_model::limits::SEGMENT_RECORDS_MAX as u64;

/// Ranges of one batch.
const BATCH_RANGES_MAX: usize = 256;

/// Why a source is not asked now.
#[derive(Clone, Debug, Default)]
pub(super) struct Denial {
    pub(super) until: Moment,
    /// What it said itself that it has not got.
    pub(super) said: RangeSet,
    /// It brought nothing for too long. It may well have what it was asked for.
    pub(super) tired: bool,
}

/// What was asked of one source.
#[derive(Debug)]
pub(super) struct Errand {
    pub(super) from: Source,
    /// The session that was asked, of a device.
    pub(super) link: Option<LinkId>,
    pub(super) ranges: RangeSet,
    pub(super) until: Moment,
}

/// How many more errands there may be, at hubs and at devices.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Room {
    hubs: usize,
    devices: usize,
}

impl Room {
    pub(super) const fn is_none(self) -> bool {
        self.hubs == 0 && self.devices == 0
    }

    /// One more; `false` when there is no room for it.
    const fn take(&mut self, from: Source) -> bool {
        let room = match from {
            Source::Hub(_) => &mut self.hubs,
            Source::Device => &mut self.devices,
        };
        let is_there = *room > 0;
        *room = room.saturating_sub(1);
        is_there
    }
}

impl Mending {
    /// The journals that nobody is asked for now, the one first whose turn it is.
    pub(super) fn in_turn(&self) -> Vec<JournalId> {
        let idle = self.work.iter().filter(|(_, work)| work.errand.is_none()).map(|(journal, _)| *journal);
        let (mut before, mut after): (Vec<_>, Vec<_>) = idle.partition(|journal| Some(*journal) <= self.turn);
        after.append(&mut before);
        after
    }

    /// How many more errands there may be.
    pub(super) fn room(&self) -> Room {
        let mut room = Room { hubs: HUB_ERRANDS_MAX, devices: DEVICE_ERRANDS_MAX };
        for errand in self.work.values().filter_map(|work| work.errand.as_ref()) {
            room.take(errand.from);
        }
        room
    }

    /// What of `ranges` a source has not said to lack.
    pub(super) fn without_denied(&self, journal: JournalId, from: Source, mut ranges: RangeSet) -> RangeSet {
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
}

impl Engine {
    /// Asks the best source for a batch. `false` when nobody has anything now.
    pub(super) fn ask(&mut self, journal: JournalId, room: &mut Room, now: Moment) -> bool {
        let Some(lost) = self.shelves.get(&journal).map(|shelf| &shelf.lost) else { return false };
        let asked = self.hub_to_ask(journal, lost).or_else(|| self.device_to_ask(journal, lost));
        let Some((from, link, has)) = asked else { return false };
        if !room.take(from) {
            // There is somebody, and the journal's turn comes.
            return true;
        }
        let ranges = self.batch(journal, &has);
        if from == Source::Device {
            self.send(link, Frame::Wanted(Records { journal: journal.into(), ranges: ranges.clone() }));
            if let Some(link) = self.links.get_mut(&link) {
                link.wanted.insert(journal);
            }
        } else {
            let lacks = Lacks { journal, ranges: ranges.clone(), bring: true };
            self.answer(link, PeerFrame::Lacks(lacks));
        }
        let link = (from == Source::Device).then_some(link);
        self.mending.turn = Some(journal);
        if let Some(work) = self.mending.work.get_mut(&journal) {
            work.errand = Some(Errand { from, link, ranges, until: now + PATIENCE });
        }
        true
    }

    fn hub_to_ask(&self, journal: JournalId, lost: &RangeSet) -> Option<(Source, LinkId, RangeSet)> {
        self.guests.iter().find_map(|(id, guest)| {
            let has = self.replication.holds_of(guest.node, journal, lost);
            let from = Source::Hub(guest.node);
            let has = self.mending.askable(journal, from, has);
            (guest.greeted && !has.is_empty()).then_some((from, *id, has))
        })
    }

    /// The session that writes a journal knows best what is left of it. When its device has moved on to another life, that one may still
    /// have what was acknowledged.
    fn device_to_ask(&self, journal: JournalId, lost: &RangeSet) -> Option<(Source, LinkId, RangeSet)> {
        let has = self.mending.askable(journal, Source::Device, lost.clone());
        let open =
            |id: &LinkId| self.links.get(id).is_some_and(|link| matches!(link.stage, Stage::Open { .. }));
        let any = || self.links_of(journal.device).into_iter().rfind(open);
        let link = self.writer_of(journal).or_else(any).filter(|_| !has.is_empty())?;
        Some((Source::Device, link, has))
    }

    /// Whether a run of another life of its device may come on `link`: this hub asked for it, and knows all its numbers.
    pub(crate) fn is_wanted(&self, link: LinkId, journal: JournalId, range: SeqRange) -> bool {
        let asked = self.links.get(&link).is_some_and(|link| link.wanted.contains(&journal));
        asked && self.shelves.get(&journal).is_some_and(|shelf| shelf.knows(range))
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

    /// A session of the device has not got some of what it was asked for. Only the one that was asked is believed.
    pub(crate) fn denied_by_device(
        &mut self,
        link: LinkId,
        journal: JournalId,
        ranges: &RangeSet,
        now: Moment,
    ) {
        let errand = self.mending.work.get(&journal).and_then(|work| work.errand.as_ref());
        if errand.is_some_and(|errand| errand.link == Some(link)) {
            self.denied(journal, Source::Device, ranges, now);
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

    pub(super) fn give_up_errand(&mut self, journal: JournalId, now: Moment) {
        let Some(work) = self.mending.work.get_mut(&journal) else { return };
        let Some(errand) = work.errand.take_if(|errand| errand.until <= now) else { return };
        let denial = self.mending.denied.entry((journal, errand.from)).or_default();
        (denial.until, denial.tired) = (now + DENIED_FOR, true);
    }
}

#[cfg(test)]
mod tests {
    use millrace_model::NodeId;

    use super::super::tests::journal;
    use super::*;

    #[test]
    fn whoever_lacks_a_part_is_asked_for_the_rest_and_whoever_is_slow_has_denied_nothing() {
        let range = |first, last| RangeSet::from(SeqRange::new(first, last).unwrap());
        let journal = journal(1);
        let at = (journal, Source::Device);
        let mut mending = Mending::default();
        mending.denied.entry(at).or_default().said = range(1, 100);
        assert_eq!(mending.askable(journal, Source::Device, range(1, 300)), range(101, 300));
        mending.denied.entry(at).or_default().tired = true;
        assert_eq!(mending.askable(journal, Source::Device, range(1, 300)), RangeSet::new());
        assert_eq!(mending.without_denied(journal, Source::Device, range(1, 300)), range(101, 300));
    }

    #[test]
    fn journals_take_turns_so_that_none_is_in_anothers_way() {
        let mut mending = Mending::default();
        for device in 1..=4 {
            mending.work.insert(journal(device), super::super::Work::begun(Moment(0)));
        }
        assert_eq!(mending.in_turn(), [1, 2, 3, 4].map(journal));
        mending.turn = Some(journal(2));
        assert_eq!(mending.in_turn(), [3, 4, 1, 2].map(journal));
        let errand = || Errand {
            from: Source::Device,
            link: Some(7),
            ranges: SeqRange::only(1).into(),
            until: Moment(9),
        };
        mending.work.get_mut(&journal(4)).unwrap().errand = Some(errand());
        assert_eq!(mending.in_turn(), [3, 1, 2].map(journal));
        let mut room = mending.room();
        assert_eq!(room, Room { hubs: HUB_ERRANDS_MAX, devices: DEVICE_ERRANDS_MAX - 1 });
        assert!((0..HUB_ERRANDS_MAX).all(|_| room.take(Source::Hub(NodeId(2)))));
        assert!(!room.take(Source::Hub(NodeId(2))) && room.take(Source::Device) && !room.is_none());
    }
}
