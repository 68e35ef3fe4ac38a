//! Plays the events of a transcript and writes down what the engine asks for.
//!
//! What a transcript is stands in [`millrace_sim::transcript`]. `+5ms` before an event lets time pass first. The first event
//! is `agent`, with settings.
//!
//! | event | meaning |
//! |---|---|
//! | `agent key=value …` | a new agent over a new store; keys: `budget reserve grace segment history urgent normal bulk`; `blank`: it wants its history |
//! | `arrive LANE [COUNT] [size=BYTES]`, `unfit LANE` | publications; tickets count up from 1 |
//! | `flush`, `refuse` | the commit under way was flushed; the disk was full |
//! | `read` | every read that was asked for is answered, in order |
//! | `connected`, `lost` | the transport |
//! | `welcome [credit=BYTES] [epoch=N] [incomplete] [LANE:RANGES[:VERDICT[:SAFE]]]…` | the hub answers; a verdict is `same`, `other`, `rolled-back` or `forked` |
//! | `hubs N` | the hubs have changed |
//! | `wanted`, `doubt` `LANE[@LIFE] RANGES`; `inquiry LANE NUMBER` | what the hub lost; what it doubts; what it asks |
//! | `consulted` | the oldest question to the store is answered |
//! | `acks`, `conflict`, `decline` `LANE RANGES`; `compared LANE RANGE equal=RANGES`; `credit`, `goodbye` | frames |
//! | `wake` | time passes up to the next timeout, which is written down, and the timer fires |
//! | `snapshot`, `restore`, `restart` | a copy of the disk is made, put back; the process starts anew over the disk |
//! | `damage LANE[@LIFE] NUMBER` | a record cannot be read any more |
//! | `recalled [incomplete] [LANE:RANGES]…` | what a hub keeps of an older life |
//! | `regain LANE RANGES` | what a hub has of the present life and is not here |
//! | `brought LANE[@LIFE] RANGE [bytes=N]`, `fetched LANE[@LIFE] [absent=RANGES]` | what was asked back |
//! | `again`, `history`, `lost-and-found` | the hubs are to be asked again; how far history, and what damage took, has come back |
//! | `status`, `trouble` | the ledger; why there is no session |
//! | `hold`, `answer` | an answer to the oldest read is kept back, and given later |

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use millrace_agent_engine::{Command, Config, Engine, Event, Policy, RESTORE_NAME, RestoreStatus};
use millrace_merkle::{About, Told};
use millrace_model::notice::GapReason;
use millrace_model::store::{Change, Refusal};
use millrace_model::{
    AckLevel, Durable, Encoding, HubId, Incarnation, Lane, Moment, RangeSet, Record, RecordCheck, Topic, Wall,
};
use millrace_sim::transcript::{Subject, number, range, value};
use millrace_wire::{
    Ack, Acks, Compared, Conflict, Credit, Decline, Fetched, Frame, Goodbye, GoodbyeCode, Holding, Hubs,
    Inquiry, Kept, Lodging, Recalled, Records, RunFrame, Verdict, Welcome,
};

use crate::lines::Names;
use crate::store::{DEVICE, Store};

pub(crate) struct Script {
    engine: Engine,
    store: Store,
    snapshot: Option<Store>,
    config: Config,
    names: Names,
    now: Moment,
    ticket: u64,
    commit: Option<(u64, Vec<Change>)>,
    reads: VecDeque<Command>,
    held: VecDeque<Event>,
    consulting: VecDeque<(u64, u64)>,
    out: Vec<String>,
}

fn ranges(text: &str) -> RangeSet {
    text.split(',').filter(|part| *part != "none").map(range).collect()
}

/// The journal of a life before this directory.
fn older(lane: &str) -> Lodging {
    Lodging { incarnation: Incarnation::new(99), lane: lane.parse().unwrap() }
}

