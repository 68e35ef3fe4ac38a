//! The engine: hands each event to its room.
//!
//! Absent: decisions. They stand in the rooms, as further `impl Engine` blocks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use millrace_model::digest::Summary;
use millrace_model::store::{JournalState, Usage};
use millrace_model::{DeviceId, Fence, Incarnation, JournalId, Lane, Moment, Wall};
use millrace_wire::{Frame, Goodbye, GoodbyeCode};

use crate::bucket::Buckets;
use crate::credit::WINDOW_BYTES_MIN;
use crate::directory::Directory;
use crate::draining::Draining;
use crate::guests::Guest;
use crate::link::{Link, Stage};
use crate::mending::{Mending, Source};
use crate::reception::Reception;
use crate::repair::{Partner, Repair};
use crate::replication::Replication;
use crate::retention::Retention;
use crate::shelf::Shelf;
use crate::{Alarm, Command, Config, Debt, Event, Fullness, LinkId, Measure, Synced, WakeReason};

/// How long an agent that is turned away should wait.
const COME_BACK_MS: u64 = 5_000;

/// What a machine hears whose place another one took.
const REPLACED: &str = "another machine was enrolled in the place of this one";

/// What a hub decides. See the crate's page for the call order.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) shelves: BTreeMap<JournalId, Shelf>,
    pub(crate) links: BTreeMap<LinkId, Link>,
    /// The connections of each device.
    pub(crate) by_device: BTreeMap<DeviceId, BTreeSet<LinkId>>,
    /// When connections that have not said Hello are closed.
    pub(crate) silent_until: BTreeSet<(Moment, LinkId)>,
    /// When connections that are over their rate get credit again.
    pub(crate) credit_at: BTreeSet<(Moment, LinkId)>,
    /// What devices have used of their rate.
    pub(crate) buckets: Buckets,
    /// When connections beside a newer one of their device have outlived a dead one.
    pub(crate) doubts: BTreeSet<(Moment, LinkId)>,
    /// Connections whose greeting waits for a flush.
    pub(crate) settling: BTreeSet<LinkId>,
    pub(crate) reception: Reception,
    pub(crate) retention: Retention,
    pub(crate) replication: Replication,
    /// The streams of other hubs.
    pub(crate) guests: BTreeMap<LinkId, Guest>,
    pub(crate) directory: Directory,
    pub(crate) draining: Draining,
    pub(crate) mending: Mending,
    pub(crate) repair: Repair,
    pub(crate) fence: Fence,
    usage: Usage,
    clock: (Moment, Wall),
    stopping: bool,
}

/// One device, as far as the engine knows it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeviceSummary {
    /// Which device.
    pub device: DeviceId,
    /// The incarnations that are connected now.
    pub online: Vec<Incarnation>,
    /// How many records of it are here.
    pub records: u64,
    /// How many it declared as lost, with or without a number.
    pub declared: u64,
    /// How many of those it rejected before they had a number: by a limit, or a policy for a full store.
    pub rejected: u64,
    /// How many are missing below the heads and not declared: still on their way, or lost without a word.
    pub missing: u64,
    /// How many were here and were dropped by retention.
    pub dropped: u64,
    /// Stored bytes.
    pub stored_bytes: u64,
}

impl Engine {
    /// An engine over a store that was just opened.
    #[must_use]
    pub fn new(config: Config, journals: &[JournalState], usage: Usage, now: Moment) -> Self {
        let shelves = journals.iter().map(|state| (state.journal, Shelf::new(state))).collect();
        let mut engine = Self {
            commands: VecDeque::new(),
            shelves,
            links: BTreeMap::new(),
            by_device: BTreeMap::new(),
            silent_until: BTreeSet::new(),
            credit_at: BTreeSet::new(),
            buckets: Buckets::default(),
            doubts: BTreeSet::new(),
            settling: BTreeSet::new(),
            reception: Reception::default(),
            retention: Retention::default(),
            replication: Replication::default(),
            guests: BTreeMap::new(),
            directory: Directory::default(),
            draining: Draining::default(),
            mending: Mending::default(),
            repair: Repair::default(),
            fence: config.fence_base,
            usage,
            clock: (now, Wall(0)),
            stopping: false,
            config,
        };
        engine.recall_losses(now);
        for state in journals {
            engine.repair.measured(state.journal, &Summary::default(), &state.summary);
        }
        engine
    }

