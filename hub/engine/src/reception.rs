//! Reception: what becomes of runs and seals.
//!
//! One commit is under way at a time; what comes meanwhile, from all devices, makes up the next one.
//!
//! Promise: [`Engine::committed`], which takes the proof, is the only place that says that anything is flushed here. What an agent wants to
//! be safer than that waits as a promise ([`crate::replication::promises`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millrace_model::notice::{Gap, UNNUMBERED_MAX};
use millrace_model::store::{Change, Outcome, Refusal};
use millrace_model::{AckLevel, DeviceId, Durable, JournalId, Moment, NodeId, RangeSet, SeqRange};
use millrace_wire::limits::ACKS_MAX;
use millrace_wire::{Ack, Acks, Conflict, Credit, Decline, Frame, GoodbyeCode, Lodging, RunFrame, Seal};

use crate::credit::Account;
use crate::link::Stage;
use crate::mending::Source;
use crate::replication::Ranges;
use crate::{Alarm, Command, Engine, LinkId};

/// Pause before a commit that the full disk refused is tried again.
const FULL_RETRY: std::time::Duration = std::time::Duration::from_secs(2);

/// Changes of one commit: enough to fill a flush, few enough to answer soon.
const COMMIT_CHANGES_MAX: usize = 1_024;

/// Changes of one connection that may wait for a flush. Credit counts bytes of bodies, so without this a stream of seals or of
/// empty runs would have no limit. An honest agent sends a few thousand seals at most, after months without a link.
const LINK_CHANGES_MAX: usize = 8_192;

/// Devices whose use of their rate is remembered, for each that may be connected: those that left a while ago, too.
const BUCKETS_PER_LINK: usize = 2;

/// What waits for a flush.
#[derive(Debug, Default)]
pub struct Reception {
    waiting: VecDeque<(Sender, Change)>,
    under_way: Option<(u64, Vec<Sender>)>,
    count: u64,
    /// How many changes were taken ever.
    taken: u64,
    /// Whether the last commit was a step of retention: then it is the agents' turn.
    stepped: bool,
    retry_at: Option<Moment>,
}

/// Who sent a change, what it costs of the credit, and which records it carries.
#[derive(Clone, Copy, Debug)]
struct Sender {
    /// The change's number, ascending.
    number: u64,
    link: LinkId,
    origin: Origin,
    bytes: u64,
    range: Option<SeqRange>,
}

/// What a flush means to those outside.
#[derive(Debug, Default)]
struct Flushed {
    /// New here, whoever brought it.
    news: Ranges,
    /// What agents hear of at once.
    acks: BTreeMap<LinkId, Ranges>,
    /// What guests sent, and is here, the very same.
    compared: BTreeMap<LinkId, Ranges>,
    /// Journals of which something may have become safe.
    promised: BTreeSet<JournalId>,
}

/// Whose connection brought a change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Origin {
    /// The author's.
    Agent,
    /// Another hub's.
    Guest(NodeId),
    /// None: a comparison led to it.
    Repair,
}

impl Reception {
    /// A change waits for the next commit. Returns its number.
    pub(crate) fn take(
        &mut self,
        link: LinkId,
        origin: Origin,
        bytes: u64,
        range: Option<SeqRange>,
        change: Change,
    ) -> u64 {
        self.taken += 1;
        let sender = Sender { number: self.taken, link, origin, bytes, range };
        self.waiting.push_back((sender, change));
        self.taken
    }

    /// When a refused commit is tried again.
    pub(crate) fn retry_at(&self) -> Option<Moment> {
        self.retry_at.filter(|_| self.under_way.is_none() && !self.waiting.is_empty())
    }

    /// The last change that came, when any waits for its flush.
    pub(crate) fn last_taken(&self) -> Option<u64> {
        self.first_waiting().map(|_| self.taken)
    }

    /// The first change that waits for its flush.
    pub(crate) fn first_waiting(&self) -> Option<u64> {
        let flushing = self.under_way.iter().flat_map(|(_, senders)| senders.first());
        flushing.chain(self.waiting.front().map(|(sender, _)| sender)).map(|sender| sender.number).next()
    }

