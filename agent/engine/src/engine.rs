//! The engine: hands each event to its room, and lets every room do what is due afterwards.
//!
//! Absent: decisions. They stand in the rooms, as further `impl Engine` blocks beside the state that they use.

use std::collections::{BTreeMap, VecDeque};

use millrace_model::store::{JournalState, Outcome, Usage};
use millrace_model::{Incarnation, JournalId, Lane, Moment, SeqRange, Wall};

use crate::allowance::Bucket;
use crate::committing::{Committing, Purpose};
use crate::epoch::Epoch;
use crate::fetching::Fetching;
use crate::intake::{Intake, Pressure};
use crate::recovery::Recovery;
use crate::regaining::Regaining;
use crate::repairing::Repairing;
use crate::restoring::Restoring;
use crate::retention::Retention;
use crate::session::Session;
use crate::shelf::Shelf;
use crate::shipping::Shipping;
use crate::{Alarm, Command, Config, Event, WakeReason};

/// Pause before a commit that the full disk refused is tried again as a whole.
const FULL_RETRY: std::time::Duration = std::time::Duration::from_secs(1);

/// What an agent decides. See the crate's page for the call order.
#[derive(Debug)]
pub struct Engine {
    pub(crate) config: Config,
    pub(crate) random: fastrand::Rng,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) incarnation: Incarnation,
    pub(crate) shelves: BTreeMap<JournalId, Shelf>,
    pub(crate) usage: Usage,
    pub(crate) intake: Intake,
    pub(crate) committing: Committing,
    pub(crate) session: Session,
    pub(crate) shipping: Shipping,
    pub(crate) recovery: Recovery,
    pub(crate) epoch: Epoch,
    pub(crate) retention: Retention,
    pub(crate) fetching: Fetching,
    pub(crate) restoring: Restoring,
    pub(crate) regaining: Regaining,
    pub(crate) repairing: Repairing,
    pub(crate) bucket: Bucket,
    pub(crate) metered: bool,
    pub(crate) acks_due: Option<Moment>,
    pub(crate) gaps_due: Option<Moment>,
    clocks: (Moment, Wall, u64),
    /// Since when publications were handed in that no room has looked at.
    unsettled: Option<Moment>,
    stopping: bool,
}

impl Engine {
    /// An engine over a store that was just opened.
    ///
    /// `incarnation` is the one that the store appends to, `journals` what it holds, `seed` the only randomness that
    /// the engine will ever have.
    #[must_use]
    pub fn new(
        config: Config,
        incarnation: Incarnation,
        journals: Vec<JournalState>,
        usage: Usage,
        seed: u64,
        now: Moment,
    ) -> Self {
        let shelves = journals.into_iter().map(|state| (state.journal, Shelf::new(state, now))).collect();
        let mut engine = Self {
            random: fastrand::Rng::with_seed(seed),
            commands: VecDeque::new(),
            incarnation,
            shelves,
            usage,
            intake: Intake::default(),
            committing: Committing::default(),
            session: Session::new(now),
            shipping: Shipping::default(),
            recovery: Recovery::default(),
            epoch: Epoch::default(),
            retention: Retention::new(now + config.trim_interval),
            fetching: Fetching::default(),
            restoring: Restoring::default(),
            regaining: Regaining::default(),
            repairing: Repairing::default(),
            bucket: Bucket::new(None, now),
            metered: false,
            acks_due: None,
            // A crash may have left losses undeclared.
            gaps_due: Some(now + config.gap_delay),
            clocks: (now, Wall(0), 0),
            unsettled: None,
            stopping: false,
            config,
        };
        engine.know_lanes(now);
        engine.settle(now);
        engine
    }

    /// Every lane has a shelf, so that a Hello names it even before its first record.
    pub(crate) fn know_lanes(&mut self, now: Moment) {
        for lane in Lane::ALL {
            self.shelf(self.current(lane), now);
        }
    }

