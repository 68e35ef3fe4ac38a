//! Guests: the streams from other hubs. They dialled, say who they are, hear what this hub holds, and bring what it has not.
//!
//! Promise: Flushed is said only after the flush, and only of records that were compared with what is here. Every guest learns of
//! everything that is flushed here, whoever brought it, in the order in which this hub learns of placements.
//! What a guest may have waiting here is bounded by the window that its hub keeps to.

use std::collections::BTreeMap;

use millrace_model::store::Change;
use millrace_model::{JournalId, Moment, NodeId, RangeSet};
use millrace_wire::peer::{Declined, Held, Holds, Lacks, Offer, PeerRun, PeerSeal, Told};
use millrace_wire::{PeerFrame, limits};

use crate::mending::Source;
use crate::owing::each_frame;
use crate::reception::Origin;
use crate::replication::Ranges;
use crate::replication::road::{WINDOW_BYTES, WINDOW_RUNS};
use crate::{Alarm, Command, Engine, LinkId};

/// Bytes of one guest that may wait for a flush: its hub's window, which its last run may overdraw.
const GUEST_BYTES_MAX: u64 = WINDOW_BYTES + limits::RUN_BODY_MAX as u64;

/// Changes of one guest that may wait for a flush: its hub's window of runs, and the seals of what it sent before.
const GUEST_CHANGES_MAX: usize = 4 * WINDOW_RUNS;

/// Another hub's stream.
#[derive(Debug)]
pub(crate) struct Guest {
    pub(crate) node: NodeId,
    /// What it said first, until that could be answered.
    offer: Option<Offer>,
    pub(crate) greeted: bool,
    /// Changes and bytes that wait for a flush.
    pub(crate) waiting: usize,
    pub(crate) bytes: u64,
    /// Its inquiries that the store has not answered.
    pub(crate) inquiries: usize,
}

impl Engine {
    pub(crate) fn guest_up(&mut self, id: LinkId, node: NodeId) {
        let guest = Guest { node, offer: None, greeted: false, waiting: 0, bytes: 0, inquiries: 0 };
        self.guests.insert(id, guest);
        if self.is_stopping() {
            self.dismiss(id, "this hub stops");
        }
    }

    /// A guest is gone. What it sent and is in no commit yet goes with it: its hub still owes it.
    pub(crate) fn guest_down(&mut self, id: LinkId) {
        let Some(guest) = self.guests.remove(&id) else { return };
        if guest.waiting > 0 {
            self.reception.forget(id);
        }
        self.forsaken(Source::Hub(guest.node), None);
    }

