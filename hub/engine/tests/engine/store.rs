//! A store that is a map: what the journal does in SQLite, in memory and in one step.
//!
//! Promise: the rules of `millrace_model::store`. A record is eight bytes of a run's body: its content.
//! Absent: compression, hashes of segments.

use std::collections::BTreeMap;

use millrace_model::notice::Gap;
use millrace_model::store::{Change, Outcome, Usage};
use millrace_model::{JournalId, RangeSet, RecordCheck, Run, Seq, SeqRange};

/// Bytes that one record takes on this store's disk.
pub(crate) const RECORD_BYTES: u64 = 100;

#[derive(Debug, Default)]
pub(crate) struct Store {
    pub(crate) journals: BTreeMap<JournalId, BTreeMap<Seq, u64>>,
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
                let here = self.journals.entry(journal).or_default();
                for (seq, content) in (range.first()..=range.last()).zip(&contents) {
                    let set = match here.get(&seq) {
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
                        gaps.extend(self.gaps.get(content).cloned());
                    }
                }
            }
        }
        Outcome::Received { journal, stored, duplicate, conflict, refused, gaps }
    }
}
