//! A store that is a map: what the journal does in SQLite, in memory and in one step.
//!
//! Promise: the rules of `millrace_model::store`, word for word. A record is its content: a number made of its payload.
//! Absent: bytes on a disk, damage that it was not told of.

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_model::digest::Summary;
use millrace_model::notice::GapReason;
use millrace_model::store::{Change, JournalState, Outcome, Quarantined, SegmentInfo, Usage};
use millrace_model::{
    DeviceId, Encoding, Incarnation, JournalId, Lane, Ledger, RangeSet, Record, RecordCheck, Run,
    SegmentHash, SegmentName, Seq, SeqRange, Wall,
};

pub(crate) const DEVICE: DeviceId = DeviceId::from_bytes([7; 16]);

/// Bytes that one record takes on this store's disk.
pub(crate) const RECORD_BYTES: u64 = 100;

/// The topic of a record that came back after damage: its payload is what told the first one apart.
const BACK: &str = "back";

/// What tells two records apart (FNV-1a of the payload).
pub(crate) fn content(record: &Record) -> u64 {
    if record.topic.as_str() == BACK {
        return u64::from_be_bytes(record.payload[..].try_into().unwrap());
    }
    record
        .payload
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

#[derive(Clone, Debug)]
pub(crate) struct Journal {
    pub(crate) records: BTreeMap<Seq, Record>,
    pub(crate) retired: bool,
    pub(crate) restored: bool,
    pub(crate) floor: Seq,
    pub(crate) head: Seq,
    pub(crate) acked: RangeSet,
    pub(crate) segments: Vec<SegmentName>,
    pub(crate) ordinals: u64,
    pub(crate) tail_first: Seq,
    pub(crate) ledger: Ledger,
}

impl Journal {
    fn new() -> Self {
        Self {
            records: BTreeMap::new(),
            retired: false,
            restored: false,
            floor: 1,
            head: 0,
            acked: RangeSet::new(),
            segments: Vec::new(),
            ordinals: 0,
            tail_first: 1,
            ledger: Ledger::default(),
        }
    }

    pub(crate) fn present(&self) -> RangeSet {
        self.records.keys().map(|seq| SeqRange::only(*seq)).collect()
    }

    fn append(&mut self, records: Vec<Record>, segment_records: u64) -> (SeqRange, Vec<SegmentName>) {
        let first = self.head + 1;
        self.ledger.ingested += records.len() as u64;
        self.ledger.pending += records.len() as u64;
        for record in records {
            self.head += 1;
            self.records.insert(self.head, record);
        }
        let mut sealed = Vec::new();
        while self.head + 1 - self.tail_first >= segment_records {
            let count = u32::try_from(segment_records).unwrap();
            let hash = SegmentHash([0; 32]);
            sealed.push(SegmentName { ordinal: self.ordinals, first: self.tail_first, count, hash });
            self.ordinals += 1;
            self.tail_first += segment_records;
        }
        self.segments.extend_from_slice(&sealed);
        (SeqRange::new(first, self.head).unwrap(), sealed)
    }

    fn acknowledge(&mut self, ranges: &RangeSet) -> u64 {
        let fresh = ranges.intersection(&self.present()).difference(&self.acked);
        self.acked.extend(&fresh);
        self.ledger.acked += fresh.count();
        self.ledger.pending -= fresh.count();
        fresh.count()
    }

    fn reclaim(&mut self, ranges: &RangeSet) {
        let back = ranges.intersection(&self.present()).intersection(&self.acked);
        self.acked.subtract(&back);
        self.ledger.acked -= back.count();
        self.ledger.pending += back.count();
    }

    /// Drops whole segments at the floor, and rows of the tail when no segment is left; what was trimmed and evicted.
    fn drop_through(&mut self, through: Seq, evict: bool) -> (u64, u64) {
        let (mut trimmed, mut evicted) = (0, 0);
        while let Some(range) = self.segments.first().and_then(SegmentName::range) {
            let here = self.present().within(range);
            let unacked = here.difference(&self.acked).count();
            if range.last() > through || unacked > 0 && !evict {
                break;
            }
            (trimmed, evicted) = (trimmed + here.count() - unacked, evicted + unacked);
            self.segments.remove(0);
            self.records.retain(|seq, _| !range.contains(*seq));
            self.floor = range.last() + 1;
        }
        while self.segments.is_empty()
            && let Some(seq) = self.records.first_key_value().map(|(seq, _)| *seq)
        {
            let acked = self.acked.contains(seq);
            if seq > through || !acked && !evict {
                break;
            }
            (trimmed, evicted) = (trimmed + u64::from(acked), evicted + u64::from(!acked));
            self.records.remove(&seq);
            self.floor = seq + 1;
            self.tail_first = self.tail_first.max(self.floor);
        }
        self.ledger.evicted += evicted;
        self.ledger.pending -= evicted;
        (trimmed, evicted)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Store {
    pub(crate) incarnation: Incarnation,
    pub(crate) journals: BTreeMap<JournalId, Journal>,
    pub(crate) damaged: Vec<(JournalId, Seq)>,
    segment_records: u64,
    open_gaps: BTreeMap<(JournalId, GapReason), u64>,
    pub(crate) remembered: BTreeMap<&'static str, Vec<u8>>,
}

impl Store {
    pub(crate) fn new(segment_records: u64) -> Self {
        let incarnation = Incarnation::new(1);
        let mut store = Self {
            incarnation,
            journals: BTreeMap::new(),
            damaged: Vec::new(),
            segment_records,
            open_gaps: BTreeMap::new(),
            remembered: BTreeMap::new(),
        };
        store.make_journals();
        store
    }

    fn make_journals(&mut self) {
        for lane in Lane::ALL {
            self.journals.entry(self.current(lane)).or_insert_with(Journal::new);
        }
    }

    pub(crate) fn current(&self, lane: Lane) -> JournalId {
        JournalId { device: DEVICE, incarnation: self.incarnation, lane }
    }

    pub(crate) fn usage(&self) -> Usage {
        let records: usize = self.journals.values().map(|journal| journal.records.len()).sum();
        Usage { used_bytes: records as u64 * RECORD_BYTES, written_bytes: 0 }
    }

    pub(crate) fn ledger(&self) -> Ledger {
        self.journals.values().fold(Ledger::default(), |sum, journal| sum + journal.ledger)
    }

    pub(crate) fn check(&self, journal: &JournalId, seq: Seq) -> Option<RecordCheck> {
        self.journals.get(journal)?.records.get(&seq).map(|record| RecordCheck(content(record)))
    }

    pub(crate) fn states(&self) -> Vec<JournalState> {
        let state = |(id, journal): (&JournalId, &Journal)| JournalState {
            journal: *id,
            retired: journal.retired,
            restored: journal.restored,
            floor: journal.floor,
            head: journal.head,
            head_check: self.check(id, journal.head),
            present: journal.present(),
            acked: journal.acked.clone(),
            declared: RangeSet::new(),
            tail_first: journal.tail_first,
            next_ordinal: journal.ordinals,
            first_ordinal: 0,
            summary: Summary::default(),
            ledger: journal.ledger,
            stored_bytes: journal.records.len() as u64 * RECORD_BYTES,
        };
        self.journals.iter().map(state).collect()
    }

    /// All changes, in order.
    pub(crate) fn apply(&mut self, changes: Vec<Change>) -> Vec<Outcome> {
        let met: Vec<_> =
            self.damaged.iter().filter(|(id, seq)| self.meets(&changes, id, *seq)).copied().collect();
        // What the same commit brings acks of is not lost.
        if !met.is_empty() {
            for change in &changes {
                if let Change::Acknowledge { journal, ranges } = change {
                    self.journals.get_mut(journal).unwrap().acknowledge(ranges);
                }
            }
        }
        let asides: Vec<_> =
            met.into_iter().map(|(id, seq)| self.put_aside(id, SeqRange::only(seq))).collect();
        let told = asides.into_iter().map(Outcome::Quarantined);
        changes.into_iter().map(|change| self.change(change)).chain(told).collect()
    }

    /// Whether a commit of `changes` reads the record.
    fn meets(&self, changes: &[Change], id: &JournalId, seq: Seq) -> bool {
        self.journals.get(id).is_some_and(|here| here.records.contains_key(&seq))
            && changes.iter().any(|change| match change {
                Change::Drop { journal, through, .. } => journal == id && seq <= *through,
                Change::Reauthor { journal, range, .. } => journal == id && range.contains(seq),
                _ => false,
            })
    }

    fn append(&mut self, lane: Lane, records: Vec<Record>) -> Outcome {
        let (journal, size) = (self.current(lane), self.segment_records);
        let (range, sealed) = self.journals.get_mut(&journal).unwrap().append(records, size);
        Outcome::Appended { journal, range, sealed }
    }

    fn change(&mut self, change: Change) -> Outcome {
        match change {
            Change::Append { lane, records } => self.append(lane, records),
            Change::Reject { lane, count, reason, .. } => {
                let journal = self.current(lane);
                let ledger = &mut self.journals.get_mut(&journal).unwrap().ledger;
                ledger.ingested += count;
                ledger.rejected += count;
                *self.open_gaps.entry((journal, reason)).or_default() += count;
                Outcome::Done
            }
            Change::Acknowledge { journal, ranges } => {
                self.journals.get_mut(&journal).unwrap().acknowledge(&ranges);
                Outcome::Done
            }
            Change::Reclaim { journal, ranges } => {
                self.journals.get_mut(&journal).unwrap().reclaim(&ranges);
                Outcome::Done
            }
            Change::Remember { name, value } => {
                self.remembered.insert(name, value);
                Outcome::Done
            }
            Change::Drop { journal, through, evict } => {
                let here = self.journals.get_mut(&journal).unwrap();
                let (trimmed, evicted) = here.drop_through(through, evict.is_some());
                let floor = here.floor;
                if let Some(reason) = evict.filter(|_| evicted > 0) {
                    *self.open_gaps.entry((journal, reason)).or_default() += evicted;
                }
                Outcome::Dropped { journal, floor, trimmed, evicted }
            }
            Change::DeclareGaps { wall, mono } => self.declare(wall, mono),
            Change::Reincarnate { incarnation, open } => {
                self.journals.values_mut().for_each(|journal| journal.retired = true);
                self.incarnation = incarnation;
                self.make_journals();
                self.append(Lane::Urgent, vec![*open])
            }
            Change::Restore(run) => self.restore(&run),
            Change::Adopt { .. } => Outcome::Done,
            // Everything is a segment here as soon as it has a name.
            Change::Seal { journal, .. } => Outcome::Sealed { journal, sealed: false },
            Change::Reauthor { journal, range, equal } => self.reauthor(journal, range, &equal),
            other => panic!("an agent never asks for {other:?}"),
        }
    }

    /// What came back of a journal, by payload.
    pub(crate) fn payloads(&self, journal: &JournalId) -> BTreeMap<Seq, u64> {
        let records = self.journals.get(journal).into_iter().flat_map(|journal| &journal.records);
        let payload = |record: &Record| u64::from_be_bytes(record.payload[..].try_into().unwrap());
        records.map(|(seq, record)| (*seq, payload(record))).collect()
    }

    /// What was evicted of journals that were written here.
    pub(crate) fn evicted_of_current(&self) -> u64 {
        self.journals.values().filter(|journal| !journal.restored).map(|journal| journal.ledger.evicted).sum()
    }

    /// A record of an older life that comes back is its payload, one of the present what tells it apart: eight bytes of the body.
    fn restore(&mut self, run: &Run) -> Outcome {
        let (journal, range) = (run.journal, run.range().unwrap());
        let current = journal.incarnation == self.incarnation;
        let here = self.journals.entry(journal).or_insert_with(Journal::new);
        let (duplicate, conflict) = (RangeSet::new(), RangeSet::new());
        if current && range.last() > here.head || !current && here.retired && !here.restored {
            let (stored, refused) = (RangeSet::new(), Some("it was never written here".to_owned()));
            return Outcome::Restored {
                journal,
                stored,
                counted: 0,
                recovered: 0,
                duplicate,
                conflict,
                refused,
            };
        }
        if !current {
            (here.retired, here.restored) = (true, true);
        }
        let stored = RangeSet::from(range).difference(&here.present());
        let stored = SeqRange::new(here.floor, Seq::MAX).map_or(stored.clone(), |kept| stored.within(kept));
        for (seq, payload) in (range.first()..).zip(run.body.as_chunks::<8>().0) {
            if stored.contains(seq) {
                let topic = millrace_model::Topic::new(if current { BACK } else { "t" }).unwrap();
                here.records.insert(seq, Record::data(topic, Bytes::copy_from_slice(payload), Wall(0), 0));
            }
        }
        self.damaged.retain(|(at, seq)| *at != journal || !stored.contains(*seq));
        let news = stored.difference(&here.acked).count();
        here.acked.extend(&stored);
        let (counted, recovered) = if current { (0, news) } else { (news, 0) };
        here.ledger.ingested += counted;
        here.ledger.evicted -= recovered;
        here.ledger.acked += news;
        here.head = here.head.max(range.last());
        let duplicate = RangeSet::from(range).difference(&stored);
        Outcome::Restored { journal, stored, counted, recovered, duplicate, conflict, refused: None }
    }

    fn declare(&mut self, wall: Wall, mono: u64) -> Outcome {
        let journal = self.current(Lane::Urgent);
        let gaps = std::mem::take(&mut self.open_gaps).into_iter().map(|((of, reason), count)| {
            let (incarnation, lane) = (of.incarnation, of.lane);
            let (from, to) = (wall, wall);
            millrace_model::notice::Gap {
                incarnation,
                lane,
                range: None,
                after: None,
                count,
                reason,
                from,
                to,
            }
        });
        let records: Vec<Record> = gaps.filter_map(|gap| gap.to_record(wall, mono)).collect();
        if records.is_empty() {
            return Outcome::Declared { journal, range: None };
        }
        match self.append(Lane::Urgent, records) {
            Outcome::Appended { range, .. } => Outcome::Declared { journal, range: Some(range) },
            _ => unreachable!("an append is answered by Appended"),
        }
    }

    fn reauthor(&mut self, journal: JournalId, range: SeqRange, equal: &RangeSet) -> Outcome {
        let old = self.journals.get_mut(&journal).unwrap();
        assert!(old.retired, "only retired journals are emptied");
        let equal = old.acknowledge(&equal.within(range));
        let moving = old.present().within(range).difference(&old.acked);
        let mut moved = Vec::new();
        old.records.retain(|seq, record| {
            let goes = moving.contains(*seq);
            if goes {
                moved.push(record.clone());
            }
            !goes
        });
        old.ledger.ingested -= moved.len() as u64;
        old.ledger.pending -= moved.len() as u64;
        let appended = (!moved.is_empty()).then(|| self.append(journal.lane, moved));
        let appended = appended.map(|outcome| match outcome {
            Outcome::Appended { journal, range, .. } => (journal, range),
            _ => unreachable!("an append is answered by Appended"),
        });
        Outcome::Reauthored { appended, equal }
    }

    /// A record of `range` that is here and cannot be read.
    pub(crate) fn bad(&self, journal: &JournalId, range: SeqRange) -> Option<SeqRange> {
        let records = &self.journals.get(journal)?.records;
        let bad = self
            .damaged
            .iter()
            .find(|(at, seq)| at == journal && range.contains(*seq) && records.contains_key(seq))?;
        Some(SeqRange::only(bad.1))
    }

    /// Runs of `range`, a whole segment or a stretch of the tail each; `Err` names what is damaged.
    pub(crate) fn load(
        &self,
        journal: &JournalId,
        range: SeqRange,
        bytes_max: usize,
    ) -> Result<Vec<Run>, SeqRange> {
        let Some(here) = self.journals.get(journal) else { return Ok(Vec::new()) };
        let mut left = bytes_max;
        let mut runs: Vec<Run> = Vec::new();
        for stretch in here.present().within(range).iter() {
            let mut first = stretch.first();
            while first <= stretch.last() {
                let segment =
                    here.segments.iter().find(|s| s.range().is_some_and(|range| range.contains(first)));
                let last = segment.and_then(SegmentName::range).map_or(stretch.last(), SeqRange::last);
                let part = SeqRange::new(first, last.min(stretch.last())).unwrap();
                if let Some(bad) = self.bad(journal, part) {
                    return Err(bad);
                }
                let body: Vec<u8> = here
                    .records
                    .range(part.first()..=part.last())
                    .flat_map(|(_, record)| content(record).to_be_bytes())
                    .collect();
                if !runs.is_empty() && body.len() > left {
                    return Ok(runs);
                }
                left = left.saturating_sub(body.len());
                runs.push(Run {
                    journal: *journal,
                    first: part.first(),
                    count: u32::try_from(part.count()).unwrap(),
                    encoding: Encoding::Plain,
                    body: Bytes::from(body),
                    segment: segment.copied(),
                });
                first = part.last() + 1;
            }
        }
        Ok(runs)
    }

    pub(crate) fn checks(&self, journal: &JournalId, range: SeqRange) -> Vec<(Seq, RecordCheck)> {
        let Some(here) = self.journals.get(journal) else { return Vec::new() };
        let records = here.records.range(range.first()..=range.last());
        records.map(|(seq, record)| (*seq, RecordCheck(content(record)))).collect()
    }

    pub(crate) fn survey(&self, per_journal: usize) -> Vec<SegmentInfo> {
        let of = |(id, journal): (&JournalId, &Journal)| -> Vec<SegmentInfo> {
            let info = |name: &SegmentName| {
                let range = name.range().unwrap();
                let here = journal.present().within(range);
                SegmentInfo {
                    journal: *id,
                    name: *name,
                    max_wall: journal.records.get(&range.last()).map_or(Wall(0), |record| record.wall),
                    stored_bytes: here.count() * RECORD_BYTES,
                    unacked: here.difference(&journal.acked).count(),
                }
            };
            journal.segments.iter().take(per_journal).map(info).collect()
        };
        self.journals.iter().flat_map(of).collect()
    }

    /// The record is unreadable from now on; what is put aside counts as evicted and will be declared.
    pub(crate) fn put_aside(&mut self, journal: JournalId, range: SeqRange) -> Quarantined {
        let here = self.journals.get_mut(&journal).unwrap();
        let ranges = here.present().within(range);
        let evicted = ranges.difference(&here.acked).count();
        here.records.retain(|seq, _| !range.contains(*seq));
        here.ledger.evicted += evicted;
        here.ledger.pending -= evicted;
        if evicted > 0 {
            *self.open_gaps.entry((journal, GapReason::Damaged)).or_default() += evicted;
        }
        Quarantined { journal, ranges, evicted }
    }
}
