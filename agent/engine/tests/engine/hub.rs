//! An honest hub: it stores what fits, acknowledges what it flushed, and says what differs.
//!
//! Promise: one content for each place in a journal, for ever; a run without credit fails the test.

use std::collections::BTreeMap;

use millrace_model::{
    AckLevel, Encoding, HubId, Incarnation, JournalId, Lane, NodeHash, RangeSet, RecordCheck, SegmentHash,
    SegmentName, Seq, SeqRange, Wall,
};
use millrace_wire::{
    Ack, Acks, Compared, Conflict, Credit, Decline, Fetch, Fetched, Frame, Goodbye, GoodbyeCode, HashAt,
    Hashes, Hello, Holding, Kept, Lodging, Recalled, Records, RunFrame, Seal, Verdict, Welcome,
};

use crate::store::DEVICE;

/// A frame that no honest hub sends.
pub(crate) fn lie(kind: u8, journal: Lodging, range: SeqRange) -> Frame {
    let (first, last, ranges) = (range.first(), range.last(), RangeSet::from(range));
    match kind % 15 {
        14 => {
            let hash = |level| HashAt { level, index: first, hash: NodeHash([1; 16]) };
            Frame::Adopt(Hashes { journal, hashes: [0, 1, 255].map(hash).into() })
        }
        13 => Frame::Run(RunFrame {
            journal,
            first,
            count: 1,
            encoding: Encoding::Plain,
            body: vec![9; 8].into(),
            segment: None,
        }),
        12 => {
            let hash = SegmentHash([0; 32]);
            Frame::Seal(Seal { journal, segment: SegmentName { ordinal: last, first, count: 9, hash } })
        }
        11 => Frame::Regain(Records { journal, ranges }),
        8 => Frame::Fetched(Fetched { journal, absent: ranges }),
        9 => {
            let other = Lodging { incarnation: Incarnation::new(first), lane: journal.lane };
            let kept = |journal, newest| Kept { journal, ranges: ranges.clone(), bytes: last, newest };
            let journals = vec![kept(journal, Wall(0)), kept(other, Wall(1)), kept(other, Wall(2))];
            Frame::Recalled(Recalled { journals, complete: last % 2 == 0 })
        }
        10 => Frame::Run(RunFrame {
            journal: Lodging { incarnation: Incarnation::new(first), lane: journal.lane },
            first,
            count: 1,
            encoding: Encoding::Plain,
            body: vec![0; 8].into(),
            segment: None,
        }),
        0 => Frame::Acks(Acks { acks: vec![Ack { journal, level: AckLevel::Quorum, ranges }; 2] }),
        1 => Frame::Credit(Credit { total: last }),
        2 => Frame::Conflict(Conflict { journal, ranges }),
        3 => Frame::Compared(Compared { journal, first, last, equal: ranges }),
        4 => Frame::Decline(Decline { journal, first, last, reason: "a lie".to_owned() }),
        5 => {
            let reason = "a lie".to_owned();
            Frame::Goodbye(Goodbye { code: GoodbyeCode::Superseded, reason, retry_after_ms: last })
        }
        _ => {
            // The same journal three times, once under a life that never was, and a head past all numbers.
            let Lodging { incarnation, lane } = journal;
            let (held, head_check) = (ranges, Some(RecordCheck(first)));
            let verdict = Verdict::Continues;
            let true_one = Holding {
                incarnation,
                lane,
                held: held.clone(),
                head: last,
                head_check,
                verdict,
                safe: held,
            };
            let unknown = Holding { incarnation: Incarnation::new(77), ..true_one.clone() };
            let near = Holding { head: first, ..true_one.clone() };
            Frame::Welcome(Box::new(Welcome {
                session: last,
                hub: HubId::from_bytes([9; 16]),
                name: "liar".to_owned(),
                region: String::new(),
                time: Wall(i64::MIN),
                holdings: vec![true_one.clone(), unknown, near, true_one],
                credit: last,
                hubs: Vec::new(),
                epoch: 1,
                complete: true,
                recalls: false,
            }))
        }
    }
}

