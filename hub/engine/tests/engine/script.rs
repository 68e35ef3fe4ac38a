//! Plays the events of a transcript and writes down what the engine asks for.
//!
//! What a transcript is stands in [`millrace_sim::transcript`]. The first event is `hub`, with settings. Devices are letters, links are numbers; `inc=N` names
//! an incarnation other than 1.
//!
//! | event | meaning |
//! |---|---|
//! | `hub key=value …` | a new hub over a new store; keys: `links online memory credit rate bytes journals holes disk`, in hours `keep least` |
//! | `open LINK DEVICE`, `closed LINK` | a connection stands, is over |
//! | `hello LINK [LANE:HEAD[:other]]…` | the agent's heads, with the hub's own checks or with another |
//! | `run`, `seal`, `compare` `LINK LANE RANGE` | frames; `content=K` makes other records, `short` a damaged body |
//! | `gap LINK LANE SEQ RANGE` | a record that declares a loss |
//! | `acks LINK`, `goodbye LINK` | a frame that is out of turn; a farewell |
//! | `flush`, `refuse`, `read` | the commit under way was flushed; the disk was full; all checks are answered |
//! | `revoke DEVICE`, `shutdown`, `wake`, `devices`, `restart [DEVICE]…` | as they say |
//! | `hours N`, `seconds N`, `retain [DEVICE]…` | time passes; the daily look, with devices that never come back |
//! | `measured DEVICE LANE BYTES` | what the store has for a journal |
//! | `damage DEVICE LANE RANGE`, `rot DEVICE LANE RANGE` | a read met damage, which is moved aside; nobody has noticed it yet |
//! | `recall LINK`, `fetch LINK LANE RANGE` | a device with a new disk asks what is kept of it; `inc=N` names the older life |
//! | `recalled LINK [LANE:RANGE]…`, `fetched LINK LANE [RANGE]… [damaged=RANGE]` | what was read for it; `unread`: nothing could be |
//! | `replaced LINK` | another machine took the place of that connection's |
//! | `absent LINK LANE RANGE` | the agent has not got what was wanted |
//! | `told LINK MINE THEIRS` | what this hub's store and the agent of a connection answer to the question of a round: `1-4,6-8`, or `unreadable` |
//! | `mending` | what is being fetched |
//! | `placed me=N hubs=N,N… [empty=N,N…] [target=N,N…] [life=N] [raised]` | what the cluster committed; those that are `empty` are not full |
//! | `up`, `down NODE`; `said NODE FRAME …` | my stream to another hub; what it says |
//! | `guest LINK NODE`, `left LINK`; `says LINK FRAME …` | a stream of another hub; what it says |
//! | `load` | what was asked for is read for other hubs |
//! | `hubs N [load=N]`, `drain`, `stay` | the hubs that agents are told of; this one drains, or not after all |
//! | `owed` | how things stand with the others |

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use millrace_hub_engine::{
    Asker, Command, Config, Engine, Event, Fullness, History, LinkId, Measure, WhenFull,
};
use millrace_merkle::{Outline, Told, spans};
use millrace_model::digest::Summary;
use millrace_model::notice::{Gap, GapReason};
use millrace_model::store::{Change, Refusal};
use millrace_model::{
    AckLevel, DeviceId, Durable, Encoding, HubId, Incarnation, JournalId, Moment, NodeId, RangeSet,
    RecordCheck, Run, SegmentHash, SegmentName, SeqRange, Wall,
};
use millrace_sim::transcript::{Subject, number, range};
use millrace_wire::{
    Acks, Compare, Fetch, Frame, Goodbye, GoodbyeCode, Hello, JournalSummary, Lodging, Recall, Records,
    Reply, RunFrame, Seal,
};

use crate::store::Store;
use crate::{cluster, lines};

pub(crate) struct Script {
    engine: Engine,
    config: Config,
    store: Store,
    now: Moment,
    commit: Option<(u64, Vec<Change>)>,
    checks: VecDeque<(JournalId, SeqRange)>,
    devices: std::collections::BTreeMap<LinkId, DeviceId>,
    loads: Vec<(NodeId, JournalId, SeqRange)>,
    asked: Option<(Asker, u64)>,
    out: Vec<String>,
}

fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3_600)
}

fn size(words: &[&str], key: &str, otherwise: usize) -> usize {
    number(words, key).map_or(otherwise, |number| usize::try_from(number).unwrap())
}

