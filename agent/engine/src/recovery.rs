//! Recovery: what happens after a rollback or a clone.
//!
//! When the hub's copy of a journal is not a part of ours, two histories used one name. The agent then begins a new
//! incarnation: new records go to new journals, the old ones retire. Nothing of a retired journal is ever shipped. Instead the
//! agent asks the hub which of its unacknowledged records the hub has, the very same; those are safe, and all
//! others are appended again under the new incarnation. The work is done a piece at a time and starts over at any point.
//!
//! Promise (P9): never merged silently, nothing lost, nothing doubled that both sides have.

use std::collections::VecDeque;

use millrace_model::limits::SEGMENT_RECORDS_MAX;
use millrace_model::notice::Open;
use millrace_model::store::Change;
use millrace_model::{Incarnation, JournalId, Moment, RangeSet, RecordCheck, Seq, SeqRange};
use millrace_wire::{Compare, Compared, Frame, Holding, Lodging, Verdict};

use crate::committing::Purpose;
use crate::{Alarm, Channel, Command, Engine};

/// Why a new incarnation begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Break {
    /// The hub remembers more than this device does.
    RolledBack,
    /// The hub has other records under this device's numbers.
    Forked,
}

/// What is under way.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// A new incarnation has been asked for, and is not on disk yet.
    breaking: bool,
    /// Heads of the hub's copies that are being compared with ours.
    probes: VecDeque<Probe>,
    /// The piece of a retired journal that is being dealt with.
    piece: Option<Piece>,
}

/// The head of the hub's copy of a journal, and what the hub holds if it proves to be the same as ours.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Probe {
    journal: JournalId,
    head: Seq,
    check: RecordCheck,
    held: RangeSet,
    safe: RangeSet,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Piece {
    journal: JournalId,
    range: SeqRange,
    stage: Stage,
    equal: RangeSet,
    /// What is handed to the store to be moved: acks that come from then on do not hold it.
    moving: RangeSet,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Checking,
    Comparing,
    Moving,
}

impl Recovery {
    /// Whether a new incarnation is on its way to the disk; until then nothing is shipped or dialled.
    pub(crate) const fn is_breaking(&self) -> bool {
        self.breaking
    }

    /// Whether records of a retired journal are being dealt with.
    #[must_use]
    pub const fn is_at_work(&self) -> bool {
        self.breaking || self.piece.is_some()
    }

    pub(crate) fn session_ended(&mut self) {
        self.probes.clear();
        // What was handed to the store goes on without a session.
        self.piece.take_if(|piece| piece.stage != Stage::Moving);
    }
}

impl Engine {
    /// The hub says what it holds of one of our journals.
    pub(crate) fn held(&mut self, holding: &Holding, now: Moment) {
        let journal = Lodging { incarnation: holding.incarnation, lane: holding.lane }.of(self.config.device);
        let Some(shelf) = self.shelves.get_mut(&journal) else { return };
        if shelf.retired {
            return;
        }
        match holding.verdict {
            Verdict::RolledBack => self.begin_incarnation(journal, Break::RolledBack, now),
            Verdict::Forked => self.begin_incarnation(journal, Break::Forked, now),
            Verdict::Continues => match holding.head_check {
                // The hub judged by our head; now we judge by its.
                Some(check) if shelf.present.contains(holding.head) => {
                    let range = SeqRange::only(holding.head);
                    let (held, safe) = (holding.held.clone(), holding.safe.clone());
                    self.recovery.probes.push_back(Probe { journal, head: holding.head, check, held, safe });
                    self.commands.push_back(Command::Check { journal, range });
                }
                // Its head is not here to compare with. Trimmed, or evicted after it was sent: that is the hub's copy of ours. If this
                // directory never got so far with it, as a restored one that wrote on and evicted what it wrote, it is not.
                _ if holding.head > 0
                    && !shelf.present.contains(holding.head)
                    && !shelf.vouches_for(holding.head) =>
                {
                    self.begin_incarnation(journal, Break::Forked, now);
                }
                _ => {
                    self.continues(journal, &holding.held, &holding.safe, now);
                }
            },
        }
    }