/// The segments of an older life: four records each, as far as they are there.
pub(crate) fn old_segments(records: &BTreeMap<Seq, u64>) -> Vec<Vec<(Seq, u64)>> {
    let mut segments: Vec<Vec<(Seq, u64)>> = Vec::new();
    for (seq, payload) in records {
        match segments.last_mut() {
            Some(last) if last.len() < 4 && last[last.len() - 1].0 + 1 == *seq => last.push((*seq, *payload)),
            _ => segments.push(vec![(*seq, *payload)]),
        }
    }
    segments
}

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) journals: BTreeMap<JournalId, BTreeMap<Seq, u64>>,
    waiting: Vec<RunFrame>,
    /// What it keeps of an older life of the device, by payload.
    pub(crate) old: BTreeMap<JournalId, BTreeMap<Seq, u64>>,
    /// How often it says first that it has not got everything.
    pub(crate) partial_answers: u8,
    window: u64,
    granted: u64,
    received: u64,
    settled: u64,
}

impl Hub {
    pub(crate) fn new(window: u64) -> Self {
        Self {
            journals: BTreeMap::new(),
            waiting: Vec::new(),
            old: BTreeMap::new(),
            partial_answers: 0,
            window,
            granted: 0,
            received: 0,
            settled: 0,
        }
    }

    pub(crate) fn has(&self, journal: &JournalId, seq: Seq, content: u64) -> bool {
        self.journals.get(journal).and_then(|records| records.get(&seq)) == Some(&content)
    }

    pub(crate) fn session_ended(&mut self) {
        self.waiting.clear();
    }

    /// What it says to a frame at once.
    pub(crate) fn answer(&mut self, frame: Frame) -> Vec<Frame> {
        let answer = match frame {
            Frame::Hello(hello) => {
                // What is under way is flushed before anything is said of it.
                self.waiting.clear();
                (self.granted, self.received, self.settled) = (self.window, 0, 0);
                Some(Frame::Welcome(Box::new(self.welcome(&hello))))
            }
            Frame::Run(run) => {
                let journal = run.journal.of(DEVICE);
                assert!(!self.old.contains_key(&journal), "what came back is not sent again");
                assert!(self.received < self.granted, "a run came without credit");
                self.received += run.cost();
                self.waiting.push(run);
                None
            }
            Frame::Compare(compare) => {
                let journal = compare.journal.of(DEVICE);
                let here = self.journals.get(&journal);
                let same = |(seq, check): &(Seq, RecordCheck)| {
                    here.and_then(|records| records.get(seq)) == Some(&check.0)
                };
                let equal = compare.pairs().filter(same).map(|(seq, _)| SeqRange::only(seq)).collect();
                let range = compare.range().unwrap();
                let (first, last) = (range.first(), range.last());
                Some(Frame::Compared(Compared { journal: compare.journal, first, last, equal }))
            }
            Frame::Recall(_) => Some(Frame::Recalled(self.recalled())),
            Frame::Fetch(fetch) => return self.fetched(&fetch),
            Frame::Seal(_) | Frame::Goodbye(_) => None,
            other => panic!("an agent never sends {}", other.name()),
        };
        answer.into_iter().collect()
    }

    /// What it keeps of the device's older life. It may not have all of it yet: then the bulk lane lacks.
    fn recalled(&mut self) -> Recalled {
        let complete = self.partial_answers == 0;
        self.partial_answers = self.partial_answers.saturating_sub(1);
        let kept = |(journal, records): (&JournalId, &BTreeMap<Seq, u64>)| Kept {
            journal: Lodging::from(*journal),
            ranges: records.keys().map(|seq| SeqRange::only(*seq)).collect(),
            bytes: records.len() as u64 * 8,
            newest: Wall(0),
        };
        let told = self.old.iter().filter(|(journal, _)| complete || journal.lane != Lane::Bulk);
        Recalled { journals: told.map(kept).collect(), complete }
    }

    /// What it has of a journal.
    pub(crate) fn keeps(&self, journal: &JournalId) -> RangeSet {
        self.journals.get(journal).into_iter().flatten().map(|(seq, _)| SeqRange::only(*seq)).collect()
    }