    /// Something happened at `now`. Publications that are handed in one after the other go into the same commit: what is
    /// due because of them is done by the next [`Self::poll_command`], or with the next other event.
    pub fn handle_event(&mut self, event: Event, now: Moment) {
        match event {
            Event::Arrived { ticket, lane, record } => {
                let pressure = self.pressure();
                self.intake.arrived(ticket, lane, record, pressure, &self.config);
                self.unsettled = Some(now);
                return;
            }
            Event::Unfit { ticket, lane, reason, wall } => {
                self.intake.unfit(ticket, lane, reason, wall);
                self.unsettled = Some(now);
                return;
            }
            Event::Committed { durable, outcomes, usage } => {
                self.usage = usage;
                // What was put aside went before the changes were applied.
                for outcome in &outcomes {
                    if let Outcome::Quarantined(aside) = outcome {
                        self.lost(aside, now);
                    }
                }
                let outcomes = self.committing.committed(durable, outcomes);
                if outcomes.iter().any(|(purpose, _)| matches!(purpose, Purpose::Append | Purpose::Reject)) {
                    let (receipts, refused) = self.intake.settled(durable);
                    self.commands.push_back(Command::Acknowledge(receipts));
                    self.count_refused(refused, now);
                }
                for (purpose, outcome) in outcomes {
                    self.learn(purpose, outcome, now);
                }
            }
            Event::CommitRefused { commit, changes, .. } => {
                let given_back = self.committing.refused(commit, changes, now + FULL_RETRY);
                self.intake.take_back(given_back, &self.config);
                self.regain_refused();
                if self.committing.is_refused() {
                    self.retention.hurry();
                }
            }
            Event::Loaded { request, runs } => self.loaded(request, runs, now),
            Event::Damaged { request, aside } => self.damaged(request, &aside, now),
            Event::Checked { journal, range, checks } => {
                self.checked(journal, range, &checks, now);
                self.was_read(journal, range);
            }
            Event::Consulted { session, number, told } => self.consulted(session, number, told),
            Event::Surveyed { segments } => self.surveyed(&segments, now),
            Event::Connected => self.connected(now),
            Event::Disconnected { reason, unwelcome } => self.disconnected(reason, unwelcome, now),
            Event::Elsewhere { within } => self.elsewhere(within, now),
            Event::Received(frame) => self.received(frame, now),
            Event::Sent { channel, bytes } => self.shipping.sent(channel, bytes),
            Event::Allowance { rate, metered } => {
                self.bucket.adjust(rate, now);
                self.metered = metered;
            }
            Event::Restore => self.restore_again(),
            Event::Clocks { wall, mono } => self.clocks = (now, wall, mono),
            Event::Timer => {}
            Event::Shutdown => {
                self.stopping = true;
                self.say_goodbye();
            }
        }
        self.settle(now);
    }

    /// The next thing to do, if any.
    #[must_use]
    pub fn poll_command(&mut self) -> Option<Command> {
        if let Some(now) = self.unsettled {
            self.settle(now);
        }
        self.commands.pop_front()
    }