    /// Checks were read: of a head that is being proved, or of a piece of a retired journal.
    pub(crate) fn checked(
        &mut self,
        journal: JournalId,
        range: SeqRange,
        checks: &[(Seq, RecordCheck)],
        now: Moment,
    ) {
        let probes = &mut self.recovery.probes;
        let asked =
            probes.iter().position(|probe| probe.journal == journal && range == SeqRange::only(probe.head));
        if let Some(probe) = asked.and_then(|at| probes.remove(at)) {
            self.proved(&probe, checks, now);
            return;
        }
        let Some(piece) = self.recovery.piece.as_mut() else { return };
        if (piece.journal, piece.range, piece.stage) != (journal, range, Stage::Checking) {
            return;
        }
        // Only what stands without a hole in front can be named by one frame; the rest comes with the next piece.
        let dense: Vec<RecordCheck> = checks
            .iter()
            .zip(range.first()..)
            .map_while(|((seq, check), at)| (*seq == at).then_some(*check))
            .collect();
        match SeqRange::starting(range.first(), dense.len() as u64) {
            Some(range) => {
                (piece.range, piece.stage) = (range, Stage::Comparing);
                let compare = Compare::new(Lodging::from(journal), range.first(), &dense);
                self.send(Channel::Control, Frame::Compare(compare));
            }
            None => {
                // Nothing to compare: it went meanwhile, or is damaged and the disk is too full to put it aside. What is still
                // here waits for the next session, as if it had been sent.
                self.recovery.piece = None;
                if let Some(shelf) = self.shelves.get_mut(&journal) {
                    shelf.sent.insert(SeqRange::only(range.first()));
                }
            }
        }
    }

    fn proved(&mut self, probe: &Probe, checks: &[(Seq, RecordCheck)], now: Moment) {
        let ours = checks.iter().find(|(at, _)| *at == probe.head).map(|(_, check)| *check);
        // It may have gone since it was asked for.
        let known =
            |shelf: &crate::shelf::Shelf| shelf.present.contains(probe.head) || shelf.vouches_for(probe.head);
        let same = match ours {
            Some(ours) => ours == probe.check,
            None => self.shelves.get(&probe.journal).is_some_and(known),
        };
        if !same {
            self.begin_incarnation(probe.journal, Break::Forked, now);
        } else {
            self.continues(probe.journal, &probe.held, &probe.safe, now);
        }
    }

    /// The hub's copy is a part of ours. What it holds need not be sent; of that, what is safe is acknowledged. The rest is when the
    /// other hubs have it, and if they never get it, the session is given up and another hub tried, as with what was sent.
    fn continues(&mut self, journal: JournalId, held: &RangeSet, safe: &RangeSet, now: Moment) {
        self.safe(journal, &held.intersection(safe), now);
        let Some(shelf) = self.shelves.get_mut(&journal) else { return };
        shelf.verified = true;
        let before = shelf.sent.count();
        shelf.held(held);
        if shelf.sent.count() > before {
            self.shipping.await_answer(now);
        }
        self.regain_held(journal, held);
    }

    /// The hub says which records of a piece it has.
    pub(crate) fn compared(&mut self, compared: &Compared) {
        let journal = compared.journal.of(self.config.device);
        let Some(piece) = self.recovery.piece.as_mut() else { return };
        if piece.journal != journal
            || Some(piece.range) != compared.range()
            || piece.stage != Stage::Comparing
        {
            return;
        }
        piece.stage = Stage::Moving;
        let (range, equal) = (piece.range, compared.equal.within(piece.range));
        piece.equal = equal.clone();
        // What the hubs have is not written again only because nobody wrote that down yet.
        self.write_acks_of(journal);
        if let (Some(piece), Some(shelf)) = (self.recovery.piece.as_mut(), self.shelves.get(&journal)) {
            piece.moving = shelf.present.within(range).difference(&shelf.acked).difference(&equal);
        }
        self.committing.add(Purpose::Reauthor, Change::Reauthor { journal, range, equal });
    }