    /// At most two segments, the newest first, whole.
    fn fetched(&self, fetch: &Fetch) -> Vec<Frame> {
        let journal = fetch.journal.of(DEVICE);
        let none = BTreeMap::new();
        let records = self.old.get(&journal).or_else(|| self.journals.get(&journal)).unwrap_or(&none);
        let mut frames = Vec::new();
        for segment in old_segments(records).into_iter().rev() {
            let range = SeqRange::new(segment[0].0, segment[segment.len() - 1].0).unwrap();
            if frames.len() < 2 && !fetch.ranges.within(range).is_empty() {
                frames.push(Frame::Run(RunFrame {
                    journal: fetch.journal,
                    first: range.first(),
                    count: u32::try_from(segment.len()).unwrap(),
                    encoding: Encoding::Plain,
                    body: segment.iter().flat_map(|(_, payload)| payload.to_be_bytes()).collect(),
                    segment: None,
                }));
            }
        }
        let here: RangeSet = records.keys().map(|seq| SeqRange::only(*seq)).collect();
        let absent = fetch.ranges.difference(&here);
        frames.push(Frame::Fetched(Fetched { journal: fetch.journal, absent }));
        frames
    }

    fn welcome(&self, hello: &Hello) -> Welcome {
        let holdings = hello.journals.iter().map(|summary| {
            let journal = Lodging { incarnation: summary.incarnation, lane: summary.lane }.of(DEVICE);
            let none = BTreeMap::new();
            let records = self.journals.get(&journal).unwrap_or(&none);
            let (head, content) = records.last_key_value().map_or((0, None), |(seq, c)| (*seq, Some(*c)));
            let at_head = records.get(&summary.head);
            let differs = matches!((summary.head_check, at_head), (Some(a), Some(b)) if a.0 != *b);
            let verdict = match (head > summary.head, differs) {
                (true, _) => Verdict::RolledBack,
                (false, true) => Verdict::Forked,
                (false, false) => Verdict::Continues,
            };
            let held: millrace_model::RangeSet = records.keys().map(|seq| SeqRange::only(*seq)).collect();
            let head_check = content.map(RecordCheck);
            Holding {
                incarnation: summary.incarnation,
                lane: summary.lane,
                held: held.clone(),
                head,
                head_check,
                verdict,
                safe: held,
            }
        });
        Welcome {
            session: 1,
            hub: HubId::from_bytes([9; 16]),
            name: "hub".to_owned(),
            region: "north".to_owned(),
            time: Wall(0),
            holdings: holdings.collect(),
            credit: self.window,
            hubs: Vec::new(),
            epoch: 1,
            complete: true,
            recalls: true,
        }
    }

    /// Everything that came is flushed: what it says about it.
    pub(crate) fn flush(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        for run in std::mem::take(&mut self.waiting) {
            let journal = run.journal.of(DEVICE);
            self.settled += run.cost();
            let range = run.clone().into_run(DEVICE).range().unwrap();
            let contents = run.body.as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes));
            let records = self.journals.entry(journal).or_default();
            let news: Vec<(Seq, u64)> = (range.first()..=range.last()).zip(contents).collect();
            assert_eq!(news.len() as u64, range.count());
            let differ = |(seq, content): &&(Seq, u64)| records.get(seq).is_some_and(|c| c != content);
            let conflict: RangeSet =
                news.iter().filter(differ).map(|(seq, _)| SeqRange::only(*seq)).collect();
            if conflict.is_empty() {
                records.extend(news);
                let (level, ranges) = (AckLevel::Hub, RangeSet::from(range));
                frames.push(Frame::Acks(Acks { acks: vec![Ack { journal: run.journal, level, ranges }] }));
            } else {
                frames.push(Frame::Conflict(Conflict { journal: run.journal, ranges: conflict }));
            }
        }
        if self.settled + self.window >= self.granted + self.window / 4 {
            self.granted = self.settled + self.window;
            frames.push(Frame::Credit(Credit { total: self.granted }));
        }
        frames
    }
}