    /// Drops what a connection sent and is in no commit yet.
    pub(crate) fn forget(&mut self, link: LinkId) {
        self.waiting.retain(|(sender, _)| sender.link != link);
    }

    /// Whether anything waits for a flush.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.under_way.is_some() || !self.waiting.is_empty()
    }
}

impl Engine {
    /// Records came in.
    pub(crate) fn run(&mut self, id: LinkId, run: &RunFrame, now: Moment) {
        let Some(link) = self.links.get_mut(&id) else { return };
        let (device, bytes) = (link.device, run.cost());
        if !link.account.received(bytes) {
            self.protocol_broken(id, "a run came without credit", now);
            return;
        }
        let journal = run.journal.of(device);
        let Some(range) = SeqRange::starting(run.first, u64::from(run.count)) else {
            self.protocol_broken(id, "a run names no records", now);
            return;
        };
        // An agent ships the journals that it writes, and no session but the newest of their incarnation may: so a journal
        // never mixes what two machines wrote. What this hub lost and asked for, a later life brings under its old numbers.
        if !link.writes(journal.incarnation) && !self.is_wanted(id, journal, range) {
            self.protocol_broken(id, "a run is of another incarnation than the session", now);
            return;
        }
        if self.is_full() {
            let reason = "this hub's disk budget is used up: try another";
            self.close(id, GoodbyeCode::Unavailable, reason, now);
            return;
        }
        if let Err(reason) = self.may_store(journal, range) {
            self.commands.push_back(Command::Alarm(Alarm::Quota { device, reason: reason.clone() }));
            self.close(id, GoodbyeCode::Quota, &reason, now);
            return;
        }
        // Replicas get the same bytes while they are flushed here. What this hub alone had lost is with them.
        let known = self.shelves.get(&journal).is_some_and(|shelf| shelf.lost.covers(range));
        if self.wait(id, bytes, Some(range), Change::Receive(run.clone().into_run(device)), now) && !known {
            self.forward(journal, range, run);
        }
    }

    fn may_store(&self, journal: JournalId, range: SeqRange) -> Result<(), String> {
        self.bytes_within_quota(journal.device)?;
        match self.shelves.get(&journal) {
            None if self.journals_of(journal.device).count() >= self.config.device_journals_max => {
                let limit = self.config.device_journals_max;
                Err(format!("a device may have {limit} journals here: look for clones"))
            }
            Some(shelf) if shelf.present.range_count() >= self.config.journal_ranges_max => {
                // Whatever touches what is here does not make one more hole.
                let touches = shelf.present.contains(range.first().saturating_sub(1))
                    || shelf.present.contains(range.last().saturating_add(1))
                    || shelf.present.contains(range.first());
                let limit = self.config.journal_ranges_max;
                if touches {
                    Ok(())
                } else {
                    Err(format!("journal {journal} has {limit} holes: fill them first"))
                }
            }
            _ => Ok(()),
        }
    }

    /// A change waits for the next commit, if its sender has not too many there.
    fn wait(&mut self, id: LinkId, bytes: u64, range: Option<SeqRange>, change: Change, now: Moment) -> bool {
        let Some(link) = self.links.get_mut(&id) else { return false };
        if link.waiting >= LINK_CHANGES_MAX {
            self.protocol_broken(id, "more frames came than may wait for a flush", now);
            return false;
        }
        link.waiting += 1;
        self.reception.take(id, Origin::Agent, bytes, range, change);
        true
    }

    /// The author sealed records that were sent before.
    pub(crate) fn seal(&mut self, id: LinkId, seal: &Seal, now: Moment) {
        let Some(link) = self.links.get(&id) else { return };
        let journal = seal.journal.of(link.device);
        let change = Change::Seal { journal, segment: seal.segment };
        if self.wait(id, 0, None, change, now) {
            self.forward_seal(journal, seal);
        }
    }

