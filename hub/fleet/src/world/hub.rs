//! The hub: what it asks of the world, what the world tells it, and what the model learns from its commits.

use std::time::Duration;

use millrace_hub_engine::{Alarm, Command, Config, Engine, Event};
use millrace_journal::{CommitError, Options, Store};
use millrace_model::store::{Change, Outcome, Refusal};
use millrace_model::{AckLevel, HubId, JournalId, Moment, RangeSet, SeqRange, Wall};
use millrace_sim::{ConnectionId, Disk, Flush, Notice};
use millrace_wire::{Ack, Acks, Frame, Verdict};

use super::site::Commit;
use super::{HUB, Happening, HubHappening, World};
use crate::Sabotage;
use crate::invariants::{Violation, content, hub_ack, survival, wakefulness};
use crate::measuring::measured;
use crate::model::{Entry, Mirror};
use crate::plan::HubPlan;

/// The hub's world.
pub(super) struct Hub {
    plan: HubPlan,
    pub(super) disk: Disk<Commit>,
    pub(super) store: Option<Store>,
    pub(super) engine: Option<Engine>,
    image: Option<Vec<u8>>,
    pub(super) generation: u32,
    timer_at: Option<Moment>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "Hub(generation {})", self.generation)
    }
}

impl Hub {
    pub(super) fn new(plan: &HubPlan, seed: u64) -> Self {
        let disk = Disk::new(seed, plan.disk_micros.clone());
        Self {
            plan: plan.clone(),
            disk,
            store: None,
            engine: None,
            image: None,
            generation: 0,
            timer_at: None,
        }
    }

    fn config(&self) -> Config {
        Config {
            memory_budget_bytes: self.plan.memory_budget_bytes,
            credit_max_bytes: self.plan.credit_max_bytes,
            device_rate: self.plan.device_rate,
            // Each process begins far above all fences of the one before.
            fence_base: u64::from(self.generation) << 32,
            ..Config::new(HubId::from_bytes([7; 16]), "hub", "here")
        }
    }
}

impl World {
    pub(super) fn start_hub(&mut self) {
        let now = self.now;
        if self.hub.engine.is_some() {
            return;
        }
        let opened = match &self.hub.image {
            Some(image) => Store::from_image(image, &Options::hub()),
            None => Store::in_memory(&Options::hub()),
        };
        let store = match opened {
            Ok(store) => store,
            Err(error) => return self.check(Err(Violation::new("survival", format!("the hub: {error}")))),
        };
        let held = |held: &std::collections::BTreeMap<u64, _>| {
            held.iter().map(|(seq, check)| (*seq, Entry { check: *check, attempt: None })).collect()
        };
        let expected: Mirror = self.model.hub.iter().map(|(journal, seqs)| (*journal, held(seqs))).collect();
        self.check(survival::holds("the hub", &store, &expected));
        self.hub.generation += 1;
        self.hub.timer_at = None;
        let engine = Engine::new(self.hub.config(), &store.journals(), store.usage(), now);
        self.hub.engine = Some(engine);
        self.hub.store = Some(store);
        self.network.start(HUB);
        self.transcript.note(now, format_args!("the hub starts"));
        self.hub_happened(HubHappening::Clock);
    }

    pub(super) fn cut_hub_power(&mut self) {
        self.network.crash(HUB);
        if self.hub.engine.take().is_none() {
            return;
        }
        if let Some((commit, changes)) = self.hub.disk.crash() {
            let _unheard = self.apply_at_hub(commit, &changes);
        }
        let image = self.hub.store.as_mut().map(Store::image);
        self.hub.store = None;
        match image {
            Some(Ok(image)) => self.hub.image = Some(image),
            Some(Err(error)) => self.check(Err(Violation::new("survival", error.to_string()))),
            None => {}
        }
    }

    pub(super) fn hub_later(&mut self, span: Duration, what: HubHappening) {
        let generation = self.hub.generation;
        self.timeline.after(span, Happening::Hub { generation, what });
    }

