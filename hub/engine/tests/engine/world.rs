//! Honest and hostile devices around an engine, with events in any order.
//!
//! Promise: after every event it is checked that the engine does not spin, acknowledges only what is flushed and what that very
//! connection sent, says nothing after a goodbye, and lets one session of an incarnation live.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use millrace_hub_engine::{Command, Config, Engine, Event, LinkId};
use millrace_model::store::{Change, Refusal};
use millrace_model::{
    AckLevel, DeviceId, Durable, Encoding, Incarnation, JournalId, Lane, Moment, RangeSet, RecordCheck,
    SegmentHash, SegmentName, SeqRange, Wall,
};
use millrace_wire::{Compare, Frame, Hello, JournalSummary, Lodging, RunFrame, Seal};

use crate::store::Store;

#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Open { device: u8 },
    Hello { link: u8, incarnation: u8, head: u8, check: bool },
    Run { link: u8, lane: Lane, first: u8, count: u8, history: u8, short: bool },
    Seal { link: u8, lane: Lane, first: u8, count: u8 },
    Compare { link: u8, incarnation: u8, first: u8, count: u8 },
    Nonsense { link: u8 },
    Closed { link: u8 },
    Flush,
    Refuse,
    Read,
    Wake,
    Pass(u16),
    Revoke { device: u8 },
    Retain { hours: u16 },
}

#[derive(Debug)]
struct Line {
    device: DeviceId,
    incarnation: Incarnation,
    welcome: bool,
    parted: bool,
    closing: bool,
    credit: u64,
    /// Every content that it sent.
    sent: BTreeMap<(Lodging, u64), BTreeSet<u64>>,
    /// Runs that were not answered yet.
    waiting: Vec<(Lodging, SeqRange)>,
}

pub(crate) struct World {
    engine: Engine,
    store: Store,
    now: Moment,
    commit: Option<(u64, Vec<Change>)>,
    checks: VecDeque<(JournalId, SeqRange)>,
    lines: BTreeMap<LinkId, Line>,
    next_link: LinkId,
    fence: u64,
}

impl World {
    pub(crate) fn new(config: Config) -> Self {
        let store = Store::default();
        Self {
            engine: Engine::new(config, &[], store.usage(), Moment(0)),
            store,
            now: Moment(0),
            commit: None,
            checks: VecDeque::new(),
            lines: BTreeMap::new(),
            next_link: 1,
            fence: 0,
        }
    }