pub(crate) fn device(text: &str) -> DeviceId {
    DeviceId::from_bytes([text.as_bytes()[0]; 16])
}

pub(crate) fn lodging(words: &[&str], lane: &str) -> Lodging {
    let incarnation = Incarnation::new(number(words, "inc").unwrap_or(1));
    Lodging { incarnation, lane: lane.parse().unwrap() }
}

/// A store's answer: what it has, under one digest whatever that is.
fn told(text: &str) -> Told {
    if text == "unreadable" {
        return Told::Unreadable;
    }
    let present: RangeSet = text.split(',').map(range).collect();
    let head = present.last().unwrap();
    let (present, more) = spans::encode(&present, 1);
    let summary = Summary::default();
    Told::Outline(Outline { floor: 1, head, first_ordinal: 0, summary, present, more })
}

/// What the record at `seq` says in the history `K`.
fn content(words: &[&str], seq: u64) -> u64 {
    seq.wrapping_mul(10).wrapping_add(number(words, "content").unwrap_or(0))
}

pub(crate) fn run(words: &[&str]) -> RunFrame {
    let (lane, range) = (words[1], range(words[2]));
    let mut body: Vec<u8> =
        (range.first()..=range.last()).flat_map(|seq| content(words, seq).to_be_bytes()).collect();
    if words.contains(&"short") {
        body.truncate(4);
    }
    RunFrame {
        journal: lodging(words, lane),
        first: range.first(),
        count: u32::try_from(range.count()).unwrap(),
        encoding: Encoding::Plain,
        body: Bytes::from(body),
        segment: None,
    }
}

impl Subject for Script {
    const FIRST: &'static str = "hub";

    fn begin(words: &[&str]) -> Self {
        let mut config = Config::new(HubId::from_bytes([9; 16]), "hub", "north");
        config.links_max = size(words, "links", config.links_max);
        config.incarnations_online_max = size(words, "online", config.incarnations_online_max);
        config.device_journals_max = size(words, "journals", config.device_journals_max);
        config.journal_ranges_max = size(words, "holes", config.journal_ranges_max);
        config.memory_budget_bytes = number(words, "memory").unwrap_or(config.memory_budget_bytes);
        config.credit_max_bytes = number(words, "credit").unwrap_or(config.credit_max_bytes);
        config.device_rate = number(words, "rate");
        config.device_bytes_max = number(words, "bytes").unwrap_or(config.device_bytes_max);
        config.disk_budget_bytes = number(words, "disk").unwrap_or(config.disk_budget_bytes);
        config.keep = number(words, "keep").map(hours);
        if let Some(least) = number(words, "least") {
            config.when_full = WhenFull::DropOldest { keep_at_least: hours(least) };
        }
        let store = Store::default();
        Self {
            engine: Engine::new(config.clone(), &[], store.usage(), Moment(0)),
            config,
            store,
            now: Moment(0),
            commit: None,
            checks: VecDeque::new(),
            devices: std::collections::BTreeMap::new(),
            loads: Vec::new(),
            asked: None,
            out: Vec::new(),
        }
    }