    /// Tells the hub's engine something, and does what it asks for.
    pub(super) fn tell_hub(&mut self, event: Event) {
        let now = self.now;
        let Some(engine) = self.hub.engine.as_mut() else { return };
        engine.handle_event(event, now);
        while self.violation.is_none() {
            let Some(command) = self.hub.engine.as_mut().and_then(Engine::poll_command) else { break };
            self.obey_hub(command);
        }
        self.set_hub_timer();
    }

    fn set_hub_timer(&mut self) {
        let now = self.now;
        let Some((at, _)) = self.hub.engine.as_ref().and_then(Engine::poll_timeout) else { return };
        let at = at.max(now);
        if self.hub.timer_at.is_none_or(|set| at < set) {
            self.hub.timer_at = Some(at);
            self.hub_later(at.since(now), HubHappening::Timer(at));
        }
    }

    fn obey_hub(&mut self, command: Command) {
        let now = self.now;
        match command {
            Command::Commit { commit, changes } => {
                if self.hub.disk.is_busy() {
                    let what = format!("the hub began commit {commit} before the last one was over");
                    return self.check(Err(Violation::new("wakefulness", what)));
                }
                let span = self.hub.disk.begin((commit, changes));
                self.hub_later(span, HubHappening::Flushed);
            }
            Command::Send { link, frame } => self.hub_says(link, frame),
            Command::Close { link, code, reason } => {
                self.transcript.note(now, format_args!("the hub closes {link}: {code:?}, {reason}"));
                self.network.close(link, HUB, true, now);
                self.hub_later(Duration::ZERO, HubHappening::Closed(link));
            }
            Command::Check { journal, range } => {
                let span = self.hub.disk.time_to_read();
                self.hub_later(span, HubHappening::Checked(journal, range));
            }
            Command::SessionOpened { link, device, fence, .. } => {
                self.transcript.note(now, format_args!("session {fence} on {link} of {device}"));
            }
            Command::Stored { journal, ranges } => {
                self.check(hub_ack::says(&self.model, &journal, &ranges, false));
            }
            Command::Alarm(alarm) => self.hub_alarmed(&alarm),
            Command::Consult { asker, number, journal, about } => {
                let span = self.hub.disk.time_to_read();
                self.hub_later(span, HubHappening::Consulted { asker, number, journal, about });
            }
            Command::Compared(round) => {
                self.transcript.note(now, format_args!("the hub compared: {round:?}"));
            }
            Command::Tell { .. }
            | Command::Answer { .. }
            | Command::Load { .. }
            | Command::Part { .. }
            | Command::Dismiss { .. }
            | Command::Synced { .. }
            | Command::Mended(_)
            // No device of the fleet asks for its history.
            | Command::Recall { .. }
            | Command::Fetch { .. }
            | Command::Relive { .. } => {}
        }
    }

    fn hub_alarmed(&mut self, alarm: &Alarm) {
        self.transcript.note(self.now, format_args!("the hub's alarm: {alarm:?}"));
        match alarm {
            Alarm::RolledBack { journal } | Alarm::Forked { journal, .. } => {
                self.model.alarmed.insert(journal.device);
            }
            Alarm::Cloned { device, .. } => {
                self.model.alarmed.insert(*device);
            }
            Alarm::Declined { .. } | Alarm::Quota { .. } | Alarm::Protocol { .. } | Alarm::Peer { .. } => {
                self.check(Err(Violation::new("protocol", format!("among honest agents: {alarm:?}"))));
            }
            Alarm::Damaged { .. }
            | Alarm::Overdue { .. }
            | Alarm::Differs { .. }
            | Alarm::Irreparable { .. } => {
                self.check(Err(Violation::new("survival", format!("on a sound disk: {alarm:?}"))));
            }
            Alarm::Gap(..)
            | Alarm::Full
            | Alarm::Evicting
            | Alarm::Regressed { .. }
            | Alarm::Replaced { .. } => {}
        }
    }

