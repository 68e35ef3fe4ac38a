//! A holder whose records are made up: what it has, and the digest over that.

use std::collections::{BTreeMap, BTreeSet};

use millrace_merkle::{
    About, Answer, Node, Nodes, Outline, Place, Question, Sums, Told, Update, responder, spans,
};
use millrace_model::digest::{Root, Summary};
use millrace_model::{
    DeviceId, Incarnation, JournalId, Lane, NodeHash, RangeSet, SegmentHash, SegmentName, SeqRange,
};

use super::Case;

/// Records of one segment.
pub(super) const SEGMENT: u64 = 1_024;

/// How the other holder differs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It lacks one stretch of records.
    Contiguous,
    /// It lacks single records.
    Scattered,
    /// It has other bytes for single records.
    Damaged,
}

/// The numbers of the records that differ, ascending, the same for every method: the first of them in the middle.
pub(super) fn different(case: Case) -> Vec<u64> {
    let step = (case.records / case.different.max(1)).max(1);
    match case.fault {
        Fault::Contiguous => {
            let first = case.records / 2 - case.different.min(case.records / 2) / 2;
            (first..first + case.different).collect()
        }
        // Not at the same place of each segment.
        _ => (0..case.different)
            .map(|at| (at * step + (at * 7_919) % step.max(1)).clamp(1, case.records))
            .collect(),
    }
}

/// Nodes in memory.
#[derive(Debug, Clone, Default)]
struct Kept(BTreeMap<Place, Node>);

impl Nodes for Kept {
    type Error = std::convert::Infallible;

    fn node(&mut self, at: Place) -> Result<Node, Self::Error> {
        Ok(self.0.get(&at).cloned().unwrap_or_default())
    }
}

/// A copy of one journal.
#[derive(Debug, Clone)]
struct Copied {
    present: RangeSet,
    head: u64,
    nodes: Kept,
    root: Root,
    damaged: BTreeSet<u64>,
}

/// A holder of some journals.
#[derive(Debug, Clone)]
pub(super) struct Holder {
    journals: BTreeMap<JournalId, Copied>,
    sums: Sums,
}

