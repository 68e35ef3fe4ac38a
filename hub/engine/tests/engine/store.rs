//! A store that is a map: what the journal does in SQLite, in memory and in one step.
//!
//! Promise: the rules of `millrace_model::store`. A record is eight bytes of a run's body: its content.
//! Absent: compression, hashes of segments.

use std::collections::BTreeMap;

use millrace_model::digest::Summary;
use millrace_model::notice::Gap;
use millrace_model::store::{Change, JournalState, Outcome, Quarantined, Usage};
use millrace_model::{Encoding, JournalId, Ledger, RangeSet, RecordCheck, Run, Seq, SeqRange};

/// Bytes that one record takes on this store's disk.
pub(crate) const RECORD_BYTES: u64 = 100;

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) journals: BTreeMap<JournalId, BTreeMap<Seq, u64>>,
    /// Everything that was ever here.
    pub(crate) ever: BTreeMap<JournalId, BTreeMap<Seq, u64>>,
    /// First records that are kept, where something was dropped.
    pub(crate) floors: BTreeMap<JournalId, Seq>,
    /// The record with this content declares this gap.
    pub(crate) gaps: BTreeMap<u64, Gap>,
}

impl Store {
    pub(crate) fn usage(&self) -> Usage {
        let records: usize = self.journals.values().map(BTreeMap::len).sum();
        Usage { used_bytes: records as u64 * RECORD_BYTES, written_bytes: 0 }
    }

    pub(crate) fn check(&self, journal: &JournalId, seq: Seq) -> Option<RecordCheck> {
        self.journals.get(journal)?.get(&seq).copied().map(RecordCheck)
    }

    pub(crate) fn checks(&self, journal: &JournalId, range: SeqRange) -> Vec<(Seq, RecordCheck)> {
        let here = self.journals.get(journal).into_iter();
        here.flat_map(|records| records.range(range.first()..=range.last()))
            .map(|(seq, content)| (*seq, RecordCheck(*content)))
            .collect()
    }

    /// What is here of `range`, as one run for each stretch without holes.
    pub(crate) fn load(&self, journal: &JournalId, range: SeqRange) -> Vec<Run> {
        let here: RangeSet =
            self.checks(journal, range).into_iter().map(|(seq, _)| SeqRange::only(seq)).collect();
        let run = |range: SeqRange| {
            let contents = self.checks(journal, range);
            let body: Vec<u8> = contents.iter().flat_map(|(_, check)| check.0.to_be_bytes()).collect();
            let (first, count) = (range.first(), u32::try_from(range.count()).unwrap());
            Run {
                journal: *journal,
                first,
                count,
                encoding: Encoding::Plain,
                body: body.into(),
                segment: None,
            }
        };
        here.iter().map(run).collect()
    }

    /// What a store says of its journals when it is opened.
    pub(crate) fn states(&self) -> Vec<JournalState> {
        let state = |(journal, records): (&JournalId, &BTreeMap<Seq, u64>)| {
            let present: RangeSet = records.keys().map(|seq| SeqRange::only(*seq)).collect();
            let floor = self.floors.get(journal).copied().unwrap_or(1);
            let head = present.last().unwrap_or(floor - 1);
            let ledger = Ledger { ingested: head, acked: head, ..Ledger::default() };
            let ever = self.ever.get(journal).into_iter().flat_map(BTreeMap::keys);
            let (acked, declared) = (ever.map(|seq| SeqRange::only(*seq)).collect(), RangeSet::new());
            JournalState {
                journal: *journal,
                retired: false,
                restored: false,
                floor,
                head,
                head_check: self.check(journal, head),
                stored_bytes: present.count() * RECORD_BYTES,
                present,
                acked,
                declared,
                tail_first: 1,
                next_ordinal: 0,
                first_ordinal: 0,
                summary: Summary::default(),
                ledger,
            }
        };
        self.journals.iter().map(state).collect()
    }

    /// Damage takes what is here of a range.
    pub(crate) fn damage(&mut self, journal: JournalId, range: SeqRange) -> Quarantined {
        let here = self.journals.entry(journal).or_default();
        let lost: Vec<Seq> = here.range(range.first()..=range.last()).map(|(seq, _)| *seq).collect();
        here.retain(|seq, _| !range.contains(*seq));
        let ranges = lost.into_iter().map(SeqRange::only).collect();
        Quarantined { journal, ranges, evicted: 0 }
    }

    pub(crate) fn apply(&mut self, changes: Vec<Change>) -> Vec<Outcome> {
        changes.into_iter().map(|change| self.change(change)).collect()
    }

    fn change(&mut self, change: Change) -> Outcome {
        match change {
            Change::Receive(run) => self.receive(&run),
            Change::Seal { journal, segment } => {
                let here = self.journals.get(&journal);
                let present: RangeSet =
                    here.into_iter().flat_map(BTreeMap::keys).map(|seq| SeqRange::only(*seq)).collect();
                let sealed = segment.range().is_some_and(|range| present.covers(range));
                Outcome::Sealed { journal, sealed }
            }
            Change::Drop { journal, through, evict: None } => {
                let here = self.journals.entry(journal).or_default();
                let kept = here.split_off(&(through + 1));
                let trimmed = std::mem::replace(here, kept).len() as u64;
                self.floors.insert(journal, through + 1);
                Outcome::Dropped { journal, floor: through + 1, trimmed, evicted: 0 }
            }
            Change::DeclareLost { .. } => Outcome::Done,
            other => panic!("a hub never asks for {other:?}"),
        }
    }

    fn receive(&mut self, run: &Run) -> Outcome {
        let journal = run.journal;
        let (mut stored, mut duplicate, mut conflict) = (RangeSet::new(), RangeSet::new(), RangeSet::new());
        let (mut refused, mut gaps) = (None, Vec::new());
        let contents: Vec<u64> =
            run.body.as_chunks::<8>().0.iter().map(|bytes| u64::from_be_bytes(*bytes)).collect();
        let numbers = run.range().filter(|range| range.first() > 0 && range.last() < i64::MAX as u64);
        match numbers.filter(|range| range.count() == contents.len() as u64) {
            None => refused = Some("the body is not what the run says".to_owned()),
            Some(range) => {
                let floor = self.floors.get(&journal).copied().unwrap_or(1);
                let here = self.journals.entry(journal).or_default();
                for (seq, content) in (range.first()..=range.last()).zip(&contents) {
                    let set = match here.get(&seq) {
                        None if seq < floor => &mut duplicate,
                        None => &mut stored,
                        Some(same) if same == content => &mut duplicate,
                        Some(_) => &mut conflict,
                    };
                    set.insert(SeqRange::only(seq));
                }
                if !conflict.is_empty() {
                    stored = RangeSet::new();
                }
                for (seq, content) in (range.first()..=range.last()).zip(&contents) {
                    if stored.contains(seq) {
                        here.insert(seq, *content);
                        self.ever.entry(journal).or_default().insert(seq, *content);
                        gaps.extend(self.gaps.get(content).cloned());
                    }
                }
            }
        }
        Outcome::Received { journal, stored, duplicate, conflict, refused, gaps }
    }
}