    /// The hub sends a frame: what it says of its disk must be so.
    fn hub_says(&mut self, link: ConnectionId, mut frame: Frame) {
        let device = self.links_device(link);
        if let (Frame::Welcome(welcome), Sabotage::BlindHub) = (&mut frame, self.plan.sabotage) {
            for holding in &mut welcome.holdings {
                (holding.verdict, holding.head_check) = (Verdict::Continues, None);
            }
        }
        match (&frame, device) {
            (Frame::Acks(acks), Some(device)) => {
                for ack in &acks.acks {
                    let verdict = hub_ack::says(&self.model, &ack.journal.of(device), &ack.ranges, false);
                    self.check(verdict);
                }
            }
            (Frame::Welcome(welcome), Some(device)) => {
                for held in &welcome.holdings {
                    let journal = JournalId { device, incarnation: held.incarnation, lane: held.lane };
                    self.check(hub_ack::says(&self.model, &journal, &held.held, true));
                }
            }
            _ => {}
        }
        self.carry(link, HUB, 0, frame);
    }

    fn links_device(&self, link: ConnectionId) -> Option<millrace_model::DeviceId> {
        let node = self.network.dialer(link)?;
        self.sites.get(node as usize - 1).map(|site| site.device)
    }

    pub(super) fn hub_noticed(&mut self, notice: Notice<Frame>) {
        match notice {
            Notice::Accepted { connection, from, .. } => {
                if let Some(device) = self.sites.get(from as usize - 1).map(|site| site.device) {
                    self.tell_hub(Event::Opened { link: connection, device });
                }
            }
            Notice::Frame { connection, frame, .. } => {
                self.transcript.note(self.now, format_args!("hub ◀ {connection} {}", described(&frame)));
                if self.plan.sabotage == Sabotage::EarlyAck
                    && let Frame::Run(run) = &frame
                    && let Some(range) = SeqRange::starting(run.first, u64::from(run.count))
                {
                    let ack =
                        Ack { journal: run.journal, level: AckLevel::Hub, ranges: RangeSet::from(range) };
                    self.hub_says(connection, Frame::Acks(Acks { acks: vec![ack] }));
                }
                self.tell_hub(Event::Received { link: connection, frame });
            }
            Notice::Ended { connection, .. } => self.tell_hub(Event::Closed { link: connection }),
            Notice::Connected { .. } | Notice::Taken { .. } => {}
        }
    }

    pub(super) fn hub_happened(&mut self, what: HubHappening) {
        let now = self.now;
        match what {
            HubHappening::Timer(at) => {
                if self.hub.timer_at != Some(at) {
                    return;
                }
                self.hub.timer_at = None;
                let due = |hub: &Hub| hub.engine.as_ref().and_then(Engine::poll_timeout);
                if due(&self.hub).is_some_and(|(at, _)| at <= now) {
                    self.tell_hub(Event::Timer);
                    self.check(wakefulness::sleeps("the hub", due(&self.hub), now));
                }
                self.set_hub_timer();
            }
            HubHappening::Flushed => self.hub_flushed(),
            HubHappening::Checked(journal, range) => {
                let Some(store) = &self.hub.store else { return };
                match store.checks(&journal, range) {
                    Ok(checks) => self.tell_hub(Event::Checked { journal, range, checks }),
                    Err(error) => self.check(Err(Violation::new("survival", error.to_string()))),
                }
            }
            HubHappening::Consulted { asker, number, journal, about } => {
                let Some(store) = &self.hub.store else { return };
                match store.tell(&journal, &about) {
                    Ok(told) => self.tell_hub(Event::Consulted { asker, number, told }),
                    Err(error) => self.check(Err(Violation::new("survival", error.to_string()))),
                }
            }
            HubHappening::Closed(link) => self.tell_hub(Event::Closed { link }),
            HubHappening::Clock => {
                let wall = Wall(1_790_000_000_000_000 + i64::try_from(now.0).unwrap_or(0));
                self.tell_hub(Event::Clock { wall });
                self.hub_later(Duration::from_secs(10), HubHappening::Clock);
            }
            HubHappening::PowerOff { span } => {
                if self.hub.disk.is_busy() {
                    return self.hub_later(Duration::from_millis(50), HubHappening::PowerOff { span });
                }
                self.cut_hub_power();
                self.timeline.after(span, Happening::StartHub);
            }
        }
    }

