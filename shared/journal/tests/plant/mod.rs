//! A small plant for the tests of this crate: devices, readings, and runs taken apart again.
//!
//! Absent: anything that asserts.
#![allow(dead_code, reason = "each test file takes what it needs")]

use std::collections::BTreeMap;

use bytes::Bytes;
use millrace_journal::{Author, Options, Store};
use millrace_merkle::{Node, Nodes, Place, Update};
use millrace_model::digest::{Root, Summary};
use millrace_model::store::{Change, Outcome};
use millrace_model::{
    DeviceId, Encoding, Incarnation, JournalId, Lane, NodeHash, Record, RecordCheck, Run, SegmentName, Seq,
    SeqRange, Topic, Wall, block, canon, hash::RecordChecker,
};

pub(crate) const DEVICE: DeviceId = DeviceId::from_bytes([7; 16]);
pub(crate) const INCARNATION: Incarnation = Incarnation::new(0x1111);

pub(crate) fn author() -> Options {
    let author = Author { device: DEVICE, incarnation_if_new: INCARNATION };
    Options { reserve_bytes: 0, ..Options::agent(author) }
}

pub(crate) fn replica() -> Options {
    Options { reserve_bytes: 0, ..Options::hub() }
}

pub(crate) fn journal(lane: Lane) -> JournalId {
    JournalId { device: DEVICE, incarnation: INCARNATION, lane }
}

pub(crate) fn range(first: Seq, last: Seq) -> SeqRange {
    SeqRange::new(first, last).unwrap()
}

/// Everything that a journal can have.
pub(crate) fn all() -> SeqRange {
    range(1, u64::MAX)
}

/// The `number`th reading of a press: like a real one, 40 to 100 bytes of JSON.
pub(crate) fn reading(number: u64) -> Record {
    let mut rng = fastrand::Rng::with_seed(number);
    let topic = Topic::new(&format!("plant/press-{}/temperature", number % 3)).unwrap();
    let payload = format!(
        r#"{{"n":{number},"celsius":{:.2},"state":"{}"}}"#,
        40.0 + rng.f64() * 5.0,
        if rng.bool() { "closing" } else { "open, waiting for the robot" }
    );
    Record::data(topic, Bytes::from(payload), Wall(1_000_000 * number.cast_signed()), 1_000_000 * number)
}

pub(crate) fn readings(first: u64, count: u64) -> Vec<Record> {
    (first..first + count).map(reading).collect()
}

pub(crate) fn append(store: &mut Store, lane: Lane, records: Vec<Record>) -> SeqRange {
    match &commit(store, Change::Append { lane, records })[..] {
        [Outcome::Appended { range, .. }, ..] => *range,
        other => panic!("{other:?}"),
    }
}

pub(crate) fn commit(store: &mut Store, change: Change) -> Vec<Outcome> {
    store.commit(1, &[change]).unwrap().1
}

pub(crate) fn receive(store: &mut Store, run: Run) -> Outcome {
    commit(store, Change::Receive(run)).remove(0)
}

/// The canonical block of a run.
pub(crate) fn block_of(run: &Run) -> Bytes {
    match run.encoding {
        Encoding::Plain => run.body.clone(),
        Encoding::Zstd => Bytes::from(zstd::bulk::decompress(&run.body, 1 << 20).unwrap()),
    }
}

pub(crate) fn records_of(run: &Run) -> Vec<(Seq, Record)> {
    let records = block::decode(&block_of(run)).unwrap();
    assert_eq!(records.len(), run.count as usize);
    (run.first..).zip(records).collect()
}

/// Everything that loads from a journal.
pub(crate) fn contents(store: &Store, journal: &JournalId) -> Vec<(Seq, Record)> {
    store.load(journal, all(), usize::MAX).unwrap().iter().flat_map(records_of).collect()
}

/// A stretch of records that is no segment, as a tail travels.
pub(crate) fn loose(journal: JournalId, first: Seq, records: &[Record]) -> Run {
    Run {
        journal,
        first,
        count: u32::try_from(records.len()).unwrap(),
        encoding: Encoding::Plain,
        body: Bytes::from(block::encode(records)),
        segment: None,
    }
}

pub(crate) fn check_of(journal: &JournalId, seq: Seq, record: &Record) -> RecordCheck {
    RecordChecker::new(journal).check(seq, &canon::encode(record))
}

/// A tree that is kept nowhere.
struct Nothing;

impl Nodes for Nothing {
    type Error = std::convert::Infallible;

    fn node(&mut self, _: Place) -> Result<Node, Self::Error> {
        Ok(Node::default())
    }
}

/// The root over these segments, as `millrace-merkle` alone reckons it.
pub(crate) fn root_over<'a>(names: impl IntoIterator<Item = &'a SegmentName>) -> Option<NodeHash> {
    let mut update = Update::default();
    for name in names {
        let Ok(()) = update.set(&mut Nothing, name.ordinal, Some(NodeHash::of_segment(&name.hash)));
    }
    let Ok(changes) = update.finish(&mut Nothing, Root::default());
    changes.root.hash
}

pub(crate) fn summary(store: &Store, journal: &JournalId) -> Summary {
    store.journal(journal).unwrap().summary
}

/// The segments that are here, by ordinal.
pub(crate) fn names(store: &Store, journal: &JournalId) -> BTreeMap<u64, SegmentName> {
    let found = store.survey(100_000).unwrap();
    found.iter().filter(|info| info.journal == *journal).map(|info| (info.name.ordinal, info.name)).collect()
}

/// An author that seals whatever it appends at once.
pub(crate) fn hasty() -> Options {
    Options { burst_records: 1, ..author() }
}