    pub(crate) fn guest_said(&mut self, id: LinkId, frame: PeerFrame, now: Moment) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let (node, greeted) = (guest.node, guest.greeted);
        match frame {
            PeerFrame::Offer(offer) if !greeted && guest.offer.is_none() => {
                guest.offer = Some(offer);
                self.greet_guest(id);
            }
            PeerFrame::Run(run) if greeted => self.guest_run(id, run, now),
            PeerFrame::Seal(PeerSeal { device, seal }) if greeted => {
                let (journal, segment) = (seal.journal.of(device), seal.segment);
                self.guest_change(id, None, 0, Change::Seal { journal, segment });
            }
            PeerFrame::Gone(held) if greeted => {
                self.replication.gone(node, held.journal, &held.ranges);
                self.denied(held.journal, Source::Hub(node), &held.ranges, now);
                self.pass_over();
            }
            PeerFrame::Lacks(Lacks { journal, ranges, bring: false }) if greeted => {
                self.replication.lacks(node, journal, &ranges);
                self.denied(journal, Source::Hub(node), &ranges, now);
            }
            PeerFrame::Inquiry(inquiry) if greeted => self.guest_asks(id, inquiry, now),
            PeerFrame::Doubt(held) if greeted => self.guest_doubts(&held),
            PeerFrame::Lost(held) if greeted => self.lost(node, &held),
            frame => self.dismiss_alarmed(id, &format!("a {} frame came out of turn", frame.name())),
        }
    }

    /// Greets those who came before this hub knew its own place.
    pub(crate) fn greet_guests(&mut self) {
        let waiting = self.guests.iter().filter(|(_, guest)| guest.offer.is_some());
        let waiting: Vec<LinkId> = waiting.map(|(id, _)| *id).collect();
        waiting.into_iter().for_each(|id| self.greet_guest(id));
    }

    /// Answers an offer with everything that is here.
    fn greet_guest(&mut self, id: LinkId) {
        let Some(placed) = &self.replication.placed else { return };
        let Some(guest) = self.guests.get_mut(&id) else { return };
        let Some(offer) = guest.offer.take() else { return };
        if offer.epoch != placed.epoch {
            let (theirs, ours) = (offer.epoch, placed.epoch);
            let reason = format!("it is of cluster epoch {theirs}, this hub of {ours}");
            self.dismiss_alarmed(id, &reason);
            return;
        }
        if offer.node != guest.node {
            let reason = format!("it says that it is {}, and is {}", offer.node, guest.node);
            self.dismiss_alarmed(id, &reason);
            return;
        }
        guest.greeted = true;
        let told = Told { store: placed.store, version: placed.placement.version };
        if self.replication.lives(offer.node, offer.store) {
            let (node, reason) = (offer.node, "its store began another life".to_owned());
            self.commands.push_back(Command::Part { node, reason });
        }
        for lacks in self.losses() {
            self.answer(id, PeerFrame::Lacks(lacks));
        }
        let had = self.shelves.iter().map(|(journal, shelf)| (*journal, shelf.had()));
        let held: Ranges = had.filter(|(_, had)| !had.is_empty()).collect();
        each_frame(held, |held| self.answer(id, PeerFrame::Holds(Holds { held })));
        self.answer(id, PeerFrame::Told(told));
        self.mending.hurry();
    }

    /// Every guest learns which placement this hub knows.
    pub(crate) fn tell_version(&mut self) {
        let Some(placed) = &self.replication.placed else { return };
        let told = Told { store: placed.store, version: placed.placement.version };
        for id in self.greeted_guests() {
            self.answer(id, PeerFrame::Told(told));
        }
    }

    pub(crate) fn greeted_guests(&self) -> Vec<LinkId> {
        self.guests.iter().filter(|(_, guest)| guest.greeted).map(|(id, _)| *id).collect()
    }

    fn guest_run(&mut self, id: LinkId, run: PeerRun, now: Moment) {
        let bytes = run.run.cost();
        let run = run.run.into_run(run.device);
        let Some(range) = run.range() else {
            self.dismiss_alarmed(id, "a run names no records");
            return;
        };
        if self.is_full() {
            let reason = "this hub's disk budget is used up".to_owned();
            let (first, last, journal) = (range.first(), range.last(), run.journal);
            self.answer(id, PeerFrame::Declined(Declined { journal, first, last, reason }));
            self.relieve(now);
            return;
        }
        self.guest_change(id, Some(range), bytes, Change::Receive(run));
    }

    fn guest_change(
        &mut self,
        id: LinkId,
        range: Option<millrace_model::SeqRange>,
        bytes: u64,
        change: Change,
    ) {
        let Some(guest) = self.guests.get_mut(&id) else { return };
        if guest.waiting >= GUEST_CHANGES_MAX || guest.bytes + bytes > GUEST_BYTES_MAX {
            self.dismiss_alarmed(id, "it sent more than may wait for a flush");
            return;
        }
        guest.waiting += 1;
        guest.bytes += bytes;
        let origin = Origin::Guest(guest.node);
        self.reception.take(id, origin, bytes, range, change);
    }

    /// Another hub knows that this one held more. If that is so, this store must not count as what it was.
    fn lost(&mut self, node: NodeId, held: &Held) {
        let here = self.shelves.get(&held.journal).map(crate::shelf::Shelf::held).unwrap_or_default();
        let lost = held.ranges.difference(&here).count();
        if lost > 0 && self.replication.regress() {
            let me = self.replication.me().unwrap_or(node);
            self.commands.push_back(Command::Alarm(Alarm::Regressed { node: me, records: lost }));
            let reason =
                format!("hub {node} knows that this store held {lost} more records of {}", held.journal);
            self.commands.push_back(Command::Relive { reason });
        }
    }

    /// After a flush: each guest is answered for what it sent, and hears of all else.
    pub(crate) fn answer_guests(&mut self, news: &Ranges, mut compared: BTreeMap<LinkId, Ranges>) {
        let none = RangeSet::new();
        for id in self.greeted_guests() {
            let own = compared.remove(&id).unwrap_or_default();
            let rest = news
                .iter()
                .map(|(journal, ranges)| (*journal, ranges.difference(own.get(journal).unwrap_or(&none))));
            let rest: Ranges = rest.filter(|(_, ranges)| !ranges.is_empty()).collect();
            each_frame(own, |held| self.answer(id, PeerFrame::Flushed(Holds { held })));
            each_frame(rest, |held| self.answer(id, PeerFrame::Holds(Holds { held })));
        }
    }

    /// A run of a guest contradicts what is here.
    pub(crate) fn guest_clashes(&mut self, id: LinkId, node: NodeId, journal: JournalId, ranges: RangeSet) {
        let held = Held { journal, ranges };
        self.clash(node, &held);
        if self.guests.contains_key(&id) {
            self.answer(id, PeerFrame::Clash(held));
        }
    }

    /// A run of a guest was refused.
    pub(crate) fn guest_declined(
        &mut self,
        id: LinkId,
        journal: JournalId,
        range: millrace_model::SeqRange,
        reason: &str,
    ) {
        let (first, last, reason) = (range.first(), range.last(), reason.to_owned());
        if self.guests.contains_key(&id) {
            self.answer(id, PeerFrame::Declined(Declined { journal, first, last, reason }));
        }
    }

    /// What was let go elsewhere before it came here leaves no hole.
    pub(crate) fn pass_over(&mut self) {
        for (journal, ranges) in self.replication.let_go() {
            self.shelves.entry(journal).or_default().passed.extend(&ranges);
        }
    }

    /// All guests go: their runs are dropped.
    pub(crate) fn dismiss_all(&mut self, reason: &str) {
        let all: Vec<LinkId> = self.guests.keys().copied().collect();
        all.into_iter().for_each(|id| self.dismiss(id, reason));
    }

    pub(crate) fn dismiss_alarmed(&mut self, id: LinkId, reason: &str) {
        if let Some(guest) = self.guests.get(&id) {
            let alarm = Alarm::Peer { node: guest.node, reason: reason.to_owned() };
            self.commands.push_back(Command::Alarm(alarm));
        }
        self.dismiss(id, reason);
    }

    fn dismiss(&mut self, id: LinkId, reason: &str) {
        self.guest_down(id);
        self.commands.push_back(Command::Dismiss { guest: id, reason: reason.to_owned() });
    }

    pub(crate) fn answer(&mut self, guest: LinkId, frame: PeerFrame) {
        self.commands.push_back(Command::Answer { guest, frame });
    }
}