    fn hub_flushed(&mut self) {
        match self.hub.disk.finish() {
            Some(Flush::Refused((commit, _))) => {
                self.transcript.note(self.now, format_args!("the hub's commit {commit} was refused"));
                self.tell_hub(Event::CommitRefused { commit, refusal: Refusal::Full });
            }
            Some(Flush::Flushed((commit, changes))) => {
                if let Some((durable, outcomes)) = self.apply_at_hub(commit, &changes) {
                    let usage = self.hub.store.as_ref().map(Store::usage).unwrap_or_default();
                    let measured = measured(self.hub.store.as_ref());
                    self.tell_hub(Event::Committed { durable, outcomes, usage });
                    self.tell_hub(measured);
                }
            }
            None => {}
        }
    }

    fn apply_at_hub(
        &mut self,
        commit: u64,
        changes: &[Change],
    ) -> Option<(millrace_model::Durable, Vec<Outcome>)> {
        let (asked, forgotten) = self.tampered_at_hub(changes);
        let store = self.hub.store.as_mut()?;
        match store.commit(commit, &asked) {
            Ok((durable, mut outcomes)) => {
                for outcome in &outcomes {
                    self.hub_received(outcome);
                }
                for (at, outcome) in forgotten {
                    outcomes.insert(at, outcome);
                }
                self.transcript
                    .note(self.now, format_args!("the hub's commit {commit}: {} changes", changes.len()));
                Some((durable, outcomes))
            }
            Err(CommitError::Refused(refusal)) => {
                self.tell_hub(Event::CommitRefused { commit, refusal });
                None
            }
            Err(error) => {
                self.check(Err(Violation::new("survival", format!("the hub: {error}"))));
                None
            }
        }
    }

    fn hub_received(&mut self, outcome: &Outcome) {
        let Outcome::Received { journal, stored, gaps, .. } = outcome else { return };
        for range in stored.iter() {
            let found = self.hub.store.as_ref().map(|store| store.checks(journal, range));
            match found {
                Some(Ok(checks)) if checks.len() as u64 == range.count() => {
                    for (seq, check) in checks {
                        let verdict = content::stored(&mut self.model, *journal, seq, check);
                        self.check(verdict);
                    }
                }
                _ => {
                    let what =
                        format!("the hub says that it stored {journal} {range}, and it cannot be read");
                    self.check(Err(Violation::new("content", what)));
                }
            }
        }
        self.model.gaps_arrived(journal.device, gaps);
    }

    /// The changes as the sabotaged world makes them, and made-up outcomes of those left out.
    fn tampered_at_hub(&mut self, changes: &[Change]) -> (Vec<Change>, Vec<(usize, Outcome)>) {
        let mut asked = Vec::new();
        let mut forgotten = Vec::new();
        for (at, change) in changes.iter().enumerate() {
            match (self.plan.sabotage, change) {
                (Sabotage::ForgetfulHub, Change::Receive(run)) if self.random.u8(0..10) == 0 => {
                    let outcome = Outcome::Received {
                        journal: run.journal,
                        stored: run.range().map(RangeSet::from).unwrap_or_default(),
                        duplicate: RangeSet::new(),
                        conflict: RangeSet::new(),
                        refused: None,
                        gaps: Vec::new(),
                    };
                    forgotten.push((at, outcome));
                }
                (Sabotage::Misplacement, Change::Receive(run)) if run.segment.is_none() && run.first > 20 => {
                    let mut run = run.clone();
                    run.first += 1;
                    asked.push(Change::Receive(run));
                }
                _ => asked.push(change.clone()),
            }
        }
        (asked, forgotten)
    }
}

/// A frame for the transcript.
fn described(frame: &Frame) -> String {
    match frame {
        Frame::Run(run) => {
            let sealed = if run.segment.is_some() { " sealed" } else { "" };
            format!(
                "Run {}/{} {}+{}{sealed}",
                run.journal.incarnation, run.journal.lane, run.first, run.count
            )
        }
        Frame::Seal(seal) => format!("Seal {} #{}", seal.journal.lane, seal.segment.ordinal),
        Frame::Hello(hello) => {
            let journals = hello.journals.iter();
            let journals: Vec<_> = journals.map(|j| format!("{}≤{}", j.lane, j.head)).collect();
            format!("Hello {} {}", hello.incarnation, journals.join(" "))
        }
        other => other.name().to_owned(),
    }
}