    /// Begins the next commit, if one may begin.
    pub(crate) fn commit(&mut self, now: Moment) {
        if self.reception.under_way.is_some() {
            return;
        }
        let blocked = self.reception.retry_at.is_some_and(|at| now < at);
        let ready = !blocked && !self.reception.waiting.is_empty();
        // Agents and retention take turns; a disk that refuses agents takes what makes room.
        let steps = self.retention.has_cuts() && !self.is_stopping();
        if steps
            && !(ready && self.reception.stepped)
            && let Some(change) = self.next_step(now)
        {
            self.reception.count += 1;
            self.reception.stepped = true;
            let commit = self.reception.count;
            self.reception.under_way = Some((commit, Vec::new()));
            self.commands.push_back(Command::Commit { commit, changes: vec![change] });
            return;
        }
        if !ready {
            return;
        }
        let reception = &mut self.reception;
        reception.stepped = false;
        reception.retry_at = None;
        reception.count += 1;
        let take = reception.waiting.len().min(COMMIT_CHANGES_MAX);
        let (senders, changes): (Vec<_>, Vec<_>) = reception.waiting.drain(..take).unzip();
        let commit = reception.count;
        reception.under_way = Some((commit, senders));
        self.commands.push_back(Command::Commit { commit, changes });
    }

    /// A commit was flushed: now, and only now, agents and guests are told.
    pub(crate) fn committed(&mut self, durable: Durable, outcomes: Vec<Outcome>, now: Moment) {
        let under_way = self.reception.under_way.take_if(|(commit, _)| *commit == durable.commit());
        let Some((_, senders)) = under_way else { return };
        // What was put aside went before the changes were applied.
        for outcome in &outcomes {
            if let Outcome::Quarantined(aside) = outcome {
                self.lose(aside.journal, &aside.ranges, now);
            }
        }
        if senders.is_empty() {
            self.stepped(&outcomes);
            return;
        }
        let mut flushed = Flushed::default();
        let mut settled: BTreeSet<LinkId> = BTreeSet::new();
        for (sender, outcome) in senders.into_iter().zip(outcomes) {
            if let Some(link) = self.links.get_mut(&sender.link) {
                link.account.settled(sender.bytes);
                link.waiting = link.waiting.saturating_sub(1);
                link.stored_at = Some(now);
                settled.insert(sender.link);
            } else if let Some(guest) = self.guests.get_mut(&sender.link) {
                guest.waiting = guest.waiting.saturating_sub(1);
                guest.bytes = guest.bytes.saturating_sub(sender.bytes);
            }
            if sender.origin == Origin::Repair {
                self.repaired(sender.number);
            }
            self.received_outcome(sender, outcome, &mut flushed, now);
        }
        for (link, by_journal) in flushed.acks {
            self.acknowledge(link, by_journal);
        }
        let touched: BTreeSet<JournalId> = flushed.news.keys().copied().chain(flushed.promised).collect();
        self.answer_guests(&flushed.news, flushed.compared);
        self.keep(touched);
        settled.into_iter().for_each(|link| self.raise_credit(link, now));
        self.supply_all(now);
    }