    fn event(&mut self, name: &str, words: &[&str]) {
        let link = words.first().and_then(|word| word.parse::<LinkId>().ok()).unwrap_or(0);
        match name {
            "open" => {
                self.devices.insert(link, device(words[1]));
                self.handle(Event::Opened { link, device: device(words[1]) });
            }
            "closed" => self.handle(Event::Closed { link }),
            "hello" => self.hello(link, words),
            "run" => self.receive(link, Frame::Run(run(words))),
            "gap" => self.gap(link, words),
            "seal" => {
                let range = range(words[2]);
                let count = u32::try_from(range.count()).unwrap();
                let hash = SegmentHash([0; 32]);
                let segment = SegmentName { ordinal: 0, first: range.first(), count, hash };
                self.receive(link, Frame::Seal(Seal { journal: lodging(words, words[1]), segment }));
            }
            "compare" => {
                let range = range(words[2]);
                let checks: Vec<RecordCheck> =
                    (range.first()..=range.last()).map(|seq| RecordCheck(content(words, seq))).collect();
                let compare = Compare::new(lodging(words, words[1]), range.first(), &checks);
                self.receive(link, Frame::Compare(compare));
            }
            "acks" => self.receive(link, Frame::Acks(Acks { acks: Vec::new() })),
            "goodbye" => {
                let reason = "the agent stops".to_owned();
                let goodbye = Goodbye { code: GoodbyeCode::Shutdown, reason, retry_after_ms: 0 };
                self.receive(link, Frame::Goodbye(goodbye));
            }
            "flush" | "refuse" => self.end_commit(name),
            "read" => {
                for (journal, range) in std::mem::take(&mut self.checks) {
                    let checks = self.store.checks(&journal, range);
                    self.handle(Event::Checked { journal, range, checks });
                }
            }
            "revoke" => {
                self.handle(Event::Revoked { device: device(words[0]), reason: "stolen".to_owned() });
            }
            "shutdown" => self.handle(Event::Shutdown),
            "wake" => self.wake(),
            "devices" => self.summaries(),
            "hours" => {
                self.now = self.now + hours(words[0].parse().unwrap());
                self.handle(Event::Clock { wall: Wall(i64::try_from(self.now.0).unwrap()) });
            }
            "seconds" => self.now = self.now + Duration::from_secs(words[0].parse().unwrap()),
            "retain" => {
                let gone = words.iter().map(|word| device(word)).collect();
                self.handle(Event::Retain { gone });
            }
            "measured" => {
                let journal = lodging(words, words[1]).of(device(words[0]));
                let measure = Measure { bytes: words[2].parse().unwrap(), ..Measure::default() };
                self.handle(Event::Measured { stored: vec![(journal, measure)] });
            }
            "damage" => {
                let journal = lodging(words, words[1]).of(device(words[0]));
                let aside = self.store.damage(journal, range(words[2]));
                self.handle(Event::Damaged(aside));
            }
            "rot" => {
                let journal = lodging(words, words[1]).of(device(words[0]));
                self.store.damage(journal, range(words[2]));
            }
            "recall" => self.receive(link, Frame::Recall(Recall { journals_max: 192 })),
            "fetch" => {
                let (journal, ranges) = (lodging(words, words[1]), range(words[2]).into());
                self.receive(link, Frame::Fetch(Fetch { journal, ranges, bytes_max: 1 << 20 }));
            }
            "recalled" => {
                let device = self.devices[&link];
                let kept = words.iter().filter_map(|word| word.split_once(':')).map(|(lane, kept)| History {
                    journal: lodging(words, lane).of(device),
                    present: range(kept).into(),
                    bytes: 100,
                    newest: Wall(0),
                });
                let kept = (!words.contains(&"unread")).then(|| kept.collect());
                self.handle(Event::Recalled { link, kept });
            }
            "fetched" => {
                let journal = lodging(words, words[1]).of(self.devices[&link]);
                let came = words[2..].iter().filter(|word| !word.contains('='));
                let runs = came.map(|came| {
                    let range = range(came);
                    let (first, count) = (range.first(), u32::try_from(range.count()).unwrap());
                    let (encoding, body) = (Encoding::Plain, Bytes::new());
                    Run { journal, first, count, encoding, body, segment: None }
                });
                let damaged = millrace_sim::transcript::value(words, "damaged").map(range);
                let damaged = damaged.into_iter().collect();
                self.handle(Event::Fetched { link, runs: runs.collect(), damaged });
            }
            "replaced" => self.handle(Event::Replaced { links: vec![link] }),
            "absent" => {
                let absent = Records { journal: lodging(words, words[1]), ranges: range(words[2]).into() };
                self.receive(link, Frame::Absent(absent));
            }
            "told" => {
                let (asker, number) = self.asked.take().unwrap();
                self.handle(Event::Consulted { asker, number, told: told(words[1]) });
                self.receive(link, Frame::Reply(Reply { number, told: told(words[2]) }));
            }
            "mending" => {
                for mend in self.engine.mending(self.now) {
                    self.out.push(lines::mend(&mend));
                }
            }
            "restart" => {
                let remembered = self.engine.remembered();
                let (states, usage) = (self.store.states(), self.store.usage());
                self.engine = Engine::new(self.config.clone(), &states, usage, self.now);
                let gone = words.iter().map(|word| device(word)).collect();
                self.engine.recall(remembered.unwrap_or_default(), &gone);
                self.handle(Event::Clock { wall: Wall(i64::try_from(self.now.0).unwrap()) });
            }
            other => {
                if let Some(event) = cluster::event(other, words) {
                    return self.handle(event);
                }
                self.cluster(other, words);
            }
        }
    }

