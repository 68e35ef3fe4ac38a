//! Recalling: what a device is told of its older incarnations, and brought of what it lost.
//!
//! Promise: a device hears of its own journals alone. One question of a session is under way at a
//! time, and its answer is bounded: acks wait behind no more than that, and one reader at most works for a device.
//! Absent: reading (the daemon, with the connections that load for other hubs).

use std::cmp::Reverse;

use millrace_model::limits::RANGES_MAX;
use millrace_model::{JournalId, Moment, RangeSet, Run, Wall};
use millrace_wire::limits::JOURNALS_MAX;
use millrace_wire::{Fetch, Fetched, Frame, Kept, Lodging, Recall, Recalled, RunFrame};

use crate::greeting::largest;
use crate::link::{Link, Stage};
use crate::{Command, Engine, LinkId};

/// What a store keeps of one journal of a device.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct History {
    /// Which journal.
    pub journal: JournalId,
    /// What is there.
    pub present: RangeSet,
    /// Stored bytes, about.
    pub bytes: u64,
    /// Arrival of the newest record, by the device's clock.
    pub newest: Wall,
}

/// A question of an agent that waits for a reader.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recalling {
    /// What there is.
    Journals {
        /// How many it wants to hear of.
        journals_max: usize,
    },
    /// Records of a journal.
    Records {
        /// Which journal.
        journal: JournalId,
        /// Of what it asked for, what is not here.
        absent: RangeSet,
    },
}

impl Engine {
    /// An agent asks what is kept of its older incarnations.
    pub(crate) fn asked_back(&mut self, id: LinkId, recall: Recall, now: Moment) {
        let journals_max = usize::from(recall.journals_max).min(JOURNALS_MAX);
        if let Some(device) = self.begin_recalling(id, Recalling::Journals { journals_max }, now) {
            self.commands.push_back(Command::Recall { link: id, device });
        }
    }

    /// The store says what it has of a device.
    pub(crate) fn recalled(&mut self, id: LinkId, kept: Option<Vec<History>>) {
        let Some(Link { device, stage: Stage::Open { incarnation, .. }, recalling, .. }) =
            self.links.get_mut(&id)
        else {
            return;
        };
        let (device, current) = (*device, *incarnation);
        let Some(Recalling::Journals { journals_max }) =
            recalling.take_if(|asked| matches!(asked, Recalling::Journals { .. }))
        else {
            return;
        };
        let was_read = kept.is_some();
        let mut kept = kept.unwrap_or_default();
        kept.retain(|kept| kept.journal.device == device && kept.journal.incarnation != current);
        kept.sort_by_key(|kept| (Reverse(kept.newest), kept.journal));
        kept.truncate(journals_max);
        let mut room = RANGES_MAX;
        let journals = kept.into_iter().map(|History { journal, present, bytes, newest }| {
            let ranges = largest(present, room);
            room = room.saturating_sub(ranges.range_count());
            Kept { journal: Lodging::from(journal), ranges, bytes, newest }
        });
        let journals: Vec<Kept> = journals.filter(|kept| !kept.ranges.is_empty()).collect();
        let complete = was_read && self.is_complete_for(device);
        self.send(id, Frame::Recalled(Recalled { journals, complete }));
    }

    /// An agent asks for records that it wrote and lost.
    pub(crate) fn fetch(&mut self, id: LinkId, fetch: &Fetch, now: Moment) {
        let Some(link) = self.links.get(&id) else { return };
        let journal = fetch.journal.of(link.device);
        let none = RangeSet::new();
        let present = self.shelves.get(&journal).map_or(&none, |shelf| &shelf.present);
        let (here, absent) = (fetch.ranges.intersection(present), fetch.ranges.difference(present));
        let is_here = !here.is_empty();
        let asked = Recalling::Records { journal, absent };
        if self.begin_recalling(id, asked, now).is_none() {
            return;
        }
        if is_here {
            let bytes_max = fetch.bytes();
            self.commands.push_back(Command::Fetch { link: id, journal, ranges: here, bytes_max });
        } else {
            self.fetched(id, Vec::new(), &RangeSet::new());
        }
    }

    /// Records were read for an agent; `damaged` are not here any more.
    pub(crate) fn fetched(&mut self, id: LinkId, runs: Vec<Run>, damaged: &RangeSet) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let Some(Recalling::Records { journal, mut absent }) =
            link.recalling.take_if(|asked| matches!(asked, Recalling::Records { .. }))
        else {
            return;
        };
        absent.extend(damaged);
        for run in runs.into_iter().filter(|run| run.journal == journal) {
            self.send(id, Frame::Run(RunFrame::of(run)));
        }
        let absent = largest(absent, RANGES_MAX);
        self.send(id, Frame::Fetched(Fetched { journal: Lodging::from(journal), absent }));
    }

    /// Notes the question of an agent, if it has none under way; whose agent it is.
    fn begin_recalling(
        &mut self,
        id: LinkId,
        asked: Recalling,
        now: Moment,
    ) -> Option<millrace_model::DeviceId> {
        let link = self.links.get_mut(&id)?;
        if link.recalling.is_some() {
            self.protocol_broken(id, "a Recall or Fetch came before the last one was answered", now);
            return None;
        }
        link.recalling = Some(asked);
        Some(link.device)
    }
}