fn policy(text: &str) -> Policy {
    match text {
        "block" => Policy::Block,
        "drop-oldest" => Policy::DropOldest,
        "drop-newest" => Policy::DropNewest,
        _ => Policy::Thin(text.strip_prefix("thin:").unwrap().parse().unwrap()),
    }
}

fn config(words: &[&str]) -> Config {
    let mut config = Config::new(DEVICE, "test 1");
    config.disk_budget_bytes = number(words, "budget").unwrap_or(1 << 30);
    config.disk_reserve_bytes = number(words, "reserve").unwrap_or(0);
    config.history_bytes = number(words, "history").unwrap_or(256 << 20);
    config.grace = Duration::from_secs(number(words, "grace").unwrap_or(3_600));
    for (at, lane) in Lane::ALL.iter().enumerate() {
        if let Some(text) = value(words, lane.name()) {
            config.policies[at] = policy(text);
        }
    }
    config
}

impl Subject for Script {
    const FIRST: &'static str = "agent";

    fn begin(words: &[&str]) -> Self {
        let (config, mut store) = (config(words), Store::new(number(words, "segment").unwrap_or(4)));
        let now = Moment(0);
        let mut engine =
            Engine::new(config.clone(), store.incarnation, store.states(), store.usage(), 1, now);
        if words.contains(&"blank") {
            let value = millrace_agent_engine::wanted_anew();
            engine.recall_restore(&value);
            store.remembered.insert(RESTORE_NAME, value);
        }
        let mut names = Names::default();
        names.journal(store.current(Lane::Urgent));
        Self {
            engine,
            store,
            snapshot: None,
            config,
            names,
            now,
            ticket: 0,
            commit: None,
            reads: VecDeque::new(),
            held: VecDeque::new(),
            consulting: VecDeque::new(),
            out: Vec::new(),
        }
    }

    fn event(&mut self, name: &str, words: &[&str]) {
        if let Some(span) = name.strip_prefix('+') {
            let span = span.strip_suffix("ms").map_or_else(
                || Duration::from_secs(span.strip_suffix('s').unwrap().parse().unwrap()),
                |millis| Duration::from_millis(millis.parse().unwrap()),
            );
            self.now = self.now + span;
            return self.event(words[0], &words[1..]);
        }
        match name {
            "arrive" | "unfit" => self.publish(name, words),
            "flush" | "refuse" => self.end_commit(name),
            "read" => {
                while let Some(command) = self.reads.pop_front() {
                    let answer = self.answer(&command);
                    self.handle(answer);
                    // Reads that this one brought about are answered by the next `read`.
                }
            }
            "hold" => {
                let command = self.reads.pop_front().unwrap();
                let answer = self.answer(&command);
                self.held.push_back(answer);
            }
            "consulted" => {
                let (session, number) = self.consulting.pop_front().unwrap();
                self.handle(Event::Consulted { session, number, told: Told::Names(Vec::new()) });
            }
            "answer" => {
                let answer = self.held.pop_front().unwrap();
                self.handle(answer);
            }
            "damage" => {
                let journal = self.lodging(words[0]).of(DEVICE);
                self.store.damaged.push((journal, words[1].parse().unwrap()));
            }
            "connected" => self.handle(Event::Connected),
            "lost" => self.handle(Event::Disconnected { reason: "lost".to_owned(), unwelcome: false }),
            "elsewhere" => self.handle(Event::Elsewhere { within: Duration::from_millis(100) }),
            "shutdown" => self.handle(Event::Shutdown),
            "allowance" => {
                let rate = value(words, "rate").filter(|text| *text != "unlimited");
                let rate = rate.map(|text| text.parse().unwrap());
                self.handle(Event::Allowance { rate, metered: words.contains(&"metered") });
            }
            "again" => self.handle(Event::Restore),
            "history" => {
                let RestoreStatus { state, records, bytes, left_records, left_bytes, .. } =
                    self.engine.status().restoring;
                self.out.push(format!(
                    "{state}: {records} records, {bytes} bytes; {left_records}, {left_bytes} left"
                ));
            }
            "lost-and-found" => {
                let millrace_agent_engine::RegainStatus { state, held_up, records, left_records } =
                    self.engine.status().regaining;
                let why = held_up.map(|why| format!(": {why}")).unwrap_or_default();
                self.out.push(format!("{state}: {records} came back, {left_records} are to come{why}"));
            }
            "timer" => self.handle(Event::Timer),
            "wake" => self.wake(),
            "snapshot" => self.snapshot = Some(self.store.clone()),
            "restore" => self.store = self.snapshot.clone().unwrap(),
            "restart" => self.restart(),
            "status" => self.status(),
            "trouble" => {
                let trouble = self.engine.status().trouble;
                self.out.push(trouble.unwrap_or_else(|| "no trouble".to_owned()));
            }
            _ => self.frame(name, words),
        }
    }

