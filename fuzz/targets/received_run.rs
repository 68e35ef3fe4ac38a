//! Runs that a hostile device sends to a hub's journals: wrong counts, wrong names, bombs, contradictions.
//!
//! Promise: the store never panics and never poisons itself; after each input it verifies clean, its ledgers balance, a run
//! that was stored is a duplicate when it comes again, and an honest device's run is still taken.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use millrace_journal::{Options, Store};
use millrace_model::limits::SEGMENT_RECORDS_MAX;
use millrace_model::store::{Change, Outcome};
use millrace_model::{
    DeviceId, Encoding, Incarnation, JournalId, Lane, Record, Run, SegmentHash, SegmentName, Topic, Wall,
    block,
};

/// Runs in one input.
const RUNS_MAX: usize = 8;

/// What the flags of a run mean, bit by bit.
mod flag {
    pub(crate) const CLAIMS_ZSTD: u8 = 1;
    pub(crate) const IS_COMPRESSED: u8 = 2;
    pub(crate) const HAS_SEGMENT: u8 = 4;
    pub(crate) const RIGHT_HASH: u8 = 8;
    pub(crate) const WHOLE: u8 = 16;
    pub(crate) const RIGHT_COUNT: u8 = 32;
    pub(crate) const FAR: u8 = 64;
    pub(crate) const AS_SEAL: u8 = 128;
}

fuzz_target!(|data: &[u8]| {
    let mut store = Store::in_memory(&Options::hub()).expect("a store in memory");
    let mut input = Input(data);
    for number in 1..=RUNS_MAX as u64 {
        let Some((flags, run)) = input.run() else { break };
        let change = match run.segment {
            Some(segment) if flags & flag::AS_SEAL != 0 => Change::Seal { journal: run.journal, segment },
            _ => Change::Receive(run.clone()),
        };
        let outcome = commit(&mut store, number * 2, change.clone());
        if let Outcome::Received { stored, refused: None, conflict, .. } = outcome
            && !stored.is_empty()
        {
            assert!(conflict.is_empty(), "a run that contradicts was stored in part");
            let again = commit(&mut store, number * 2 + 1, change);
            let Outcome::Received { stored: twice, .. } = again else { panic!("{again:?}") };
            assert!(twice.is_empty(), "{twice} was stored twice");
        }
    }
    assert!(store.poisoned().is_none());
    let report = store.verify(|_| ()).expect("the store can be read");
    assert!(report.is_clean(), "{:?}", report.findings);
    assert!(store.journals().iter().all(|journal| journal.ledger.balances()));
    honest(&mut store);
});

fn commit(store: &mut Store, number: u64, change: Change) -> Outcome {
    let (_, mut outcomes) = store.commit(number, &[change]).expect("a commit in memory succeeds");
    outcomes.pop().expect("one change has one outcome")
}

fn honest(store: &mut Store) {
    let journal = JournalId {
        device: DeviceId::from_bytes([0xee; 16]),
        incarnation: Incarnation::new(1),
        lane: Lane::Normal,
    };
    let topic = Topic::new("a/b").expect("a topic");
    let records = [Record::data(topic, Bytes::from_static(b"{}"), Wall(1), 1)];
    let body = Bytes::from(block::encode(&records));
    let run = Run { journal, first: 1, count: 1, encoding: Encoding::Plain, body, segment: None };
    let outcome = commit(store, 1_000, Change::Receive(run));
    assert!(matches!(outcome, Outcome::Received { stored, refused: None, .. } if stored.count() == 1));
}

struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (head, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(head)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|bytes| bytes[0])
    }

    fn short(&mut self) -> Option<u16> {
        self.take(2).map(|bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// flags, place, first, count, the segment's ordinal, first and count, the body's length, the body.
    fn run(&mut self) -> Option<(u8, Run)> {
        let flags = self.byte()?;
        let has = |bit: u8| flags & bit != 0;
        let place = self.byte()?;
        let journal = JournalId {
            device: DeviceId::from_bytes([place & 3; 16]),
            incarnation: Incarnation::new(u64::from(place >> 2 & 3)),
            lane: Lane::ALL[usize::from(place >> 4) % Lane::ALL.len()],
        };
        let far = |number: u16| if has(flag::FAR) { u64::MAX - u64::from(number) } else { u64::from(number) };
        let first = far(self.short()?);
        let mut count = u32::from(self.short()?);
        let (ordinal, named_first, named_count) =
            (u64::from(self.byte()?), far(self.short()?), u32::from(self.short()?));
        let length = usize::from(self.short()?).min(self.0.len());
        let block = self.take(length)?;
        if has(flag::RIGHT_COUNT)
            && let Ok(records) = block::decode(&Bytes::copy_from_slice(block))
        {
            count = u32::try_from(records.len()).unwrap_or(SEGMENT_RECORDS_MAX as u32);
        }
        let body = if has(flag::IS_COMPRESSED) {
            zstd::bulk::compress(block, 1).expect("compression of a small block")
        } else {
            block.to_vec()
        };
        let encoding = if has(flag::CLAIMS_ZSTD) { Encoding::Zstd } else { Encoding::Plain };
        let (named_first, named_count) =
            if has(flag::WHOLE) { (first, count) } else { (named_first, named_count) };
        let hash = match has(flag::RIGHT_HASH) {
            true => SegmentHash::of(&journal, ordinal, named_first, block),
            false => SegmentHash([7; 32]),
        };
        let segment = has(flag::HAS_SEGMENT).then_some(SegmentName {
            ordinal,
            first: named_first,
            count: named_count,
            hash,
        });
        Some((flags, Run { journal, first, count, encoding, body: Bytes::from(body), segment }))
    }
}
