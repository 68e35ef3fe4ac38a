//! The reference model: what publishers were told, what was written, what the hub holds, and what is lost by right.
//!
//! Promise: it learns from what happened in the world alone, never from what an engine believes.

use std::collections::{BTreeMap, BTreeSet};

use millrace_model::hash::RecordChecker;
use millrace_model::notice::Gap;
use millrace_model::{
    DeviceId, Incarnation, JournalId, Ordinal, RangeSet, Record, RecordCheck, SegmentName, Seq, SeqRange,
    canon,
};

use crate::publication::Attempt;

/// One record in its place.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The check of its canonical bytes in its place.
    pub check: RecordCheck,
    /// The attempt that it stores; `None` for records of Millrace itself.
    pub attempt: Option<Attempt>,
}

/// What a store must hold.
pub type Mirror = BTreeMap<JournalId, BTreeMap<Seq, Entry>>;

/// What a publisher was told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// It is stored.
    Stored,
    /// It is refused, and its loss is counted.
    Rejected,
}

/// The model.
#[derive(Debug, Default)]
pub struct Model {
    /// Every content that any site ever wrote at a place.
    pub written: BTreeMap<(JournalId, Seq), Vec<RecordCheck>>,
    /// What the hub's store holds, flushed.
    pub hub: BTreeMap<JournalId, BTreeMap<Seq, RecordCheck>>,
    /// What publishers were told.
    pub told: BTreeMap<Attempt, Told>,
    /// Where attempts stand or stood.
    pub places: BTreeMap<Attempt, BTreeSet<(JournalId, Seq)>>,
    /// Attempts that may be missing at the hub, and why.
    pub excused: BTreeMap<Attempt, &'static str>,
    /// How many copies of an attempt may be at the hub beside the first.
    pub copies: BTreeMap<Attempt, u32>,
    /// What agents evicted.
    pub evicted: BTreeMap<JournalId, RangeSet>,
    /// What gap records at the hub declare, by range.
    pub declared: BTreeMap<JournalId, RangeSet>,
    /// What gap records at the hub declare without numbers.
    pub declared_rejected: BTreeMap<JournalId, u64>,
    /// What agents refused.
    pub rejected: BTreeMap<JournalId, u64>,
    /// Lives of data directories that were wiped, restored or cloned.
    pub broken: BTreeSet<(DeviceId, Incarnation)>,
    /// Every name that an author gave to a segment.
    pub sealed: BTreeMap<(JournalId, Ordinal), BTreeSet<SegmentName>>,
    /// Devices for which somebody raised an alarm about rollback or clones.
    pub alarmed: BTreeSet<DeviceId>,
}

/// The check of a record in its place, as the reference computes it.
#[must_use]
pub fn check_of(journal: &JournalId, seq: Seq, record: &Record) -> RecordCheck {
    RecordChecker::new(journal).check(seq, &canon::encode(record))
}

impl Model {
    /// Whether this life of a data directory was wiped, restored or cloned.
    #[must_use]
    pub fn is_broken(&self, journal: &JournalId) -> bool {
        self.broken.contains(&(journal.device, journal.incarnation))
    }

    /// Whether the hub holds this very record.
    #[must_use]
    pub fn at_hub(&self, journal: &JournalId, seq: Seq, check: RecordCheck) -> bool {
        self.hub.get(journal).and_then(|held| held.get(&seq)) == Some(&check)
    }

    /// Whether a gap record at the hub covers this place.
    #[must_use]
    pub fn is_declared(&self, journal: &JournalId, seq: Seq) -> bool {
        self.declared.get(journal).is_some_and(|ranges| ranges.contains(seq))
    }

    /// Gap records reached the hub's store.
    pub fn gaps_arrived(&mut self, device: DeviceId, gaps: &[Gap]) {
        for gap in gaps {
            let journal = JournalId { device, incarnation: gap.incarnation, lane: gap.lane };
            match gap.range.and_then(|(first, last)| SeqRange::new(first, last)) {
                Some(range) => self.declared.entry(journal).or_default().insert(range),
                None => *self.declared_rejected.entry(journal).or_default() += gap.count,
            }
        }
    }

    /// What was only here, and not at the hub, may be lost from now on.
    pub fn excuse<'a>(
        &mut self,
        entries: impl IntoIterator<Item = (JournalId, Seq, &'a Entry)>,
        why: &'static str,
    ) {
        for (journal, seq, entry) in entries {
            if let Some(attempt) = entry.attempt
                && !self.at_hub(&journal, seq, entry.check)
            {
                self.excused.entry(attempt).or_insert(why);
            }
        }
    }
}

/// The entries of a mirror, one after the other.
pub fn entries(mirror: &Mirror) -> impl Iterator<Item = (JournalId, Seq, &Entry)> {
    mirror.iter().flat_map(|(journal, held)| held.iter().map(|(seq, entry)| (*journal, *seq, entry)))
}