    fn said(&mut self) -> Vec<String> {
        while let Some(command) = self.engine.poll_command() {
            self.out.push(self.names.command(&command));
            match command {
                Command::Commit { commit, changes } => {
                    assert!(self.commit.is_none(), "one commit at a time");
                    self.commit = Some((commit, changes));
                }
                Command::Load(_) | Command::Check { .. } | Command::Survey { .. } => {
                    self.reads.push_back(command);
                }
                Command::Consult { session, number, .. } => self.consulting.push_back((session, number)),
                _ => {}
            }
        }
        std::mem::take(&mut self.out)
    }
}

impl Script {
    fn handle(&mut self, event: Event) {
        self.engine.handle_event(event, self.now);
    }

    fn receive(&mut self, frame: Frame) {
        self.handle(Event::Received(frame));
    }

    /// `normal`, or of another life, by its number, `normal@99`.
    fn lodging(&self, name: &str) -> Lodging {
        let (lane, life) =
            name.split_once('@').map_or((name, None), |(lane, life)| (lane, life.parse().ok()));
        let lodging = Lodging::from(self.store.current(lane.parse().unwrap()));
        Lodging { incarnation: life.map_or(lodging.incarnation, Incarnation::new), ..lodging }
    }

    /// A journal of which a hub brings something: of an older life, unless another one is named.
    fn kept(&self, name: &str) -> Lodging {
        if name.contains('@') { self.lodging(name) } else { older(name) }
    }

    fn publish(&mut self, name: &str, words: &[&str]) {
        let lane: Lane = words[0].parse().unwrap();
        let count = words.get(1).and_then(|word| word.parse().ok()).unwrap_or(1);
        for _ in 0..count {
            self.ticket += 1;
            let wall = Wall(i64::try_from(self.now.0).unwrap());
            if name == "unfit" {
                let reason = GapReason::Oversize;
                self.handle(Event::Unfit { ticket: self.ticket, lane, reason, wall });
                continue;
            }
            let mut payload = self.ticket.to_be_bytes().to_vec();
            payload.resize(usize::try_from(number(words, "size").unwrap_or(8)).unwrap(), 0);
            let record = Record::data(Topic::new("press/7").unwrap(), Bytes::from(payload), wall, self.now.0);
            self.handle(Event::Arrived { ticket: self.ticket, lane, record });
        }
    }

    fn end_commit(&mut self, name: &str) {
        let Some((commit, changes)) = self.commit.take() else {
            self.out.push("no commit is under way".to_owned());
            return;
        };
        let event = if name == "flush" {
            let outcomes = self.store.apply(changes);
            let (durable, usage) = (Durable::attest(commit), self.store.usage());
            Event::Committed { durable, outcomes, usage }
        } else {
            Event::CommitRefused { commit, changes, refusal: Refusal::Full }
        };
        self.handle(event);
    }