    fn link(&self, which: u8) -> Option<LinkId> {
        let at = usize::from(which).checked_rem(self.lines.len())?;
        self.lines.keys().nth(at).copied()
    }

    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Open { device } => self.open(DeviceId::from_bytes([b'a' + device % 3; 16])),
            Step::Hello { link, incarnation, head, check } => self.hello(link, incarnation, head, check),
            Step::Run { link, lane, first, count, history, short } => {
                self.run(link, lane, (first, count), history, short);
            }
            Step::Seal { link, lane, first, count } => {
                let Some(link) = self.link(link) else { return };
                let journal = Lodging { incarnation: self.lines[&link].incarnation, lane };
                let (first, hash) = (u64::from(first), SegmentHash([0; 32]));
                let segment = SegmentName { ordinal: 0, first, count: u32::from(count), hash };
                self.receive(link, Frame::Seal(Seal { journal, segment }));
            }
            Step::Compare { link, incarnation, first, count } => {
                let Some(link) = self.link(link) else { return };
                let checks: Vec<RecordCheck> = (0..count).map(|n| RecordCheck(u64::from(n))).collect();
                let journal =
                    Lodging { incarnation: Incarnation::new(incarnation.into()), lane: Lane::Normal };
                // The end of all numbers is where a hostile device looks for an overflow.
                let first = if first == 0 { u64::MAX } else { u64::from(first) };
                self.receive(link, Frame::Compare(Compare::new(journal, first, &checks)));
            }
            Step::Nonsense { link } => {
                let Some(link) = self.link(link) else { return };
                self.receive(link, Frame::Credit(millrace_wire::Credit { total: 1 }));
            }
            Step::Closed { link } => {
                if let Some(link) = self.link(link) {
                    self.lines.remove(&link);
                    self.handle(Event::Closed { link });
                }
            }
            Step::Flush => self.flush(),
            Step::Refuse => {
                if let Some((commit, _)) = self.commit.take() {
                    self.handle(Event::CommitRefused { commit, refusal: Refusal::Full });
                }
            }
            Step::Read => {
                if let Some((journal, range)) = self.checks.pop_front() {
                    let checks = self.store.checks(&journal, range);
                    self.handle(Event::Checked { journal, range, checks });
                }
            }
            Step::Wake => {
                if let Some((at, _)) = self.engine.poll_timeout() {
                    self.now = self.now.max(at);
                }
            }
            Step::Retain { .. } => {}
            Step::Pass(millis) => self.now = self.now + Duration::from_millis(millis.into()),
            Step::Revoke { device } => {
                let device = DeviceId::from_bytes([b'a' + device % 3; 16]);
                self.handle(Event::Revoked { device, reason: "stolen".to_owned() });
                let cut = self.lines.values().filter(|line| line.device == device).all(|line| line.parted);
                assert!(cut, "a connection of a revoked device lives");
            }
        }
        if let Step::Retain { hours } = step {
            self.now = self.now + Duration::from_secs(3_600 * u64::from(hours));
            self.handle(Event::Clock { wall: Wall(i64::try_from(self.now.0).unwrap()) });
            self.handle(Event::Retain { gone: BTreeSet::new() });
        }
        self.let_timers_fire();
        for summary in self.engine.devices() {
            let online: BTreeSet<Incarnation> = summary.online.iter().copied().collect();
            assert_eq!(online.len(), summary.online.len(), "two sessions of one incarnation");
        }
    }

    fn handle(&mut self, event: Event) {
        self.engine.handle_event(event, self.now);
        self.drain();
    }

    fn receive(&mut self, link: LinkId, frame: Frame) {
        self.handle(Event::Received { link, frame });
    }

    fn open(&mut self, device: DeviceId) {
        let link = self.next_link;
        self.next_link += 1;
        let line = Line {
            device,
            incarnation: Incarnation::new(0),
            welcome: false,
            parted: false,
            closing: false,
            credit: 0,
            sent: BTreeMap::new(),
            waiting: Vec::new(),
        };
        self.lines.insert(link, line);
        self.handle(Event::Opened { link, device });
    }

    fn hello(&mut self, link: u8, incarnation: u8, head: u8, check: bool) {
        let Some(link) = self.link(link) else { return };
        let incarnation = Incarnation::new(u64::from(incarnation % 3) + 1);
        let line = self.lines.get_mut(&link).unwrap();
        if !line.welcome {
            line.incarnation = incarnation;
        }
        let head_check = check.then_some(RecordCheck(u64::from(head)));
        let journals = Lane::ALL.map(|lane| JournalSummary {
            incarnation,
            lane,
            floor: 1,
            head: u64::from(head),
            head_check,
        });
        let (software, level, journals) = ("agent 1".to_owned(), AckLevel::Hub, journals.to_vec());
        self.receive(link, Frame::Hello(Hello { software, incarnation, level, journals }));
    }

    fn run(&mut self, link: u8, lane: Lane, (first, count): (u8, u8), history: u8, short: bool) {
        let Some(link) = self.link(link) else { return };
        let line = self.lines.get_mut(&link).unwrap();
        let journal = Lodging { incarnation: line.incarnation, lane };
        let seqs = u64::from(first)..u64::from(first) + u64::from(count);
        let contents: Vec<(u64, u64)> = seqs.map(|seq| (seq, seq + 1_000 * u64::from(history))).collect();
        for (seq, content) in &contents {
            line.sent.entry((journal, *seq)).or_default().insert(*content);
        }
        let mut body: Vec<u8> = contents.iter().flat_map(|(_, content)| content.to_be_bytes()).collect();
        if short {
            body.clear();
        }
        if line.welcome
            && !line.parted
            && let Some(range) = SeqRange::starting(first.into(), count.into())
        {
            line.waiting.push((journal, range));
        }
        let (first, count, body) = (u64::from(first), u32::from(count), Bytes::from(body));
        let run = RunFrame { journal, first, count, encoding: Encoding::Plain, body, segment: None };
        self.receive(link, Frame::Run(run));
    }

    fn flush(&mut self) {
        let Some((commit, changes)) = self.commit.take() else { return };
        let outcomes = self.store.apply(changes);
        let usage = self.store.usage();
        self.handle(Event::Committed { durable: Durable::attest(commit), outcomes, usage });
    }

    fn drain(&mut self) {
        while let Some(command) = self.engine.poll_command() {
            match command {
                Command::Commit { commit, changes } => {
                    assert!(self.commit.is_none(), "one commit at a time");
                    self.commit = Some((commit, changes));
                }
                Command::Check { journal, range } => self.checks.push_back((journal, range)),
                Command::Send { link, frame } => self.said(link, &frame),
                Command::Close { link, .. } => {
                    let line = self.lines.get_mut(&link).expect("only what is open is closed");
                    assert!(line.parted && !line.closing, "a goodbye comes first, and one close is enough");
                    line.closing = true;
                }
                Command::SessionOpened { fence, .. } => {
                    assert!(fence > self.fence, "fences only grow");
                    self.fence = fence;
                }
                // The store is slow with its answers, and so are the agents: nobody waits for them for ever.
                Command::Stored { .. }
                | Command::Alarm(_)
                | Command::Consult { .. }
                | Command::Compared(_)
                | Command::Recall { .. }
                | Command::Fetch { .. } => {}
                other => panic!("a hub alone never asks for {other:?}"),
            }
        }
    }

    fn said(&mut self, link: LinkId, frame: &Frame) {
        let line = self.lines.get_mut(&link).expect("frames go to connections that stand");
        assert!(!line.parted, "{} came after the goodbye", frame.name());
        let device = line.device;
        let mut answered = |journal: Lodging, ranges: &RangeSet| {
            line.waiting.retain(|(of, range)| *of != journal || ranges.within(*range).is_empty());
        };
        match frame {
            Frame::Welcome(welcome) => {
                (line.welcome, line.credit) = (true, welcome.credit);
                for held in &welcome.holdings {
                    let journal = Lodging { incarnation: held.incarnation, lane: held.lane }.of(device);
                    let ever: RangeSet =
                        self.store.ever.get(&journal).map_or_else(RangeSet::new, |records| {
                            records.keys().map(|seq| SeqRange::only(*seq)).collect()
                        });
                    assert_eq!(held.held, ever, "held is what came, whether or not it was dropped since");
                }
            }
            Frame::Goodbye(_) => line.parted = true,
            Frame::Credit(credit) => {
                assert!(credit.total > line.credit, "credit only grows");
                line.credit = credit.total;
            }
            Frame::Acks(acks) => {
                for ack in &acks.acks {
                    answered(ack.journal, &ack.ranges);
                    for seq in ack.ranges.iter().flat_map(|range| range.first()..=range.last()) {
                        let journal = ack.journal.of(device);
                        let flushed = self.store.ever.get(&journal).and_then(|records| records.get(&seq));
                        let sent = line.sent.get(&(ack.journal, seq));
                        let dropped = self.store.floors.get(&journal).is_some_and(|floor| seq < *floor);
                        let same =
                            flushed.zip(sent).is_some_and(|(here, sent)| sent.contains(here) || dropped);
                        assert!(same, "record {seq} is acked, and is not here as it was sent");
                    }
                }
            }
            Frame::Conflict(conflict) => answered(conflict.journal, &conflict.ranges),
            Frame::Decline(decline) => answered(decline.journal, &decline.range().unwrap().into()),
            _ => {}
        }
    }

    fn let_timers_fire(&mut self) {
        for _ in 0..20 {
            match self.engine.poll_timeout() {
                Some((at, _)) if at <= self.now => self.handle(Event::Timer),
                _ => return,
            }
        }
        panic!("the engine spins at {:?}: {:?}", self.now, self.engine.poll_timeout());
    }

    /// The disk works from now on: everything that a living session sent is answered.
    pub(crate) fn comes_to_rest(&mut self) {
        for _ in 0..200 {
            self.step(Step::Flush);
            self.step(Step::Read);
            self.step(Step::Pass(100));
        }
        assert!(!self.engine.is_busy(), "something waits for ever");
        for (link, line) in &self.lines {
            assert!(line.parted || line.welcome, "link {link} is neither greeted nor sent away");
            assert!(line.parted || line.waiting.is_empty(), "link {link} waits: {:?}", line.waiting);
            assert_eq!(line.parted, line.closing, "a goodbye is followed by a close");
        }
    }
}