    /// What became of one run.
    fn received_outcome(&mut self, sender: Sender, outcome: Outcome, flushed: &mut Flushed, now: Moment) {
        let Outcome::Received { journal, stored, duplicate, conflict, refused, gaps } = outcome else {
            return;
        };
        let from = match sender.origin {
            Origin::Agent | Origin::Repair => None,
            Origin::Guest(node) => Some(node),
        };
        if !stored.is_empty() {
            let lost =
                self.shelves.get(&journal).map(|shelf| shelf.lost.intersection(&stored)).unwrap_or_default();
            let by = from.map_or(Source::Device, Source::Hub);
            if !lost.is_empty() {
                self.mended(journal, &lost, (by, sender.bytes), now);
            }
            self.shelves.entry(journal).or_default().stored(&stored, sender.bytes);
            self.commands.push_back(Command::Stored { journal, ranges: stored.clone() });
            // What was lost here the others have proved to have long ago.
            let brought = if lost == stored { self.replication.me().or(from) } else { from };
            self.replication.stored(journal, &stored, brought, now);
            flushed.news.entry(journal).or_default().extend(&stored);
        }
        for gap in gaps {
            self.declared(journal, &gap);
            if !self.has_all_of(journal, &gap) {
                self.commands.push_back(Command::Alarm(Alarm::Gap(gap, journal.device)));
            }
        }
        let mut have = stored;
        have.extend(&duplicate);
        match from {
            None => {
                self.owe_ack(sender.link, journal, &have, flushed);
                if !conflict.is_empty() {
                    let alarm = Alarm::Forked { journal, ranges: conflict.clone() };
                    self.commands.push_back(Command::Alarm(alarm));
                    let conflict = Conflict { journal: journal.into(), ranges: conflict };
                    self.send(sender.link, Frame::Conflict(conflict));
                }
                if let Some(reason) = refused {
                    self.decline(sender, journal, &reason);
                }
            }
            Some(node) => {
                // It sent them, so what it has, or will have, are the very same.
                self.replication.matched(node, journal, &have);
                let compared = flushed.compared.entry(sender.link).or_default();
                compared.entry(journal).or_default().extend(&have);
                flushed.promised.insert(journal);
                if !conflict.is_empty() {
                    self.guest_clashes(sender.link, node, journal, conflict);
                }
                if let Some(reason) = refused {
                    self.decline(sender, journal, &reason);
                }
            }
        }
    }

    /// Whether the records that a device says it lost are here: it lost them before it heard of their ack, and gets them back.
    fn has_all_of(&self, journal: JournalId, gap: &Gap) -> bool {
        let of = JournalId { incarnation: gap.incarnation, lane: gap.lane, ..journal };
        let range = gap.range.and_then(|(first, last)| SeqRange::new(first, last));
        let present = self.shelves.get(&of).zip(range).map(|(shelf, range)| shelf.present.within(range));
        gap.count > 0 && present.is_some_and(|present| present.count() >= gap.count)
    }

    /// An agent is told of flushed records at once when that is all it asked for, or else when they are safe.
    fn owe_ack(&mut self, link: LinkId, journal: JournalId, have: &RangeSet, flushed: &mut Flushed) {
        let Some(level) = self.links.get(&link).map(|link| link.level) else { return };
        if level == AckLevel::Hub || self.replication.placed.is_none() {
            flushed.acks.entry(link).or_default().entry(journal).or_default().extend(have);
        } else {
            self.replication.promise(link, journal, have, level);
            flushed.promised.insert(journal);
        }
    }

    /// Notes what an author says it lost, within the device's quotas: the words come from the device.
    fn declared(&mut self, carrier: JournalId, gap: &Gap) {
        // What was rejected before it had a number counts where the store counts it: in the journal that says so.
        let unnumbered = &mut self.shelves.entry(carrier).or_default().unnumbered;
        *unnumbered = unnumbered.saturating_add(gap.unnumbered()).min(UNNUMBERED_MAX);
        let device = carrier.device;
        let Some(range) = gap.range.and_then(|(first, last)| SeqRange::new(first, last)) else { return };
        let journal = Lodging { incarnation: gap.incarnation, lane: gap.lane }.of(device);
        let room = self.journals_of(device).count() < self.config.device_journals_max;
        if !room && !self.shelves.contains_key(&journal) {
            return;
        }
        let ranges_max = self.config.journal_ranges_max;
        let shelf = self.shelves.entry(journal).or_default();
        if shelf.declared.range_count() < ranges_max {
            shelf.declared.extend(&RangeSet::from(range).difference(&shelf.present));
            // What damage took and nobody has any more is not fetched.
            shelf.lost.remove(range);
            self.mending.hurry();
        }
    }

    /// Flushed here: that is what a hub that is alone can say, and what level hub means.
    fn acknowledge(&mut self, link: LinkId, by_journal: Ranges) {
        let alone = self.replication.placed.is_none();
        let level = if alone { self.config.level } else { AckLevel::Hub };
        let acks = by_journal.into_iter().filter(|(_, ranges)| !ranges.is_empty());
        let acks: Vec<Ack> =
            acks.map(|(journal, ranges)| Ack { journal: journal.into(), level, ranges }).collect();
        self.send_acks(link, &acks);
    }

