//! An honest hub: it stores what fits, acknowledges what it flushed, and says what differs.
//!
//! Promise: one content for each place in a journal, for ever; a run without credit fails the test.

use std::collections::BTreeMap;

use millrace_model::{AckLevel, HubId, Incarnation, JournalId, RangeSet, RecordCheck, Seq, SeqRange, Wall};
use millrace_wire::{
    Ack, Acks, Compared, Conflict, Credit, Decline, Frame, Goodbye, GoodbyeCode, Hello, Holding, Lodging,
    RunFrame, Verdict, Welcome,
};

use crate::store::DEVICE;

/// A frame that no honest hub sends.
pub(crate) fn lie(kind: u8, journal: Lodging, range: SeqRange) -> Frame {
    let (first, last, ranges) = (range.first(), range.last(), RangeSet::from(range));
    match kind % 8 {
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

#[derive(Debug)]
pub(crate) struct Hub {
    pub(crate) journals: BTreeMap<JournalId, BTreeMap<Seq, u64>>,
    waiting: Vec<RunFrame>,
    window: u64,
    granted: u64,
    received: u64,
    settled: u64,
}

impl Hub {
    pub(crate) fn new(window: u64) -> Self {
        Self { journals: BTreeMap::new(), waiting: Vec::new(), window, granted: 0, received: 0, settled: 0 }
    }

    pub(crate) fn has(&self, journal: &JournalId, seq: Seq, content: u64) -> bool {
        self.journals.get(journal).and_then(|records| records.get(&seq)) == Some(&content)
    }

    pub(crate) fn session_ended(&mut self) {
        self.waiting.clear();
    }

    /// What it says to a frame at once.
    pub(crate) fn answer(&mut self, frame: Frame) -> Option<Frame> {
        match frame {
            Frame::Hello(hello) => {
                // What is under way is flushed before anything is said of it.
                self.waiting.clear();
                (self.granted, self.received, self.settled) = (self.window, 0, 0);
                Some(Frame::Welcome(Box::new(self.welcome(&hello))))
            }
            Frame::Run(run) => {
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
            Frame::Seal(_) | Frame::Goodbye(_) => None,
            other => panic!("an agent never sends {}", other.name()),
        }
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
