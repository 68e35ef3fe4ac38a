//! Asking: who is asked for what is lacking, how much at a time, and who is left alone for a while.

use std::time::Duration;

use millrace_model::{DeviceId, JournalId, Moment, RangeSet, SeqRange};
use millrace_wire::peer::Lacks;
use millrace_wire::{Frame, PeerFrame, Records};

use super::{Mending, Source};
use crate::{Engine, LinkId};

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
    pub(super) ranges: RangeSet,
    pub(super) until: Moment,
}

impl Mending {
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
    pub(super) fn ask(&mut self, journal: JournalId, now: Moment) -> bool {
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
    use millrace_model::{Incarnation, Lane};

    use super::*;

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