    pub(crate) fn send_acks(&mut self, link: LinkId, acks: &[Ack]) {
        for some in acks.chunks(ACKS_MAX) {
            self.send(link, Frame::Acks(Acks { acks: some.to_vec() }));
        }
    }

    fn decline(&mut self, sender: Sender, journal: JournalId, reason: &str) {
        let reason: String = reason.chars().take(200).collect();
        self.commands.push_back(Command::Alarm(Alarm::Declined { journal, reason: reason.clone() }));
        let Some(range) = sender.range else { return };
        if sender.origin != Origin::Agent {
            self.guest_declined(sender.link, journal, range, &reason);
            return;
        }
        let (first, last) = (range.first(), range.last());
        self.send(sender.link, Frame::Decline(Decline { journal: journal.into(), first, last, reason }));
    }

    /// Gives a connection the credit that it has a right to now, or notes when it will.
    pub(crate) fn raise_credit(&mut self, id: LinkId, now: Moment) {
        let (window, rate) = (self.window(), self.config.rate());
        let Some(link) = self.links.get_mut(&id).filter(|link| matches!(link.stage, Stage::Open { .. }))
        else {
            return;
        };
        let told = link.account.granted();
        link.account.redeem(now);
        // Each turn grants a step or books one for later, so there are few.
        while let Some(more) = link.account.wants(window, rate) {
            let due = rate.map_or(now, |rate| self.buckets.book(link.device, more, rate, now));
            link.account.book(more, due);
            link.account.redeem(now);
        }
        let raised = Some(link.account.granted()).filter(|total| *total > told);
        let due = link.account.waits_until();
        if let Some(before) = std::mem::replace(&mut link.credit_at, due) {
            self.credit_at.remove(&(before, id));
        }
        if let Some(at) = due {
            self.credit_at.insert((at, id));
        }
        if let Some(total) = raised {
            self.send(id, Frame::Credit(Credit { total }));
        }
    }

    /// What a session begins with: its window, as far as its device has not used up its rate.
    pub(crate) fn first_credit(&mut self, device: DeviceId, now: Moment) -> u64 {
        let (least, most) = Account::first_grant(self.window(), self.config.rate());
        let Some(rate) = self.config.rate() else { return most };
        self.buckets.forget_full(self.config.links_max.saturating_mul(BUCKETS_PER_LINK), now);
        self.buckets.take(device, (least, most), rate, now)
    }

    /// Devices that were over their rate get credit again.
    pub(crate) fn raise_due_credits(&mut self, now: Moment) {
        while let Some((_, id)) = self.credit_at.first().copied().filter(|(at, _)| *at <= now) {
            self.credit_at.pop_first();
            if let Some(link) = self.links.get_mut(&id) {
                link.credit_at = None;
            }
            self.raise_credit(id, now);
        }
    }

    /// The store refused a commit. Nothing of it was acknowledged, so the agents still have it all and will send
    /// it again, here or elsewhere: it is dropped, and they are told to go.
    pub(crate) fn commit_refused(&mut self, commit: u64, refusal: &Refusal, now: Moment) {
        if self.reception.under_way.take_if(|(number, _)| *number == commit).is_none()
            || self.step_refused(now)
        {
            return;
        }
        self.reception.waiting.clear();
        self.repairs_dropped();
        self.reception.retry_at = Some(now + FULL_RETRY);
        match refusal {
            Refusal::Full => self.commands.push_back(Command::Alarm(Alarm::Full)),
        }
        let open: Vec<LinkId> = self.links.keys().copied().collect();
        for link in open {
            self.close(link, GoodbyeCode::Unavailable, "this hub's disk is full: try another", now);
        }
        // What they sent is dropped, too: their hubs read it again when they come back.
        self.dismiss_all("this hub's disk is full");
        self.relieve_disk(now);
    }
}
