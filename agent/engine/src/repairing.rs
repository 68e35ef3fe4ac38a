//! Repairing: what the hub asks of this device when copies are compared, or when it lost records.
//!
//! What the hub acknowledged and lost counts as not acknowledged any more, on disk: so it is kept, goes again with the backlog, and is
//! acknowledged anew, whatever becomes of this session. A journal that takes no more records ships nothing by itself: what was acknowledged
//! of it is the hubs' by name, and is sent once more when they ask ([`crate::recovery`] never moves it to another name).
//!
//! Promise: the hub hears only of this device's own journals. What waits for the store is bounded, whatever a hub asks; nothing else is
//! kept between two inquiries.
//! Absent: what differs, and what is done about it (the hub).

use std::collections::VecDeque;

use millrace_merkle::Told;
use millrace_model::store::Change;
use millrace_model::{JournalId, Moment, RangeSet, SeqRange};
use millrace_wire::limits::COMPARE_RECORDS_MAX;
use millrace_wire::{Frame, Inquiry, Records, Reply};

use crate::committing::Purpose;
use crate::{Alarm, Channel, Command, Engine};

/// Inquiries of hubs that wait for the store. A hub has one under way, and may have given up some that a slow disk has not read yet.
const INQUIRIES_MAX: usize = 16;

/// Reads of doubted records that wait their turn: a hub doubts at most 64 segments of a journal in one round. What is more than that it
/// doubts again.
const DOUBTS_MAX: usize = 256;

/// What hubs asked this device to read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Repairing {
    /// Inquiries that the store has not answered, of this session and of older ones.
    inquiries: usize,
    /// Doubted records that are read one piece after the other.
    doubts: VecDeque<(JournalId, SeqRange)>,
    /// The piece that is being read.
    reading: Option<(JournalId, SeqRange)>,
}

impl Repairing {
    pub(crate) fn session_ended(&mut self) {
        self.doubts.clear();
    }
}

impl Engine {
    /// The hub lost records that it had acknowledged.
    pub(crate) fn wanted(&mut self, wanted: &Records, now: Moment) {
        let journal = wanted.journal.of(self.config.device);
        let grace = self.config.grace;
        let (here, back) = match self.shelves.get_mut(&journal) {
            None => Default::default(),
            Some(shelf) if shelf.retired => (shelf.want_back(&wanted.ranges, now, grace), RangeSet::new()),
            Some(shelf) => {
                let here = shelf.present.intersection(&wanted.ranges);
                let back = here.intersection(&shelf.acked);
                shelf.take_back(&back);
                shelf.sent.subtract(&here);
                (here, back)
            }
        };
        if !back.is_empty() {
            self.committing.add(Purpose::Reclaim, Change::Reclaim { journal, ranges: back });
        }
        self.lacks(journal, wanted.ranges.difference(&here));
    }

    /// What was to be sent again was trimmed between asking and reading.
    pub(crate) fn went(&mut self, journal: JournalId, range: SeqRange) {
        if let Some(shelf) = self.shelves.get_mut(&journal) {
            shelf.wanted.remove(range);
        }
        self.lacks(journal, range.into());
    }

    fn lacks(&mut self, journal: JournalId, ranges: RangeSet) {
        if !ranges.is_empty() {
            self.send(Channel::Control, Frame::Absent(Records { journal: journal.into(), ranges }));
        }
    }

    /// The hub has other bytes than this device says it has: reading them shows whether they are sound, and puts them aside when not.
    pub(crate) fn doubted(&mut self, doubted: &Records) {
        let journal = doubted.journal.of(self.config.device);
        let Some(shelf) = self.shelves.get(&journal) else { return };
        let here: RangeSet = shelf.present.intersection(&doubted.ranges);
        let room = DOUBTS_MAX.saturating_sub(self.repairing.doubts.len());
        let parts = here.iter().flat_map(parts).take(room).map(|range| (journal, range));
        self.repairing.doubts.extend(parts);
        self.read_doubted();
    }

    fn read_doubted(&mut self) {
        if self.repairing.reading.is_none()
            && let Some((journal, range)) = self.repairing.doubts.pop_front()
        {
            self.repairing.reading = Some((journal, range));
            self.commands.push_back(Command::Check { journal, range });
        }
    }

    /// A piece was read: if it was damaged, that has been told.
    pub(crate) fn was_read(&mut self, journal: JournalId, range: SeqRange) {
        if self.repairing.reading.take_if(|reading| *reading == (journal, range)).is_some() {
            self.read_doubted();
        }
    }

    /// The hub asks what this device has of one of its journals.
    pub(crate) fn asked(&mut self, inquiry: Inquiry) {
        let Inquiry { number, journal, about } = inquiry;
        let journal: JournalId = journal.of(self.config.device);
        // Of what came back only a part may be here: there is nothing in it to compare.
        if self.shelves.get(&journal).is_some_and(|shelf| !shelf.restored) {
            if self.repairing.inquiries >= INQUIRIES_MAX {
                let reason = format!("more than {INQUIRIES_MAX} inquiries came before they were answered");
                self.alarm(Alarm::Protocol { reason });
                return self.close("the hub broke the protocol");
            }
            self.repairing.inquiries += 1;
            let session = self.session.number;
            self.commands.push_back(Command::Consult { session, number, journal, about });
        } else {
            self.send(Channel::Control, Frame::Reply(Reply { number, told: Told::Unknown }));
        }
    }

    /// The store has answered an inquiry.
    pub(crate) fn consulted(&mut self, session: u64, number: u64, told: Told) {
        self.repairing.inquiries = self.repairing.inquiries.saturating_sub(1);
        if self.session.is_open() && self.session.number == session {
            self.send(Channel::Control, Frame::Reply(Reply { number, told }));
        }
    }
}

/// A range in parts that one read may take.
fn parts(range: SeqRange) -> impl Iterator<Item = SeqRange> {
    let step = COMPARE_RECORDS_MAX as u64;
    let firsts = (0..=(range.last() - range.first()) / step).map(move |part| range.first() + part * step);
    firsts.filter_map(move |first| SeqRange::new(first, range.last().min(first + step - 1)))
}