    fn answer(&mut self, command: &Command) -> Event {
        match command {
            Command::Load(request) => {
                match self.store.load(&request.journal, request.range, request.bytes_max) {
                    Ok(runs) => Event::Loaded { request: *request, runs },
                    Err(range) => {
                        let aside = self.store.put_aside(request.journal, range);
                        Event::Damaged { request: Some(*request), aside }
                    }
                }
            }
            Command::Check { journal, range } => {
                if let Some(bad) = self.store.bad(journal, *range) {
                    let aside = self.store.put_aside(*journal, bad);
                    self.handle(Event::Damaged { request: None, aside });
                    return Event::Checked { journal: *journal, range: *range, checks: Vec::new() };
                }
                let checks = self.store.checks(journal, *range);
                Event::Checked { journal: *journal, range: *range, checks }
            }
            Command::Survey { per_journal } => Event::Surveyed { segments: self.store.survey(*per_journal) },
            other => panic!("{other:?} is no read"),
        }
    }

    fn wake(&mut self) {
        let Some((at, reason)) = self.engine.poll_timeout() else {
            self.out.push("sleeps for ever".to_owned());
            return;
        };
        self.now = self.now.max(at);
        self.out.push(format!("at {} ms: {reason:?}", self.now.0 / 1_000));
        self.handle(Event::Timer);
    }

    fn restart(&mut self) {
        (self.commit, self.reads, self.held) = (None, VecDeque::new(), VecDeque::new());
        let (config, store) = (self.config.clone(), &self.store);
        self.engine = Engine::new(config, store.incarnation, store.states(), store.usage(), 2, self.now);
        if let Some(value) = self.store.remembered.get(millrace_agent_engine::EPOCH_NAME) {
            self.engine.recall_epoch(value);
        }
        if let Some(value) = self.store.remembered.get(RESTORE_NAME) {
            self.engine.recall_restore(value);
        }
    }

    fn status(&mut self) {
        let status = self.engine.status();
        let ledger = status.ledger;
        assert!(status.balanced, "{ledger:?}");
        if self.commit.is_none() && self.held.is_empty() {
            let store = self.store.ledger();
            assert_eq!(
                (ledger.ingested, ledger.evicted),
                (store.ingested, store.evicted),
                "{ledger:?} {store:?}"
            );
        }
        let held = if status.blocked { ", holds back" } else { "" };
        let room = if self.engine.has_room() { "" } else { ", reads no more" };
        self.out.push(format!(
            "{}: {} ingested = {} acked + {} pending + {} evicted + {} rejected{held}{room}",
            status.session, ledger.ingested, ledger.acked, ledger.pending, ledger.evicted, ledger.rejected
        ));
    }