    /// Something happened at `now`.
    pub fn handle_event(&mut self, event: Event, now: Moment) {
        match event {
            Event::Opened { link, device } => self.opened(link, device, now),
            Event::Received { link, frame } => self.received(link, frame, now),
            Event::Closed { link } => {
                self.forget(link, now);
                self.greet_settled(now);
            }
            Event::Committed { durable, outcomes, usage } => {
                let was_full = self.is_full();
                self.usage = usage;
                if self.is_full() && !was_full {
                    self.commands.push_back(Command::Alarm(Alarm::Full));
                }
                self.committed(durable, outcomes, now);
                self.greet_settled(now);
                self.relieve(now);
            }
            Event::CommitRefused { commit, refusal } => self.commit_refused(commit, &refusal, now),
            Event::Checked { journal, range, checks } => {
                self.greeting_checked(journal, range, &checks, now);
                self.comparison_checked(journal, range, &checks);
            }
            Event::Damaged(aside) => self.lose(aside.journal, &aside.ranges, now),
            Event::Measured { stored } => self.measured(&stored),
            Event::Consulted { asker, number, told } => self.consulted(asker, number, told, now),
            Event::Recalled { link, kept } => self.recalled(link, kept),
            Event::Fetched { link, runs, damaged } => self.fetched(link, runs, &damaged),
            Event::Repair(wanted) => self.repair_on_demand(&wanted, now),
            Event::Retain { gone } => self.retain(&gone, now),
            Event::Reconfigured(config) => {
                self.reconfigured(&config);
                self.retention.rest_until = None;
                self.relieve(now);
            }
            Event::Revoked { device, reason } => {
                self.close_device(device, GoodbyeCode::Revoked, &reason, now);
            }
            Event::Replaced { links } => {
                for link in links {
                    self.close(link, GoodbyeCode::Revoked, REPLACED, now);
                }
            }
            Event::Clock { wall } => self.clock = (now, wall),
            Event::Timer => {
                self.raise_due_credits(now);
                self.settle_doubts(now);
                self.relieve(now);
                self.replication.ripen(now);
                self.supply_all(now);
                self.refresh_directory(now);
                self.drain_some(now);
            }
            Event::PeerUp { node } => self.peer_up(node),
            Event::PeerSaid { node, frame } => self.peer_said(node, frame, now),
            Event::PeerDown { node } => {
                self.replication.disconnected(node);
                self.repair.left(Partner::Hub(node));
            }
            Event::GuestUp { guest, node } => self.guest_up(guest, node),
            Event::GuestSaid { guest, frame } => self.guest_said(guest, frame, now),
            Event::GuestDown { guest } => {
                self.guest_down(guest);
                self.greet_settled(now);
            }
            Event::Placed(placed) => self.be_placed(*placed, now),
            Event::Loaded { node, journal, range, runs } => self.loaded(node, (journal, range), runs, now),
            Event::Hubs { hubs } => self.direct(hubs, now),
            Event::Drain { on } => self.drain(on, now),
            Event::Shutdown => {
                self.stopping = true;
                let all: Vec<LinkId> = self.links.keys().copied().collect();
                for link in all {
                    self.close(link, GoodbyeCode::Shutdown, "the hub stops", now);
                }
                self.dismiss_all("this hub stops");
            }
        }
        self.close_silent(now);
        if self.mending_due().is_some_and(|at| at <= now) {
            self.mend(now);
        }
        if self.repair_due().is_some_and(|at| at <= now) {
            self.repair_when_due(now);
        }
        self.commit(now);
        if let Some(partitions) = self.replication.report(now) {
            self.commands.push_back(Command::Synced { partitions });
        }
    }

    /// The next thing to do, if any.
    #[must_use]
    pub fn poll_command(&mut self) -> Option<Command> {
        self.commands.pop_front()
    }

