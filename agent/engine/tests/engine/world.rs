//! Store, road and hub around an engine, with events in any order.
//!
//! Promise: after every event it is checked that the engine does not spin, tells no publisher too early or twice, writes down
//! no ack that the hub did not give, and that its ledger is the store's.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use millrace_agent_engine::{Command, Config, Engine, Event, RESTORE_NAME};
use millrace_model::notice::GapReason;
use millrace_model::store::{Change, Refusal};
use millrace_model::{Durable, JournalId, Lane, Moment, Record, Seq, SeqRange, Topic, Wall};
use millrace_wire::{Frame, Lodging, Records};

use crate::hub::Hub;
use crate::store::{Store, content};

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Arrive(Lane, u8),
    Unfit(Lane),
    Flush,
    Refuse,
    Read(u8),
    Connect,
    Cut,
    ToHub,
    ToAgent,
    HubFlush,
    Wake,
    Pass(u16),
    Rate(Option<u64>, bool),
    Restart,
    Snapshot,
    Restore,
    Damage(Lane, u8),
    /// The hub has other bytes than this device says it has.
    Doubt(Lane),
    /// A frame that no honest hub sends: which kind, about which lane, and from where to where.
    Lie(u8, Lane, u64, u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Road {
    Down,
    Dialling,
    Up,
    Closing,
}

pub(crate) struct World {
    pub(crate) engine: Engine,
    pub(crate) store: Store,
    pub(crate) hub: Hub,
    /// Whether acks are checked against what the hub has.
    lied_to: bool,
    config: Config,
    snapshot: Store,
    now: Moment,
    commit: Option<(u64, Vec<Change>)>,
    reads: VecDeque<Command>,
    road: Road,
    to_hub: VecDeque<(millrace_agent_engine::Channel, Frame)>,
    to_agent: VecDeque<Frame>,
    next_ticket: u64,
    /// What each waiting publication says.
    pub(crate) waiting: BTreeMap<u64, Option<u64>>,
    /// Every content that was ever flushed here.
    flushed: BTreeSet<u64>,
    seed: u64,
}

impl World {
    pub(crate) fn new(config: Config, segment_records: u64, window: u64) -> Self {
        let (store, now) = (Store::new(segment_records), Moment(0));
        let engine = Engine::new(config.clone(), store.incarnation, store.states(), store.usage(), 1, now);
        let mut world = Self {
            engine,
            snapshot: store.clone(),
            store,
            hub: Hub::new(window),
            lied_to: false,
            config,
            now,
            commit: None,
            reads: VecDeque::new(),
            road: Road::Down,
            to_hub: VecDeque::new(),
            to_agent: VecDeque::new(),
            next_ticket: 1,
            waiting: BTreeMap::new(),
            flushed: BTreeSet::new(),
            seed: 1,
        };
        world.drain();
        world
    }

    /// The directory is new, and a hub keeps `old` of the device's life before.
    pub(crate) fn wants_history(&mut self, old: BTreeMap<JournalId, BTreeMap<Seq, u64>>) {
        self.hub.old = old;
        self.store.remembered.insert(RESTORE_NAME, millrace_agent_engine::wanted_anew());
        self.snapshot = self.store.clone();
        self.restart();
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Arrive(lane, count) => (0..count).for_each(|_| self.arrive(lane)),
            Step::Unfit(lane) => {
                let ticket = self.ticket(None);
                self.handle(Event::Unfit { ticket, lane, reason: GapReason::Oversize, wall: Wall(0) });
            }
            Step::Flush => self.flush(),
            Step::Refuse => {
                if let Some((commit, changes)) = self.commit.take() {
                    self.handle(Event::CommitRefused { commit, changes, refusal: Refusal::Full });
                }
            }
            Step::Read(which) => self.read(usize::from(which)),
            Step::Connect => match self.road {
                Road::Dialling => {
                    self.road = Road::Up;
                    self.handle(Event::Connected);
                }
                Road::Closing => self.cut(),
                Road::Up | Road::Down => {}
            },
            Step::Cut => self.cut(),
            Step::ToHub => self.deliver_to_hub(),
            Step::ToAgent => {
                if let Some(frame) = self.to_agent.pop_front() {
                    self.handle(Event::Received(frame));
                }
            }
            Step::HubFlush => {
                let frames = self.hub.flush();
                if self.road == Road::Up {
                    self.to_agent.extend(frames);
                }
            }
            Step::Wake => {
                if let Some((at, _)) = self.engine.poll_timeout() {
                    self.now = self.now.max(at);
                }
            }
            Step::Pass(millis) => self.now = self.now + Duration::from_millis(millis.into()),
            Step::Rate(rate, metered) => self.handle(Event::Allowance { rate, metered }),
            Step::Restart => self.restart(),
            Step::Snapshot => self.snapshot = self.store.clone(),
            Step::Restore => {
                self.store = self.snapshot.clone();
                self.restart();
            }
            Step::Lie(kind, lane, first, last) => {
                self.lied_to = true;
                let journal = Lodging::from(self.store.current(lane));
                let range = SeqRange::new(first.min(last), first.max(last)).unwrap();
                self.handle(Event::Received(crate::hub::lie(kind, journal, range)));
            }
            Step::Doubt(lane) => {
                let journal = self.store.current(lane);
                let whole = SeqRange::new(1, self.store.journals[&journal].head);
                if let Some(range) = whole.filter(|_| self.road == Road::Up) {
                    let doubt = Frame::Doubt(Records { journal: journal.into(), ranges: range.into() });
                    self.to_agent.push_back(doubt);
                }
            }
            Step::Damage(lane, which) => {
                let journal = self.store.current(lane);
                let records = self.store.journals[&journal].records.len().max(1);
                let seq = self.store.journals[&journal].records.keys().nth(usize::from(which) % records);
                self.store.damaged.extend(seq.map(|seq| (journal, *seq)));
            }
        }
        self.let_timers_fire();
        self.compare_ledgers();
    }

    fn handle(&mut self, event: Event) {
        self.engine.handle_event(event, self.now);
        self.drain();
    }

    fn ticket(&mut self, content: Option<u64>) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.insert(ticket, content);
        ticket
    }

    fn arrive(&mut self, lane: Lane) {
        if !self.engine.has_room() {
            return;
        }
        let payload = Bytes::copy_from_slice(&self.next_ticket.to_be_bytes());
        let record = Record::data(Topic::new("t").unwrap(), payload, Wall(0), self.now.0);
        let ticket = self.ticket(Some(content(&record)));
        self.handle(Event::Arrived { ticket, lane, record });
    }

    fn flush(&mut self) {
        let Some((commit, changes)) = self.commit.take() else { return };
        for change in &changes {
            match change {
                Change::Append { records, .. } => self.flushed.extend(records.iter().map(content)),
                Change::Acknowledge { journal, ranges } => {
                    for seq in ranges.iter().flat_map(|range| range.first()..=range.last()) {
                        let ours = self.store.check(journal, seq);
                        let safe =
                            self.lied_to || ours.is_none_or(|check| self.hub.has(journal, seq, check.0));
                        assert!(safe, "record {seq} of {journal} is called safe and is not");
                    }
                }
                _ => {}
            }
        }
        let outcomes = self.store.apply(changes);
        let (durable, usage) = (Durable::attest(commit), self.store.usage());
        self.handle(Event::Committed { durable, outcomes, usage });
    }

    fn read(&mut self, which: usize) {
        let Some(command) =
            (!self.reads.is_empty()).then(|| self.reads.remove(which % self.reads.len())).flatten()
        else {
            return;
        };
        let event = match command {
            Command::Load(request) => {
                match self.store.load(&request.journal, request.range, request.bytes_max) {
                    Ok(runs) => Event::Loaded { request, runs },
                    Err(range) => {
                        let aside = self.store.put_aside(request.journal, range);
                        Event::Damaged { request: Some(request), aside }
                    }
                }
            }
            Command::Check { journal, range } if self.store.bad(&journal, range).is_some() => {
                let bad = self.store.bad(&journal, range).unwrap();
                let aside = self.store.put_aside(journal, bad);
                self.handle(Event::Damaged { request: None, aside });
                Event::Checked { journal, range, checks: Vec::new() }
            }
            Command::Check { journal, range } => {
                let checks: Vec<(Seq, _)> = self.store.checks(&journal, range);
                Event::Checked { journal, range, checks }
            }
            Command::Survey { per_journal } => Event::Surveyed { segments: self.store.survey(per_journal) },
            other => panic!("{other:?} is no read"),
        };
        self.handle(event);
    }

    fn cut(&mut self) {
        if self.road != Road::Down {
            self.road = Road::Down;
            self.to_hub.clear();
            self.to_agent.clear();
            self.hub.session_ended();
            self.handle(Event::Disconnected { reason: "cut".to_owned(), unwelcome: false });
        }
    }

    fn deliver_to_hub(&mut self) {
        let Some((channel, frame)) = self.to_hub.pop_front() else { return };
        if let Frame::Run(run) = &frame {
            let bytes = run.cost();
            self.handle(Event::Sent { channel, bytes });
        }
        self.to_agent.extend(self.hub.answer(frame));
    }

    /// The process dies and starts again over what is on disk.
    fn restart(&mut self) {
        self.seed += 1;
        (self.commit, self.road) = (None, Road::Down);
        self.reads.clear();
        self.to_hub.clear();
        self.to_agent.clear();
        self.hub.session_ended();
        self.waiting.clear();
        let (config, store) = (self.config.clone(), &self.store);
        let (states, usage) = (store.states(), store.usage());
        self.engine = Engine::new(config, store.incarnation, states, usage, self.seed, self.now);
        if let Some(value) = self.store.remembered.get(RESTORE_NAME) {
            self.engine.recall_restore(value);
        }
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(command) = self.engine.poll_command() {
            match command {
                Command::Commit { commit, changes } => {
                    assert!(self.commit.is_none(), "one commit at a time");
                    assert!(!changes.is_empty(), "a commit changes something");
                    self.commit = Some((commit, changes));
                }
                Command::Acknowledge(receipts) => {
                    for ticket in receipts.stored() {
                        let content = self.waiting.remove(ticket).expect("told once, and only who waits");
                        assert!(self.flushed.contains(&content.unwrap()), "ticket {ticket} is not flushed");
                    }
                    for (ticket, _) in receipts.rejected() {
                        self.waiting.remove(ticket).expect("told once, and only who waits");
                    }
                }
                Command::Connect => {
                    assert_eq!(self.road, Road::Down, "one connection at a time");
                    self.road = Road::Dialling;
                }
                Command::Disconnect { .. } => self.road = Road::Closing,
                Command::Send { channel, frame } => {
                    if self.road == Road::Up {
                        self.to_hub.push_back((channel, frame));
                    }
                }
                Command::Load(_) | Command::Check { .. } | Command::Survey { .. } => {
                    self.reads.push_back(command);
                    assert!(self.reads.len() < 32, "reads pile up: {:?}", self.reads);
                }
                Command::RememberHubs(_) | Command::Alarm(_) | Command::Consult { .. } => {}
            }
        }
    }

    /// The daemon's loop: while a timeout lies in the past, the timer fires. An engine that asks again and again spins.
    fn let_timers_fire(&mut self) {
        for _ in 0..20 {
            match self.engine.poll_timeout() {
                Some((at, _)) if at <= self.now => self.handle(Event::Timer),
                _ => return,
            }
        }
        panic!("the engine spins at {:?}: {:?}", self.now, self.engine.poll_timeout());
    }

    fn compare_ledgers(&self) {
        let (status, store) = (self.engine.status(), self.store.ledger());
        assert!(status.balanced, "{:?}", status.ledger);
        assert!(store.balances(), "{store:?}");
        if self.lied_to {
            return;
        }
        let ours = (status.ledger.ingested, status.ledger.evicted, status.ledger.rejected);
        assert_eq!(ours, (store.ingested, store.evicted, store.rejected), "the engine's ledger, the store's");
        assert!(status.ledger.acked >= store.acked, "acks are known before they are written down");
    }

    /// Road and disk are well from now on. Returns whether everything came to rest: nobody waits, everything is acked.
    pub(crate) fn heals(&mut self) -> bool {
        self.step(Step::Rate(None, false));
        for round in 0..2_000 {
            self.step(Step::Flush);
            self.step(Step::Connect);
            while !self.reads.is_empty() {
                self.step(Step::Read(0));
            }
            while !self.to_hub.is_empty() {
                self.step(Step::ToHub);
            }
            self.step(Step::HubFlush);
            while !self.to_agent.is_empty() {
                self.step(Step::ToAgent);
            }
            let restored = ["none", "done"].contains(&self.engine.status().restoring.state);
            if round > 20 && self.waiting.is_empty() && self.store.ledger().pending == 0 && restored {
                return true;
            }
            self.step(Step::Wake);
        }
        false
    }

    /// The hub compares with what is here until nothing lacks that it has; returns whether it comes to that.
    pub(crate) fn comes_to_have_what_the_hub_has(&mut self) -> bool {
        for _ in 0..200 {
            let lacking = Lane::ALL.into_iter().filter_map(|lane| {
                let journal = self.store.current(lane);
                let here = &self.store.journals[&journal];
                let kept = self.hub.keeps(&journal).within(SeqRange::new(here.floor, Seq::MAX)?);
                let ranges = kept.difference(&here.present());
                (!ranges.is_empty()).then(|| Records { journal: journal.into(), ranges })
            });
            let lacking: Vec<_> = lacking.collect();
            if lacking.is_empty() {
                return true;
            }
            if self.road == Road::Up {
                self.to_agent.extend(lacking.into_iter().map(Frame::Regain));
            }
            self.heals();
        }
        false
    }
}