    fn said(&mut self) -> Vec<String> {
        while let Some(command) = self.engine.poll_command() {
            self.out.push(lines::command(&command));
            match command {
                Command::Commit { commit, changes } => {
                    assert!(self.commit.is_none(), "one commit at a time");
                    self.commit = Some((commit, changes));
                }
                Command::Check { journal, range } => self.checks.push_back((journal, range)),
                Command::Consult { asker, number, .. } => self.asked = Some((asker, number)),
                Command::Load { node, journal, range, .. } => self.loads.push((node, journal, range)),
                _ => {}
            }
        }
        std::mem::take(&mut self.out)
    }
}

impl Script {
    fn cluster(&mut self, name: &str, words: &[&str]) {
        match name {
            "load" => {
                for (node, journal, range) in std::mem::take(&mut self.loads) {
                    let runs = self.store.load(&journal, range);
                    self.handle(Event::Loaded { node, journal, range, runs });
                }
            }
            "owed" => {
                for debt in self.engine.replication() {
                    let connected = if debt.connected { "" } else { ", away" };
                    let full = if debt.full { "" } else { ", not full" };
                    let way = debt.bytes_under_way;
                    let owed = format!(
                        "{}: owed {}, {way} bytes under way{connected}{full}",
                        debt.node, debt.records
                    );
                    self.out.push(owed);
                }
                let Fullness { partitions, synced, lacking } = self.engine.fullness();
                self.out.push(format!("{synced} of {partitions} partitions synced, {lacking} lacking"));
            }
            other => panic!("`{other}` is no event ({words:?})"),
        }
    }

    fn handle(&mut self, event: Event) {
        self.engine.handle_event(event, self.now);
    }

    fn receive(&mut self, link: LinkId, frame: Frame) {
        self.handle(Event::Received { link, frame });
    }

    fn hello(&mut self, link: LinkId, words: &[&str]) {
        let device = self.devices[&link];
        let journals = words.iter().filter(|word| word.contains(':')).map(|word| {
            let parts: Vec<&str> = word.split(':').collect();
            let Lodging { incarnation, lane } = lodging(words, parts[0]);
            let (head, journal) = (parts[1].parse().unwrap(), JournalId { device, incarnation, lane });
            let other = parts.contains(&"other");
            let head_check = if other { Some(RecordCheck(0)) } else { self.store.check(&journal, head) };
            JournalSummary { incarnation, lane, floor: 1, head, head_check }
        });
        let hello = Hello {
            software: "agent 1".to_owned(),
            incarnation: lodging(words, "urgent").incarnation,
            level: if words.contains(&"level=quorum") { AckLevel::Quorum } else { AckLevel::Hub },
            journals: journals.collect(),
        };
        self.receive(link, Frame::Hello(hello));
    }

    fn gap(&mut self, link: LinkId, words: &[&str]) {
        let lost = range(words[3]);
        let Lodging { incarnation, lane } = lodging(words, "bulk");
        let frame = run(&[words[0], words[1], words[2], "content=7"]);
        let gap = Gap {
            incarnation,
            lane,
            range: Some((lost.first(), lost.last())),
            after: None,
            count: lost.count(),
            reason: GapReason::DropOldest,
            from: Wall(0),
            to: Wall(0),
        };
        self.store.gaps.insert(content(&["content=7"], frame.first), gap);
        self.receive(link, Frame::Run(frame));
    }

    fn end_commit(&mut self, name: &str) {
        let Some((commit, changes)) = self.commit.take() else {
            self.out.push("no commit is under way".to_owned());
            return;
        };
        if name == "refuse" {
            self.handle(Event::CommitRefused { commit, refusal: Refusal::Full });
            return;
        }
        let outcomes = self.store.apply(changes);
        let usage = self.store.usage();
        self.handle(Event::Committed { durable: Durable::attest(commit), outcomes, usage });
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

    fn summaries(&mut self) {
        for summary in self.engine.devices() {
            self.out.push(format!(
                "{}: {} online, {} records, {} declared lost, {} missing{}",
                lines::device(summary.device),
                summary.online.len(),
                summary.records,
                summary.declared,
                summary.missing,
                if summary.dropped > 0 { format!(", {} dropped", summary.dropped) } else { String::new() },
            ));
        }
    }
}
