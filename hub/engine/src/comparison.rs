//! Comparison: which of an agent's records are here, the very same. Used by an agent that begins a new incarnation.

use millrace_model::{JournalId, Moment, RecordCheck, Seq, SeqRange};
use millrace_wire::{Compare, Compared, Frame, GoodbyeCode, Lodging};

use crate::link::Comparing;

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
        link.comparing = Some(Comparing { asked: compare, equal: None });
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
        for id in self.links_of(journal.device) {
            let Some(link) = self.links.get_mut(&id) else { continue };
            let device = link.device;
            let Some(comparing) = link.comparing.as_mut().filter(|comparing| asks(&comparing.asked, device))
            else {
                continue;
            };
            // Both lists ascend, so one walk finds what they share.
            let mut here = checks.iter().peekable();
            let equal = comparing.asked.pairs().filter(|(seq, check)| {
                while here.next_if(|(at, _)| at < seq).is_some() {}
                here.peek().is_some_and(|found| **found == (*seq, *check))
            });
            comparing.equal = Some(equal.map(|(seq, _)| SeqRange::only(seq)).collect());
        }
        self.answer_comparisons(journal);
    }

    /// Answers the comparisons of a journal of which enough is known. What is the same here is the same to the agent only when it is as
    /// durable as the agent wants: until then the answer waits. Where another hub has another history it never will be; those
    /// records are not the same, and the agent writes them again under another name.
    pub(crate) fn answer_comparisons(&mut self, journal: JournalId) {
        for id in self.links_of(journal.device) {
            let Some(link) = self.links.get(&id) else { continue };
            let Some(Comparing { asked, equal: Some(equal) }) = &link.comparing else { continue };
            let Some(range) = asked.range().filter(|_| asked.journal.of(link.device) == journal) else {
                continue;
            };
            let here = self.shelves.get(&journal).map(crate::shelf::Shelf::held).unwrap_or_default();
            let safe = self.replication.safe(journal, link.level, &here, equal);
            let waits = equal.difference(&safe);
            if !waits.difference(&self.replication.contested(journal, &waits)).is_empty() {
                continue;
            }
            let (journal, first, last) = (Lodging::from(journal), range.first(), range.last());
            if let Some(link) = self.links.get_mut(&id) {
                link.comparing = None;
            }
            self.send(id, Frame::Compared(Compared { journal, first, last, equal: safe }));
        }
    }
}