fn journal(number: u64) -> JournalId {
    let mut device = [0; 16];
    device[..8].copy_from_slice(&(number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    JournalId { device: DeviceId::from_bytes(device), incarnation: Incarnation::new(1), lane: Lane::Normal }
}

/// The made-up hash of a segment, or of the same with other bytes.
fn hash(ordinal: u64, damaged: bool) -> SegmentHash {
    let mut random = fastrand::Rng::with_seed(ordinal * 2 + u64::from(damaged));
    let mut hash = [0; 32];
    random.fill(&mut hash);
    SegmentHash(hash)
}

impl Copied {
    fn new(records: u64, missing: &[u64], damaged: &[u64]) -> Self {
        let mut present = RangeSet::new();
        let mut next = 1;
        for seq in missing {
            present.extend(&SeqRange::new(next, seq - 1).map(RangeSet::from).unwrap_or_default());
            next = seq + 1;
        }
        present.extend(&SeqRange::new(next, records).map(RangeSet::from).unwrap_or_default());
        let of = |seqs: &[u64]| -> BTreeSet<u64> { seqs.iter().map(|seq| (seq - 1) / SEGMENT).collect() };
        let (incomplete, damaged) = (of(missing), of(damaged));
        let mut copied =
            Self { present, head: records, nodes: Kept::default(), root: Root::default(), damaged };
        let all = (0..records.div_ceil(SEGMENT)).filter(|ordinal| !incomplete.contains(ordinal));
        let hashes: Vec<(u64, Option<SegmentHash>)> =
            all.map(|ordinal| (ordinal, Some(hash(ordinal, copied.damaged.contains(&ordinal))))).collect();
        copied.set(&hashes);
        copied
    }

    fn set(&mut self, leaves: &[(u64, Option<SegmentHash>)]) {
        let mut update = Update::default();
        for (ordinal, hash) in leaves {
            let Ok(()) = update.set(&mut self.nodes, *ordinal, hash.as_ref().map(NodeHash::of_segment));
        }
        let Ok(changes) = update.finish(&mut self.nodes, self.root);
        self.nodes.0.extend(changes.nodes);
        self.root = changes.root;
    }

    fn summary(&self) -> Summary {
        Summary { root: self.root, tail: 0 }
    }

    fn name(&self, ordinal: u64) -> Option<SegmentName> {
        let first = ordinal * SEGMENT + 1;
        let range = SeqRange::new(first, self.head.min(first + SEGMENT - 1))?;
        let count = u32::try_from(range.count()).ok()?;
        let hash = hash(ordinal, self.damaged.contains(&ordinal));
        self.present.covers(range).then_some(SegmentName { ordinal, first, count, hash })
    }

    fn told(&mut self, about: &About) -> Told {
        match about {
            About::Outline { from } => {
                let (present, more) = spans::encode(&self.present, *from);
                let (summary, head) = (self.summary(), self.head);
                Told::Outline(Outline { floor: 1, head, first_ordinal: 0, summary, present, more })
            }
            About::Names { ordinals } => {
                Told::Names(ordinals.iter().filter_map(|ordinal| self.name(*ordinal)).collect())
            }
            About::Nodes { .. } => {
                responder::nodes(about, &mut self.nodes, self.root).unwrap_or(Told::Unreadable)
            }
            About::Checks { .. } => Told::Checks(Vec::new()),
        }
    }
}

impl Holder {
    /// One that has everything, and one that differs as the case says; the records stand in so many journals.
    pub(super) fn pair(case: Case, journals: u64) -> (Self, Self) {
        let each = case.records / journals;
        let seqs = different(case);
        let of = |number: u64| -> Vec<u64> {
            let (low, high) = (number * each, (number + 1) * each);
            let mine = seqs.iter().filter(|seq| **seq > low && **seq <= high);
            mine.map(|seq| seq - low).collect()
        };
        let make = |whole: bool| {
            let mut holder = Self { journals: BTreeMap::new(), sums: Sums::default() };
            for number in 0..journals {
                let (missing, damaged) = match case.fault {
                    _ if whole => (Vec::new(), Vec::new()),
                    Fault::Damaged => (Vec::new(), of(number)),
                    _ => (of(number), Vec::new()),
                };
                holder.put(journal(number), Copied::new(each, &missing, &damaged));
            }
            holder
        };
        (make(true), make(false))
    }

    fn put(&mut self, journal: JournalId, copied: Copied) {
        let old = self.journals.get(&journal).map(Copied::summary).unwrap_or_default();
        self.sums.replace(&journal, &old, &copied.summary());
        self.journals.insert(journal, copied);
    }

    /// The answer to a question.
    pub(super) fn answer(&mut self, question: &Question) -> Answer {
        if let Question::Journal { journal, about } = question {
            return Answer::Journal(
                self.journals.get_mut(journal).map_or(Told::Unknown, |of| of.told(about)),
            );
        }
        let journals = |partition| {
            let all = self.journals.iter().map(|(journal, copied)| (*journal, copied.summary()));
            let of =
                all.filter(move |(journal, _)| millrace_model::Partition::of(&journal.device) == partition);
            Ok::<_, std::convert::Infallible>(of.map(Ok))
        };
        responder::survey(question, &self.sums, journals).unwrap_or(Answer::Journal(Told::Unreadable))
    }

    /// The journals.
    pub(super) fn journals(&self) -> Vec<JournalId> {
        self.journals.keys().copied().collect()
    }

    /// The segments with these ordinals are fetched anew: they are what the other one has.
    pub(super) fn mend(&mut self, journal: JournalId, ordinals: &[u64]) {
        let Some(mut copied) = self.journals.get(&journal).cloned() else { return };
        copied.damaged.retain(|ordinal| !ordinals.contains(ordinal));
        let hashes: Vec<_> = ordinals.iter().map(|ordinal| (*ordinal, Some(hash(*ordinal, false)))).collect();
        copied.set(&hashes);
        self.put(journal, copied);
    }

    /// Records were fetched.
    pub(super) fn fetch(&mut self, journal: JournalId, ranges: &RangeSet) {
        let Some(mut copied) = self.journals.get(&journal).cloned() else { return };
        copied.present.extend(ranges);
        let touched: BTreeSet<u64> = ranges
            .iter()
            .flat_map(|range| (range.first() - 1) / SEGMENT..=(range.last() - 1) / SEGMENT)
            .collect();
        let names: Vec<_> =
            touched.iter().map(|ordinal| (*ordinal, copied.name(*ordinal).map(|name| name.hash))).collect();
        copied.set(&names);
        self.put(journal, copied);
    }
}