    /// Records of a piece have moved to `appended`.
    pub(crate) fn reauthored(&mut self, appended: Option<(JournalId, SeqRange)>, now: Moment) {
        let Some(piece) = self.recovery.piece.take() else { return };
        if let Some(shelf) = self.shelves.get_mut(&piece.journal) {
            let here = shelf.present.within(piece.range);
            let mut moved = here.intersection(&piece.moving);
            if moved.count() != appended.map_or(0, |(_, range)| range.count()) {
                // On a full disk acks are written down before anything is moved.
                moved = moved.difference(&shelf.acked);
            }
            let equal = here.intersection(&piece.equal).difference(&shelf.acked);
            // Under this name they are nowhere any more, whatever a hub said of it meanwhile.
            shelf.take_back(&moved);
            shelf.present.subtract(&moved);
            shelf.acked.extend(&equal);
            shelf.ledger.acked += equal.count();
            shelf.ledger.ingested = shelf.ledger.ingested.saturating_sub(moved.count());
            shelf.ledger.pending = shelf.ledger.pending.saturating_sub(moved.count() + equal.count());
        }
        if let Some((journal, range)) = appended {
            self.shelf(journal, now).appended(range);
        }
    }

    /// Takes the next piece of a retired journal, if there is one and the session can answer.
    pub(crate) fn recover(&mut self) {
        if !self.session.is_open() || self.recovery.is_at_work() {
            return;
        }
        let next = self.shelves.values().filter(|shelf| shelf.retired && !shelf.restored).find_map(|shelf| {
            let first = shelf.unsent().iter().next()?;
            let last = first.last().min(first.first() + SEGMENT_RECORDS_MAX as u64 - 1);
            Some((shelf.journal, SeqRange::new(first.first(), last)?))
        });
        if let Some((journal, range)) = next {
            self.recovery.piece = Some(Piece {
                journal,
                range,
                stage: Stage::Checking,
                equal: RangeSet::new(),
                moving: RangeSet::new(),
            });
            self.commands.push_back(Command::Check { journal, range });
        }
    }

    /// Two histories used one name: begin anew under another.
    pub(crate) fn begin_incarnation(&mut self, journal: JournalId, why: Break, now: Moment) {
        if self.recovery.breaking || journal.incarnation != self.incarnation {
            return;
        }
        self.recovery.breaking = true;
        let (alarm, reason) = match why {
            Break::RolledBack => (Alarm::RolledBack { journal }, "rolled-back"),
            Break::Forked => (Alarm::Forked { journal }, "forked"),
        };
        self.alarm(alarm);
        self.close("a new incarnation begins");
        let (wall, mono) = self.clocks(now);
        let open = Open {
            boot: String::new(),
            nonce: format!("{:016x}", self.random.u64(..)),
            clock: "unknown".to_owned(),
            software: self.config.software.clone(),
            previous: Some(self.incarnation.to_string()),
            reason: Some(reason.to_owned()),
        };
        let incarnation = Incarnation::new(self.random.u64(..));
        match open.to_record(wall, mono) {
            Some(open) => {
                let change = Change::Reincarnate { incarnation, open: Box::new(open) };
                self.committing.add(Purpose::Reincarnate, change);
            }
            None => self.recovery.breaking = false,
        }
    }

    /// The new incarnation is on disk; `journal` is its urgent one.
    pub(crate) fn reincarnated(&mut self, journal: JournalId, now: Moment) {
        self.recovery.breaking = false;
        self.incarnation = journal.incarnation;
        self.regaining.reincarnated();
        for shelf in self.shelves.values_mut() {
            shelf.retired = shelf.journal.incarnation != journal.incarnation;
        }
        self.know_lanes(now);
    }
}
