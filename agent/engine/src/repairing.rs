//! Repairing: what the hub asks of this device when copies are compared, or when it lost records.
//!
//! What the hub acknowledged and lost counts as not acknowledged any more, on disk: so it is kept, goes again with the backlog, and is
//! acknowledged anew, whatever becomes of this session.
//!
//! Promise: the hub hears only of this device's own journals. Nothing is kept between two inquiries.
//! Absent: what differs, and what is done about it (the hub).

use millrace_merkle::Told;
use millrace_model::store::Change;
use millrace_model::{JournalId, RangeSet, SeqRange};
use millrace_wire::limits::COMPARE_RECORDS_MAX;
use millrace_wire::{Frame, Inquiry, Records, Reply};

use crate::committing::Purpose;
use crate::{Channel, Command, Engine};

/// Reads of doubted records that one frame leads to: a hub doubts a few segments at a time.
const DOUBT_READS_MAX: usize = 64;

impl Engine {
    /// The hub lost records that it had acknowledged.
    pub(crate) fn wanted(&mut self, wanted: &Records) {
        let journal = wanted.journal.of(self.config.device);
        let shelf = self.shelves.get_mut(&journal).filter(|shelf| !shelf.retired);
        let here = shelf.map(|shelf| {
            let here = shelf.present.intersection(&wanted.ranges);
            let back = here.intersection(&shelf.acked);
            shelf.take_back(&back);
            shelf.sent.subtract(&here);
            (here, back)
        });
        let (here, back) = here.unwrap_or_default();
        if !back.is_empty() {
            self.committing.add(Purpose::Reclaim, Change::Reclaim { journal, ranges: back });
        }
        let absent = wanted.ranges.difference(&here);
        if !absent.is_empty() {
            self.send(Channel::Control, Frame::Absent(Records { journal: wanted.journal, ranges: absent }));
        }
    }

    /// The hub has other bytes than this device says it has: reading them shows whether they are sound, and puts them aside when not.
    pub(crate) fn doubted(&mut self, doubted: &Records) {
        let journal = doubted.journal.of(self.config.device);
        let Some(shelf) = self.shelves.get(&journal) else { return };
        let here: RangeSet = shelf.present.intersection(&doubted.ranges);
        let parts = here.iter().flat_map(parts).take(DOUBT_READS_MAX);
        let checks: Vec<Command> = parts.map(|range| Command::Check { journal, range }).collect();
        self.commands.extend(checks);
    }

    /// The hub asks what this device has of one of its journals.
    pub(crate) fn asked(&mut self, inquiry: Inquiry) {
        let Inquiry { number, journal, about } = inquiry;
        let journal: JournalId = journal.of(self.config.device);
        // Of what came back only a part may be here: there is nothing in it to compare.
        if self.shelves.get(&journal).is_some_and(|shelf| !shelf.restored) {
            let session = self.session.number;
            self.commands.push_back(Command::Consult { session, number, journal, about });
        } else {
            self.send(Channel::Control, Frame::Reply(Reply { number, told: Told::Unknown }));
        }
    }

    /// The store has answered an inquiry.
    pub(crate) fn consulted(&mut self, session: u64, number: u64, told: Told) {
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