    /// When to send [`Event::Timer`], and why; `None` when only an event can change anything.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<(Moment, WakeReason)> {
        let (dial, greeting) = self.session.deadlines();
        // What waits for a commit is done when the commit ends, without a wake-up.
        let idle = |purpose| !self.committing.has(purpose);
        let may_dial = !self.stopping && !self.recovery.is_breaking();
        [
            (dial.filter(|_| may_dial), WakeReason::Dial),
            (greeting, WakeReason::GreetingOverdue),
            (self.answer_due(), WakeReason::AnswerOverdue),
            (self.renewal_due(), WakeReason::Renewal),
            (self.tokens_ready(), WakeReason::Tokens),
            (self.linger_over(), WakeReason::Linger),
            (self.acks_due.filter(|_| idle(Purpose::Acknowledge)), WakeReason::WriteAcks),
            (self.gaps_due.filter(|_| idle(Purpose::DeclareGaps)), WakeReason::DeclareGaps),
            (self.fetch_due().filter(|_| idle(Purpose::Restore)), WakeReason::Restore),
            (self.retention.due().filter(|_| idle(Purpose::Drop)), WakeReason::Trim),
            (self.committing.retry_at(), WakeReason::RetryCommit),
        ]
        .into_iter()
        .filter_map(|(at, reason)| Some((at?, reason)))
        .min()
    }

    /// Whether more publications may be handed in; when not, stop reading MQTT until it is true again.
    #[must_use]
    pub fn has_room(&self) -> bool {
        !self.stopping && self.intake.has_room(&self.config)
    }

    /// How full the store is.
    #[must_use]
    pub fn pressure(&self) -> Pressure {
        let used = self.usage.used_bytes.saturating_add(self.intake.bytes() as u64);
        if self.committing.is_refused() || used >= self.config.high_water_bytes() {
            Pressure::Full
        } else if used >= self.config.disk_budget_bytes / 100 * self.config.thin_at {
            Pressure::High
        } else {
            Pressure::Low
        }
    }

    /// Bytes that may be stored before the high-water mark.
    fn room_bytes(&self) -> u64 {
        if self.committing.is_refused() {
            return 0;
        }
        self.config.high_water_bytes().saturating_sub(self.usage.used_bytes)
    }

    /// The device's clocks at `now`: wall, and microseconds since boot.
    pub(crate) fn clocks(&self, now: Moment) -> (Wall, u64) {
        let (at, wall, mono) = self.clocks;
        let passed = now.since(at);
        (wall.plus(passed), mono + u64::try_from(passed.as_micros()).unwrap_or(0))
    }

    /// The journal that `lane` is appended to.
    pub(crate) fn current(&self, lane: Lane) -> JournalId {
        JournalId { device: self.config.device, incarnation: self.incarnation, lane }
    }

    /// Lets every room do what is due.
    fn settle(&mut self, now: Moment) {
        self.unsettled = None;
        if !self.stopping {
            self.dial_if_due(now);
        }
        self.write_acks_if_due(now);
        self.declare_gaps_if_due(now);
        self.retain(now);
        self.recover();
        self.fetch_when_due(now);
        self.committing.forget_refusal(now);
        let room = self.room_bytes();
        self.intake.fill(&mut self.committing, room, &self.config);
        if let Some((commit, changes)) = self.committing.begin(now) {
            self.commands.push_back(Command::Commit { commit, changes });
        }
        self.ship(now);
    }

    /// A change was made.
    fn learn(&mut self, purpose: Purpose, outcome: Outcome, now: Moment) {
        match outcome {
            Outcome::Appended { journal, range, sealed } => {
                self.shelf(journal, now).appended(range);
                if purpose == Purpose::Reincarnate {
                    self.reincarnated(journal, now);
                }
                self.note_seals(journal, &sealed);
                self.note_live(now);
            }
            Outcome::Dropped { journal, floor, evicted, .. } => {
                let shelf = self.shelf(journal, now);
                shelf.dropped(floor, evicted);
                if shelf.restored {
                    self.restored_dropped();
                }
                if let Some(below) = SeqRange::new(0, floor.saturating_sub(1)) {
                    self.regaining.give_up(journal, &below.into());
                }
                if evicted > 0 {
                    self.expect_gap(now);
                }
            }
            Outcome::Declared { journal, range } => {
                if let Some(range) = range {
                    self.shelf(journal, now).appended(range);
                    self.note_live(now);
                }
            }
            Outcome::Reauthored { appended, .. } => self.reauthored(appended, now),
            Outcome::Done if purpose == Purpose::Reject => self.expect_gap(now),
            // What was acked may go now: a lane that is held back does not wait for the next look.
            Outcome::Done if purpose == Purpose::Acknowledge => self.retention.acked(),
            Outcome::Restored { .. } => self.restored(outcome, now),
            Outcome::Sealed { .. } => self.named(),
            Outcome::Done | Outcome::Received { .. } | Outcome::Quarantined(_) => {}
        }
    }

    fn count_refused(&mut self, by_lane: [u64; Lane::ALL.len()], now: Moment) {
        for (lane, count) in Lane::ALL.into_iter().zip(by_lane).filter(|(_, count)| *count > 0) {
            let ledger = &mut self.shelf(self.current(lane), now).ledger;
            ledger.ingested += count;
            ledger.rejected += count;
        }
    }

    pub(crate) fn shelf(&mut self, journal: JournalId, now: Moment) -> &mut Shelf {
        self.shelves.entry(journal).or_insert_with(|| Shelf::empty(journal, now))
    }

    pub(crate) fn expect_gap(&mut self, now: Moment) {
        self.gaps_due.get_or_insert(now + self.config.gap_delay);
    }

    pub(crate) fn alarm(&mut self, alarm: Alarm) {
        self.commands.push_back(Command::Alarm(alarm));
    }
}
