//! Comparison: which of an agent's records are here, the very same. Used by an agent that begins a new incarnation.

use millrace_model::{JournalId, Moment, RangeSet, RecordCheck, Seq, SeqRange};
use millrace_wire::{Compare, Compared, Frame, GoodbyeCode, Lodging};

use crate::{Command, Engine, LinkId};

impl Engine {
    pub(crate) fn compare(&mut self, id: LinkId, compare: Compare, now: Moment) {
        let Some(link) = self.links.get_mut(&id) else { return };
        // The last of all numbers is nobody's: counting past it would overflow.
        let Some(range) = compare.range().filter(|range| range.last() < Seq::MAX) else {
            self.close(id, GoodbyeCode::Protocol, "a Compare frame names no records", now);
            return;
        };
        if link.comparing.is_some() {
            let reason = "a Compare frame came before the last one was answered";
            self.close(id, GoodbyeCode::Protocol, reason, now);
            return;
        }
        let journal = compare.journal.of(link.device);
        link.comparing = Some(compare);
        if self.shelves.contains_key(&journal) {
            self.commands.push_back(Command::Check { journal, range });
        } else {
            self.comparison_checked(journal, range, &[]);
        }
    }

    /// Checks were read that comparisons may wait for.
    pub(crate) fn comparison_checked(
        &mut self,
        journal: JournalId,
        range: SeqRange,
        checks: &[(Seq, RecordCheck)],
    ) {
        let asks = |compare: &Compare, device| {
            compare.journal.of(device) == journal && compare.range() == Some(range)
        };
        let mut answers = Vec::new();
        for id in self.links_of(journal.device) {
            let Some(link) = self.links.get_mut(&id) else { continue };
            let device = link.device;
            if let Some(compare) = link.comparing.take_if(|compare| asks(compare, device)) {
                // Both lists ascend, so one walk finds what they share.
                let mut here = checks.iter().peekable();
                let equal: RangeSet = compare
                    .pairs()
                    .filter(|(seq, check)| {
                        while here.next_if(|(at, _)| at < seq).is_some() {}
                        here.peek().is_some_and(|found| **found == (*seq, *check))
                    })
                    .map(|(seq, _)| SeqRange::only(seq))
                    .collect();
                answers.push((id, equal));
            }
        }
        for (id, equal) in answers {
            let journal = Lodging::from(journal);
            self.send(
                id,
                Frame::Compared(Compared { journal, first: range.first(), last: range.last(), equal }),
            );
        }
    }
}