    fn frame(&mut self, name: &str, words: &[&str]) {
        let frame = match name {
            "welcome" => Frame::Welcome(Box::new(self.welcome(words))),
            "acks" => {
                let (journal, ranges) = (self.lodging(words[0]), ranges(words[1]));
                Frame::Acks(Acks { acks: vec![Ack { journal, level: AckLevel::Quorum, ranges }] })
            }
            "recalled" => {
                let kept = words.iter().filter(|word| word.contains(':')).map(|word| {
                    let (lane, kept) = word.split_once(':').unwrap();
                    let ranges = ranges(kept);
                    let bytes = ranges.count() * 8;
                    Kept { journal: older(lane), ranges, bytes, newest: Wall(0) }
                });
                let (journals, complete) = (kept.collect(), !words.contains(&"incomplete"));
                Frame::Recalled(Recalled { journals, complete })
            }
            "brought" => {
                let range = range(words[1]);
                let bytes = number(words, "bytes").unwrap_or(range.count() * 8);
                Frame::Run(RunFrame {
                    journal: self.kept(words[0]),
                    first: range.first(),
                    count: u32::try_from(range.count()).unwrap(),
                    encoding: Encoding::Plain,
                    body: Bytes::from(vec![0; usize::try_from(bytes).unwrap()]),
                    segment: None,
                })
            }
            "fetched" => {
                let absent = value(words, "absent").map_or_else(RangeSet::new, ranges);
                Frame::Fetched(Fetched { journal: self.kept(words[0]), absent })
            }
            "hubs" => Frame::Hubs(Hubs { hubs: Vec::new() }),
            "credit" => Frame::Credit(Credit { total: words[0].parse().unwrap() }),
            "wanted" => Frame::Wanted(Records { journal: self.lodging(words[0]), ranges: ranges(words[1]) }),
            "regain" => Frame::Regain(Records { journal: self.lodging(words[0]), ranges: ranges(words[1]) }),
            "doubt" => Frame::Doubt(Records { journal: self.lodging(words[0]), ranges: ranges(words[1]) }),
            "inquiry" => {
                let (number, journal) = (words[1].parse().unwrap(), self.lodging(words[0]));
                Frame::Inquiry(Inquiry { number, journal, about: About::Outline { from: 1 } })
            }
            "conflict" => {
                Frame::Conflict(Conflict { journal: self.lodging(words[0]), ranges: ranges(words[1]) })
            }
            "decline" => {
                let (journal, range) = (self.lodging(words[0]), range(words[1]));
                let reason = "damaged on the way".to_owned();
                Frame::Decline(Decline { journal, first: range.first(), last: range.last(), reason })
            }
            "compared" => {
                // Comparisons are of the journals before the current ones; the script knows one of them.
                let old = self.store.journals.iter().find(|(id, journal)| {
                    journal.retired && id.lane.name() == words[0] && !journal.records.is_empty()
                });
                let (journal, range) = (Lodging::from(*old.unwrap().0), range(words[1]));
                let equal = ranges(value(words, "equal").unwrap());
                Frame::Compared(Compared { journal, first: range.first(), last: range.last(), equal })
            }
            "goodbye" => {
                let code = match words[0] {
                    "superseded" => GoodbyeCode::Superseded,
                    "revoked" => GoodbyeCode::Revoked,
                    "unavailable" => GoodbyeCode::Unavailable,
                    _ => GoodbyeCode::Shutdown,
                };
                let retry_after_ms = number(words, "after").unwrap_or(0);
                Frame::Goodbye(Goodbye { code, reason: "the hub's words".to_owned(), retry_after_ms })
            }
            other => panic!("`{other}` is no event"),
        };
        self.receive(frame);
    }

    fn welcome(&self, words: &[&str]) -> Welcome {
        let holdings = words.iter().filter(|word| word.contains(':')).map(|word| {
            let parts: Vec<&str> = word.split(':').collect();
            let journal = self.store.current(parts[0].parse().unwrap());
            let held = ranges(parts[1]);
            let head = held.last().unwrap_or(0);
            let verdict = parts.get(2).copied().unwrap_or("same");
            let head_check = match verdict {
                "same" => self.store.check(&journal, head),
                _ => Some(RecordCheck(0)),
            };
            let verdict = match verdict {
                "rolled-back" => Verdict::RolledBack,
                "forked" => Verdict::Forked,
                _ => Verdict::Continues,
            };
            let (incarnation, lane) = (journal.incarnation, journal.lane);
            let safe = parts.get(3).map_or_else(|| held.clone(), |safe| ranges(safe));
            Holding { incarnation, lane, held, head, head_check, verdict, safe }
        });
        Welcome {
            session: 1,
            hub: HubId::from_bytes([9; 16]),
            name: "hub".to_owned(),
            region: "north".to_owned(),
            time: Wall(0),
            holdings: holdings.collect(),
            credit: number(words, "credit").unwrap_or(1 << 20),
            hubs: Vec::new(),
            epoch: number(words, "epoch").unwrap_or(1),
            complete: !words.contains(&"incomplete"),
            recalls: words.contains(&"recalls"),
        }
    }
}