    /// When to send [`Event::Timer`], and why; `None` when only an event can change anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Moment, WakeReason)> {
        let silent = self.silent_until.first().map(|(at, _)| (*at, WakeReason::GreetingOverdue));
        let credit = self.credit_at.first().map(|(at, _)| (*at, WakeReason::Credit));
        let retry = self.reception.retry_at().map(|at| (at, WakeReason::RetryCommit));
        let doubt = self.doubts.first().map(|(at, _)| (*at, WakeReason::Doubt));
        let evict = self.eviction_due().map(|at| (at, WakeReason::Evict));
        let owed =
            self.replication.wakes_at().filter(|_| !self.stopping).map(|at| (at, WakeReason::Replicate));
        let synced = self.replication.syncing.due().map(|at| (at, WakeReason::Synced));
        let directory = self.directory_due().map(|at| (at, WakeReason::Directory));
        let drain = self.drain_due().map(|at| (at, WakeReason::Drain));
        let mend = self.mending_due().map(|at| (at, WakeReason::Mend));
        let repair = self.repair_due().map(|at| (at, WakeReason::Repair));
        let all = [silent, credit, retry, doubt, evict, owed, synced, directory, drain, mend, repair];
        all.into_iter().flatten().min()
    }

    /// Whether changes wait for a flush.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.reception.is_busy()
    }

    /// Every device that has a journal here or is connected.
    #[must_use]
    pub fn devices(&self) -> Vec<DeviceSummary> {
        let mut devices: BTreeMap<DeviceId, DeviceSummary> = BTreeMap::new();
        let empty = |device| DeviceSummary {
            device,
            online: Vec::new(),
            records: 0,
            declared: 0,
            rejected: 0,
            missing: 0,
            dropped: 0,
            stored_bytes: 0,
        };
        for (journal, shelf) in &self.shelves {
            let summary = devices.entry(journal.device).or_insert_with(|| empty(journal.device));
            // What a device declares may be any number, so nothing here may overflow.
            summary.records = summary.records.saturating_add(shelf.present.count());
            let declared = shelf.declared.count().saturating_add(shelf.unnumbered);
            summary.declared = summary.declared.saturating_add(declared);
            summary.rejected = summary.rejected.saturating_add(shelf.unnumbered);
            summary.missing = summary.missing.saturating_add(shelf.missing());
            summary.dropped = summary.dropped.saturating_add(shelf.dropped);
            summary.stored_bytes = summary.stored_bytes.saturating_add(shelf.stored_bytes);
        }
        for link in self.links.values() {
            if let Stage::Open { incarnation, .. } = link.stage {
                devices.entry(link.device).or_insert_with(|| empty(link.device)).online.push(incarnation);
            }
        }
        devices.into_values().collect()
    }

    /// How many sessions are open.
    #[must_use]
    pub fn sessions(&self) -> usize {
        self.links.values().filter(|link| matches!(link.stage, Stage::Open { .. })).count()
    }

    /// What every other hub is owed; nothing for a hub that is alone.
    #[must_use]
    pub fn replication(&self) -> Vec<Debt> {
        self.replication.debts()
    }

    /// What this hub has synced, as [`Command::Synced`] last said, as far as that still holds. Ask when that command comes: it says
    /// for which life of the store and under which assignments.
    #[must_use]
    pub const fn synced(&self) -> &Synced {
        self.replication.synced()
    }

    /// How much of what this hub should hold it knows to hold.
    #[must_use]
    pub fn fullness(&self) -> Fullness {
        self.replication.fullness()
    }

    /// The store says what it has for these journals.
    fn measured(&mut self, stored: &[(JournalId, Measure)]) {
        for (journal, Measure { bytes, digest }) in stored {
            let Some(shelf) = self.shelves.get_mut(journal) else { continue };
            self.repair.measured(*journal, &shelf.digest, digest);
            (shelf.stored_bytes, shelf.digest) = (*bytes, *digest);
        }
    }

    fn reconfigured(&mut self, config: &Config) {
        let Config { hub, name, region, level, hubs, epoch, clustered, fence_base, .. } = self.config.clone();
        self.config =
            Config { hub, name, region, level, hubs, epoch, clustered, fence_base, ..config.clone() };
        if self.config.rate().is_none() {
            self.buckets = Buckets::default();
        }
    }

    /// What the store takes.
    #[must_use]
    pub const fn usage(&self) -> Usage {
        self.usage
    }

    pub(crate) const fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Whether the disk budget is used up.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.usage.used_bytes >= self.config.disk_budget_bytes
    }

    fn received(&mut self, id: LinkId, frame: Frame, now: Moment) {
        // A goodbye may be the last thing that a machine left behind it on the road.
        if !matches!(frame, Frame::Goodbye(_)) {
            self.shows_life(id);
        }
        let Some(link) = self.links.get(&id) else { return };
        match (&link.stage, frame) {
            (Stage::Closing, _) => {}
            (_, Frame::Goodbye(_)) => self.close(id, GoodbyeCode::Shutdown, "goodbye", now),
            (Stage::Silent { .. }, Frame::Hello(hello)) => self.hello(id, hello, now),
            (Stage::Open { .. }, Frame::Run(run)) => self.run(id, &run, now),
            (Stage::Open { .. }, Frame::Seal(seal)) => self.seal(id, &seal, now),
            (Stage::Open { .. }, Frame::Compare(compare)) => self.compare(id, compare, now),
            (Stage::Open { .. }, Frame::Recall(recall)) => self.asked_back(id, recall, now),
            (Stage::Open { .. }, Frame::Fetch(fetch)) => self.fetch(id, &fetch, now),
            (Stage::Open { .. }, Frame::Absent(absent)) => {
                let journal = absent.journal.of(link.device);
                self.denied_by_device(id, journal, &absent.ranges, now);
            }
            (Stage::Open { .. }, Frame::Reply(reply)) => self.agent_replied(id, reply, now),
            (_, frame) => {
                self.protocol_broken(id, &format!("a {} frame came out of turn", frame.name()), now);
            }
        }
    }

    pub(crate) fn protocol_broken(&mut self, id: LinkId, reason: &str, now: Moment) {
        if let Some(link) = self.links.get(&id) {
            let alarm = Alarm::Protocol { device: link.device, reason: reason.to_owned() };
            self.commands.push_back(Command::Alarm(alarm));
        }
        self.close(id, GoodbyeCode::Protocol, reason, now);
    }

    fn close_silent(&mut self, now: Moment) {
        while let Some((_, id)) = self.silent_until.first().copied().filter(|(at, _)| *at <= now) {
            self.silent_until.pop_first();
            self.close(id, GoodbyeCode::Protocol, "no Hello came in time", now);
        }
    }

    fn close_device(&mut self, device: DeviceId, code: GoodbyeCode, reason: &str, now: Moment) {
        for link in self.links_of(device) {
            self.close(link, code, reason, now);
        }
    }

    /// The connections of a device, oldest first.
    pub(crate) fn links_of(&self, device: DeviceId) -> Vec<LinkId> {
        self.by_device.get(&device).into_iter().flatten().copied().collect()
    }

    /// A connection is over. What it sent and is not in a commit yet goes with it: nothing of that was acked, the agent sends
    /// it again, and without its credit nothing would bound it here.
    fn forget(&mut self, id: LinkId, now: Moment) {
        self.rest(id, now);
        self.replication.forget(id);
        if self.links.get(&id).is_some_and(|link| link.waiting > 0) {
            self.reception.forget(id);
        }
        if let Some(link) = self.links.remove(&id)
            && let Some(of_device) = self.by_device.get_mut(&link.device)
        {
            of_device.remove(&id);
            if of_device.is_empty() {
                self.by_device.remove(&link.device);
            }
            self.forsaken(Source::Device, Some(link.device));
            self.repair.left(Partner::Agent(id));
        }
    }

    /// Nothing is due for a connection any more.
    pub(crate) fn rest(&mut self, id: LinkId, now: Moment) {
        self.settling.remove(&id);
        self.dispel(id);
        let rate = self.config.rate();
        let Some(link) = self.links.get_mut(&id) else { return };
        let (left, overdrawn) = link.account.conclude();
        if let Some(rate) = rate {
            self.buckets.give_back(link.device, left, rate);
            if overdrawn > 0 {
                self.buckets.book(link.device, overdrawn, rate, now);
            }
        }
        if let Some(at) = link.credit_at.take() {
            self.credit_at.remove(&(at, id));
        }
        if let Stage::Silent { deadline } = link.stage {
            self.silent_until.remove(&(deadline, id));
        }
    }

    /// Says goodbye and ends a connection.
    pub(crate) fn close(&mut self, id: LinkId, code: GoodbyeCode, reason: &str, now: Moment) {
        if self.links.get(&id).is_none_or(|link| link.stage == Stage::Closing) {
            return;
        }
        self.rest(id, now);
        self.replication.forget(id);
        let retry_after_ms = match code {
            GoodbyeCode::Unavailable | GoodbyeCode::Quota | GoodbyeCode::Protocol => COME_BACK_MS,
            _ => 0,
        };
        let goodbye = Goodbye { code, reason: reason.to_owned(), retry_after_ms };
        self.send(id, Frame::Goodbye(goodbye));
        if let Some(link) = self.links.get_mut(&id) {
            link.stage = Stage::Closing;
        }
        self.commands.push_back(Command::Close { link: id, code, reason: reason.to_owned() });
    }

    /// Sends a frame, unless the goodbye is said: that is the last one.
    pub(crate) fn send(&mut self, link: LinkId, frame: Frame) {
        if self.links.get(&link).is_some_and(|link| link.stage != Stage::Closing) {
            self.commands.push_back(Command::Send { link, frame });
        }
    }

    pub(crate) fn wall(&self, now: Moment) -> Wall {
        self.clock.1.plus(now.since(self.clock.0))
    }

    /// The window that every connection gets: an equal part of the memory budget.
    pub(crate) fn window(&self) -> u64 {
        let share = self.config.memory_budget_bytes / (self.links.len() as u64).max(1);
        share.min(self.config.credit_max_bytes).max(WINDOW_BYTES_MIN)
    }

    pub(crate) fn journals_of(&self, device: DeviceId) -> impl Iterator<Item = (&JournalId, &Shelf)> {
        let first = JournalId { device, incarnation: Incarnation::new(0), lane: Lane::Urgent };
        let last = JournalId { device, incarnation: Incarnation::new(u64::MAX), lane: Lane::Bulk };
        self.shelves.range(first..=last)
    }
}
